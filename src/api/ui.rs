//! `/ui/`: the files of the dashboard, which are in the binary (`build.rs` collects them from `ui/dist`).
//!
//! They are for everybody and contain no data: the page reads all from the APIs, as any other client, with the session of
//! [`super::sessions`]. A hash in its name changes with each asset, so that browsers keep assets for ever.

use actix_web::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ContentType, HeaderMap, HeaderName,
    REFERRER_POLICY, VARY,
};
use actix_web::web::{Path, ServiceConfig, get, resource};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use crate::domain::problem::Problem;
use crate::error::ApiError;

include!(concat!(env!("OUT_DIR"), "/ui_files.rs"));

/// A file of the dashboard.
struct Asset {
    name: &'static str,
    content: &'static [u8],
    /// The content, compressed by gzip.
    compressed: &'static [u8],
}

/// What the dashboard may load and call: this server alone. Nothing inline, no frames, no plug-ins.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The resources.
pub fn routes(config: &mut ServiceConfig) {
    config.service(resource("/ui").route(get().to(page))).service(resource("/ui/assets/{name}").route(get().to(asset)));
}

/// `GET /ui`.
async fn page() -> HttpResponse {
    isolated().insert_header((CACHE_CONTROL, "no-cache")).content_type(ContentType::html()).body(PAGE)
}

/// `GET /ui/assets/{name}`.
async fn asset(request: HttpRequest, name: Path<String>) -> Result<HttpResponse, ApiError> {
    let found = ASSETS.iter().find(|asset| asset.name == *name);
    let asset = found.ok_or_else(|| Problem::not_found("file of the dashboard", &name))?;
    let mut response = isolated();
    response.insert_header((CACHE_CONTROL, "public, max-age=31536000, immutable"));
    response.insert_header((VARY, "Accept-Encoding")).content_type(media_type(asset.name));
    Ok(if accepts_gzip(request.headers()) {
        response.insert_header((CONTENT_ENCODING, "gzip")).body(asset.compressed)
    } else {
        response.body(asset.content)
    })
}

fn isolated() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_SECURITY_POLICY, POLICY)).insert_header((REFERRER_POLICY, "no-referrer"));
    response.insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"));
    response
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(ACCEPT_ENCODING).flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let mut codings = codings.map(|coding| coding.split_once(';').unwrap_or((coding, "")));
    codings.any(|(coding, weight)| {
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1").parse::<f32>();
        coding.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_page_names_its_assets_and_has_nothing_inline() {
        for asset in ASSETS {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut GzDecoder::new(asset.compressed), &mut content).unwrap();
            assert!(content == asset.content, "{} differs from its compressed form: run ui/build", asset.name);
            assert_ne!(media_type(asset.name), "application/octet-stream", "{}", asset.name);
        }
        let named: Vec<&str> = PAGE.split("/ui/assets/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(named.len() >= 2, "{PAGE}");
        for name in named {
            assert!(ASSETS.iter().any(|asset| asset.name == name), "{name} is not in the binary");
        }
        assert!(!PAGE.contains("<style") && !PAGE.contains("style=") && !PAGE.contains("<script>"), "{PAGE}");
    }

    #[test]
    fn compresses_for_those_who_accept_it() {
        for (header, expected) in
            [("gzip, br", true), ("br;q=1, GZIP;q=0.5", true), ("gzip;q=x", false), ("gzip;q=0", false), ("br", false)]
        {
            let request = actix_web::test::TestRequest::default().insert_header((ACCEPT_ENCODING, header));
            assert_eq!(accepts_gzip(request.to_http_request().headers()), expected, "{header}");
        }
    }
}
