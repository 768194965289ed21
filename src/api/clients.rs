//! Which client a request is of, and what it is treated with from there on (docs/clients.md).
//!
//! Lies around all that looks at a request's meaning. The handlers, and what is around them, work with the [`Api`] of the
//! caller's client and need not know that there are several; where no client is configured, or none recognised, it is that of
//! all. Callers are recognised, not authenticated: a profile gives no rights.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Api;
use super::instance_cache::InstanceCache;
use crate::config::clients::{Client, ErrorType};

/// The clients, in the order in which they are looked at, with what the handlers work with.
#[derive(Default)]
pub struct Clients(Vec<(Client, web::Data<Api>)>);

impl Clients {
    /// The clients of the configuration, each with an [`Api`] like `api` but for what its profile says.
    pub fn new(api: &Api, clients: &[Client]) -> Self {
        Self(clients.iter().map(|client| (client.clone(), web::Data::new(of(client, api)))).collect())
    }

    fn of(&self, request: &ServiceRequest) -> Option<&(Client, web::Data<Api>)> {
        let headers = |name: &str| request.headers().get_all(name).map(|value| value.as_bytes()).collect();
        let user = user(request.headers());
        let peer = request.peer_addr().map(|address| address.ip());
        self.0.iter().find(|(client, _)| client.matches(headers, user.as_deref(), peer))
    }
}

fn of(client: &Client, api: &Api) -> Api {
    let mut own = Api {
        page_size: client.page_size,
        callback_test: client.callback_test,
        profile: client.profile.clone(),
        ..api.clone()
    };
    if let Some(url) = &client.public_url {
        own.instance_cache = Arc::new(InstanceCache::new(url.clone()));
        own.public_url.clone_from(url);
    }
    own
}

/// The user name of HTTP Basic (RFC 7617).
fn user(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let decoded = BASE64.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (user, _) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(user.to_owned())
}

/// Passes the request on with the [`Api`] of its client.
///
/// # Errors
/// Those of the inner service.
pub async fn apply_client_profile<B: MessageBody + 'static>(
    clients: web::Data<Clients>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !clients.0.is_empty()
        && let Some((client, api)) = clients.of(&request)
    {
        tracing::debug!(client.name = %client.name, "the request is of client {}", client.name);
        let mut own = Extensions::new();
        own.insert(api.clone());
        // Data that is added later is found first.
        request.add_data_container(Rc::new(own));
    }
    next.call(request).await
}

/// What an error is sent as: as the caller's profile has it, or as its `Accept` header does, if that speaks of problems and
/// likes plain JSON better.
pub fn error_type(request: &HttpRequest) -> ErrorType {
    let profile = request.app_data::<web::Data<Api>>().map(|api| api.profile.error_type);
    if profile == Some(ErrorType::Json) || prefers_json(request.headers()) {
        return ErrorType::Json;
    }
    ErrorType::ProblemJson
}

/// A client that asks for `application/json` alone is told of errors as the standard has it all the same, and knows that.
fn prefers_json(headers: &HeaderMap) -> bool {
    let weight = |wanted: &str| {
        let ranges = headers.get_all(ACCEPT).flat_map(|value| value.to_str().unwrap_or_default().split(','));
        ranges.map(|range| range.split(';').map(str::trim)).find_map(|mut parts| {
            parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
            let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
            Some(weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0)))
        })
    };
    let (json, problem) = (weight("application/json"), weight(crate::error::PROBLEM_JSON));
    json.zip(problem).is_some_and(|(json, problem)| json > problem)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_user_of_basic_is_read_and_nothing_else() {
        let user = |value: &str| {
            user(TestRequest::default().insert_header((AUTHORIZATION, value)).to_http_request().headers())
        };
        assert_eq!(user("Basic aWJtOnM6M2NyM3Q=").as_deref(), Some("ibm"));
        assert_eq!(user("basic aWJtOg==").as_deref(), Some("ibm"));
        for other in ["Bearer aWJtOnM6M2NyM3Q=", "Basic", "Basic ???", "Basic aWJt", ""] {
            assert_eq!(user(other), None, "{other}");
        }
    }

    #[test]
    fn plain_json_is_for_those_who_say_that_they_like_it_better() {
        for (accept, plain) in [
            ("application/json", false),
            ("*/*", false),
            ("application/json, application/problem+json", false),
            ("application/json, application/problem+json;q=0.5", true),
            ("application/problem+json;q=0, application/json;q=0.1", true),
        ] {
            let request = TestRequest::default().insert_header((ACCEPT, accept)).to_http_request();
            assert_eq!(error_type(&request) == ErrorType::Json, plain, "{accept}");
        }
    }
}
