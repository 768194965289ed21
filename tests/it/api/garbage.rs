//! Random nonsense requests to every resource of the OpenAPI documents and to other paths: each is rejected by a 4xx
//! problem, and none changes anything.
//!
//! `GYBE_GARBAGE_REQUESTS` requests (20,000) are derived from `GYBE_GARBAGE_SEED` (1); `scripts/garbage` sends a
//! million. Each has at least one defect that the server must find, so that each must be rejected, and some noise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::documents::{self, Operation, Resource, UNKNOWN};
use crate::support::gybe::Gybe;
use crate::support::rng::Rng;

/// Concurrent callers.
const CALLERS: u64 = 4;
/// The longest response time.
const PATIENCE: Duration = Duration::from_secs(60);
/// The characters of random texts; some have a meaning in HTTP, JSON or filters.
const LETTERS: &[u8] = b"abcxyzAZ019-_.~!$&'()*+,;=:@/?#[]{}|\\\"<>^`% \t\x01\x7f\x80\xc3\xa9\xff";

/// The targets of requests.
struct Targets {
    resources: Vec<Resource>,
    /// Existing ids by the name of their collection.
    ids: BTreeMap<&'static str, String>,
}

/// The defect of a request.
#[derive(Clone, Copy, Debug)]
enum Defect {
    /// The body, of an operation that has a JSON body.
    Body,
    /// The media type of the body.
    MediaType,
    /// The `Version` header.
    Version,
    /// The `Accept` header of a list.
    Accept,
    /// The query of a list.
    Query,
    /// The method.
    Method,
    /// The path.
    Path,
    /// The request is not HTTP.
    Protocol,
}

/// A request as bytes.
struct RandomRequest {
    defect: Defect,
    bytes: Vec<u8>,
}

fn text(rng: &mut Rng, longest: usize) -> Vec<u8> {
    (0..rng.below(longest)).map(|_| rng.choose(LETTERS)).collect()
}

/// Random text for a URI; most reserved characters are escaped.
fn escaped(rng: &mut Rng, longest: usize) -> String {
    let mut escaped = String::new();
    for byte in text(rng, longest) {
        if byte.is_ascii_alphanumeric() || (b"-_.~!$&'()*+,;=:@".contains(&byte) && rng.below(2) == 0) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02x}");
        }
    }
    escaped
}

impl Targets {
    fn random_request(&self, rng: &mut Rng) -> RandomRequest {
        let resource = &self.resources[rng.below(self.resources.len())];
        let operation = &resource.operations[rng.below(resource.operations.len())];
        let defect = defect(rng, resource, operation);
        let mut method = operation.method.clone();
        let mut path = self.path(rng, resource);
        let mut query = String::new();
        let mut headers: Vec<(&str, String)> = Vec::new();
        let mut body = Vec::new();
        if operation.reads_json && !matches!(defect, Defect::MediaType) {
            let patch = ["application/merge-patch+json", "application/json", "text/plain"];
            let kind = if method == "PATCH" { rng.choose(&patch) } else { "application/json" };
            headers.push(("Content-Type", kind.to_owned()));
            body = broken_body(rng, &operation.members);
        }
        match defect {
            Defect::Body => {}
            Defect::MediaType => {
                let kinds = [
                    "application/xml",
                    "text/html",
                    "application/x-www-form-urlencoded",
                    "application/yaml",
                    "json",
                    "/",
                ];
                headers.push(("Content-Type", rng.choose(&kinds).to_owned()));
                body = br#"{"vnfdId":"x","vim":{}}"#.to_vec();
            }
            Defect::Version => {
                let versions = [
                    "1",
                    "v2",
                    "1.3",
                    "9.9.9",
                    "2.0.0.0",
                    "-1.0.0",
                    "1.3.0 2.0.0",
                    "99999999999999999999.0.0",
                    "٣.0.0",
                ];
                headers.push(("Version", rng.choose(&versions).to_owned()));
            }
            Defect::Accept => {
                let kinds = ["text/html", "application/xml", "application/json;q=0", "", "application/jso", ";;,,"];
                headers.push(("Accept", rng.choose(&kinds).to_owned()));
            }
            Defect::Query => query = broken_query(rng),
            Defect::Method => method = other_method(rng, resource),
            Defect::Path => path = other_path(rng, &path),
            Defect::Protocol => return protocol(rng, &path),
        }
        if query.is_empty() && rng.below(4) == 0 && !operation.is_list && !path.starts_with("/v1.0/vims") {
            query = format!("?{}", escaped(rng, 40));
        }
        noise(rng, &mut headers);
        let mut bytes = format!("{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if !body.is_empty() || operation.reads_json {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
        RandomRequest { defect, bytes }
    }

    /// The path of the resource with an existing, possible or impossible id.
    fn path(&self, rng: &mut Rng, resource: &Resource) -> String {
        let collection = resource.path.split("/{id}").next().unwrap().rsplit('/').next().unwrap();
        let id = match (rng.below(4), self.ids.get(collection)) {
            (0 | 1, Some(id)) => id.clone(),
            (2, _) => escaped(rng, 60),
            _ => UNKNOWN.to_owned(),
        };
        let rest = if rng.below(2) == 0 { "Files/kubernetes/none.yaml".to_owned() } else { escaped(rng, 80) };
        resource.path.replace("{id}", if id.is_empty() { UNKNOWN } else { &id }).replace("{path}", &rest)
    }
}

/// A defect that the operation can have.
fn defect(rng: &mut Rng, resource: &Resource, operation: &Operation) -> Defect {
    let mut possible = vec![Defect::Method, Defect::Path];
    if rng.below(10) == 0 {
        possible.push(Defect::Protocol);
    }
    if operation.reads_json {
        possible.extend([Defect::Body, Defect::Body, Defect::Body, Defect::MediaType]);
    }
    if resource.version.is_some() && !resource.path.ends_with("api_versions") {
        possible.push(Defect::Version);
    }
    if operation.is_list {
        possible.extend([Defect::Accept, Defect::Query, Defect::Query, Defect::Query]);
    }
    rng.choose(&possible)
}

/// A body that cannot be read as a request of the operation with these members.
fn broken_body(rng: &mut Rng, members: &[(String, String)]) -> Vec<u8> {
    match rng.below(8) {
        0 => {
            let mut random = text(rng, 400);
            random.insert(0, b'}');
            random
        }
        1 => rng
            .choose(&["", "null", "7", "[]", "\"{}\"", "true", "[{}]", "1e999", "-", "{}{}", "{},", "{'a':1}"])
            .into(),
        2 => format!("{{\"a\":{}", "[".repeat(1 + rng.below(3000))).into_bytes(),
        3 => format!("{{\"userDefinedData\":{}1{}", "{\"a\":".repeat(200), "}".repeat(201)).into_bytes(),
        4 => b"{\"a\":\"\\u0000\"}".to_vec(),
        5 => b"{\"a\":\"\xff\xfe\"}".to_vec(),
        _ if members.is_empty() => b"{".to_vec(),
        _ => {
            let (name, kind) = &members[rng.below(members.len())];
            let wrong: Value = match kind.as_str() {
                "number" | "integer" => rng.choose(&["\"1\"", "-1", "1.5", "{}", "1e99", "4294967296"]),
                "boolean" => rng.choose(&["\"true\"", "1", "[]"]),
                "string" => rng.choose(&["1", "{}", "[\"a\"]", "false"]),
                _ => rng.choose(&["1", "\"x\"", "false"]),
            }
            .parse()
            .unwrap();
            json!({ name: wrong, "unknown": [1, { "a": null }] }).to_string().into_bytes()
        }
    }
}

fn broken_query(rng: &mut Rng) -> String {
    let junk = escaped(rng, 60);
    match rng.below(7) {
        0 => format!("?filter={junk}("),
        1 => format!("?filter=({},id,{junk}(", rng.choose(&["eq", "neq", "in", "cont", "foo", ""])),
        2 => format!("?nextpage_opaque_marker={junk}"),
        3 => format!("?fields={junk},"),
        4 => format!("?x{junk}=1"),
        5 => format!("?all_fields&exclude_default&{junk}"),
        _ => format!("?filter=(eq,{}id,{junk})", "a/".repeat(1 + rng.below(2000))),
    }
}

fn other_method(rng: &mut Rng, resource: &Resource) -> String {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get", "X-Y"];
    let others: Vec<&str> = methods.into_iter().filter(|method| !resource.has(method)).collect();
    rng.choose(&others).to_owned()
}

/// A path without a resource.
fn other_path(rng: &mut Rng, path: &str) -> String {
    let junk = escaped(rng, 60);
    match rng.below(5) {
        0 => format!("{path}/nothing{junk}"),
        1 => format!("/nothing{junk}{path}"),
        2 => format!("{path}%2f..%2f..%2fnothing{junk}"),
        3 => format!("/{}", "nothing/".repeat(1 + rng.below(3000))),
        _ => path.to_uppercase() + "/NOTHING",
    }
}

/// Bytes that are not HTTP; the server closes the connection.
fn protocol(rng: &mut Rng, path: &str) -> RandomRequest {
    let junk = format!("!{}", String::from_utf8_lossy(&text(rng, 80)));
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let bytes = match rng.below(9) {
        0 => format!("{junk}\r\n\r\n"),
        1 => format!("GET {path}\r\n\r\n"),
        2 => format!("GET {path} HTTP/9.9\r\nHost: localhost\r\n\r\n"),
        3 => format!("{head}{junk}\r\n\r\n"),
        4 => format!("{head}X: {junk}\r\n\r\n"),
        5 => format!("{head}Content-Length: {junk}\r\n\r\n"),
        6 => format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        7 => format!("{head}Transfer-Encoding: chunked\r\n\r\n{junk}\r\n"),
        _ => format!("{head}X: {}\r\n\r\n", "x".repeat(rng.below(200_000))),
    };
    RandomRequest { defect: Defect::Protocol, bytes: bytes.into_bytes() }
}

/// Headers without effect.
fn noise(rng: &mut Rng, headers: &mut Vec<(&str, String)>) {
    for name in [
        "If-Match",
        "If-None-Match",
        "Range",
        "Cookie",
        "X-Request-Id",
        "Authorization",
        "traceparent",
        "Accept-Encoding",
    ] {
        if rng.below(6) == 0 {
            let value: Vec<u8> = text(rng, 60).into_iter().filter(|byte| (32..127).contains(byte)).collect();
            headers.push((name, String::from_utf8(value).unwrap().trim().to_owned()));
        }
    }
}

/// A connection, opened again when it was closed.
struct Caller {
    address: String,
    connection: Option<BufReader<TcpStream>>,
}

/// Status, media type and body.
type Answer = (u16, String, Vec<u8>);

impl Caller {
    /// The response; `None` if the connection was closed instead.
    fn send(&mut self, bytes: &[u8]) -> Option<Answer> {
        // The server may have closed the kept connection. No request has an effect, so it can be repeated.
        self.exchange(bytes).or_else(|| self.exchange(bytes))
    }

    fn exchange(&mut self, bytes: &[u8]) -> Option<Answer> {
        let mut connection = self.connection.take().unwrap_or_else(|| {
            let connection = TcpStream::connect(&self.address).unwrap();
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            connection.set_nodelay(true).unwrap();
            BufReader::new(connection)
        });
        // An error where the server does not read the rest.
        let _ = connection.get_mut().write_all(bytes);
        let answer = read(&mut connection)?;
        self.connection = Some(connection);
        Some(answer)
    }
}

fn read(connection: &mut BufReader<TcpStream>) -> Option<Answer> {
    let line = |connection: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        match connection.read_line(&mut line) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer in {PATIENCE:?}"),
            Ok(read) if read > 0 => Some(line.trim_end().to_owned()),
            _ => None,
        }
    };
    let status = line(connection)?.split(' ').nth(1)?.parse().ok()?;
    let (mut media_type, mut length) = (String::new(), 0);
    loop {
        let header = line(connection)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        match header.split_once(": ") {
            Some(("content-type", value)) => value.clone_into(&mut media_type),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some((status, media_type, body))
}

/// Sends `requests` requests; returns the number of responses by status.
fn call(address: &str, world: &Targets, mut rng: Rng, requests: usize) -> BTreeMap<u16, usize> {
    let mut caller = Caller { address: address.to_owned(), connection: None };
    let mut answered = BTreeMap::new();
    for _ in 0..requests {
        let shot = world.random_request(&mut rng);
        let shown =
            || format!("{:?}: {}", shot.defect, String::from_utf8_lossy(&shot.bytes[..shot.bytes.len().min(2000)]));
        let Some((status, media_type, body)) = caller.send(&shot.bytes) else {
            assert!(matches!(shot.defect, Defect::Protocol), "no answer to {}", shown());
            continue;
        };
        if matches!(shot.defect, Defect::Protocol) {
            caller.connection = None;
            assert!(status < 500, "{status} to {}", shown());
        } else {
            assert!((400..500).contains(&status), "{status} to {}", shown());
            // The server rejects bytes that are not a request without a body.
            if !body.is_empty() || ![400, 431].contains(&status) {
                assert_eq!(media_type, "application/problem+json", "{status} to {}", shown());
                let problem: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(problem["status"], status, "{problem}");
                assert!(problem["detail"].is_string(), "{problem}");
            }
        }
        *answered.entry(status).or_default() += 1;
    }
    answered
}

/// Creates one of each resource that needs no cluster.
async fn create_targets(gybe: &Gybe) -> Targets {
    let vnfd = gybe.onboard("small").await;
    let instance = gybe.create("v2", &vnfd).await;
    let op = gybe.patch(&instance, &json!({ "metadata": { "a": "b" } })).await.location.unwrap();
    gybe.wait_ended(&op).await;
    let package = gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await.expect(StatusCode::CREATED);
    let subscription = json!({
        "callbackUri": "http://127.0.0.1:9", "filter": { "vnfInstanceSubscriptionFilter": { "vnfInstanceIds": [UNKNOWN] } },
    });
    let subscription = gybe.post("/vnflcm/v2/subscriptions", &subscription).await.expect(StatusCode::CREATED);
    let last = |uri: &str| uri.rsplit('/').next().unwrap().to_owned();
    let ids = BTreeMap::from([
        ("vnf_instances", last(&instance)),
        ("vnf_lcm_op_occs", last(&op)),
        ("vnf_packages", package["id"].as_str().unwrap().to_owned()),
        ("subscriptions", subscription["id"].as_str().unwrap().to_owned()),
    ]);
    Targets { resources: documents::resources(), ids }
}

/// Everything that the API shows.
async fn read_all(gybe: &Gybe) -> Vec<Value> {
    let mut all = Vec::new();
    for list in [
        "/vnflcm/v2/vnf_instances?all_fields",
        "/vnflcm/v1/vnf_lcm_op_occs?all_fields",
        "/vnflcm/v2/subscriptions",
        "/vnfpkgm/v1/vnf_packages?all_fields",
        "/v1.0/vims",
    ] {
        all.push(gybe.get(list).await.expect(StatusCode::OK));
    }
    all
}

/// The rows of all tables, visible or not.
async fn row_counts(gybe: &Gybe) -> BTreeMap<String, i64> {
    let pool = sqlx::SqlitePool::connect(&gybe.database_url).await.unwrap();
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&pool).await.unwrap();
    let mut rows = BTreeMap::new();
    for table in tables {
        let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM \"{table}\""));
        rows.insert(table, sqlx::query_scalar(count).fetch_one(&pool).await.unwrap());
    }
    rows
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |number| number.parse().unwrap())
}

#[tokio::test]
async fn rejects_nonsense_requests_without_side_effects() {
    let (seed, requests) = (number("GYBE_GARBAGE_SEED", 1), number("GYBE_GARBAGE_REQUESTS", 20_000));
    println!("GYBE_GARBAGE_SEED={seed}");
    let gybe = Gybe::start_with(&["--callback-test", "off"]);
    let world = create_targets(&gybe).await;
    let (seen, stored) = (read_all(&gybe).await, row_counts(&gybe).await);
    let (mut rng, begun) = (Rng(seed), Instant::now());
    let address = gybe.url.strip_prefix("http://").unwrap();
    let mut answered: BTreeMap<u16, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (world, rng) = (&world, rng.fork());
                scope.spawn(move || call(address, world, rng, usize::try_from(requests / CALLERS).unwrap()))
            })
            .collect();
        for caller in callers {
            for (status, number) in caller.join().unwrap() {
                *answered.entry(status).or_default() += number;
            }
        }
    });
    println!("{requests} requests that make no sense in {:.0?}: {answered:?}", begun.elapsed());
    assert_eq!(read_all(&gybe).await, seen);
    assert_eq!(row_counts(&gybe).await, stored);
    assert!(!gybe.log().contains("panicked"), "{}", gybe.log());
    for status in [400, 404, 405, 406, 415] {
        assert!(answered.get(&status).is_some_and(|number| *number > 50), "{answered:?}");
    }
}
