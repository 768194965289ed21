//! Client profiles (docs/clients.md): a middleware that recognises the client of a request and gives handlers the [`Api`] of
//! its profile.
//!
//! It runs before all middleware that interprets the request. The handlers need not know that there are several [`Api`]s.
//! Requests of unknown clients get the default one. Clients are recognised, not authenticated: a profile grants no rights.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::api::context::Api;
use crate::api::instance_cache::InstanceCache;
use crate::config::clients::{Client, ErrorType};

/// The configured clients, each with its [`Api`]. The first one that matches a request applies.
#[derive(Default)]
pub struct Clients(Vec<(Client, web::Data<Api>)>);

impl Clients {
    /// The clients of the configuration. The [`Api`] of each is `api` with the settings of the profile.
    pub fn new(api: &Api, clients: &[Client]) -> Self {
        Self(clients.iter().map(|client| (client.clone(), web::Data::new(api_of(client, api)))).collect())
    }

    fn find(&self, request: &ServiceRequest) -> Option<&(Client, web::Data<Api>)> {
        let headers = |name: &str| request.headers().get_all(name).map(|value| value.as_bytes()).collect();
        let user = basic_user(request.headers());
        let peer = request.peer_addr().map(|address| address.ip());
        self.0.iter().find(|(client, _)| client.matches(headers, user.as_deref(), peer))
    }
}

fn api_of(client: &Client, api: &Api) -> Api {
    let mut api = Api {
        page_size: client.page_size,
        callback_test: client.callback_test,
        profile: client.profile.clone(),
        ..api.clone()
    };
    if let Some(url) = &client.public_url {
        api.instance_cache = Arc::new(InstanceCache::new(url.clone()));
        api.public_url.clone_from(url);
    }
    api
}

/// The user name of HTTP Basic (RFC 7617).
fn basic_user(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    let decoded = BASE64.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (user, _) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(user.to_owned())
}

/// Calls the inner service with the [`Api`] of the client.
///
/// # Errors
/// Those of the inner service.
pub async fn apply_client_profile<B: MessageBody + 'static>(
    clients: web::Data<Clients>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if !clients.0.is_empty()
        && let Some((client, api)) = clients.find(&request)
    {
        tracing::debug!(client.name = %client.name, "the request is of client {}", client.name);
        let mut data = Extensions::new();
        data.insert(api.clone());
        // The framework looks in the container that was added last first.
        request.add_data_container(Rc::new(data));
    }
    next.call(request).await
}

/// The media type of error responses: that of the client's profile, or plain JSON if the `Accept` header names both types and
/// prefers plain JSON.
pub fn error_type(request: &HttpRequest) -> ErrorType {
    let profile = request.app_data::<web::Data<Api>>().map(|api| api.profile.error_type);
    if profile == Some(ErrorType::Json) || prefers_json(request.headers()) {
        return ErrorType::Json;
    }
    ErrorType::ProblemJson
}

/// A client that accepts `application/json` alone still gets `application/problem+json`, as the standard demands.
fn prefers_json(headers: &HeaderMap) -> bool {
    let weight = |media_type: &str| {
        let ranges = headers.get_all(ACCEPT).flat_map(|value| value.to_str().unwrap_or_default().split(','));
        ranges.map(|range| range.split(';').map(str::trim)).find_map(|mut parts| {
            parts.next().filter(|name| name.eq_ignore_ascii_case(media_type))?;
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
    fn reads_the_user_of_basic_only() {
        let user = |value: &str| {
            basic_user(TestRequest::default().insert_header((AUTHORIZATION, value)).to_http_request().headers())
        };
        assert_eq!(user("Basic aWJtOnM6M2NyM3Q=").as_deref(), Some("ibm"));
        assert_eq!(user("basic aWJtOg==").as_deref(), Some("ibm"));
        for other in ["Bearer aWJtOnM6M2NyM3Q=", "Basic", "Basic ???", "Basic aWJt", ""] {
            assert_eq!(user(other), None, "{other}");
        }
    }

    #[test]
    fn sends_plain_json_to_clients_that_prefer_it() {
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
