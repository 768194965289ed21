//! A load generator for HTTP/1.1 on loopback: prebuilt requests over kept connections, one at a time on each, so that
//! it uses little of the CPU that it shares with the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The time limit of a load.
const LONGEST: Duration = Duration::from_secs(5);

/// A load. It ends with the last request, or after [`LONGEST`].
#[derive(Clone)]
pub struct Load {
    /// Host and port.
    pub address: String,
    /// The number of connections, each with one request at a time.
    pub connections: usize,
    /// The most requests, over all connections.
    pub requests: usize,
    /// The required status of every response.
    pub wanted: u16,
}

/// The result of a load.
pub struct Outcome {
    /// The number of responses.
    pub answers: usize,
    /// Responses per second.
    pub rate: f64,
    /// The median response time.
    pub median: Duration,
    /// The 99th percentile of the response time.
    pub p99: Duration,
}

/// A response.
pub struct Answer {
    /// Status line and header fields.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The path and query of the next page (SOL013 clause 5.4.2.3).
    pub fn next_page(&self) -> Option<String> {
        let (target, parameters) = self.header("link")?.split_once('>')?;
        parameters.contains("next").then(|| path_of(target.trim_start_matches('<')))
    }
}

impl Load {
    /// Sends the requests; `request(n)` is the n-th.
    pub async fn run(&self, request: impl Fn(usize) -> Vec<u8> + Clone + Send + 'static) -> Outcome {
        let next = Arc::new(AtomicUsize::new(0));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..self.connections)
            .map(|_| {
                let (load, next, request) = (self.clone(), next.clone(), request.clone());
                tokio::spawn(async move {
                    let mut connection = Connection::open(&load.address).await;
                    let mut times = Vec::new();
                    while begun.elapsed() < LONGEST {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= load.requests {
                            break;
                        }
                        let bytes = request(number);
                        let sent = Instant::now();
                        connection.send(&bytes, load.wanted).await;
                        times.push(sent.elapsed());
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::with_capacity(self.requests);
        for task in tasks {
            times.extend(task.await.unwrap());
        }
        let took = begun.elapsed();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        Outcome { answers: times.len(), rate: times.len() as f64 / took.as_secs_f64(), median: at(0.5), p99: at(0.99) }
    }
}

/// A connection to the server.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to `address`.
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Sends a request and reads the response, which must have that status.
    pub async fn ask(&mut self, request: &[u8], wanted: u16) -> Answer {
        let head = self.send(request, wanted).await;
        let text = String::from_utf8(self.buffer[..head].to_vec()).unwrap();
        Answer { head: text, body: self.buffer[head..].to_vec() }
    }

    /// As [`Connection::ask`], but leaves the response in the buffer. Returns the length of its head.
    async fn send(&mut self, request: &[u8], wanted: u16) -> usize {
        let Self { stream, buffer } = self;
        stream.write_all(request).await.unwrap();
        buffer.clear();
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed the connection");
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        // Without a length, as in a 202, there is no body.
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        let status: u16 = text[9..12].parse().unwrap();
        while buffer.len() < head + length {
            assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed the connection");
        }
        assert_eq!(status, wanted, "{}", String::from_utf8_lossy(buffer));
        head
    }
}

/// The path of an absolute URI, with its query.
pub fn path_of(uri: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest[rest.find('/').unwrap()..].to_owned()
}

/// A request without a body.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A request without a body, with a header field.
pub fn get_with(path: &str, (name, value): (&str, &str)) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\n\r\n").into_bytes()
}

/// A request with a JSON body.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
