//! `GET /`: what is served here. Programs get the versions of the APIs as JSON, browsers a page with links to the documentation.

use actix_web::http::header::{ACCEPT, ContentType};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use crate::api::browser;
use crate::api::context::Api;
use crate::api::versions::ApiVersionInformation;
use crate::sol003::Interface;

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Gybe</title></head>
<body>
<h1>Gybe, a VNF manager (ETSI NFV-SOL 003)</h1>
<ul>
<li><a href="/ui/">Dashboard</a></li>
<li><a href="/openapi">Documentation of the APIs</a></li>
<li><a href="/problems">Problem types</a></li>
<li><a href="/vnflcm/api_versions">Versions of VNF lifecycle management</a></li>
<li><a href="/vnfpkgm/api_versions">Versions of VNF package management</a></li>
</ul>
</body>
</html>
"#;

/// `GET /`. `versions` is the list that OpenStack's clients read to discover the API of VIMs, as Tacker's; `apis` has the API versions
/// of SOL013.
pub async fn show(api: web::Data<Api>, request: HttpRequest) -> HttpResponse {
    if accepts_html(&request) {
        return browser::isolated().content_type(ContentType::html()).body(PAGE);
    }
    let base = &api.public_url;
    HttpResponse::Ok().json(json!({
        "versions": [{ "id": "v1.0", "status": "CURRENT", "links": [{ "rel": "self", "href": format!("{base}/v1.0") }] }],
        "apis": Interface::ALL.map(ApiVersionInformation::of),
        "documentation": format!("{base}/openapi"),
    }))
}

/// Whether the client names HTML. `*/*` is not enough: programs send it.
fn accepts_html(request: &HttpRequest) -> bool {
    let ranges = request.headers().get_all(ACCEPT).flat_map(|value| value.to_str().unwrap_or_default().split(','));
    ranges.map(|range| range.split(';').next().unwrap_or_default().trim()).any(|range| range == "text/html")
}
