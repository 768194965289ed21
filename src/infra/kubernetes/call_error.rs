//! From the failure of a call to an [`InfraError`].
//!
//! The error quotes the messages of Kubernetes, which name verb, kind, object, namespace and user. It does not quote other
//! servers: a caller may name any address as a VIM, and would read the answers of other HTTP servers in our network.

use std::time::Duration;

use kube::core::Status;
use kube::core::response::StatusSummary;

use super::readiness::causes::is_webhook_failure;
use super::response_limit::ResponseTooLong;
use crate::domain::problem::chain;
use crate::infra::{InfraError, InfraErrorKind};

/// Why a call failed. `?` turns it into an [`InfraError`]; code that expects a certain refusal looks at `code` first.
#[derive(Debug)]
pub(super) struct CallError {
    /// The HTTP status, if there was an answer.
    pub code: Option<u16>,
    /// Whether the server answered, if only with too much.
    pub answered: bool,
    pub error: InfraError,
}

impl From<CallError> for InfraError {
    fn from(failed: CallError) -> Self {
        failed.error
    }
}

impl CallError {
    /// The failure of a call to `endpoint`.
    pub fn from_kube(error: &kube::Error, endpoint: &str) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 0 => Self::not_kubernetes(endpoint),
            kube::Error::Api(status) => {
                Self { code: Some(status.code), answered: true, error: refusal(status, endpoint) }
            }
            // An API server answers with JSON of the expected kind; this is another server.
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::not_kubernetes(endpoint),
            kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
                let error = InfraError::invalid(format!("the request cannot be built: {error}"));
                Self { code: None, answered: false, error }
            }
            other => {
                let too_long = too_long(other);
                let text = match too_long {
                    Some(too_long) => format!("the API server {endpoint} {too_long}"),
                    None => format!("cannot reach the API server {endpoint}: {}", chain(other)),
                };
                let error = InfraError::transient(text).quoting("endpoint", endpoint);
                Self { code: None, answered: too_long.is_some(), error }
            }
        }
    }

    /// The answer of a server that is not an API server.
    fn not_kubernetes(endpoint: &str) -> Self {
        let text = format!("{endpoint} does not answer as a Kubernetes API server does");
        Self { code: None, answered: false, error: InfraError::transient(text).quoting("endpoint", endpoint) }
    }

    /// The list does not end.
    pub fn too_many_objects(endpoint: &str, most: usize) -> Self {
        let text = format!("the API server {endpoint} lists more than {most} objects of a kind");
        Self { code: None, answered: true, error: InfraError::transient(text).quoting("endpoint", endpoint) }
    }

    /// There was no answer in time.
    pub fn no_answer(endpoint: &str, waited: Duration) -> Self {
        let text = format!("the API server {endpoint} did not answer within {} s", waited.as_secs());
        let error = InfraError::transient(text).quoting("endpoint", endpoint).quoting("seconds", waited.as_secs());
        Self { code: None, answered: false, error }
    }
}

/// The cause of the error, if it is an answer beyond its limit.
fn too_long(error: &kube::Error) -> Option<&ResponseTooLong> {
    let error: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(error), |error| error.source()).find_map(|cause| cause.downcast_ref())
}

fn refusal(status: &Status, endpoint: &str) -> InfraError {
    if !is_from_kubernetes(status) {
        return refusal_of_other_server(status.code, endpoint);
    }
    let message = message(status);
    match status.code {
        401 => unauthorized(endpoint, &message),
        403 if is_about_terminating_namespace(status) => InfraError::new(InfraErrorKind::NamespaceGone, message),
        403 if is_temporary(status) => InfraError::transient(message),
        // An authorizer names the user. Every other 403 comes from admission (quota, pod security), and is about the object.
        403 if message.contains("User \"") || message.contains("user \"") => forbidden(message),
        404 if message.starts_with("namespaces \"") => InfraError::new(InfraErrorKind::NamespaceGone, message),
        409 => InfraError::conflict(message),
        500.. if is_webhook_failure(&message) => InfraError::waiting(message),
        500 if SCHEMA_MISMATCH.iter().any(|start| message.starts_with(start)) => {
            InfraError::invalid(without_values(&message))
        }
        408 | 410 | 429 | 500.. => {
            InfraError::transient(format!("the API server {endpoint} answers: {message}")).quoting("endpoint", endpoint)
        }
        _ => InfraError::invalid(message),
    }
}

/// The credential is not, or not any more, accepted.
fn unauthorized(endpoint: &str, message: &str) -> InfraError {
    let text = format!("the API server {endpoint} refused the credential: {message}; give the VIM one that is valid");
    InfraError::new(InfraErrorKind::Unauthorized, text).quoting("endpoint", endpoint)
}

/// Whether an API server wrote the status. kube makes a Status of any text, and reads any JSON object as one.
fn is_from_kubernetes(status: &Status) -> bool {
    status.status == Some(StatusSummary::Failure) && status.reason != NOT_JSON
}

/// The refusal of an authorizer, with the values that its message names. They stand nowhere else in the answer.
fn forbidden(message: String) -> InfraError {
    let between = |start: &str, end: &str| {
        let (_, rest) = message.split_once(start)?;
        rest.split_once(end).map(|(value, _)| value.to_owned())
    };
    let values = [
        ("user", between("ser \"", "\"")),
        ("verb", between("\" cannot ", " resource")),
        ("resource", between(" resource \"", "\"")),
        ("namespace", between("in the namespace \"", "\"")),
    ];
    let quoted: Vec<_> = values.into_iter().filter_map(|(member, value)| Some((member, value?))).collect();
    quoted.into_iter().fold(InfraError::denied(message), |error, (member, value)| error.quoting(member, value))
}

/// kube's reason for an answer that is not a JSON object.
const NOT_JSON: &str = "Failed to parse error data";

/// The error of a refusal without a Kubernetes status: from a gateway, or from a handler of the API server that answers in plain
/// text.
fn refusal_of_other_server(code: u16, endpoint: &str) -> InfraError {
    let text = format!("{endpoint} answers {code}, and not as a Kubernetes API server does");
    let kind = match code {
        401 => return unauthorized(endpoint, &text),
        409 => InfraErrorKind::Conflict,
        408 | 410 | 429 | 500.. => InfraErrorKind::Transient,
        _ => InfraErrorKind::Invalid,
    };
    InfraError::new(kind, text).quoting("endpoint", endpoint).quoting("vimStatus", code)
}

/// How the messages of server-side apply begin for a manifest that does not match the schema. It answers 500.
const SCHEMA_MISMATCH: [&str; 2] = ["failed to create typed patch object", "failed to convert new object"];

/// The message without the values it quotes: they may be those of a Secret.
fn without_values(message: &str) -> String {
    message.split_once(", got &").map_or(message, |(expected, _)| expected).to_owned()
}

/// Whether nothing new can be made because the namespace is being deleted.
fn is_about_terminating_namespace(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Whether a 403 passes with time: the namespace is so new that it has no default ServiceAccount yet, or a quota is so new that
/// nobody has counted what it limits.
fn is_temporary(status: &Status) -> bool {
    ["error looking up service account", "status unknown for quota"].iter().any(|text| status.message.contains(text))
}

fn message(status: &Status) -> String {
    if status.message.is_empty() { format!("{} {}", status.code, status.reason) } else { status.message.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error_of(code: u16, message: &str) -> InfraError {
        let status = Status::failure(message, "").with_code(code);
        CallError::from_kube(&kube::Error::Api(status.boxed()), "https://api.test").error
    }

    #[test]
    fn a_403_is_denied_if_it_names_the_user_and_invalid_otherwise() {
        let text = r#"pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "a""#;
        let error = error_of(403, text);
        assert_eq!((error.kind, error.detail.as_str()), (InfraErrorKind::Denied, text));
        let quoted = [("namespace", "a"), ("resource", "pods"), ("user", "eve"), ("verb", "list")];
        assert!(error.quoted.iter().map(|(member, value)| (*member, value.as_str())).eq(quoted), "{error:?}");
        let text = r#"roles "r" is forbidden: user "eve" (groups=["g"]) is attempting to grant RBAC permissions"#;
        assert_eq!(error_of(403, text), InfraError::denied(text).quoting("user", "eve"));
        let text = r#"pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"#;
        assert_eq!(error_of(403, text), InfraError::invalid(text));
        let text =
            r#"pods "p" is forbidden: error looking up service account a/default: serviceaccount "default" not found"#;
        assert_eq!(error_of(403, text), InfraError::transient(text));
    }

    #[test]
    fn a_401_tells_a_refused_credential_from_a_missing_right() {
        let error = error_of(401, "Unauthorized");
        assert_eq!(error.kind, InfraErrorKind::Unauthorized);
        let text =
            "the API server https://api.test refused the credential: Unauthorized; give the VIM one that is valid";
        assert_eq!(error.detail, text);
    }

    #[test]
    fn a_webhook_that_does_not_answer_is_waited_for() {
        for text in [
            r#"Internal error occurred: failed calling webhook "a.b": failed to call webhook: Post "https://x.svc": no endpoints"#,
            r#"conversion webhook for g.example/v1, Kind=Thing failed: Post "https://x.svc": dial tcp: connection refused"#,
        ] {
            assert_eq!(error_of(500, text), InfraError::waiting(text));
        }
        let text = r#"admission webhook "a.b" denied the request: no"#;
        assert_eq!(error_of(400, text), InfraError::invalid(text));
    }

    #[test]
    fn a_namespace_that_is_missing_or_being_deleted_is_said_at_once() {
        let text = r#"namespaces "a" not found"#;
        assert_eq!(error_of(404, text), InfraError::new(InfraErrorKind::NamespaceGone, text));
        let text =
            r#"pods "p" is forbidden: unable to create new content in namespace a because it is being terminated"#;
        let status: Status = serde_json::from_value(json!({
            "status": "Failure", "message": text, "reason": "Forbidden", "code": 403,
            "details": { "causes": [{ "reason": "NamespaceTerminating", "message": "", "field": "" }] },
        }))
        .unwrap();
        let error = CallError::from_kube(&kube::Error::Api(status.boxed()), "https://api.test").error;
        assert_eq!(error, InfraError::new(InfraErrorKind::NamespaceGone, text));
    }

    #[test]
    fn time_outs_and_server_errors_are_transient() {
        for code in [408, 410, 429, 500, 502, 503, 504] {
            assert!(error_of(code, "later").is_transient(), "{code}");
        }
        for code in [400, 404, 405, 415, 422] {
            assert_eq!(error_of(code, "no"), InfraError::invalid("no"), "{code}");
        }
    }

    #[test]
    fn a_schema_mismatch_is_invalid_and_quotes_no_values() {
        let text = "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.x: field not declared";
        assert_eq!(error_of(500, text), InfraError::invalid(text));
        let text = "failed to create typed patch object (a/s; /v1, Kind=Secret): .stringData: expected map";
        assert_eq!(error_of(500, &format!("{text}, got &{{hunter2}}")), InfraError::invalid(text));
    }

    #[test]
    fn a_refusal_without_a_message_names_code_and_reason() {
        let status = Status::failure("", "Teapot").with_code(418);
        let error = CallError::from_kube(&kube::Error::Api(status.boxed()), "https://api.test");
        assert_eq!((error.code, error.error), (Some(418), InfraError::invalid("418 Teapot")));
    }

    #[test]
    fn does_not_quote_other_servers_but_keeps_their_code() {
        let call_error = |status: Status| CallError::from_kube(&kube::Error::Api(status.boxed()), "https://api.test");
        for code in [401, 403, 404, 409, 429, 502] {
            // As kube represents a text, and JSON that is not from Kubernetes.
            let text = Status::failure("hunter2", NOT_JSON).with_code(code);
            let json = Status { message: "hunter2".to_owned(), code, ..Status::default() };
            for status in [text, json] {
                let CallError { code: kept, error, .. } = call_error(status);
                let text = format!("https://api.test answers {code}, and not as a Kubernetes API server does");
                if code == 401 {
                    assert_eq!((kept, error.kind), (Some(code), InfraErrorKind::Unauthorized));
                    assert!(error.detail.contains(&text) && !error.detail.contains("hunter2"), "{error}");
                    continue;
                }
                let kind = match code {
                    409 => InfraErrorKind::Conflict,
                    429.. => InfraErrorKind::Transient,
                    _ => InfraErrorKind::Invalid,
                };
                assert_eq!((kept, error.kind, error.detail), (Some(code), kind, text));
            }
        }
        let CallError { code, error, .. } = call_error(Status { message: "hunter2".to_owned(), ..Status::default() });
        let text = "https://api.test does not answer as a Kubernetes API server does";
        assert_eq!((code, error), (None, InfraError::transient(text).quoting("endpoint", "https://api.test")));
    }
}
