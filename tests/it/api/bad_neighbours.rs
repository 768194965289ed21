//! Misbehaving or too many callers beside well-behaved ones: the latter are not affected, nothing is lost, and the
//! process keeps its limits. Through the real binary.

use std::future::Future;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, instantiate_request};

const INSTANCES: &str = "/vnflcm/v2/vnf_instances";
/// A MiB.
const MIB: usize = 1 << 20;

/// The number of open files of a process.
pub fn open_files(gybe: &Gybe) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gybe.child.id())).unwrap().count()
}

/// A line of `/proc/PID/status` in MiB: `VmRSS` is the resident memory, `VmHWM` its peak.
fn memory(gybe: &Gybe, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gybe.child.id())).unwrap();
    let value = status.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':')).unwrap();
    value.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

/// The CPU time of the process in seconds.
fn cpu_seconds(gybe: &Gybe) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gybe.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // User and system time in ticks, of which Linux has 100 a second.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Raises the limit of open files: the test itself opens thousands of connections.
pub fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Polls until `condition` holds.
pub async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(90), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn connect(gybe: &str) -> TcpStream {
    TcpStream::connect(gybe).await.unwrap()
}

pub fn address(gybe: &Gybe) -> String {
    gybe.url.strip_prefix("http://").unwrap().to_owned()
}

/// The head of a request with a body of `length` bytes.
pub fn head(method: &str, path: &str, length: usize) -> String {
    let media_type = if method == "PUT" { "application/zip" } else { "application/json" };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Reads until the connection is closed or reset, for a minute at most.
async fn read_to_end(connection: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer);
    // A connection that is closed during a write ends with an error after the response.
    let _cut = tokio::time::timeout(Duration::from_secs(60), read).await.expect("the connection is closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `bytes` and reads the response concurrently.
async fn exchange(gybe: &str, bytes: Vec<u8>) -> String {
    let (mut from, mut to) = connect(gybe).await.into_split();
    let sending = async {
        // A server that rejects a body may stop reading it.
        let _refused = to.write_all(&bytes).await;
        let _refused = to.shutdown().await;
    };
    tokio::join!(read_to_end(&mut from), sending).0
}

/// Sends `first`, then a byte a second, until there is a response or the connection is closed; returns the response and
/// the duration.
async fn send_slowly(gybe: &str, first: String) -> (String, Duration) {
    let begun = Instant::now();
    let (mut from, mut to) = connect(gybe).await.into_split();
    let sending = async {
        to.write_all(first.as_bytes()).await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if to.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        answer = read_to_end(&mut from) => (answer, begun.elapsed()),
        () = sending => unreachable!(),
    }
}

pub fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
}

/// Repeats `turn` until `stop`; returns the number of turns.
async fn repeat<F: Future<Output = ()>>(stop: &CancellationToken, turn: impl Fn() -> F) -> usize {
    let mut turns = 0;
    while !stop.is_cancelled() {
        turn().await;
        turns += 1;
    }
    turns
}

/// Sends bad requests; each must be answered by a 4xx or a closed connection.
async fn bad_request(gybe: String, stop: CancellationToken) -> usize {
    let post = |body: &[u8]| [head("POST", INSTANCES, body.len()).as_bytes(), body].concat();
    let chunked = head("POST", INSTANCES, 0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let endless: Vec<u8> = chunked
        .bytes()
        .chain(b"80000\r\n".iter().copied().chain(vec![b' '; 0x80000]).chain(*b"\r\n").collect::<Vec<_>>().repeat(4))
        .collect();
    let requests = [
        post(b"{\"vnfdId\": "),
        post(&b"[".repeat(100_000)),
        post(&b"{\"a\":".repeat(100_000)),
        post(b"\xff\xfe\x00"),
        [head("POST", INSTANCES, 64 * MIB).into_bytes(), vec![b' '; MIB]].concat(),
        endless,
        [b"GET / HTTP/1.1\r\nX: ", "x".repeat(MIB).as_bytes(), b"\r\n\r\n"].concat(),
        ["GET / HTTP/1.1\r\n", &"X: y\r\n".repeat(5000), "\r\n"].concat().into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        format!("POST {INSTANCES} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nabcde")
            .into_bytes(),
        format!("POST {INSTANCES} HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n").into_bytes(),
    ];
    let turn = || async {
        for request in &requests {
            let answer = exchange(&gybe, request.clone()).await;
            let shown = String::from_utf8_lossy(&request[..request.len().min(60)]);
            assert!(answer.is_empty() || (400..500).contains(&status(&answer)), "{shown}: {answer}");
        }
        let pipelined = format!("GET {INSTANCES} HTTP/1.1\r\nHost: localhost\r\n\r\n\x01\x02 garbage\r\n\r\n");
        let answer = exchange(&gybe, pipelined.into_bytes()).await;
        assert_eq!(status(&answer), 200, "{answer}");
    };
    repeat(&stop, turn).await
}

/// Closes connections in the middle of a request or of its response.
async fn abort_requests(gybe: String, stop: CancellationToken) -> usize {
    let turn = || async {
        for request in
            [head("POST", INSTANCES, 1000) + "{", "GET /vnflcm/v2/vnf_ins".to_owned(), head("GET", INSTANCES, 0)]
        {
            let mut connection = connect(&gybe).await;
            connection.write_all(request.as_bytes()).await.unwrap();
            connection.set_zero_linger().unwrap();
        }
        // The server still handles these requests. The pace keeps them a nuisance rather than an overload.
        let answer = exchange(&gybe, head("GET", INSTANCES, 0).into_bytes()).await;
        assert_eq!(status(&answer), 200, "{answer}");
    };
    repeat(&stop, turn).await
}

/// The longest response time, and the number of responses.
#[derive(Default)]
struct Observations(Duration, usize);

impl Observations {
    async fn timed<T>(&mut self, answer: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let answer = answer.await;
        *self = Self(self.0.max(begun.elapsed()), self.1 + 1);
        answer
    }
}

/// Creates, reads and deletes instances.
async fn run_reads(gybe: &Gybe, vnfd_id: &str, stop: &CancellationToken) -> Observations {
    let mut seen = Observations::default();
    while !stop.is_cancelled() {
        let path = seen.timed(gybe.create("v2", vnfd_id)).await;
        let instance = seen.timed(gybe.get(&path)).await.expect(StatusCode::OK);
        assert!(path.ends_with(instance["id"].as_str().unwrap()));
        let noted = json!({ "metadata": { "note": "x".repeat(20_000) } });
        seen.timed(gybe.patch(&path, &noted)).await.expect(StatusCode::ACCEPTED);
        let shown = gybe.wait_until(&path, |instance| instance["metadata"] == noted["metadata"]);
        seen.timed(shown).await;
        // The change is visible before its operation has ended.
        while seen.timed(gybe.delete(&path)).await.status != StatusCode::NO_CONTENT {
            let ops = gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
            assert!(ops.as_array().unwrap().iter().all(|op| op["operationState"] != "FAILED_TEMP"));
        }
        gybe.get(&path).await.problem(404);
    }
    seen
}

/// Runs instantiations and terminations.
async fn run_life_cycles(
    gybe: &Gybe,
    vnfd_id: &str,
    namespace: &TestNamespace,
    stop: &CancellationToken,
) -> Observations {
    let mut seen = Observations::default();
    while !stop.is_cancelled() {
        let path = gybe.create("v1", vnfd_id).await;
        let request = instantiate_request(namespace.name.as_str());
        seen.timed(gybe.complete(&path, "instantiate", &request)).await;
        seen.timed(gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" }))).await;
        gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_callers_are_rejected_without_effect_on_others() {
    allow_many_files();
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd_id = gybe.onboard("small").await;
    let package = gybe.post("/vnfpkgm/v1/vnf_packages", &json!({})).await.expect(StatusCode::CREATED);
    let upload = format!("/vnfpkgm/v1/vnf_packages/{}/package_content", package["id"].as_str().unwrap());
    let (files, rss) = (open_files(&gybe), memory(&gybe, "VmRSS"));

    let to = address(&gybe);
    let stop = CancellationToken::new();
    let mut idle = JoinSet::new();
    for _ in 0..3000 {
        let to = to.clone();
        idle.spawn(async move {
            let mut connection = connect(&to).await;
            let begun = Instant::now();
            (status(&read_to_end(&mut connection).await), begun.elapsed())
        });
    }
    let mut slow = JoinSet::new();
    for number in 0..300 {
        let to = to.clone();
        let first = match number {
            0 => head("PUT", &upload, 10_000),
            1..100 => "GET / HTTP/1.1\r\nX: ".to_owned(),
            _ => head("POST", INSTANCES, 1000) + "{",
        };
        slow.spawn(async move { send_slowly(&to, first).await });
    }
    let mut bad = JoinSet::new();
    bad.spawn(bad_request(to.clone(), stop.clone()));
    bad.spawn(abort_requests(to, stop.clone()));

    let attack = async {
        let mut longest = Duration::ZERO;
        while let Some(closed) = idle.join_next().await {
            let (status, after) = closed.unwrap();
            assert!(matches!(status, 0 | 408), "{status}");
            longest = longest.max(after);
        }
        assert!(longest < Duration::from_secs(40), "an idle connection stayed open for {longest:?}");
        while let Some(cut_off) = slow.join_next().await {
            let (answer, after) = cut_off.unwrap();
            assert!(matches!(status(&answer), 0 | 408), "{answer}");
            assert!(after < Duration::from_secs(60), "a slow sender was tolerated for {after:?}");
        }
        stop.cancel();
        longest
    };
    let good = futures::future::join_all((0..3).map(|_| run_reads(&gybe, &vnfd_id, &stop)));
    let (longest_idle, good, whole) = tokio::join!(attack, good, run_life_cycles(&gybe, &vnfd_id, &namespace, &stop));
    let turns: Vec<usize> = bad.join_all().await;
    assert!(turns.iter().all(|turns| *turns > 0), "{turns:?}");

    let (slowest, answered) =
        good.iter().fold((Duration::ZERO, 0), |(slowest, count), seen| (slowest.max(seen.0), count + seen.1));
    let peak = memory(&gybe, "VmHWM");
    println!(
        "{answered} answers, the slowest after {slowest:?}; {} operations, the slowest {:?}; idle connections were closed \
         after at most {longest_idle:?}; memory {rss} MiB before, {peak} MiB at most; turns of the hostile {turns:?}",
        whole.1, whole.0
    );
    assert!(answered > 20 && whole.1 >= 2);
    assert!(slowest < Duration::from_secs(15), "a request took {slowest:?}");
    assert!(peak < rss + 250, "{peak} MiB");
    wait_until("the files are closed again", || open_files(&gybe) <= files + 20).await;
    assert_eq!(gybe.get(INSTANCES).await.expect(StatusCode::OK), json!([]));
    let ops = gybe.get("/vnflcm/v2/vnf_lcm_op_occs").await.expect(StatusCode::OK);
    let unfinished = ops.as_array().unwrap().iter().filter(|op| op["operationState"] != "COMPLETED").count();
    assert_eq!(unfinished, 0, "{ops:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejects_large_bodies_beyond_the_memory_limit_but_serves_small_ones() {
    let gybe = Gybe::start();
    let vnfd_id = gybe.onboard("small").await;
    let instance = gybe.create("v2", &vnfd_id).await;
    let before = memory(&gybe, "VmRSS");
    // A MiB of JSON that needs as much memory as possible.
    let text =
        format!("{{\"flavourId\":\"simple\",\"additionalParams\":{{\"a\":[{}0]}}}}", "[],".repeat((MIB - 100) / 3));
    let path = format!("{INSTANCES}/8f14e45f-ceea-467f-a8f4-0123456789ab/instantiate");
    let release = CancellationToken::new();
    let mut large = JoinSet::new();
    for _ in 0..40 {
        let (to, text, path, release) = (address(&gybe), text.clone(), path.clone(), release.clone());
        large.spawn(async move {
            let (mut from, mut sender) = connect(&to).await.into_split();
            let sending = async {
                let whole = head("POST", &path, text.len()) + &text;
                let (most, last) = whole.split_at(whole.len() - 1);
                if sender.write_all(most.as_bytes()).await.is_ok() {
                    release.cancelled().await;
                    let _refused = sender.write_all(last.as_bytes()).await;
                }
                let _refused = sender.shutdown().await;
            };
            tokio::join!(read_to_end(&mut from), sending).0
        });
    }
    // Sixteen fit into the limit.
    let shed = || async {
        let metrics = gybe.get("/metrics").await.text;
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("gybe_http_requests_shed_total ")?.parse::<usize>().ok())
            .unwrap()
    };
    let begun = Instant::now();
    while shed().await < 24 {
        assert!(begun.elapsed() < Duration::from_secs(25), "{} were sent away", shed().await);
    }
    for name in ["small", "bodies", "are", "taken"] {
        let changed = gybe.patch(&instance, &json!({ "vnfInstanceName": name })).await;
        assert!(matches!(changed.status, StatusCode::ACCEPTED | StatusCode::CONFLICT), "{}", changed.text);
    }
    release.cancel();
    let answers = large.join_all().await;
    let away: Vec<_> = answers.iter().filter(|answer| status(answer) == 503).collect();
    assert!(away.iter().all(|answer| answer.contains("Retry-After: 5") && answer.contains("problem+json")), "{away:?}");
    let read = answers.iter().filter(|answer| status(answer) == 404).count();
    assert!(away.len() >= 24 && read > 0 && away.len() + read == answers.len(), "{} and {read}", away.len());
    let peak = memory(&gybe, "VmHWM");
    println!(
        "{read} bodies of a MiB were read, {} sent away; memory {before} MiB before, {peak} MiB at most",
        away.len()
    );
    assert!(peak < before + 400, "{peak} MiB");

    let alone = exchange(&address(&gybe), (head("POST", &path, text.len()) + &text).into_bytes()).await;
    assert_eq!(status(&alone), 404, "connections are accepted again");
}

#[tokio::test]
async fn silent_servers_that_callers_name_take_no_slots_of_others() {
    let gybe = Gybe::start_with(&["--max-requests", "1"]);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let cred = json!({ "bearer_token": "t", "insecure": true });
    let vim = json!({ "vim": { "type": "kubernetes", "name": "silent", "auth_url": endpoint, "auth_cred": cred } });
    let subscription = json!({ "callbackUri": endpoint });
    for (path, body) in [("/v1.0/vims", vim), ("/vnflcm/v2/subscriptions", subscription)] {
        let others = async {
            let connection = silent.accept().await.unwrap();
            gybe.get(INSTANCES).await.expect(StatusCode::OK);
            drop(connection);
        };
        let (refused, ()) = tokio::join!(gybe.post(path, &body), others);
        refused.problem(422);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_cannot_exhaust_the_file_descriptors_of_operations() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start_with_files(256);
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let path = gybe.create("v2", &gybe.onboard("small").await).await;

    let (before, begun, files) = (cpu_seconds(&gybe), Instant::now(), open_files(&gybe));
    let mut idle = JoinSet::new();
    for _ in 0..200 {
        let to = address(&gybe);
        idle.spawn(async move { read_to_end(&mut connect(&to).await).await });
    }
    wait_until("as many connections are taken as may be", || open_files(&gybe) >= files + 100).await;
    // Over the connection that is already open.
    let request = instantiate_request(namespace.name.as_str());
    gybe.complete(&path, "instantiate", &request).await;
    assert!(open_files(&gybe) < 250, "some files are left for connections other than the callers'");
    let fresh = reqwest::Client::new().get(gybe.uri(INSTANCES)).send().await.unwrap();
    assert_eq!(fresh.status(), StatusCode::OK, "waiting connections are served when idle ones are closed");
    while let Some(closed) = idle.join_next().await {
        assert!(matches!(status(&closed.unwrap()), 0 | 408));
    }
    let (used, took) = (cpu_seconds(&gybe) - before, begun.elapsed().as_secs_f64());
    println!("{used:.1} s of CPU in {took:.1} s while connections waited");
    assert!(used < took / 2.0, "the server does not busy-wait: {used} s of CPU in {took} s");
}
