//! The OpenAPI documents, generated from the handlers and the wire types. [`super::browser`] serves them; `gybe openapi` writes
//! them to the files in `openapi/`.

use std::fmt::Write as _;

use actix_web::http::StatusCode;
use utoipa::OpenApi;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ArrayBuilder, ContentBuilder, HttpMethod, Object, OpenApi as Document, PathItem, Paths, Ref, RefOr, Required,
    Response, Schema, Type,
};

use crate::api::list::PROJECT;
use crate::api::{
    audit, drift, events, instances, onboarding, op_occs, package_content, packages, preview, shares, subscriptions,
    tenancy, tenancy_metering, tenancy_namespaces, unsupported, versions, vims,
};
use crate::domain::policy::{Permission, permission};
use crate::domain::problem::ProblemType;
use crate::error::PROBLEM_JSON;
use crate::sol003::{Edition, Interface, pkgm, v1};

#[derive(OpenApi)]
#[openapi(
    info(title = "VNF lifecycle management (SOL003 3.3.1)", description = "", version = "2.0.0", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    servers((url = "/vnflcm/v2")),
    paths(
        versions::one,
        instances::list, instances::create, instances::show, instances::modify, instances::remove,
        instances::instantiate, instances::scale, instances::scale_to_level, instances::heal, instances::sync, instances::operate, instances::terminate,
        unsupported::change_flavour, unsupported::change_ext_conn,
        drift::show,
        preview::instantiate, preview::scale, preview::scale_to_level, preview::heal, preview::operate, preview::terminate,
        op_occs::list, op_occs::show, op_occs::steps, op_occs::retry, op_occs::rollback, op_occs::fail, op_occs::cancel,
        subscriptions::list, subscriptions::create, subscriptions::show, subscriptions::remove,
        subscriptions::undelivered, subscriptions::resend,
    )
)]
struct LifecycleV2;

/// The resources that 2.6.1 does not have.
#[derive(OpenApi)]
#[openapi(paths(
    instances::change_vnfpkg,
    preview::change_vnfpkg,
    unsupported::create_snapshot,
    unsupported::revert_to_snapshot,
    unsupported::snapshots,
    unsupported::snapshot,
    unsupported::snapshot_state
))]
struct LifecycleOfV2;

/// The types that 2.6.1 spells differently, in place of those of [`LifecycleV2`].
#[derive(OpenApi)]
#[openapi(components(schemas(v1::VnfInstance, v1::InstantiateVnfRequest, v1::VnfInfoModificationRequest)))]
struct LifecycleV1Types;

#[derive(OpenApi)]
#[openapi(
    info(title = "VNF package management (SOL003 and SOL005 3.3.1)", description = "", version = "2.1.0", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    servers((url = "/vnfpkgm/v2")),
    paths(
        versions::one,
        packages::list, packages::create, packages::show, packages::modify, packages::remove,
        onboarding::upload, onboarding::upload_from_uri,
        package_content::content, package_content::vnfd, package_content::manifest, package_content::artifact,
        package_content::artifacts,
        subscriptions::list, subscriptions::create_for_packages, subscriptions::show, subscriptions::remove,
        subscriptions::undelivered, subscriptions::resend,
    )
)]
struct PackagesV2;

/// The types that 2.6.1 spells differently, in place of those of [`PackagesV2`].
#[derive(OpenApi)]
#[openapi(components(schemas(pkgm::v1::VnfPkgInfo)))]
struct PackagesV1Types;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "VIMs (as in Tacker)",
        description = "",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(vims::list, vims::create, vims::show, vims::update, vims::remove)
)]
struct Vims;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Audit records",
        description = "",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(audit::list)
)]
struct Audit;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Events",
        description = "",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(events::stream)
)]
struct Events;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Projects: namespaces, quotas, usage and metering",
        description = "",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        tenancy_namespaces::list,
        tenancy_namespaces::create,
        tenancy_namespaces::show,
        tenancy_namespaces::remove,
        tenancy_namespaces::resync,
        tenancy_metering::metering,
        tenancy::usage,
        tenancy::quotas,
        tenancy::set_quotas
    )
)]
struct Tenancy;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Shares of VIMs and VNF packages",
        description = "",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        shares::show_vim,
        shares::share_vim,
        shares::unshare_vim,
        shares::show_package,
        shares::share_package,
        shares::unshare_package
    )
)]
struct Shares;

/// The names of the documents.
pub const NAMES: [&str; 9] = [
    "vnflcm-v1.json",
    "vnflcm-v2.json",
    "vnfpkgm-v1.json",
    "vnfpkgm-v2.json",
    "vims.json",
    "audit.json",
    "events.json",
    "tenancy.json",
    "shares.json",
];

/// The text of a document; `None` for an unknown name.
///
/// # Errors
/// The document cannot be serialized: a defect.
pub fn text(name: &str) -> Result<Option<String>, serde_json::Error> {
    let mut document = match name {
        "vnflcm-v1.json" => return lifecycle_v1().map(Some),
        "vnflcm-v2.json" => LifecycleV2::openapi(),
        "vnfpkgm-v1.json" => return packages_of(Edition::V1).map(Some),
        "vnfpkgm-v2.json" => return packages_of(Edition::V2).map(Some),
        "vims.json" => vims_document(),
        "audit.json" => Audit::openapi(),
        "events.json" => Events::openapi(),
        "tenancy.json" => Tenancy::openapi(),
        "shares.json" => Shares::openapi(),
        _ => return Ok(None),
    };
    if name == "vnflcm-v2.json" {
        document.merge(LifecycleOfV2::openapi());
    }
    complete(&mut document);
    document.to_pretty_json().map(|text| Some(text + "\n"))
}

/// The document of VIMs. A list shows the members of a VIM that `fields` names, so that none is required there. An envelope
/// refers to the type in it, which generators then write once.
fn vims_document() -> Document {
    const LISTED: &str = "ListedVim";
    let mut document = Vims::openapi();
    let Some(components) = &mut document.components else { return document };
    if let Some(RefOr::T(Schema::Object(mut listed))) = components.schemas.get("Vim").cloned() {
        listed.required.clear();
        components.schemas.insert(LISTED.to_owned(), RefOr::T(Schema::Object(listed)));
    }
    if let Some(RefOr::T(Schema::Object(list))) = components.schemas.get_mut("List") {
        let vims = ArrayBuilder::new().items(Ref::from_schema_name(LISTED)).build();
        list.properties.insert("vims".to_owned(), RefOr::T(Schema::Array(vims)));
    }
    for name in ["CreateVim", "UpdateVim", "Vim"] {
        if let Some(RefOr::T(Schema::Object(envelope))) = components.schemas.get_mut(&format!("Envelope_{name}")) {
            envelope.properties.insert("vim".to_owned(), RefOr::Ref(Ref::from_schema_name(name)));
        }
    }
    document
}

/// Adds the parts that are the same for all operations: a unique id, the description of each response, the media type of errors,
/// the `Version` header of versioned APIs. Also lists the problem types.
fn complete(document: &mut Document) {
    describe_problem_types(document);
    describe_credentials(document);
    describe_owners(document);
    let versioned = document.servers.is_some();
    let root = document.servers.as_ref().and_then(|servers| servers.first()).map(|server| server.url.clone());
    for (path, item) in &mut document.paths.paths {
        let methods = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in methods {
            if let Some(operation) = operation {
                operation.operation_id = Some(identifier(method, path));
                operation.security = security(method, &format!("{}{path}", root.as_deref().unwrap_or_default()));
                describe_refusals(operation);
                complete_responses(operation, versioned);
                if method == "post" && !path.ends_with(preview::PREVIEW) {
                    let key = ParameterBuilder::new()
                        .name("Idempotency-Key")
                        .parameter_in(ParameterIn::Header)
                        .required(Required::False)
                        .description(Some("1 to 255 printable ASCII characters. For 24 hours, the same request with the same key gets the first answer again, and another request with it 422."))
                        .schema(Some(Object::with_type(Type::String)));
                    operation.parameters.get_or_insert_default().push(RefOr::T(key.build()));
                }
                if versioned {
                    let version = ParameterBuilder::new()
                        .name("Version")
                        .parameter_in(ParameterIn::Header)
                        .required(Required::False)
                        .description(Some("The version of the API. 406 if it is not served here."))
                        .schema(Some(Object::with_type(Type::String)));
                    operation.parameters.get_or_insert_default().push(RefOr::T(version.build()));
                }
            }
        }
    }
}

/// The kinds of credential (docs/security.md). Which of them a server takes is the operator's choice.
const CREDENTIALS: [&str; 4] = ["bearer", "basic", "keystone", "mutualTLS"];

fn describe_credentials(document: &mut Document) {
    let components = document.components.get_or_insert_default();
    for name in CREDENTIALS {
        let scheme = match name {
            "bearer" => SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
            "basic" => SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)),
            "keystone" => SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Auth-Token"))),
            _ => SecurityScheme::MutualTls { description: None, deprecated: None, extensions: None },
        };
        components.add_security_scheme(name, scheme);
    }
}

/// The types of elements of lists that name their project on request.
const OWNED: [&str; 7] = [
    "LccnSubscription",
    "PkgmSubscription",
    "VnfInstanceV1",
    "VnfInstanceV2",
    "VnfLcmOpOcc",
    "VnfPkgInfoV1",
    "VnfPkgInfoV2",
];

/// Adds the attribute with which lists of all projects name the project of each element.
fn describe_owners(document: &mut Document) {
    let Some(components) = &mut document.components else { return };
    for (_, schema) in components.schemas.iter_mut().filter(|(name, _)| OWNED.contains(&name.as_str())) {
        let mut project = Object::with_type(Type::String);
        project.description = Some("The project: in lists with `all_projects` only.".to_owned());
        let members = match schema {
            RefOr::T(Schema::Object(object)) => Some(object),
            RefOr::T(Schema::AllOf(parts)) => parts.items.iter_mut().find_map(|part| match part {
                RefOr::T(Schema::Object(object)) => Some(object),
                _ => None,
            }),
            _ => None,
        };
        if let Some(object) = members {
            object.properties.insert(PROJECT.to_owned(), RefOr::T(Schema::Object(project)));
        }
    }
}

/// What the policy demands of a request: any of the credentials, with the role that it names. Nothing for everybody's requests.
fn security(method: &str, path: &str) -> Option<Vec<SecurityRequirement>> {
    let route = path.replace("{path}", "{path:.*}");
    match permission(&method.to_ascii_uppercase(), &route)? {
        Permission::Public => None,
        Permission::Needs(role) => {
            Some(CREDENTIALS.iter().map(|name| SecurityRequirement::new(*name, [role.as_str()])).collect())
        }
    }
}

/// Adds what a request without a sufficient credential gets, unless the request is everybody's or the handler says it better.
fn describe_refusals(operation: &mut Operation) {
    if operation.security.is_none() {
        return;
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in [
        ("401", "There is no valid credential; WWW-Authenticate names those that are taken"),
        ("403", "The role of the caller does not allow the request"),
    ] {
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(problem_response(description)));
    }
}

fn problem_response(description: &str) -> Response {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("ProblemDetails"))).build();
    let mut response = Response::new(description);
    response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(problem));
    response
}

/// Adds the types to the description of `type`, and that problems have further members.
fn describe_problem_types(document: &mut Document) {
    let Some(components) = &mut document.components else { return };
    let Some(RefOr::T(Schema::Object(details))) = components.schemas.get_mut("ProblemDetails") else { return };
    details.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
    if let Some(RefOr::T(Schema::Object(member))) = details.properties.get_mut("type") {
        let types: Vec<&str> = ProblemType::ALL.iter().map(|one| one.urn()).collect();
        member.description = Some(format!("The URN of the problem's type: {}.", types.join(", ")));
    }
}

/// Such as `get_vnf_instances_id`.
fn identifier(method: &str, path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |mut id, word| {
        // Writing to a string cannot fail.
        let _ = write!(id, "_{word}");
        id
    })
}

fn complete_responses(operation: &mut Operation, versioned: bool) {
    let responses = &mut operation.responses.responses;
    responses.insert("default".to_owned(), RefOr::T(problem_response("Any other error")));
    for (status, response) in responses {
        let RefOr::T(response) = response else { continue };
        let code = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
        if let (Some(code), true) = (code, response.description.is_empty()) {
            code.canonical_reason().unwrap_or_default().clone_into(&mut response.description);
        }
        if code.is_some_and(|code| code.as_u16() >= 400)
            && let Some(body) = response.content.shift_remove("application/json")
        {
            response.content.insert(PROBLEM_JSON.to_owned(), body);
        }
        if versioned {
            let mut version = Header::default();
            version.description = Some("The version of the API".to_owned());
            response.headers.insert("Version".to_owned(), RefOr::T(version));
        }
    }
}

/// The document of 2.6.1: both editions have the same handlers, so it is that of 3.3.1 with other types and another root.
fn lifecycle_v1() -> Result<String, serde_json::Error> {
    let mut document = LifecycleV2::openapi();
    if let (Some(components), Some(own)) = (&mut document.components, LifecycleV1Types::openapi().components) {
        components.schemas.extend(own.schemas);
    }
    "VNF lifecycle management (SOL003 2.6.1)".clone_into(&mut document.info.title);
    "1.3.0".clone_into(&mut document.info.version);
    complete(&mut document);
    let mut text = document.to_pretty_json()?.replace("/vnflcm/v2", "/vnflcm/v1");
    for (ours, theirs) in [
        ("VnfInstanceV2", "VnfInstanceV1"),
        ("InstantiateVnfRequest", "InstantiateVnfRequestV1"),
        ("VnfInfoModificationRequest", "VnfInfoModificationRequestV1"),
    ] {
        text = text.replace(&format!("schemas/{ours}\""), &format!("schemas/{theirs}\""));
    }
    Ok(text + "\n")
}

/// The document of package management. Both editions have the same handlers, and subscriptions have the handlers of the
/// lifecycle API, so it replaces types and root. Adds the resources below `/onboarded_vnf_packages`.
fn packages_of(edition: Edition) -> Result<String, serde_json::Error> {
    let mut document = PackagesV2::openapi();
    describe_onboarded(&mut document.paths);
    let subscriptions = ("LccnSubscription", "PkgmSubscription");
    let mut renamed = vec![subscriptions];
    if edition == Edition::V1 {
        if let (Some(components), Some(own)) = (&mut document.components, PackagesV1Types::openapi().components) {
            components.schemas.extend(own.schemas);
        }
        "VNF package management (SOL003 and SOL005 2.6.1)".clone_into(&mut document.info.title);
        renamed.push(("VnfPkgInfoV2", "VnfPkgInfoV1"));
    }
    Interface::Packages.version(edition).clone_into(&mut document.info.version);
    complete(&mut document);
    let mut text = document.to_pretty_json()?.replace("/vnfpkgm/v2", Interface::Packages.root(edition));
    for (ours, theirs) in renamed {
        text = text.replace(&format!("schemas/{ours}\""), &format!("schemas/{theirs}\""));
    }
    Ok(text + "\n")
}

/// Adds `/onboarded_vnf_packages/{vnfdId}`, which has the GETs of `/vnf_packages/{id}`.
fn describe_onboarded(document: &mut Paths) {
    let mut onboarded = Vec::new();
    for (path, item) in &document.paths {
        let (Some(below), Some(get)) = (path.strip_prefix("/vnf_packages"), &item.get) else { continue };
        let mut get = get.clone();
        for parameter in get.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter
                && parameter.name == "id"
            {
                "vnfdId".clone_into(&mut parameter.name);
            }
        }
        let path = format!("/onboarded_vnf_packages{}", below.replace("{id}", "{vnfdId}"));
        onboarded.push((path, PathItem::from_http_methods([HttpMethod::Get], get)));
    }
    document.paths.extend(onboarded);
}
