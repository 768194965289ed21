//! `/openapi`: serves the OpenAPI documents, and a page that shows them in a browser by Swagger UI
//! (<https://swagger.io/tools/swagger-ui/>, Apache-2.0; its LICENSE and NOTICE are served, too). Its files come from the archive
//! in the crate `utoipa-swagger-ui-vendored`, so that the page works without Internet access; the page itself is ours.

use std::borrow::Cow;
use std::io::{Cursor, Read as _};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType};
use actix_web::web::Path;
use actix_web::{HttpResponse, HttpResponseBuilder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::api::openapi;
use crate::blocking::blocking;
use crate::domain::problem::Problem;
use crate::error::{ApiError, internal};

/// The served files of the archive: name, folder in the archive, media type.
const FILES: [(&str, &str, &str); 6] = [
    ("swagger-ui.css", "dist/", "text/css"),
    ("swagger-ui-bundle.js", "dist/", "text/javascript"),
    ("swagger-ui-standalone-preset.js", "dist/", "text/javascript"),
    ("favicon-32x32.png", "dist/", "image/png"),
    ("LICENSE", "", "text/plain"),
    ("NOTICE", "", "text/plain"),
];

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<base href="/openapi/">
<title>Gybe's API</title>
<link rel="stylesheet" href="swagger-ui.css">
<link rel="icon" type="image/png" href="favicon-32x32.png">
</head>
<body>
<div id="ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="swagger-ui-standalone-preset.js"></script>
<script src="start.js"></script>
</body>
</html>
"#;

/// `GET /openapi`.
pub async fn page() -> HttpResponse {
    isolated().content_type(ContentType::html()).body(PAGE)
}

/// `GET /openapi/{name}`: a document, or a file of the page.
///
/// # Errors
/// 404.
pub async fn document(name: Path<String>) -> Result<HttpResponse, ApiError> {
    if let Some(text) = openapi::text(&name).map_err(|error| internal(&error))? {
        return Ok(HttpResponse::Ok().content_type("application/json").body(text));
    }
    file(&name).await?.ok_or_else(|| Problem::not_found("document", &name).into())
}

/// A file of the page; `None` for an unknown name. 500 if the archive cannot be read: a defect.
async fn file(name: &str) -> Result<Option<HttpResponse>, ApiError> {
    if name == "start.js" {
        return Ok(Some(isolated().content_type("text/javascript").body(start_script())));
    }
    let Some((name, folder, media_type)) = FILES.iter().find(|(file, ..)| *file == name) else { return Ok(None) };
    let content = blocking(move || unpacked(folder, name).map_err(|error| internal(&error))).await?;
    // Cached only for a while: another release has other files.
    Ok(Some(isolated().insert_header((CACHE_CONTROL, "max-age=3600")).content_type(*media_type).body(content)))
}

/// A response whose content may load from this server only.
pub(super) fn isolated() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    let policy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";
    response.insert_header((CONTENT_SECURITY_POLICY, policy));
    response
}

/// The script that shows the documents. It uses no validator on the Internet.
fn start_script() -> String {
    let documents: Vec<_> = openapi::NAMES.iter().map(|name| format!("{{url: '{name}', name: '{name}'}}")).collect();
    format!(
        "SwaggerUIBundle({{dom_id: '#ui', urls: [{}], validatorUrl: null, layout: 'StandaloneLayout', \
         presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset]}});\n",
        documents.join(", ")
    )
}

fn unpacked(folder: &str, name: &str) -> Result<Vec<u8>, ZipError> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    // The archive has one folder, with the release in its name.
    let path = format!("/{folder}{name}");
    let matches = |entry: &str| entry.find('/').is_some_and(|end| entry[end..] == path);
    let entry = archive.file_names().flatten().find(|entry| matches(entry)).map(Cow::into_owned);
    let entry = entry.ok_or(ZipError::FileNotFound)?;
    let mut content = Vec::new();
    archive.by_name(&entry)?.read_to_end(&mut content)?;
    Ok(content)
}
