//! The content of packages (SOL003 clauses 10.4.4 to 10.4.6, SOL005 clauses 9.4.4 to 9.4.7) in both editions, by the id of the
//! package or of its VNFD: the CSAR, its VNFD, its manifest, single artifacts, and a ZIP of artifacts.

use std::collections::BTreeSet;

use actix_files::NamedFile;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, ContentDisposition, DispositionType, HeaderValue};
use actix_web::web::Query;
use actix_web::{HttpRequest, HttpResponse, web};
use mime::Mime;
use serde::Deserialize;

use crate::api::context::Api;
use crate::api::negotiate::accepts;
use crate::api::packages::PackageId;
use crate::api::range;
use crate::blocking::blocking;
use crate::domain::package::ArtifactInfo;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::error::{ApiError, internal};
use crate::package::archive::{Archive, Limits};
use crate::package::csar::{self, Selection};
use crate::sol003::common::{FileContent, ProblemDetails};
use crate::sol003::pkgm::ArtifactParameters;

const ZIP: &str = "application/zip";
const TEXT: &str = "text/plain";

/// `GET /vnf_packages/{id}/package_content`, with `Range`.
#[utoipa::path(get, path = "/vnf_packages/{id}/package_content", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 200, body = inline(FileContent), content_type = "application/zip"), (status = 206), (status = 406, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 416, body = ProblemDetails)))]
pub async fn content(api: web::Data<Api>, package: PackageId, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (_, path, _) = package.onboarded(&api).await?;
    // Tacker's client asks for JSON, and reads the ZIP.
    if !accepts(request.headers(), "application/json") {
        refuse_unless_zip(&request, "a package")?;
    }
    let file = blocking(move || NamedFile::open(path).map_err(|error| internal(&error))).await?;
    let zip: Mime = ZIP.parse().map_err(|error: mime::FromStrError| internal(&error))?;
    let disposition = ContentDisposition { disposition: DispositionType::Attachment, parameters: Vec::new() };
    Ok(file.set_content_type(zip).set_content_disposition(disposition).into_response(&request))
}

fn refuse_unless_zip(request: &HttpRequest, what: &str) -> Result<(), Problem> {
    if accepts(request.headers(), ZIP) {
        return Ok(());
    }
    Err(problem!(
        ProblemType::NotAcceptable,
        "the Accept header excludes {allowed}, the media type of {content}: accept it",
        allowed = ZIP,
        content = what,
    ))
}

// Where a body has one of two media types, the document begins with the ZIP: generated clients expect the first, and bytes hold both.

/// `GET /vnf_packages/{id}/vnfd`: text if the VNFD is one file and the caller accepts text, else a ZIP.
#[utoipa::path(get, path = "/vnf_packages/{id}/vnfd", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 200, description = "As Accept says", content((inline(FileContent) = "application/zip"), (String = "text/plain"))), (status = 406, body = ProblemDetails), (status = 409, body = ProblemDetails)))]
pub async fn vnfd(api: web::Data<Api>, package: PackageId, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (_, path, _) = package.onboarded(&api).await?;
    let files = blocking(move || csar::vnfd(&path, &Limits::default())).await?;
    match files.text {
        Some(text) if accepts(request.headers(), TEXT) => Ok(HttpResponse::Ok().content_type(TEXT).body(text)),
        None if !accepts(request.headers(), ZIP) => {
            Err(problem!(ProblemType::NotAcceptable, "the VNFD has several files: accept {allowed}", allowed = ZIP)
                .into())
        }
        _ => {
            refuse_unless_zip(&request, "a VNFD that is not text/plain")?;
            Ok(HttpResponse::Ok().content_type(ZIP).body(files.zip))
        }
    }
}

/// `GET /vnf_packages/{id}/manifest`: text, or a ZIP of the one file if the caller accepts nothing else.
#[utoipa::path(get, path = "/vnf_packages/{id}/manifest", tag = "vnf_packages", params(("id" = String, Path)),
    responses((status = 200, description = "As Accept says", content((inline(FileContent) = "application/zip"), (String = "text/plain"))), (status = 404, description = "The package has none", body = ProblemDetails), (status = 406, body = ProblemDetails), (status = 409, body = ProblemDetails)))]
pub async fn manifest(api: web::Data<Api>, package: PackageId, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (id, path, _) = package.onboarded(&api).await?;
    let manifest = blocking(move || csar::manifest(&path, &Limits::default())).await?;
    let missing = || problem!(ProblemType::NotFound, "VNF package {id} has no manifest file", id = id.to_string());
    let (name, text) = manifest.ok_or_else(missing)?;
    if accepts(request.headers(), TEXT) {
        return Ok(HttpResponse::Ok().content_type(TEXT).body(text));
    }
    refuse_unless_zip(&request, "a manifest that is not text/plain")?;
    Ok(HttpResponse::Ok().content_type(ZIP).body(csar::zipped(&[(name, text)])?))
}

/// The parameter of a path that names an artifact, decoded.
#[derive(Deserialize)]
pub struct ArtifactPath {
    path: String,
}

/// `GET /vnf_packages/{id}/artifacts/{path}`, with `Range`.
#[utoipa::path(get, path = "/vnf_packages/{id}/artifacts/{path}", tag = "vnf_packages", params(("id" = String, Path), ("path" = String, Path)),
    responses((status = 200, description = "The artifact, with the media type that the package states", body = inline(FileContent), content_type = "*/*"), (status = 206), (status = 404, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 416, body = ProblemDetails)))]
pub async fn artifact(
    api: web::Data<Api>,
    package: PackageId,
    path: web::Path<ArtifactPath>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let (_, csar, content) = package.onboarded(&api).await?;
    let ArtifactPath { path: artifact } = path.into_inner();
    let info = content.artifacts.iter().find(|info| info.path == artifact);
    let info = info.ok_or_else(|| Problem::not_found("artifact", &artifact))?;
    let media_type = info.content_type.as_deref().unwrap_or("application/octet-stream").to_owned();
    let (reader, size) = blocking(move || Archive::open(&csar, &Limits::default())?.reader(&csar, &artifact)).await?;
    Ok(attachment(range::response(&request, reader, size), &media_type))
}

/// Sets the media type that the package states, if it is a valid header. A browser saves the artifact and does not show it.
fn attachment(mut answer: HttpResponse, media_type: &str) -> HttpResponse {
    if answer.status().is_success() {
        answer.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        if let Ok(media_type) = HeaderValue::from_str(media_type) {
            answer.headers_mut().insert(CONTENT_TYPE, media_type);
        }
    }
    answer
}

/// `GET /vnf_packages/{id}/artifacts`, with `Range`: a ZIP of the artifacts that are no software images.
#[utoipa::path(get, path = "/vnf_packages/{id}/artifacts", tag = "vnf_packages", params(("id" = String, Path), ArtifactParameters),
    responses((status = 200, body = inline(FileContent), content_type = "application/zip"), (status = 206), (status = 400, body = ProblemDetails), (status = 406, body = ProblemDetails), (status = 409, body = ProblemDetails), (status = 416, body = ProblemDetails)))]
pub async fn artifacts(
    api: web::Data<Api>,
    package: PackageId,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let selection = selection(request.query_string())?;
    let (_, csar, content) = package.onboarded(&api).await?;
    refuse_unless_zip(&request, "a set of artifacts")?;
    refuse_unknown_sets(&selection, &content.artifacts)?;
    let bundle = blocking(move || csar::bundle(&csar, &Limits::default(), &content.artifacts, &selection)).await?;
    let size = bundle.size();
    Ok(attachment(range::response(&request, bundle, size), ZIP))
}

/// The query parameters of `artifacts`.
const PARAMETERS: [&str; 5] = [
    "exclude_all_mano_artifacts",
    "exclude_all_non_mano_artifacts",
    "include_external_artifacts",
    "include_signatures",
    "select_non_mano_artifact_sets",
];

/// Reads the flags, which have no value (or, as some clients write them, `true`), and the list of sets.
fn selection(query: &str) -> Result<Selection, Problem> {
    let parameters = Query::<Vec<(String, String)>>::from_query(query);
    let parameters = parameters
        .map_err(|_| Problem::bad_request("the query string is not valid: percent-encode it as a form"))?
        .into_inner();
    let mut selection = Selection::default();
    for (name, value) in &parameters {
        if name == "select_non_mano_artifact_sets" {
            let sets: BTreeSet<String> = value.split(',').map(str::to_owned).collect();
            selection.sets.get_or_insert_default().extend(sets);
            continue;
        }
        let mut external = false;
        let flag = match name.as_str() {
            "exclude_all_mano_artifacts" => &mut selection.without_mano,
            "exclude_all_non_mano_artifacts" => &mut selection.without_non_mano,
            "include_signatures" => &mut selection.signatures,
            // There are none: onboarding refuses artifacts outside of the CSAR.
            "include_external_artifacts" => &mut external,
            other => {
                return Err(problem!(
                    ProblemType::BadRequest,
                    "unknown query parameter '{parameter}'; supported: {allowed}",
                    parameter = other,
                    allowed = QuotedValues::from_iter(PARAMETERS),
                ));
            }
        };
        if !matches!(value.as_str(), "" | "true") {
            return Err(problem!(
                ProblemType::BadRequest,
                "query parameter '{parameter}' is a flag and has the value '{value}': leave the value out",
                parameter = name,
                value = value,
            ));
        }
        *flag = true;
    }
    if selection.without_non_mano && selection.sets.is_some() {
        let text = "exclude_all_non_mano_artifacts and select_non_mano_artifact_sets exclude each other";
        return Err(Problem::bad_request(text));
    }
    Ok(selection)
}

/// Refuses unknown sets: an empty ZIP would hide a typing error.
fn refuse_unknown_sets(selection: &Selection, artifacts: &[ArtifactInfo]) -> Result<(), Problem> {
    let known: BTreeSet<&String> =
        artifacts.iter().filter_map(|artifact| artifact.non_mano_artifact_set.as_ref()).collect();
    match selection.sets.iter().flatten().find(|set| !known.contains(set)) {
        None => Ok(()),
        Some(set) => Err(problem!(
            ProblemType::BadRequest,
            "select_non_mano_artifact_sets: the package has no set '{set}'; it has: {allowed}",
            set = set,
            allowed = known.into_iter().collect::<QuotedValues>(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_select_artifacts() {
        assert_eq!(selection("").unwrap(), Selection::default());
        let all = selection(
            "exclude_all_mano_artifacts&include_signatures=true&include_external_artifacts&select_non_mano_artifact_sets=a,b%2Fc",
        );
        let sets = Some(BTreeSet::from(["a".to_owned(), "b/c".to_owned()]));
        let expected = Selection { without_mano: true, without_non_mano: false, sets, signatures: true };
        assert_eq!(all.unwrap(), expected);
        for wrong in [
            "exclude_everything",
            "include_signatures=no",
            "exclude_all_non_mano_artifacts&select_non_mano_artifact_sets=a",
        ] {
            assert_eq!(selection(wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
