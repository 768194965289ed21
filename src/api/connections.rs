//! Limits of clients' connections: the time that idle and stalled ones stay open.
//!
//! Clients keep connection pools. If the server closes a connection just when a client sends a request over it, the client
//! cannot know whether the server received the request, and a POST fails. So Gybe keeps connections longer than clients and
//! proxies do. Idle connections must not use up all that `app` allows: while more than half of them are open, each response is
//! the last on its connection (`Connection: close`). The other half stays free for new clients.
//!
//! The server (actix) limits the time of the first request's head and of idle connections. It does not limit the head of a
//! further request: [`watch`] does. Nor does it limit a client that does not read: the kernel does, by `TCP_USER_TIMEOUT`.

use std::any::Any;
use std::cell::Cell;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, web};
use rustix::net::{Shutdown, shutdown, sockopt::set_tcp_user_timeout};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::api::tls::tcp_stream;
use crate::metrics::{GaugeGuard, HttpMetrics};

/// Idle connections are closed after this time: later than most clients and proxies close theirs, which is within 60 seconds.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A connection without a request under way is cut after this time. It is 10 s longer than [`KEEP_ALIVE`]: a request that begins
/// just before that time has 10 s for its head, like the first request of a connection.
const UNUSED: Duration = Duration::from_secs(85);
/// A client must acknowledge data within this time (`TCP_USER_TIMEOUT`).
const UNREAD: Duration = Duration::from_secs(30);

/// The open connections of all HTTP workers.
pub struct Connections {
    limit: usize,
    metrics: HttpMetrics,
}

impl Connections {
    /// At most `limit` connections may be open. Each uses two file descriptors.
    pub const fn new(limit: usize, metrics: HttpMetrics) -> Self {
        Self { limit, metrics }
    }

    /// The server calls it with each new connection, and with the data that lives as long as the connection.
    pub fn opened(&self, connection: &dyn Any, data: &mut Extensions) {
        let counted = self.metrics.connection();
        let Some(stream) = tcp_stream(connection) else { return };
        let limited = set_tcp_user_timeout(stream, UNREAD.as_millis() as u32);
        // The server owns the stream. A second file descriptor serves to shut it down.
        let socket = limited.map_err(std::io::Error::from).and_then(|()| stream.as_fd().try_clone_to_owned());
        let socket = socket.inspect_err(|error| {
            tracing::warn!(error = error as &dyn std::error::Error, "the time of a connection cannot be limited");
        });
        let connection =
            Rc::new(Connection { socket: socket.ok(), requests: Cell::new(0), idle_since: Cell::new(Instant::now()) });
        let watch = actix_web::rt::spawn(watch(Rc::downgrade(&connection)));
        data.insert(ConnectionData { connection, _watch: AbortOnDropHandle::new(watch), _counted: counted });
    }

    fn are_many(&self) -> bool {
        self.metrics.connections() > self.limit / 2
    }
}

/// The data of a connection.
struct ConnectionData {
    connection: Rc<Connection>,
    _watch: AbortOnDropHandle<()>,
    _counted: GaugeGuard,
}

struct Connection {
    socket: Option<OwnedFd>,
    /// The requests under way.
    requests: Cell<usize>,
    /// The end of the last request.
    idle_since: Cell<Instant>,
}

/// Shuts the connection down when it has had no request for [`UNUSED`].
async fn watch(connection: Weak<Connection>) {
    let mut due = Instant::now() + UNUSED;
    loop {
        sleep_until(due).await;
        let Some(connection) = connection.upgrade() else { return };
        let now = Instant::now();
        let end = if connection.requests.get() > 0 { now } else { connection.idle_since.get() } + UNUSED;
        if end <= now {
            // An error means that the connection has ended by itself.
            let _ended = connection.socket.as_ref().map(|socket| shutdown(socket, Shutdown::Both));
            return;
        }
        due = end;
    }
}

/// A request under way, until the value is dropped.
struct ActiveRequest(Rc<Connection>);

impl ActiveRequest {
    fn new(connection: &Rc<Connection>) -> Self {
        connection.requests.update(|number| number + 1);
        Self(Rc::clone(connection))
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.requests.update(|number| number - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// A response body that is read while it is sent: the request is under way until the end of the body.
struct StreamedBody {
    body: BoxBody,
    _request: Option<ActiveRequest>,
}

impl MessageBody for StreamedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

/// Calls the inner service and counts the request as under way. Closes the connection after the response if too many are open.
///
/// # Errors
/// Those of the inner service.
pub async fn close_when_crowded(
    connections: web::Data<Connections>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let active = request.conn_data::<ConnectionData>().map(|data| ActiveRequest::new(&data.connection));
    let mut response = next.call(request).await?.map_into_boxed_body();
    if connections.are_many() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| match body.size() {
        BodySize::None => body,
        _ => body
            .try_into_bytes()
            .map_or_else(|body| BoxBody::new(StreamedBody { body, _request: active }), BoxBody::new),
    }))
}
