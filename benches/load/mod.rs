//! A load generator for HTTP/1.1 on loopback: prebuilt requests over kept connections, one at a time on each, so that the
//! generator costs little of the cores it shares with the server.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a load came to.
pub struct Outcome {
    /// Answers a second.
    pub rate: f64,
    /// The time that half of the answers took at most.
    pub median: Duration,
    /// The time that 99 of 100 answers took at most.
    pub p99: Duration,
}

/// Sends `requests` requests over `connections` connections; `request(n)` is the n-th, `wanted` the status of every answer.
pub async fn run(
    address: &str,
    connections: usize,
    requests: usize,
    wanted: u16,
    request: impl Fn(usize) -> Vec<u8> + Clone + Send + 'static,
) -> Outcome {
    let begun = Instant::now();
    let per_connection = requests / connections;
    let tasks: Vec<_> = (0..connections)
        .map(|connection| {
            let (address, request) = (address.to_owned(), request.clone());
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(&address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = Vec::new();
                let mut times = Vec::with_capacity(per_connection);
                for index in 0..per_connection {
                    let bytes = request(connection * per_connection + index);
                    let sent = Instant::now();
                    stream.write_all(&bytes).await.unwrap();
                    let status = answer(&mut stream, &mut buffer).await;
                    times.push(sent.elapsed());
                    assert_eq!(status, wanted);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::with_capacity(requests);
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let took = begun.elapsed();
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Outcome { rate: times.len() as f64 / took.as_secs_f64(), median: at(0.5), p99: at(0.99) }
}

/// A request without a body.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: gybe\r\n\r\n").into_bytes()
}

/// A request with a JSON body.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: gybe\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Reads one answer with a Content-Length (or none: no body) and gives back its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> u16 {
    buffer.clear();
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed the connection");
    };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while buffer.len() < head + length {
        assert!(stream.read_buf(buffer).await.unwrap() > 0, "the server closed the connection");
    }
    text[9..12].parse().unwrap()
}
