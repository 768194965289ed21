//! An NFVO that grants operations: a real HTTP server with the grant interface of SOL003 clause 9.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::subscriber::{Answer, Received, Subscriber};

/// A running NFVO; ends when dropped. At once and with everything it is asked for, unless told otherwise.
pub struct Granter {
    pub server: Subscriber,
    /// Root of its grant interface.
    pub url: String,
    /// What it was asked for and has not decided on.
    undecided: Arc<Mutex<Vec<Value>>>,
    /// How it has decided, if it takes its time: status, headers and body of what is got then.
    decided: Arc<Mutex<Option<Verdict>>>,
}

/// What becomes of grants: an answer to each request.
type Verdict = Arc<dyn Fn(&Value) -> Answer + Send + Sync>;

/// A Grant for all that `request` asks for.
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

/// Where the grant for `request` is. By another name than the one we know it by, as behind a gateway.
fn location(request: &Value) -> (&'static str, String) {
    ("location", format!("http://gateway.example/nfvo/grants/grant-{}", request["vnfLcmOpOccId"].as_str().unwrap()))
}

/// 201 with `grant`.
pub fn created(request: &Value, grant: &Value) -> Answer {
    Answer::With(201, vec![location(request)], grant.to_string())
}

/// Problem details.
pub fn problem(status: u16, detail: &str) -> Answer {
    let body = json!({ "status": status, "title": "As it is", "detail": detail });
    Answer::With(status, vec![("content-type", "application/problem+json".to_owned())], body.to_string())
}

impl Granter {
    pub async fn start() -> Self {
        Self::at(Subscriber::start().await)
    }

    pub fn at(server: Subscriber) -> Self {
        let url = format!("{}/grant/v1", server.url);
        let granter = Self { server, url, undecided: Arc::default(), decided: Arc::default() };
        granter.answer(|request| created(request, &grant(request)));
        granter
    }

    /// How it answers requests for a grant from now on.
    pub fn answer(&self, rule: impl Fn(&Value) -> Answer + Send + Sync + 'static) {
        self.server.answer(move |received| match received.method.as_str() {
            "POST" => rule(&received.body),
            _ => Answer::Status(501, String::new()),
        });
    }

    /// Takes its time from now on, until [`Granter::decide`].
    pub fn take_time(&self) {
        let (undecided, decided) = (Arc::clone(&self.undecided), Arc::clone(&self.decided));
        self.server.answer(move |received| {
            if received.method == "POST" {
                undecided.lock().unwrap().push(received.body.clone());
                return Answer::With(202, vec![location(&received.body)], String::new());
            }
            let undecided = undecided.lock().unwrap();
            let is_asked = |request: &&Value| received.path.ends_with(request["vnfLcmOpOccId"].as_str().unwrap());
            let Some(request) = undecided.iter().find(is_asked) else { return Answer::Status(404, String::new()) };
            match &*decided.lock().unwrap() {
                Some(verdict) => verdict(request),
                None => Answer::With(202, vec![("retry-after", "1".to_owned())], String::new()),
            }
        });
    }

    /// Decides on what it was asked for while it took its time.
    pub fn decide(&self, verdict: impl Fn(&Value) -> Answer + Send + Sync + 'static) {
        *self.decided.lock().unwrap() = Some(Arc::new(verdict));
    }

    /// The requests for a grant that came so far.
    pub fn requests(&self) -> Vec<Received> {
        self.server.received().into_iter().filter(|one| one.method == "POST").collect()
    }

    /// The last of them.
    pub fn last(&self) -> Value {
        self.requests().pop().unwrap().body
    }

    /// Waits until grants were looked for so often.
    pub async fn until_looked(&self, times: usize) {
        self.server.until(|all| all.iter().filter(|one| one.method == "GET").count() >= times).await;
    }

    /// Waits until grants were asked for so often.
    pub async fn until_asked(&self, times: usize) {
        self.server.until(|all| all.iter().filter(|one| one.method == "POST").count() >= times).await;
    }
}
