//! A Gybe with callers of three projects, for tests of roles, projects and audit.

use std::collections::HashMap;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tempfile::TempDir;

use crate::support::gybe::Gybe;

/// A Gybe with the static tokens `a-admin`, `a-reader`, …: a role in project `a`, `b` or `c`.
pub struct Site {
    pub gybe: Gybe,
    /// The clients that were used, by their tokens: making one is slow.
    clients: HashMap<Option<String>, reqwest::Client>,
    /// Has the token file.
    _folder: TempDir,
}

/// The token of a role in a project.
pub fn token(project: &str, role: &str) -> String {
    format!("{project}-{role}-0123456789abcdef0123456789")
}

impl Site {
    pub fn start(arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("tokens.toml");
        let mut text = String::new();
        for project in ["a", "b", "c"] {
            for role in ["reader", "member", "manager", "admin"] {
                let token = token(project, role);
                text += &format!(
                    "[[token]]\ntoken = '{token}'\nsubject = '{project}-{role}'\nproject = '{project}'\nrole = '{role}'\n"
                );
            }
        }
        std::fs::write(&path, text).unwrap();
        let arguments = [&["--token-file", path.to_str().unwrap()], arguments].concat();
        Self { gybe: Gybe::start_with(&arguments), clients: HashMap::new(), _folder: folder }
    }

    /// From now on all requests are of this role in this project.
    pub fn act_as(&mut self, project: &str, role: &str) -> &Gybe {
        self.act_with(Some(&token(project, role)))
    }

    /// From now on requests carry no credential.
    pub fn act_as_nobody(&mut self) -> &Gybe {
        self.act_with(None)
    }

    /// From now on all requests carry this token.
    pub fn act_with(&mut self, token: Option<&str>) -> &Gybe {
        let client = self.clients.entry(token.map(str::to_owned)).or_insert_with(|| client(token));
        self.gybe.client = client.clone();
        &self.gybe
    }
}

fn client(token: Option<&str>) -> reqwest::Client {
    let value = |token: &str| HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let headers: HeaderMap = token.map(|token| (AUTHORIZATION, value(token))).into_iter().collect();
    let idle = std::time::Duration::from_secs(2);
    reqwest::Client::builder().default_headers(headers).pool_idle_timeout(idle).build().unwrap()
}
