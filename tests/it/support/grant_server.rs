//! An NFVO with the grant interface of SOL003 clause 9, as a real HTTP server.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::subscriber::{Received, Reply, Subscriber};

/// A running NFVO. It grants every request at once unless a rule is set. It ends when dropped.
pub struct GrantServer {
    pub server: Subscriber,
    /// Root of its grant interface.
    pub url: String,
    /// Requests that are accepted and undecided.
    undecided: Arc<Mutex<Vec<Value>>>,
    /// The response to a poll, once the deferred requests are decided.
    decided: Arc<Mutex<Option<GrantRule>>>,
}

/// The response to a grant request.
type GrantRule = Arc<dyn Fn(&Value) -> Reply + Send + Sync>;

/// A Grant of everything that `request` asks for.
pub fn grant(request: &Value) -> Value {
    let infos = |list: &str| -> Value {
        let definitions = request[list].as_array().unwrap().iter();
        definitions.map(|definition| json!({ "resourceDefinitionId": definition["id"] })).collect()
    };
    let op = request["vnfLcmOpOccId"].as_str().unwrap();
    json!({
        "id": format!("grant-{op}"),
        "vnfInstanceId": request["vnfInstanceId"],
        "vnfLcmOpOccId": op,
        "addResources": infos("addResources"),
        "removeResources": infos("removeResources"),
        "_links": {
            "self": { "href": format!("http://nfvo/grant/v1/grants/grant-{op}") },
            "vnfLcmOpOcc": request["_links"]["vnfLcmOpOcc"],
            "vnfInstance": request["_links"]["vnfInstance"],
        },
    })
}

/// The Location header of the grant for `request`. The host differs from the configured one, as behind a gateway.
fn location(request: &Value) -> (&'static str, String) {
    ("location", format!("http://gateway.example/nfvo/grants/grant-{}", request["vnfLcmOpOccId"].as_str().unwrap()))
}

/// A 201 with `grant`.
pub fn created(request: &Value, grant: &Value) -> Reply {
    Reply::With(201, vec![location(request)], grant.to_string())
}

/// A response with problem details.
pub fn problem(status: u16, detail: &str) -> Reply {
    let body = json!({ "status": status, "title": "As it is", "detail": detail });
    Reply::With(status, vec![("content-type", "application/problem+json".to_owned())], body.to_string())
}

impl GrantServer {
    pub async fn start() -> Self {
        Self::at(Subscriber::start().await)
    }

    pub fn at(server: Subscriber) -> Self {
        let url = format!("{}/grant/v1", server.url);
        let grant_server = Self { server, url, undecided: Arc::default(), decided: Arc::default() };
        grant_server.answer(|request| created(request, &grant(request)));
        grant_server
    }

    /// Responds to grant requests with `rule` from now on.
    pub fn answer(&self, rule: impl Fn(&Value) -> Reply + Send + Sync + 'static) {
        self.server.answer(move |received| match received.method.as_str() {
            "POST" => rule(&received.body),
            _ => Reply::Status(501, String::new()),
        });
    }

    /// Responds with 202 from now on; polls are undecided until [`GrantServer::decide`].
    pub fn defer(&self) {
        let (undecided, decided) = (Arc::clone(&self.undecided), Arc::clone(&self.decided));
        self.server.answer(move |received| {
            if received.method == "POST" {
                undecided.lock().unwrap().push(received.body.clone());
                return Reply::With(202, vec![location(&received.body)], String::new());
            }
            let undecided = undecided.lock().unwrap();
            let is_asked = |request: &&Value| received.path.ends_with(request["vnfLcmOpOccId"].as_str().unwrap());
            let Some(request) = undecided.iter().find(is_asked) else { return Reply::Status(404, String::new()) };
            match &*decided.lock().unwrap() {
                Some(rule) => rule(request),
                None => Reply::With(202, vec![("retry-after", "1".to_owned())], String::new()),
            }
        });
    }

    /// Decides the deferred requests by `rule`.
    pub fn decide(&self, rule: impl Fn(&Value) -> Reply + Send + Sync + 'static) {
        *self.decided.lock().unwrap() = Some(Arc::new(rule));
    }

    /// The grant requests received so far.
    pub fn requests(&self) -> Vec<Received> {
        self.server.received().into_iter().filter(|one| one.method == "POST").collect()
    }

    /// The body of the last grant request.
    pub fn last(&self) -> Value {
        self.requests().pop().unwrap().body
    }

    /// Waits until grants were polled `times` times.
    pub async fn wait_for_polls(&self, times: usize) {
        self.server.wait_until(|all| all.iter().filter(|one| one.method == "GET").count() >= times).await;
    }

    /// Waits until `times` grant requests were received.
    pub async fn wait_for_requests(&self, times: usize) {
        self.server.wait_until(|all| all.iter().filter(|one| one.method == "POST").count() >= times).await;
    }
}
