//! Callers' connections: how long one stays open that nobody uses, and when one is cut whose caller does not go on.
//!
//! Clients keep pools. Should the server close a connection at the moment at which a client sends a request over it, the
//! client can't know whether the request was seen, and a POST fails. So connections are kept for longer than clients and
//! proxies keep theirs. That must not let idle ones use up what `app` allows in all: while more than half of that are open,
//! each answer is the last on its connection, which the client is told with it. The other half so stays for those who come.
//!
//! The server (actix) has limits for the head of a connection's first request and for a connection that is idle, none for a
//! further head that is begun and not ended, and none for a caller who does not read. The first is [`watch`]ed for here, the
//! second is left to the system.

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
use actix_web::rt::net::TcpStream;
use actix_web::web::Bytes;
use actix_web::{Error, web};
use rustix::net::{Shutdown, shutdown, sockopt::set_tcp_user_timeout};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::{GaugeGuard, HttpMetrics};

/// A connection that was idle for so long after an answer is closed: later than those of clients and proxies, most of which
/// give up theirs within 60 seconds.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// A connection has a complete request, or takes an answer that is in memory, within this time after the last one. A request
/// that is begun when the connection is about to be closed so has ten seconds for its head, as the first one has.
const UNUSED: Duration = Duration::from_secs(85);
/// A caller must take something of what waits for him within this time.
const UNREAD: Duration = Duration::from_secs(30);

/// The connections that are open, in all workers together.
pub struct Connections {
    most: usize,
    metrics: HttpMetrics,
}

impl Connections {
    /// So many may be open. Each takes two files.
    pub const fn new(most: usize, metrics: HttpMetrics) -> Self {
        Self { most, metrics }
    }

    /// Called with each new connection and what is kept as long as it is there.
    pub fn opened(&self, connection: &dyn Any, kept: &mut Extensions) {
        let counted = self.metrics.connection();
        let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
        let limited = set_tcp_user_timeout(stream, UNREAD.as_millis() as u32);
        // The stream itself is the server's: another file of it serves to cut it off.
        let socket = limited.map_err(std::io::Error::from).and_then(|()| stream.as_fd().try_clone_to_owned());
        let socket = socket.inspect_err(|error| {
            tracing::warn!(error = error as &dyn std::error::Error, "a connection has no limits of time");
        });
        let connection =
            Rc::new(Connection { socket: socket.ok(), busy: Cell::new(0), free: Cell::new(Instant::now()) });
        let watch = actix_web::rt::spawn(watch(Rc::downgrade(&connection)));
        kept.insert(Kept { connection, _watch: AbortOnDropHandle::new(watch), _counted: counted });
    }

    fn are_many(&self) -> bool {
        self.metrics.connections() > self.most / 2
    }
}

/// What is kept as long as the connection is there.
struct Kept {
    connection: Rc<Connection>,
    _watch: AbortOnDropHandle<()>,
    _counted: GaugeGuard,
}

struct Connection {
    socket: Option<OwnedFd>,
    /// Requests under way.
    busy: Cell<usize>,
    /// Since when there are none.
    free: Cell<Instant>,
}

/// Cuts the connection off once it is unused for too long.
async fn watch(connection: Weak<Connection>) {
    let mut due = Instant::now() + UNUSED;
    loop {
        sleep_until(due).await;
        let Some(connection) = connection.upgrade() else { return };
        let now = Instant::now();
        let end = if connection.busy.get() > 0 { now } else { connection.free.get() } + UNUSED;
        if end <= now {
            // It may have ended by itself.
            let _ended = connection.socket.as_ref().map(|socket| shutdown(socket, Shutdown::Both));
            return;
        }
        due = end;
    }
}

/// A request is under way until the value is dropped.
struct Busy(Rc<Connection>);

impl Busy {
    fn new(connection: &Rc<Connection>) -> Self {
        connection.busy.update(|number| number + 1);
        Self(Rc::clone(connection))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.update(|number| number - 1);
        self.0.free.set(Instant::now());
    }
}

/// The body of an answer that is not in memory: the request is under way until all of it is sent.
struct Sending {
    body: BoxBody,
    _busy: Option<Busy>,
}

impl MessageBody for Sending {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}

/// Passes the request on, whose connection is used meanwhile, and ends with the answer if too many are open.
///
/// # Errors
/// Those of the inner service.
pub async fn close_when_crowded(
    connections: web::Data<Connections>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let busy = request.conn_data::<Kept>().map(|kept| Busy::new(&kept.connection));
    let mut answer = next.call(request).await?.map_into_boxed_body();
    if connections.are_many() {
        answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(answer.map_body(|_, body| match body.size() {
        BodySize::None => body,
        _ => body.try_into_bytes().map_or_else(|body| BoxBody::new(Sending { body, _busy: busy }), BoxBody::new),
    }))
}
