//! What callers cost: requests a second, start-up and memory with each method of authentication, beside none.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tempfile::TempDir;

use crate::api::address;
use crate::load::{Connection, Load, get, get_with};
use crate::process::Process;
use crate::report::{Section, figure, median, millis};
use crate::support::gybe::Gybe;
use crate::support::issuer::{Issuer, SigningKey};
use crate::support::keystone::{Keystone, MEMBER_A, SERVICE};

const CONNECTIONS: [usize; 3] = [1, 8, 32];
/// The number of measurements, method by method in turn.
const RUNS: usize = 5;

/// A server, and what its caller sends.
struct Server {
    method: &'static str,
    gybe: Gybe,
    request: Vec<u8>,
}

pub async fn measure() -> Section {
    let mut section = Section::new(
        "authentication",
        "Callers",
        "Real: the binary, HTTP/1.1 on loopback, SQLite, a Keystone; the issuer of the JWT is one of the tests. Each caller gets one VNF \
         instance. Medians of five measurements, the methods in turn. `of none`: the rate in percent of that without authentication. \
         Start-up is the time from exec until the log line `gybe serves on …`; memory is VmRSS of a process that has served one request.",
        &["method", "connections", "per second", "of none", "start-up ms", "idle MiB"],
    );
    let folder = TempDir::new().unwrap();
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]).await;
    let mut servers = vec![
        Server::start("none", &[], None).await,
        of_static_token(folder.path()).await,
        Server::start(
            "JWT",
            &["--config", &file(folder.path(), "jwt.toml", &issuer.table())],
            Some(("authorization", &format!("Bearer {}", key.sign(&issuer.claims("alice", "member"))))),
        )
        .await,
        of_keystone(folder.path()).await,
    ];
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    for server in &mut servers {
        starts.push(median((0..RUNS).map(|_| server.restarted()).collect()));
        Connection::open(&address(&server.gybe)).await.ask(&server.request, 200).await;
        // The work at the start, such as the view of all instances, must be over.
        tokio::time::sleep(Duration::from_secs(2)).await;
        memory.push(Process(server.gybe.child.id()).resident_kib() as f64 / 1024.0);
    }
    for connections in CONNECTIONS {
        let mut rates = vec![Vec::new(); servers.len()];
        for _ in 0..RUNS {
            for (server, rates) in servers.iter().zip(&mut rates) {
                rates.push(server.rate(connections).await);
            }
        }
        let rates: Vec<f64> = rates.into_iter().map(middle).collect();
        for (number, server) in servers.iter().enumerate() {
            let mut row = vec![json!(server.method), json!(connections), figure(rates[number])];
            row.push(figure(100.0 * rates[number] / rates[0]));
            row.extend([millis(starts[number]), figure(memory[number])]);
            section.row(row);
        }
    }
    section
}

async fn of_static_token(folder: &Path) -> Server {
    let token = "0123456789abcdef0123456789abcdef";
    let table = format!("[[token]]\ntoken = '{token}'\nsubject = 'alice'\nrole = 'member'\n");
    let tokens = file(folder, "tokens.toml", &table);
    let header = format!("Bearer {token}");
    Server::start("static token", &["--token-file", &tokens], Some(("authorization", &header))).await
}

async fn of_keystone(folder: &Path) -> Server {
    let keystone = Keystone::shared();
    let token = keystone.token(MEMBER_A).await.secret;
    let password = file(folder, "password", SERVICE.user);
    let (url, user) = (&keystone.url, SERVICE.user);
    let table = format!("[auth.keystone]\nauth_url = '{url}'\nusername = '{user}'\npassword_file = '{password}'\n");
    let configuration = file(folder, "keystone.toml", &table);
    Server::start("Keystone token", &["--config", &configuration], Some(("x-auth-token", &token))).await
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path: PathBuf = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

impl Server {
    /// Starts one with a VNF instance of the caller that sends `header`.
    async fn start(method: &'static str, arguments: &[&str], header: Option<(&str, &str)>) -> Self {
        let mut gybe = Gybe::start_with(arguments);
        if let Some((name, value)) = header {
            let (name, value): (HeaderName, HeaderValue) = (name.parse().unwrap(), value.parse().unwrap());
            let headers: HeaderMap = [(name, value)].into_iter().collect();
            gybe.client = Client::builder().default_headers(headers).build().unwrap();
        }
        let vnfd = gybe.onboard("small").await;
        let instance = gybe.create("v2", &vnfd).await;
        let request = header.map_or_else(|| get(&instance), |header| get_with(&instance, header));
        Self { method, gybe, request }
    }

    /// Restarts it; returns how long that took.
    fn restarted(&mut self) -> Duration {
        self.gybe.kill();
        let begun = Instant::now();
        self.gybe.restart();
        begun.elapsed()
    }

    /// Requests a second.
    async fn rate(&self, connections: usize) -> f64 {
        let load = Load { address: address(&self.gybe), connections, requests: 20_000, wanted: 200 };
        let request = self.request.clone();
        load.run(move |_| request.clone()).await.rate
    }
}
