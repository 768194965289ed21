//! Reads server and credential from a file of kubectl.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::cli::CliError;
use crate::package::yaml::{At, Budget, documents};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The text of a file.
///
/// # Errors
/// It can't be read, is no UTF-8 or too large.
pub fn bounded(path: &Path) -> Result<String, CliError> {
    let file = std::fs::File::open(path).map_err(|error| CliError::file(path, "read", &error))?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| CliError::file(path, "read", &error))?;
    Ok(text)
}

/// The URL of the API server and `auth_cred`, of a context or the current one.
///
/// # Errors
/// The file can't be read, has no such context, or a credential that a server can't use.
pub fn read(path: &Path, context: Option<&str>) -> Result<(String, Map<String, Value>), CliError> {
    let (shown, text) = (path.display().to_string(), bounded(path)?);
    let documents = documents(&shown, &text, &mut Budget::default())?;
    let Some(document) = documents.first() else {
        return Err(CliError::usage(format!("{shown} is empty; name a file of kubectl")));
    };
    let root = At::root(&shown, "the kubeconfig", document);
    let current = match context {
        Some(context) => context,
        None => root.required("current-context")?.text()?,
    };
    let context = named(root, "contexts", current)?.required("context")?;
    let cluster = named(root, "clusters", context.required("cluster")?.text()?)?.required("cluster")?;
    let user = named(root, "users", context.required("user")?.text()?)?.required("user")?;
    let url = cluster.required("server")?.text()?.to_owned();
    let mut credential = Map::new();
    let mut add = |member: &str, value: Option<String>| {
        if let Some(value) = value {
            credential.insert(member.to_owned(), value.into());
        }
    };
    add("ssl_ca_cert", content(path, cluster, "certificate-authority")?);
    add("bearer_token", token(path, user)?);
    add("client_cert", content(path, user, "client-certificate")?);
    add("client_key", content(path, user, "client-key")?);
    if cluster.member("insecure-skip-tls-verify").is_some_and(|it| Value::from(it.node().clone()) == Value::Bool(true))
    {
        credential.insert("insecure".to_owned(), true.into());
    }
    if !["bearer_token", "client_cert"].iter().any(|member| credential.contains_key(*member)) {
        let what = "the user has neither a token nor a client certificate; a server can't run the programs of kubectl: make a token \
                    with 'kubectl create token', and use --url and --token-file ('gybe vim rbac' prints a ServiceAccount)";
        return Err(user.problem(what).into());
    }
    Ok((url, credential))
}

/// The entry of a list with that name.
fn named<'a>(root: At<'a>, list: &'a str, name: &str) -> Result<At<'a>, CliError> {
    let list = root.required(list)?;
    let mut items = list.items()?;
    let found = items.find(|item| item.member("name").and_then(|it| it.node().as_text()) == Some(name));
    found.ok_or_else(|| list.problem(format!("there is no '{name:.100}' among the {}", list.key())).into())
}

fn token(path: &Path, user: At<'_>) -> Result<Option<String>, CliError> {
    match (user.member("token"), user.member("tokenFile")) {
        (Some(token), _) => Ok(Some(token.text()?.to_owned())),
        (None, Some(file)) => Ok(Some(bounded(&beside(path, file.text()?))?.trim().to_owned())),
        _ => Ok(None),
    }
}

/// The text of `<name>-data`, in base64, or of the file that `name` names.
fn content(path: &Path, at: At<'_>, name: &str) -> Result<Option<String>, CliError> {
    let data = format!("{name}-data");
    let own = |key: &str| at.entries().ok()?.find(|member| member.key() == key);
    if let Some(data) = own(&data) {
        let decoded = BASE64.decode(data.text()?).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        return Ok(Some(decoded.ok_or_else(|| data.problem("is no PEM text in base64; correct it"))?));
    }
    own(name).map(|file| bounded(&beside(path, file.text()?))).transpose()
}

/// A file that the kubeconfig names, from its own folder on.
fn beside(path: &Path, file: &str) -> std::path::PathBuf {
    path.parent().unwrap_or(Path::new(".")).join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
apiVersion: v1
current-context: a
contexts: [{name: a, context: {cluster: c, user: u}}, {name: b, context: {cluster: c, user: exec}}]
clusters: [{name: c, cluster: {server: 'https://k', certificate-authority-data: Q0E=}}]
users: [{name: u, user: {token: t, client-key: key.pem}}, {name: exec, user: {exec: {command: x}}}]
";

    #[test]
    fn server_and_credential_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, CONFIG).unwrap();
        std::fs::write(folder.path().join("key.pem"), "KEY").unwrap();
        let (url, credential) = read(&path, None).unwrap();
        assert_eq!(url, "https://k");
        let expected = serde_json::json!({"ssl_ca_cert": "CA", "bearer_token": "t", "client_key": "KEY"});
        assert_eq!(Value::Object(credential), expected);
        let error = |context| read(&path, Some(context)).unwrap_err().to_string();
        assert!(error("b").contains("kubectl create token"), "{}", error("b"));
        assert!(error("x").contains("there is no 'x' among the contexts"), "{}", error("x"));
    }
}
