//! `GET /events/v1`, an extension: the changes of a project's resources as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! A client that comes back with the last id that it has seen misses nothing and gets nothing twice. If that is not possible, it gets one
//! `reset` and reads its lists again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{self, Bytes, Query};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use futures::stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use crate::api::authorize::identify;
use crate::api::context::Api;
use crate::api::event_hub::Subscriber;
use crate::api::list;
use crate::auth::{AuthError, Authenticator};
use crate::domain::caller::Role;
use crate::domain::event::Event;
use crate::domain::ids::ProjectId;
use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::error::ApiError;
use crate::sol003::common::ProblemDetails;
use crate::sol003::event::{COMMENT, beginning, message, reset};

/// The header and the query parameter with the last event that a client has seen.
const LAST_EVENT_ID: &str = "Last-Event-ID";
const LAST_EVENT_PARAMETER: &str = "lastEventId";
/// A quiet stream has a comment this often.
const COMMENTED: Duration = Duration::from_secs(15);
/// The credential of a stream is checked again this often.
const CHECKED: Duration = Duration::from_secs(60);
/// Missed events that are read at once.
const BATCH: usize = 500;
/// The journal must be read for the first time within this time.
const PATIENCE: Duration = Duration::from_secs(15);

/// `GET /events/v1`.
///
/// Changes of op occurrences, their steps, VNF instances, packages and VIMs of the caller's project, as server-sent events without end. `id` is
/// the number of the event, `event` one of `vnf_lcm_op_occ`, `step`, `vnf_instance`, `vnf_package`, `vim` and `reset`, `data` a JSON object
/// with `type`, `projectId`, `id`, `change` (`created`, `updated`, `deleted`), `time` and, where there is one, `state` and `vnfInstanceId`;
/// that of a step has the members of the step and `opOccId`. After a `reset`, read your lists again. A comment comes every 15 seconds.
#[utoipa::path(get, path = "/events/v1", tag = "events",
    params(("Last-Event-ID" = Option<i64>, Header, description = "The last event that the client has seen. Without it, the stream begins now."),
        ("lastEventId" = Option<i64>, Query, description = "As the header, which precedes it"),
        ("all_projects" = Option<bool>, Query, description = "Events of all projects; for admins")),
    responses((status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 400, body = ProblemDetails), (status = 403, description = "all_projects, and the caller is no admin", body = ProblemDetails),
        (status = 503, description = "Too many streams, of the project or of all", body = ProblemDetails)))]
pub async fn stream(
    api: web::Data<Api>,
    authenticator: web::Data<Authenticator>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let Request { last_event, all_projects } = Request::read(&api, &request)?;
    let subscribed = tokio::time::timeout(PATIENCE, api.events.subscribe(&api.caller)).await;
    let (subscriber, position) = subscribed.ok().flatten().ok_or_else(too_many)?;
    let mut first = beginning(last_event.unwrap_or(position));
    let mut seen = last_event.unwrap_or(position);
    if last_event.is_some() && !api.store.journal_bounds().await?.has_all_after(seen) {
        first = reset(position);
        seen = position;
    }
    let events = Events {
        project: (!all_projects).then(|| api.caller.project.clone()),
        identity: authenticator.is_on().then(|| Identity { authenticator, request }),
        subscriber,
        first: Some(first),
        seen,
        missed_until: position,
        commented: Instant::now(),
        checked: Instant::now(),
        has_ended: false,
        api,
    };
    let body = stream::unfold(events, |mut events| async move {
        let text = events.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), events))
    });
    let mut response = HttpResponse::Ok();
    // Proxies must not collect events.
    response.insert_header((CONTENT_TYPE, "text/event-stream")).insert_header(("X-Accel-Buffering", "no"));
    Ok(response.streaming(body))
}

fn too_many() -> Problem {
    Problem::new(
        ProblemType::Overloaded,
        "too many streams of events are open: close some, or repeat the request later",
    )
}

/// What a client asks for.
struct Request {
    last_event: Option<i64>,
    all_projects: bool,
}

impl Request {
    fn read(api: &Api, request: &HttpRequest) -> Result<Self, Problem> {
        let unreadable = |_| Problem::bad_request("the query string is not valid: percent-encode it as a form");
        let parameters = Query::<Vec<(String, String)>>::from_query(request.query_string()).map_err(unreadable)?;
        let (mut last_event, mut all_projects) = (None, false);
        for (name, value) in parameters.into_inner() {
            match name.as_str() {
                LAST_EVENT_PARAMETER => last_event = sequence(LAST_EVENT_PARAMETER, &value)?,
                list::ALL_PROJECTS => all_projects = list::all_projects(api, &value)?,
                _ => {
                    return Err(problem!(
                        ProblemType::BadRequest,
                        "unknown query parameter '{parameter}'; supported: {allowed}",
                        parameter = name,
                        allowed = QuotedValues::from_iter([LAST_EVENT_PARAMETER, list::ALL_PROJECTS]),
                    ));
                }
            }
        }
        if let Some(header) = request.headers().get(LAST_EVENT_ID) {
            last_event = sequence(LAST_EVENT_ID, &String::from_utf8_lossy(header.as_bytes()))?.or(last_event);
        }
        Ok(Self { last_event, all_projects })
    }
}

/// The number of an event; `None` if the text is empty.
fn sequence(name: &str, text: &str) -> Result<Option<i64>, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        problem!(
            ProblemType::BadRequest,
            "{parameter} is '{value}', and must be the id of an event, which is an integer",
            parameter = name,
            value = text.chars().take(64).collect::<String>(),
        )
    })
}

/// Who asked for a stream, to be checked again.
struct Identity {
    authenticator: web::Data<Authenticator>,
    request: HttpRequest,
}

impl Identity {
    /// Whether the credential of the request, or its session, still gives the rights of the stream. A service that does not answer
    /// says nothing about it.
    async fn is_valid(&self, project: &ProjectId, role: Role) -> bool {
        match identify(&self.authenticator, &self.request).await {
            Ok(Ok(caller)) => caller.project == *project && caller.has(role),
            Err(_) | Ok(Err(AuthError::Unavailable(_) | AuthError::Throttled { .. })) => true,
            Ok(Err(AuthError::Missing | AuthError::Invalid(_))) => false,
        }
    }
}

/// A stream.
struct Events {
    api: web::Data<Api>,
    /// `None`: of all projects.
    project: Option<ProjectId>,
    /// `None`: callers are not authenticated.
    identity: Option<Identity>,
    subscriber: Subscriber,
    first: Option<String>,
    /// The last event that was sent, or would have been to another project.
    seen: i64,
    /// Events up to this one are in the journal, and may not come from the hub.
    missed_until: i64,
    /// When the last comment was sent.
    commented: Instant,
    /// When the credential was checked.
    checked: Instant,
    has_ended: bool,
}

impl Events {
    /// What to send next; `None`: the stream ends.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            if let Some(Identity { request, .. }) = &self.identity {
                // The places of the request. A stream has one of its own.
                request.extensions_mut().clear();
            }
            return Some(first);
        }
        while !self.has_ended {
            if self.seen < self.missed_until {
                match self.missed().await? {
                    text if text.is_empty() => continue,
                    text => return Some(text),
                }
            }
            let hub = Arc::clone(&self.api.events);
            tokio::select! {
                biased;
                () = hub.closing().cancelled() => return None,
                () = sleep_until(self.commented + COMMENTED) => {
                    self.commented = Instant::now();
                    return if self.is_allowed().await { Some(COMMENT.to_owned()) } else { None };
                }
                received = self.subscriber.receiver.recv() => match received {
                    Ok(Some(event)) if event.sequence <= self.seen => {}
                    Ok(Some(event)) => {
                        if let Some(text) = self.take(&event) {
                            return Some(text);
                        }
                    }
                    // The journal began anew, or the client is too slow: it comes back.
                    Ok(None) | Err(RecvError::Lagged(_)) => {
                        self.has_ended = true;
                        return Some(reset(hub.position()));
                    }
                    Err(RecvError::Closed) => return None,
                },
            }
        }
        None
    }

    /// Some of the events that the client has missed. `None` if they can't be read: the client comes back.
    async fn missed(&mut self) -> Option<String> {
        let events = self.api.store.events_after(self.seen, BATCH).await.ok()?;
        let (seen, until) = (self.seen, self.missed_until);
        // The journal was cut meanwhile: the client comes back, and hears that it has missed events.
        if events.first().is_some_and(|first| first.sequence != seen + 1) {
            return None;
        }
        let missed = events.iter().take_while(|event| event.sequence <= until);
        let text = missed.filter_map(|event| self.take(event)).collect();
        if self.seen == seen {
            self.seen = until;
        }
        Some(text)
    }

    /// The message of the event, if the caller may see it.
    fn take(&mut self, event: &Event) -> Option<String> {
        self.seen = event.sequence;
        if self.project.as_ref().is_some_and(|project| *project != event.project) {
            return None;
        }
        let written = message(event);
        written
            .inspect_err(|error| tracing::error!(error = error as &dyn std::error::Error, "an event is not sent"))
            .ok()
    }

    async fn is_allowed(&mut self) -> bool {
        let Some(identity) = self.identity.as_ref().filter(|_| self.checked.elapsed() > CHECKED) else {
            return true;
        };
        let role = if self.project.is_some() { Role::Reader } else { Role::Admin };
        let is_allowed = identity.is_valid(&self.api.caller.project, role).await;
        self.checked = Instant::now();
        is_allowed
    }
}
