//! The documentation of the problem types, which `help` of each problem leads to. Plain text, in Markdown.

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::{Path, ServiceConfig, get, resource};

use crate::domain::problem::{Problem, ProblemType};
use crate::error::ApiError;

/// The two resources.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(resource("/problems").route(get().to(list)))
        .service(resource("/problems/{name}").route(get().to(show)));
}

async fn list() -> HttpResponse {
    text(ProblemType::all_documentation())
}

async fn show(name: Path<String>) -> Result<HttpResponse, ApiError> {
    let kind = ProblemType::by_name(&name).ok_or_else(|| Problem::not_found("problem type", &name))?;
    Ok(text(kind.documentation()))
}

fn text(text: String) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body(text)
}
