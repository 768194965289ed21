//! The OpenAPI documents for people with a browser, at `/openapi/`: Swagger UI (<https://swagger.io/tools/swagger-ui/>,
//! Apache-2.0; its LICENSE and NOTICE are served beside it). Its files come from the archive of its release that the crate
//! `utoipa-swagger-ui-vendored` carries, so that a site without a way out has them; the page is ours.

use std::borrow::Cow;
use std::io::{Cursor, Read as _};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType, LOCATION};
use actix_web::{HttpResponse, HttpResponseBuilder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;
use zip::result::ZipError;

use super::openapi;
use crate::blocking::blocking;
use crate::error::{ApiError, internal};

/// What is served of the archive: the file, where the archive has it, its media type.
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
pub async fn redirect() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "openapi/")).finish()
}

/// `GET /openapi/`.
pub async fn page() -> HttpResponse {
    ours().content_type(ContentType::html()).body(PAGE)
}

/// A file that the page needs; `None` if there is none of that name.
///
/// # Errors
/// 500 if the archive can't be read: a defect.
pub async fn file(name: &str) -> Result<Option<HttpResponse>, ApiError> {
    if name == "start.js" {
        return Ok(Some(ours().content_type("text/javascript").body(start())));
    }
    let Some((name, folder, media_type)) = FILES.iter().find(|(file, ..)| *file == name) else { return Ok(None) };
    let content = blocking(move || unpacked(folder, name).map_err(|error| internal(&error))).await?;
    // Another release has other files.
    Ok(Some(ours().insert_header((CACHE_CONTROL, "max-age=3600")).content_type(*media_type).body(content)))
}

/// Whatever the page holds, it talks to nobody else.
fn ours() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    let policy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'";
    response.insert_header((CONTENT_SECURITY_POLICY, policy));
    response
}

/// Shows the documents, and asks no validator on the Internet for its opinion of them.
fn start() -> String {
    let documents: Vec<_> = openapi::NAMES.iter().map(|name| format!("{{url: '{name}', name: '{name}'}}")).collect();
    format!(
        "SwaggerUIBundle({{dom_id: '#ui', urls: [{}], validatorUrl: null, layout: 'StandaloneLayout', \
         presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset]}});\n",
        documents.join(", ")
    )
}

fn unpacked(folder: &str, name: &str) -> Result<Vec<u8>, ZipError> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    // All is in a folder that has the release in its name.
    let path = format!("/{folder}{name}");
    let is_wanted = |entry: &str| entry.find('/').is_some_and(|end| entry[end..] == path);
    let entry = archive.file_names().flatten().find(|entry| is_wanted(entry)).map(Cow::into_owned);
    let entry = entry.ok_or(ZipError::FileNotFound)?;
    let mut content = Vec::new();
    archive.by_name(&entry)?.read_to_end(&mut content)?;
    Ok(content)
}
