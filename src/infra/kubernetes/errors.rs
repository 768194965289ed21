//! From what a call to the API server came to, to what the driver's caller is told.
//!
//! Kubernetes' own words are kept: they name verb, kind, object, namespace and user. Those of others are not: whoever may name
//! a VIM's address would read with them what else answers to HTTP in our network.

use std::time::Duration;

use kube::core::Status;
use kube::core::response::StatusSummary;

use super::bound::TooLong;
use crate::domain::problem::chain;
use crate::infra::InfraError;

/// Why a call failed. `?` makes the [`InfraError`] of it; who expects a certain refusal looks at the code first.
#[derive(Debug)]
pub(super) struct CallError {
    /// The HTTP status, if there was an answer.
    pub code: Option<u16>,
    /// What the driver's caller is told.
    pub error: InfraError,
}

impl From<CallError> for InfraError {
    fn from(failed: CallError) -> Self {
        failed.error
    }
}

impl CallError {
    /// What `error`, on a call to `endpoint`, means.
    pub fn of(error: &kube::Error, endpoint: &str) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 0 => Self::strange(endpoint),
            kube::Error::Api(status) => Self { code: Some(status.code), error: refusal(status, endpoint) },
            // An answer that is no JSON, or not of the expected kind, comes from something that is no API server.
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::strange(endpoint),
            kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
                Self { code: None, error: InfraError::invalid(format!("no request can be made of it: {error}")) }
            }
            other => {
                let text = match too_long(other) {
                    Some(too_long) => format!("the API server {endpoint} {too_long}"),
                    None => format!("cannot reach the API server {endpoint}: {}", chain(other)),
                };
                Self { code: None, error: InfraError::transient(text) }
            }
        }
    }

    /// The answer is of something else than an API server.
    fn strange(endpoint: &str) -> Self {
        let text = format!("{endpoint} does not answer as a Kubernetes API server does");
        Self { code: None, error: InfraError::transient(text) }
    }

    /// There was no answer in time.
    pub fn silence(endpoint: &str, waited: Duration) -> Self {
        let text = format!("the API server {endpoint} did not answer within {} s", waited.as_secs());
        Self { code: None, error: InfraError::transient(text) }
    }
}

/// Whether it came of an answer that is not read to its end.
fn too_long(error: &kube::Error) -> Option<&TooLong> {
    let error: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(error), |error| error.source()).find_map(|cause| cause.downcast_ref())
}

fn refusal(status: &Status, endpoint: &str) -> InfraError {
    if !is_of_kubernetes(status) {
        return of_another(status.code, endpoint);
    }
    let message = message(status);
    match status.code {
        401 => InfraError::denied(format!("the API server {endpoint} refused the credential: {message}")),
        403 if passes(status) => InfraError::transient(message),
        // Authorizers name the user. The other 403s are admission's (quota, pod security): about the object, not the user.
        403 if message.contains("User \"") || message.contains("user \"") => InfraError::denied(message),
        409 => InfraError::conflict(message),
        500 if UNFIT.iter().any(|start| message.starts_with(start)) => InfraError::invalid(without_values(&message)),
        408 | 410 | 429 | 500.. => InfraError::transient(format!("the API server {endpoint} answers: {message}")),
        _ => InfraError::invalid(message),
    }
}

/// Whether the words are an API server's. kube makes a Status of any text, and reads any JSON object as one.
fn is_of_kubernetes(status: &Status) -> bool {
    status.status == Some(StatusSummary::Failure) && status.reason != NOT_READ
}

/// kube's reason for what is no JSON object.
const NOT_READ: &str = "Failed to parse error data";

/// What a refusal means whose words are not Kubernetes': a gateway's before it, or of one of the API server's handlers that
/// know plain text only.
fn of_another(code: u16, endpoint: &str) -> InfraError {
    let text = format!("{endpoint} answers {code}, and not as a Kubernetes API server does");
    match code {
        401 => InfraError::denied(text),
        409 => InfraError::conflict(text),
        408 | 410 | 429 | 500.. => InfraError::transient(text),
        _ => InfraError::invalid(text),
    }
}

/// How server-side apply's words begin on a manifest that does not fit the schema. It answers 500 to that.
const UNFIT: [&str; 2] = ["failed to create typed patch object", "failed to convert new object"];

/// It quotes what it found in place of what it expected: a Secret's contents, too.
fn without_values(message: &str) -> String {
    message.split_once(", got &").map_or(message, |(expected, _)| expected).to_owned()
}

/// 403s that time heals: the namespace is on its way out, or so new that its default ServiceAccount is not there yet.
fn passes(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
        || status.message.contains("error looking up service account")
}

fn message(status: &Status) -> String {
    if status.message.is_empty() { format!("{} {}", status.code, status.reason) } else { status.message.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infra::InfraErrorKind;

    fn told(code: u16, message: &str) -> InfraError {
        let status = Status::failure(message, "").with_code(code);
        CallError::of(&kube::Error::Api(status.boxed()), "https://api.test").error
    }

    #[test]
    fn a_403_of_the_authorizer_is_about_the_user_one_of_admission_about_the_object() {
        let text = r#"pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "a""#;
        assert_eq!(told(403, text), InfraError::denied(text));
        let text = r#"roles "r" is forbidden: user "eve" (groups=["g"]) is attempting to grant RBAC permissions"#;
        assert_eq!(told(403, text), InfraError::denied(text));
        let text = r#"pods "p" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"#;
        assert_eq!(told(403, text), InfraError::invalid(text));
        let text =
            r#"pods "p" is forbidden: error looking up service account a/default: serviceaccount "default" not found"#;
        assert_eq!(told(403, text), InfraError::transient(text));
    }

    #[test]
    fn what_may_pass_is_transient() {
        for code in [408, 410, 429, 500, 502, 503, 504] {
            assert!(told(code, "later").is_transient(), "{code}");
        }
        for code in [400, 404, 405, 415, 422] {
            assert_eq!(told(code, "no"), InfraError::invalid("no"), "{code}");
        }
    }

    #[test]
    fn a_manifest_that_does_not_fit_is_invalid_and_not_quoted() {
        let text = "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.x: field not declared";
        assert_eq!(told(500, text), InfraError::invalid(text));
        let text = "failed to create typed patch object (a/s; /v1, Kind=Secret): .stringData: expected map";
        assert_eq!(told(500, &format!("{text}, got &{{hunter2}}")), InfraError::invalid(text));
    }

    #[test]
    fn a_refusal_without_words_still_says_something() {
        let status = Status::failure("", "Teapot").with_code(418);
        let error = CallError::of(&kube::Error::Api(status.boxed()), "https://api.test");
        assert_eq!((error.code, error.error), (Some(418), InfraError::invalid("418 Teapot")));
    }

    #[test]
    fn what_is_no_status_is_not_quoted_but_its_code_counts() {
        let told = |status: Status| CallError::of(&kube::Error::Api(status.boxed()), "https://api.test");
        for code in [401, 403, 404, 409, 429, 502] {
            // As kube puts a text, and as it reads JSON that is none of Kubernetes'.
            let text = Status::failure("hunter2", NOT_READ).with_code(code);
            let json = Status { message: "hunter2".to_owned(), code, ..Status::default() };
            for status in [text, json] {
                let CallError { code: kept, error } = told(status);
                let text = format!("https://api.test answers {code}, and not as a Kubernetes API server does");
                let kind = match code {
                    401 => InfraErrorKind::Denied,
                    409 => InfraErrorKind::Conflict,
                    429.. => InfraErrorKind::Transient,
                    _ => InfraErrorKind::Invalid,
                };
                assert_eq!((kept, error), (Some(code), InfraError::new(kind, text)));
            }
        }
        let CallError { code, error } = told(Status { message: "hunter2".to_owned(), ..Status::default() });
        let text = "https://api.test does not answer as a Kubernetes API server does";
        assert_eq!((code, error), (None, InfraError::transient(text)));
    }
}
