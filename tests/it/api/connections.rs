//! The lifetime of callers' connections: kept alive between requests, closed where the caller does not read, and
//! limited in number. Through the real binary.

use std::io::{Cursor, Write as _};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::bad_neighbours::{address, connect, head, open_files, status, wait_until};
use crate::support::gybe::Gybe;
use crate::support::rng::Rng;
use crate::support::sample::pack;

const INSTANCES: &str = "/vnflcm/v2/vnf_instances";
/// The longest time that clients and proxies usually keep an idle connection.
const POOLED: Duration = Duration::from_secs(60);

/// A connection for consecutive requests.
struct Kept(TcpStream);

impl Kept {
    async fn to(gybe: &Gybe) -> Self {
        Self(connect(&address(gybe)).await)
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads the head of the next response; a part of it if the connection is closed.
    async fn answer(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        let _cut = self.0.read_exact(&mut body).await;
        head.to_ascii_uppercase()
    }

    async fn ask(&mut self) -> String {
        self.send(&head("GET", INSTANCES, 0)).await;
        self.answer().await
    }
}

#[tokio::test]
async fn keeps_connections_open_longer_than_clients_do() {
    let gybe = Gybe::start();
    let (mut used, mut unused) = (Kept::to(&gybe).await, Kept::to(&gybe).await);
    assert_eq!((status(&used.ask().await), status(&unused.ask().await)), (200, 200));
    tokio::time::sleep(POOLED).await;
    assert_eq!(status(&used.ask().await), 200, "the connection could always be used again");
    let begun = Instant::now();
    assert_eq!(unused.answer().await, "", "an unused connection is closed");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn accepts_a_request_in_pieces_over_a_kept_connection() {
    let gybe = Gybe::start();
    let mut kept = Kept::to(&gybe).await;
    assert_eq!(status(&kept.ask().await), 200);
    let request = head("GET", INSTANCES, 0);
    let (first, rest) = request.split_at(20);
    kept.send(first).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    kept.send(rest).await;
    assert_eq!(status(&kept.answer().await), 200);
}

#[tokio::test]
async fn closes_a_kept_connection_whose_request_never_completes() {
    let gybe = Gybe::start();
    let mut kept = Kept::to(&gybe).await;
    assert_eq!(status(&kept.ask().await), 200);
    kept.send("GET / HTTP/1.1\r\nX: ").await;
    let given_up = tokio::time::timeout(Duration::from_secs(110), kept.answer()).await;
    given_up.expect("the connection is closed in time");
}

#[tokio::test]
async fn closes_idle_connections_when_new_ones_need_room() {
    // With this limit, callers have 64 connections.
    let gybe = Gybe::start_with_files(256);
    let mut idle = Vec::new();
    for _ in 0..120 {
        let mut kept = Kept::to(&gybe).await;
        let answer = kept.ask().await;
        assert_eq!(status(&answer), 200, "{answer}");
        idle.push((kept, answer.contains("CONNECTION: CLOSE")));
    }
    let closed = idle.iter().filter(|(_, closed)| *closed).count();
    assert!((75..=100).contains(&closed), "{closed} connections received `Connection: close`");
    assert!(!idle[0].1, "the first connections stay open");
    assert_eq!(status(&idle[0].0.ask().await), 200);
    let begun = Instant::now();
    let come = reqwest::Client::new().get(gybe.uri(INSTANCES)).send().await.unwrap();
    assert_eq!(come.status(), StatusCode::OK);
    assert!(begun.elapsed() < Duration::from_secs(5), "new connections do not wait: {:?}", begun.elapsed());
    let metrics = gybe.get("/metrics").await.text;
    let open = metrics.lines().find_map(|line| line.strip_prefix("gybe_http_connections ")?.parse::<usize>().ok());
    assert!((1..=45).contains(&open.unwrap()), "{open:?}");
}

/// The CSAR of sample `small` with an incompressible file of that size.
fn large(bytes: usize) -> Vec<u8> {
    let mut csar = ZipWriter::new_append(Cursor::new(pack("small"))).unwrap();
    csar.start_file("Files/large", SimpleFileOptions::default()).unwrap();
    let mut rng = Rng(7);
    let content: Vec<u8> = (0..bytes / 8).flat_map(|_| rng.next().to_le_bytes()).collect();
    csar.write_all(&content).unwrap();
    csar.finish().unwrap().into_inner()
}

#[tokio::test]
async fn closes_the_connection_of_a_caller_that_does_not_read() {
    let gybe = Gybe::start();
    let package = gybe.upload(&large(32 << 20)).await;
    assert_eq!(package["onboardingState"], "ONBOARDED");
    let content = format!("/vnfpkgm/v1/vnf_packages/{}/package_content", package["id"].as_str().unwrap());
    let files = open_files(&gybe);
    let mut readers = Vec::new();
    for _ in 0..20 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let mut reader = socket.connect(address(&gybe).parse().unwrap()).await.unwrap();
        reader.write_all(head("GET", &content, 0).as_bytes()).await.unwrap();
        // The download has started.
        assert_eq!(reader.read_u8().await.unwrap(), b'H');
        readers.push(reader);
    }
    assert!(open_files(&gybe) >= files + 20);
    let begun = Instant::now();
    wait_until("the connections of those who don't read are closed", || open_files(&gybe) < files + 10).await;
    println!("20 readers who took nothing were cut off after {:?}", begun.elapsed());
    // A caller that reads gets everything.
    let whole = gybe.client.get(gybe.uri(&content)).send().await.unwrap().bytes().await.unwrap();
    assert!(whole.len() > 32 << 20);
}

#[tokio::test]
async fn slow_uploads_do_not_block_other_requests() {
    let gybe = Gybe::start_with(&["--max-requests", "2"]);
    let mut slow = Vec::new();
    for _ in 0..4 {
        let package = gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await.expect(StatusCode::CREATED);
        let href = package["_links"]["self"]["href"].as_str().unwrap().to_owned();
        let path = format!("/vnfpkgm/v1/vnf_packages/{}/package_content", package["id"].as_str().unwrap());
        let mut sender = connect(&address(&gybe)).await;
        sender.write_all((head("PUT", &path, 1000) + "x").as_bytes()).await.unwrap();
        gybe.wait_until(&href, |package| package["onboardingState"] == "UPLOADING").await;
        slow.push(sender);
    }
    gybe.get(INSTANCES).await.expect(StatusCode::OK);
    gybe.onboard("small").await;
}
