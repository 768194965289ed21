//! A highly available Gybe: two API processes and three conductors on one PostgreSQL database, with one data folder.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use gybe::domain::vim::VimAccess;
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::gybe::Gybe;

/// Number of API processes; they come first.
pub const APIS: usize = 2;
/// Number of processes.
pub const PROCESSES: usize = 5;

/// A lease so short that many expire within a test.
pub const SHORT: Duration = Duration::from_secs(5);
/// The default lease. It is longer than any test waits.
pub const LONG: Duration = Duration::from_secs(30);

/// The processes. They are killed when the value is dropped.
pub struct ProcessGroup {
    members: Vec<Mutex<Gybe>>,
    /// The URL of each process. Not behind the locks of `members`: those are held while a process starts.
    urls: Vec<RwLock<String>>,
    client: reqwest::Client,
    /// The vnfdId of sample `core5g`.
    pub core5g: String,
    /// The vnfdId of sample `small`.
    pub small: String,
    _data: TempDir,
}

impl ProcessGroup {
    /// Starts all processes on the database at `database_url`. `access` becomes the default VIM.
    pub async fn start(database_url: &str, access: &VimAccess, lease: Duration) -> Arc<Self> {
        let (folder, url) = (TempDir::new().unwrap(), database_url.to_owned());
        let data = folder.path().to_owned();
        let start = move || {
            let lease = lease.as_secs().to_string();
            let member = |index: usize| {
                let role = if index < APIS { "api" } else { "conductor" };
                // Links point to no process: a client that follows one takes the path and sends it to any API.
                let arguments = ["--role", role, "--lease", &lease, "--public-url", "http://gybe.test"];
                Gybe::start_beside(&data, &url, &arguments)
            };
            (0..PROCESSES).map(member).collect()
        };
        let members: Vec<Gybe> = spawn_blocking(start).await.unwrap();
        members[0].register_vim(access, "cluster", true).await;
        let (core5g, small) = (members[0].onboard("core5g").await, members[0].onboard("small").await);
        let urls = members.iter().map(|member| RwLock::new(member.url.clone())).collect();
        let members = members.into_iter().map(Mutex::new).collect();
        Arc::new(Self { members, urls, client: reqwest::Client::new(), core5g, small, _data: folder })
    }

    /// The URL at which process `index` serves, or served until it was killed.
    pub fn url(&self, index: usize) -> String {
        self.urls[index].read().unwrap().clone()
    }

    /// Runs `work` on a process; it may block.
    async fn with(self: &Arc<Self>, index: usize, work: impl FnOnce(&mut Gybe) + Send + 'static) {
        let group = Arc::clone(self);
        let worked = spawn_blocking(move || {
            let mut member = group.members[index].lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut member);
            *group.urls[index].write().unwrap() = member.url.clone();
        });
        worked.await.unwrap();
    }

    /// Kills process `index` with SIGKILL.
    pub async fn kill(self: &Arc<Self>, index: usize) {
        self.with(index, Gybe::kill).await;
    }

    /// Stops process `index` and its clocks for `time`.
    pub async fn stand_still(self: &Arc<Self>, index: usize, time: Duration) {
        self.with(index, move |member| member.stand_still(time)).await;
    }

    /// Sends SIGTERM and waits. The process must exit with success.
    pub async fn stop(self: &Arc<Self>, index: usize) {
        self.with(index, |member| {
            member.terminate();
            let ended = member.child.wait().unwrap();
            assert!(ended.success(), "{ended}\n{}", tail(&member.log()));
        })
        .await;
    }

    /// Starts a process again after it has ended.
    pub async fn start_again(self: &Arc<Self>, index: usize) {
        self.with(index, Gybe::restart).await;
    }

    /// Status and duration of GET `path` on process `index`.
    pub async fn probe(&self, index: usize, path: &str) -> (StatusCode, Duration) {
        let begun = Instant::now();
        let answer = self.client.get(format!("{}{path}", self.url(index))).send().await.unwrap();
        (answer.status(), begun.elapsed())
    }

    /// Waits until every process reports that it is ready.
    pub async fn wait_ready(&self) {
        let begun = Instant::now();
        for index in 0..PROCESSES {
            while self.probe(index, "/readyz").await.0 != StatusCode::OK {
                assert!(begun.elapsed() < Duration::from_secs(60), "process {index} is not ready\n{}", self.log());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// The last warnings and errors that each process logged.
    pub fn log(&self) -> String {
        let member = |(index, member): (usize, &Mutex<Gybe>)| {
            let log = member.lock().unwrap_or_else(PoisonError::into_inner).log();
            format!("--- process {index}\n{}", tail(&log))
        };
        self.members.iter().enumerate().map(member).collect::<Vec<_>>().join("\n")
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("\"INFO\"")).collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
