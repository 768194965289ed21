//! A Gybe whose callers have tokens of a real Keystone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use tempfile::TempDir;

use crate::support::gybe::{ApiResponse, Gybe};
use crate::support::keystone::{SERVICE, Token};

pub const VIMS: &str = "/v1.0/vims";
/// The longest that a test waits for an expected change, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(90);

/// A Gybe whose callers have tokens of the Keystone at a URL.
pub struct Authenticated {
    pub gybe: Gybe,
    _configuration: TempDir,
}

impl Authenticated {
    pub fn by(auth_url: &str) -> Self {
        Self::with_tables(auth_url, "")
    }

    /// With further tables of the configuration file.
    pub fn with_tables(auth_url: &str, tables: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name: &str, text: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let password = file("password", &format!("{}\n", SERVICE.user));
        let table = format!(
            "[auth.keystone]\nauth_url = '{auth_url}'\nusername = '{}'\npassword_file = '{}'\n{tables}",
            SERVICE.user,
            password.display()
        );
        let path = file("gybe.toml", &table);
        let gybe = Gybe::start_with(&["--config", path.to_str().unwrap()]);
        Self { gybe, _configuration: folder }
    }

    /// Sends requests of its own with this token from now on.
    pub fn act_as(&mut self, token: &Token) {
        let headers = [("X-Auth-Token".parse().unwrap(), token.secret.parse().unwrap())].into_iter().collect();
        self.gybe.client = Client::builder().default_headers(headers).build().unwrap();
    }

    pub async fn with(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> ApiResponse {
        let request = self.gybe.client.request(method, self.gybe.uri(path));
        self.gybe.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// The status of a list that is asked for with this token.
    pub async fn status(&self, token: &str) -> StatusCode {
        self.with(Method::GET, VIMS, &[("X-Auth-Token", token)]).await.status
    }

    /// Waits until that status is as expected.
    pub async fn wait_for(&self, token: &str, expected: StatusCode, among: &[StatusCode]) {
        let begun = Instant::now();
        loop {
            let status = self.status(token).await;
            if status == expected {
                return;
            }
            assert!(among.contains(&status), "{status}\n{}", self.gybe.log());
            assert!(begun.elapsed() < PATIENCE, "still {status}\n{}", self.gybe.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
