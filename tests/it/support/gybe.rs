//! The real `gybe` binary as a process, with an HTTP client for its API.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gybe::domain::vim::{VimAccess, VimCredential};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::documented;

/// A running `gybe serve` with its database and packages in a folder of its own. Dropping it kills the process and
/// deletes the folder.
pub struct Gybe {
    folder: TempDir,
    data: PathBuf,
    /// The process.
    pub child: Child,
    /// The value of `--database-url`.
    pub database_url: String,
    arguments: Vec<String>,
    files: Option<u32>,
    /// Scheme, host and port of the API.
    pub url: String,
    /// An HTTP client without timeouts.
    pub client: Client,
}

/// The key that encrypts secrets in the database: 32 bytes in base64.
pub const KEY: &str = "Z3liZS10ZXN0LWtleS1neWJlLXRlc3Qta2V5LTAwMDA=";
/// Arguments for a test whose VNF does not become ready: a fault that lasts is reported after this grace period, one that
/// usually passes after ten times as long. The default is much longer, because on a busy machine healthy pods, too, may
/// be unschedulable for some seconds while their volumes are bound.
pub const SHORT_GRACE: [&str; 2] = ["--ready-grace", "2"];
/// The environment variable with the path of libfaketime, through which the processes read their clocks.
pub const FAKETIME: &str = "GYBE_TEST_FAKETIME";
/// The file with the seconds that the clocks of a process are ahead.
const CLOCK: &str = "clock";
/// The longest that a test waits for an expected change, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(300);

impl Gybe {
    /// Starts on SQLite.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts on SQLite, with further arguments of `gybe serve`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let database_url = format!("sqlite://{}", folder.path().join("gybe.db").display());
        Self::spawn(folder, database_url, arguments)
    }

    /// Starts on the PostgreSQL database at `database_url`.
    pub fn start_on(database_url: &str) -> Self {
        Self::start_on_with(database_url, &[])
    }

    /// As [`Gybe::start_on`], with further arguments of `gybe serve`.
    pub fn start_on_with(database_url: &str, arguments: &[&str]) -> Self {
        Self::spawn(TempDir::new().unwrap(), database_url.to_owned(), arguments)
    }

    /// As [`Gybe::start_on_with`], with a data folder that several processes share.
    pub fn start_beside(data: &Path, database_url: &str, arguments: &[&str]) -> Self {
        Self::launched(TempDir::new().unwrap(), data.to_owned(), database_url.to_owned(), arguments, None)
    }

    /// Starts on SQLite with a limit of open files.
    pub fn start_with_files(files: u32) -> Self {
        let folder = TempDir::new().unwrap();
        let database_url = format!("sqlite://{}", folder.path().join("gybe.db").display());
        let data = folder.path().join("data");
        Self::launched(folder, data, database_url, &[], Some(files))
    }

    fn spawn(folder: TempDir, database_url: String, arguments: &[&str]) -> Self {
        let data = folder.path().join("data");
        Self::launched(folder, data, database_url, arguments, None)
    }

    fn launched(folder: TempDir, data: PathBuf, database_url: String, arguments: &[&str], files: Option<u32>) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (child, url) = launch(folder.path(), &data, &database_url, &arguments, files);
        // Gybe closes connections that are idle for 5 seconds. The client drops them earlier, so that it never uses one
        // that is being closed.
        let client = Client::builder().pool_idle_timeout(Duration::from_secs(2)).build().unwrap();
        Self { folder, data, child, database_url, arguments, files, url, client }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Stops the process and its clocks for `time`, as a virtual machine that is paused. Only with [`FAKETIME`].
    pub fn stand_still(&self, time: Duration) {
        let signal = |name: &str| {
            let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
            assert!(sent.success());
        };
        let offset = self.folder.path().join(CLOCK);
        let before: f64 = std::fs::read_to_string(&offset).unwrap().trim().parse().unwrap();
        signal("-STOP");
        let begun = Instant::now();
        std::thread::sleep(time);
        std::fs::write(&offset, format!("{:.3}", before - begun.elapsed().as_secs_f64())).unwrap();
        signal("-CONT");
    }

    /// Sends SIGKILL and waits for the end of the process.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts again on the same database, at another port.
    pub fn restart(&mut self) {
        (self.child, self.url) =
            launch(self.folder.path(), &self.data, &self.database_url, &self.arguments, self.files);
    }

    /// The next start is without this argument.
    pub fn forget_argument(&mut self, argument: &str) {
        self.arguments.retain(|known| known != argument);
    }

    /// The folder with database, packages and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("gybe.log")).unwrap()
    }

    pub async fn get(&self, path: &str) -> ApiResponse {
        self.send(self.client.get(self.uri(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> ApiResponse {
        self.send(self.client.post(self.uri(path)).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> ApiResponse {
        self.send(self.client.patch(self.uri(path)).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> ApiResponse {
        self.send(self.client.put(self.uri(path)).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> ApiResponse {
        self.send(self.client.delete(self.uri(path))).await
    }

    /// Sends `request` and reads the whole response, which must be as the OpenAPI documents say.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> ApiResponse {
        let (client, request) = request.build_split();
        let request = request.expect("the request is valid");
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let response = ApiResponse::read(client.execute(request).await.expect("gybe responds")).await;
        let status = response.status.as_u16();
        let difference =
            documented::difference(&method, &path, status, response.content_type.as_deref(), &response.text);
        assert_eq!(difference, None, "{method} {path} {status} is not as documented: {}", response.text);
        response
    }

    /// `path` as an absolute URI. Of an absolute `path` only the path counts, because the port changes with a restart.
    pub fn uri(&self, path: &str) -> String {
        let path = path.split_once("://").map_or(path, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
        format!("{}{path}", self.url)
    }

    /// Registers a VIM and returns its id.
    pub async fn register_vim(&self, access: &VimAccess, name: &str, is_default: bool) -> String {
        let answer = self.post("/v1.0/vims", &vim(access, name, is_default)).await;
        answer.expect(StatusCode::CREATED)["vim"]["id"].as_str().unwrap().to_owned()
    }

    /// Uploads a CSAR, waits for the end of onboarding and returns the package.
    pub async fn upload(&self, csar: &[u8]) -> Value {
        let package = self.post("/vnfpkgm/v1/vnf_packages", &json!({})).await.expect(StatusCode::CREATED);
        let href = package["_links"]["self"]["href"].as_str().unwrap().to_owned();
        let upload = self.client.put(self.uri(&format!("{href}/package_content")));
        let upload = upload.header("Content-Type", "application/zip").body(csar.to_vec());
        self.send(upload).await.expect(StatusCode::ACCEPTED);
        self.wait_until(&href, |package| {
            !matches!(package["onboardingState"].as_str(), Some("UPLOADING" | "PROCESSING"))
        })
        .await
    }

    /// Onboards a sample package and returns its vnfdId.
    pub async fn onboard(&self, sample: &str) -> String {
        let package = self.upload(&super::sample::pack(sample)).await;
        assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
        package["vnfdId"].as_str().unwrap().to_owned()
    }

    /// Runs another command of Gybe on the database.
    pub fn run(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(binary());
        command.args(arguments).args(["--database-url", &self.database_url]).env("GYBE_KEY", KEY).output().unwrap()
    }

    /// The output of `gybe debug`.
    pub fn debug(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(binary());
        let output =
            command.arg("debug").args(arguments).args(["--database-url", &self.database_url]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Creates a VNF instance and returns its path in `edition` (`v1`, `v2`).
    pub async fn create(&self, edition: &str, vnfd_id: &str) -> String {
        let path = format!("/vnflcm/{edition}/vnf_instances");
        let answer = self.post(&path, &json!({ "vnfdId": vnfd_id })).await;
        let id = answer.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned();
        format!("{path}/{id}")
    }

    /// Creates a VNF instance and instantiates it in `namespace` of the default VIM; returns its path.
    pub async fn instantiate(&self, edition: &str, vnfd_id: &str, namespace: &str) -> String {
        let path = self.create(edition, vnfd_id).await;
        self.complete(&path, "instantiate", &instantiate_request(namespace)).await;
        path
    }

    /// Starts a lifecycle operation and returns the URI of its op occurrence.
    pub async fn begin(&self, instance: &str, operation: &str, body: &Value) -> String {
        let answer = self.post(&format!("{instance}/{operation}"), body).await;
        answer.expect(StatusCode::ACCEPTED);
        assert_eq!(answer.text, "", "a 202 has no body");
        answer.location.expect("a 202 has a Location")
    }

    /// Waits until no conductor has to work on the op occurrence, and returns it.
    pub async fn wait_ended(&self, op: &str) -> Value {
        self.wait_until(op, |op| {
            !matches!(op["operationState"].as_str(), Some("STARTING" | "PROCESSING" | "ROLLING_BACK"))
        })
        .await
    }

    /// Runs a lifecycle operation, which must end COMPLETED.
    pub async fn complete(&self, instance: &str, operation: &str, body: &Value) -> Value {
        let op = self.begin(instance, operation, body).await;
        let op = self.wait_ended(&op).await;
        assert_eq!(op["operationState"], "COMPLETED", "{}\n{op:#}", self.log());
        op
    }

    /// Polls a resource until it satisfies `wanted`, as NFVOs do: the API has no other way to wait.
    pub async fn wait_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.poll(path, Duration::from_millis(20), wanted).await
    }

    /// As [`Gybe::wait_until`], with the interval between two requests.
    pub async fn poll(&self, path: &str, interval: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let resource = self.get(path).await.expect(StatusCode::OK);
            if wanted(&resource) {
                return resource;
            }
            assert!(begun.elapsed() < PATIENCE, "{}\n{path} is not as expected: {resource:#}", self.log());
            tokio::time::sleep(interval).await;
        }
    }
}

impl Drop for Gybe {
    fn drop(&mut self) {
        // The test may have killed it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(folder: &Path, data: &Path, database_url: &str, arguments: &[String], files: Option<u32>) -> (Child, String) {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("gybe.log")).unwrap();
    let mut command = match files {
        Some(files) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")]).arg(binary());
            shell
        }
        None => Command::new(binary()),
    };
    if let Some(library) = std::env::var_os(FAKETIME) {
        let offset = folder.join(CLOCK);
        std::fs::write(&offset, "-0.000").unwrap();
        command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", offset).env("FAKETIME_NO_CACHE", "1");
    }
    let mut child = command
        .args(["serve", "--listen", "127.0.0.1:0", "--database-url", database_url])
        .arg("--data-dir")
        .arg(data)
        .args(arguments)
        .env("GYBE_KEY", KEY)
        // Simulated containers never end a moment after they start; tests of the settle time set the option.
        .env("GYBE_SETTLE_TIME", "0")
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.split_whitespace().find(|word| word.starts_with("http"));
    let log = || std::fs::read_to_string(folder.join("gybe.log")).unwrap();
    (child, url.unwrap_or_else(|| panic!("gybe printed no URL: {line}\n{}", log())).to_owned())
}

/// The request body of an instantiation in `namespace`.
pub fn instantiate_request(namespace: &str) -> Value {
    json!({ "flavourId": "simple", "additionalParams": { "namespace": namespace } })
}

/// The request body that registers a VIM.
pub fn vim(access: &VimAccess, name: &str, is_default: bool) -> Value {
    let mut credential = match &access.credential {
        VimCredential::BearerToken(token) => json!({ "bearer_token": token.expose() }),
        VimCredential::ClientCertificate { certificate, key } => {
            json!({ "client_cert": certificate, "client_key": key.expose() })
        }
        VimCredential::TokenEndpoint(_) | VimCredential::Simulated => {
            panic!("tests register token endpoints by their members, and no simulated VIM")
        }
    };
    credential["ssl_ca_cert"] = access.ca.clone().into();
    json!({ "vim": {
        "type": "kubernetes", "name": name, "auth_url": access.endpoint, "is_default": is_default, "auth_cred": credential,
    } })
}

/// The same access as an inline `vimConnectionInfo` entry of either edition, without id.
pub fn connection(access: &VimAccess) -> Value {
    let registered = vim(access, "", false);
    let mut credential = registered["vim"]["auth_cred"].clone();
    let ca = credential.as_object_mut().unwrap().remove("ssl_ca_cert");
    json!({
        "vimType": "ETSINFV.KUBERNETES.V_1",
        "interfaceInfo": { "endpoint": access.endpoint, "ssl_ca_cert": ca },
        "accessInfo": credential,
    })
}

/// The binary under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_gybe"))
}

/// A complete response.
#[derive(Debug)]
pub struct ApiResponse {
    pub status: StatusCode,
    pub location: Option<String>,
    pub content_type: Option<String>,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl ApiResponse {
    async fn read(response: Response) -> Self {
        let headers = response.headers().clone();
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Self {
            status: response.status(),
            location: header("location"),
            content_type: header("content-type"),
            text: response.text().await.unwrap(),
            headers: headers.clone(),
        }
    }

    /// The JSON body, after a check of the status.
    #[track_caller]
    pub fn expect(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { serde_json::from_str(&self.text).expect("the body is JSON") }
    }

    /// The `detail` of a well-formed problem with that status.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.content_type.as_deref(), Some("application/problem+json"), "{}", self.text);
        let problem: Value = serde_json::from_str(&self.text).expect("the body is JSON");
        assert_eq!(problem["status"], status);
        problem["detail"].as_str().expect("a problem has a detail").to_owned()
    }
}
