//! Requests per second that the API serves, on SQLite and on PostgreSQL.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use gybe::store::{connect, seal::KeyRing};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use crate::fake_driver;
use crate::load::{self, Connection, Load, Outcome};
use crate::process::Process;
use crate::report::{Section, figure, millis};
use crate::support::gybe::{Gybe, KEY, instantiate_request};
use crate::support::postgres::Database;

/// The instances of the newer edition.
pub const INSTANCES: &str = "/vnflcm/v2/vnf_instances";
const CONNECTIONS: [usize; 3] = [1, 8, 32];
/// The number of instances when pages are read.
pub const MANY: usize = 10_000;

/// A server with the sample `small` onboarded, and its address.
struct Server<'a> {
    database: &'static str,
    gybe: &'a Gybe,
    create: Vec<u8>,
    section: &'a mut Section,
}

pub async fn measure() -> Section {
    let mut section = Section::new(
        "api",
        "Requests",
        "Real: the binary, HTTP/1.1 on loopback, both databases with every commit synced to disk. The load generator shares \
         the cores with the server (and with PostgreSQL): `CPU µs` is what the server's process itself used for a request, \
         PostgreSQL's not counted. A load ends after its requests or after five seconds. An instantiation is accepted and \
         not worked on: on PostgreSQL the process has the role `api`; SQLite serves one process, so its conductor is \
         there, held up by a VIM that never answers. Before lists are read, PostgreSQL is told to ANALYZE, as it does by itself \
         within a minute.",
        &["request", "database", "connections", "answers", "per second", "median ms", "p99 ms", "CPU µs"],
    );
    // A VIM that accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let vim = format!("https://{}", silent.local_addr().unwrap());

    let mut gybe = Gybe::start_with(&["--max-operations", "1", "--page-size", "100"]);
    measure_on(None, &mut gybe, &vim, &mut section).await;
    drop(gybe);
    let database = Database::create().await;
    let mut gybe = Gybe::start_on_with(&database.url, &["--role", "api", "--page-size", "100"]);
    measure_on(Some(&database), &mut gybe, &vim, &mut section).await;
    section
}

async fn measure_on(postgres: Option<&Database>, gybe: &mut Gybe, vim: &str, section: &mut Section) {
    let database = if postgres.is_some() { "PostgreSQL" } else { "SQLite" };
    add_vim(gybe, vim).await;
    let vnfd = gybe.onboard("small").await;
    let create = load::post(INSTANCES, &json!({ "vnfdId": vnfd }).to_string());
    let mut server = Server { database, gybe, create, section };
    let one = server.gybe.create("v2", &vnfd).await;
    // Not measured: the first requests set things up.
    server.run(32, 1000, 200, load::get(&one)).await;
    for connections in CONNECTIONS {
        let outcome = server.run(connections, 100_000, 200, load::get(&one)).await;
        server.row("GET vnf_instances/{id}", connections, &outcome);
    }
    let mut there = 1;
    for connections in CONNECTIONS {
        let outcome = server.run(connections, 3_000, 201, server.create.clone()).await;
        server.row("POST vnf_instances", connections, &outcome);
        there += outcome.0.answers;
    }
    create_instances(server.gybe, &server.create, MANY - there).await;
    if let Some(postgres) = postgres {
        let options: PgConnectOptions = postgres.url.parse().unwrap();
        options.connect().await.unwrap().execute("ANALYZE").await.unwrap();
    }
    server.pages().await;
    server.instantiations().await;
}

impl Server<'_> {
    async fn run(&self, connections: usize, requests: usize, wanted: u16, request: Vec<u8>) -> (Outcome, f64) {
        self.run_each(connections, requests, wanted, move |_| request.clone()).await
    }

    /// Runs the load; also returns the microseconds of CPU per request on the server.
    async fn run_each(
        &self,
        connections: usize,
        requests: usize,
        wanted: u16,
        request: impl Fn(usize) -> Vec<u8> + Clone + Send + 'static,
    ) -> (Outcome, f64) {
        let process = Process(self.gybe.child.id());
        let before = process.cpu();
        let load = Load { address: address(self.gybe), connections, requests, wanted };
        let outcome = load.run(request).await;
        let cpu = (process.cpu() - before).as_secs_f64() * 1e6 / outcome.answers as f64;
        (outcome, cpu)
    }

    fn row(&mut self, request: &str, connections: usize, (outcome, cpu): &(Outcome, f64)) {
        let times = [millis(outcome.median), millis(outcome.p99)];
        let mut row = vec![json!(request), json!(self.database), json!(connections), json!(outcome.answers)];
        row.push(figure(outcome.rate));
        row.extend(times);
        row.push(figure(*cpu));
        self.section.row(row);
    }

    /// Reads a list of [`MANY`] instances, page by page.
    async fn pages(&mut self) {
        let mut connection = Connection::open(&address(self.gybe)).await;
        let first = connection.ask(&load::get(INSTANCES), 200).await;
        let entries = serde_json::from_slice::<Vec<Value>>(&first.body).unwrap().len();
        let mut pages = vec![load::get(INSTANCES)];
        let mut link = first.next_page();
        while let Some(path) = link.filter(|_| pages.len() < 100) {
            pages.push(load::get(&path));
            link = connection.ask(pages.last().unwrap(), 200).await.next_page();
        }
        let request = format!("GET vnf_instances: {entries} of {MANY}");
        // Reading the whole list takes so long that requests must not wait for each other.
        let (requests, connections) = if pages.len() > 1 { (20_000, &CONNECTIONS[..]) } else { (5, &CONNECTIONS[..1]) };
        let pages = Arc::new(pages);
        for &connections in connections {
            let pages = pages.clone();
            let page = move |number: usize| pages[number % pages.len()].clone();
            let outcome = self.run_each(connections, requests, 200, page).await;
            self.row(&request, connections, &outcome);
        }
    }

    /// Instantiates an instance with each request.
    async fn instantiations(&mut self) {
        const REQUESTS: usize = 2_000;
        let body = instantiate_request("there").to_string();
        for connections in CONNECTIONS {
            let instances = Arc::new(create_instances(self.gybe, &self.create, REQUESTS).await);
            let body = body.clone();
            let request = move |number: usize| load::post(&format!("{}/instantiate", instances[number]), &body);
            let outcome = self.run_each(connections, REQUESTS, 202, request).await;
            self.row("POST instantiate", connections, &outcome);
        }
    }
}

/// Creates `number` instances with `request`; returns their paths.
pub async fn create_instances(gybe: &Gybe, request: &[u8], number: usize) -> Vec<String> {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let (address, request, paths) = (address(gybe), request.to_vec(), paths.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await;
                for _ in (task..number).step_by(32) {
                    let answer = connection.ask(&request, 201).await;
                    let path = load::path_of(answer.header("location").unwrap());
                    paths.lock().unwrap().push(path);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    std::mem::take(&mut *paths.lock().unwrap())
}

/// Writes a default VIM to the database, without the check that it responds.
async fn add_vim(gybe: &mut Gybe, endpoint: &str) {
    gybe.kill();
    let store = connect(&gybe.database_url, KeyRing::parse(KEY).unwrap()).await.unwrap();
    store.create_vim(&fake_driver::vim(endpoint)).await.unwrap();
    drop(store);
    gybe.restart();
}

/// Host and port of the URL.
pub fn address(gybe: &Gybe) -> String {
    gybe.url.trim_start_matches("http://").to_owned()
}
