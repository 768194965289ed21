//! A repository of packages: an HTTP server that sends exactly the bytes that a test specifies.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A response.
#[derive(Clone, Debug)]
pub enum Sent {
    /// Sends these bytes, head included, and closes the connection.
    Whole(Vec<u8>),
    /// Sends these bytes and then keeps the connection open in silence.
    Stalls(Vec<u8>),
    /// Sends a head and then these bytes without end.
    Endless(Vec<u8>),
}

impl Sent {
    /// A 200 with that content.
    pub fn content(content: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
        Self::Whole([head.as_bytes(), content].concat())
    }

    /// A response with that status line and headers, without content.
    pub fn head(lines: &str) -> Self {
        Self::Whole(format!("HTTP/1.1 {lines}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes())
    }
}

/// A running repository. It ends when dropped.
pub struct Repository {
    /// Host and port.
    pub host: String,
    sent: Arc<Mutex<Sent>>,
    requests: Arc<Mutex<Vec<String>>>,
    _server: AbortOnDropHandle<()>,
}

impl Repository {
    pub async fn start(sent: Sent) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let sent = Arc::new(Mutex::new(sent));
        let (seen, sends) = (Arc::clone(&requests), Arc::clone(&sent));
        let server = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let sent = sends.lock().unwrap().clone();
                tokio::spawn(answer(connection, sent, Arc::clone(&seen)));
            }
        });
        Self { host, sent, requests, _server: AbortOnDropHandle::new(server) }
    }

    /// Answers with `sent` from now on.
    pub fn send(&self, sent: Sent) {
        *self.sent.lock().unwrap() = sent;
    }

    /// The heads of the received requests.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn answer(mut connection: TcpStream, sent: Sent, seen: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    seen.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    match sent {
        Sent::Whole(bytes) => connection.write_all(&bytes).await,
        Sent::Stalls(bytes) => {
            connection.write_all(&bytes).await?;
            std::future::pending().await
        }
        Sent::Endless(bytes) => {
            connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
            loop {
                connection.write_all(&bytes).await?;
            }
        }
    }
}
