//! Static tokens, from the file of `--token-file`. If the file does not exist, it is made with one token of an admin.
//!
//! A client sends its token as `Authorization: Bearer`, or as `X-Auth-Token`, as OpenStack's clients do without Keystone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::auth;
use crate::auth::{AuthError, Credentials, TokenDigest, token_digest};
use crate::domain::caller::{AuthMethod, Caller, Role};
use crate::domain::ids::ProjectId;
use crate::domain::secret::Secret;

/// The shortest token, in bytes: 128 bits in hexadecimal digits.
const SHORTEST: usize = 32;
/// The most tokens in a file.
const MOST: usize = 10_000;

/// Why the token file can't be used. Never quotes a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    #[error("the token file {}, line {line}: {reason}", path.display())]
    Malformed {
        path: PathBuf,
        /// From 1.
        line: usize,
        reason: String,
    },
    #[error("the token file {}: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    #[serde(default)]
    token: Vec<TokenEntry>,
}

/// A table `[[token]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    token: Secret,
    subject: String,
    #[serde(default = "auth::default_project")]
    project: String,
    role: String,
}

/// The tokens, by their digests: the time of a look-up says nothing about a token.
pub struct StaticTokens(HashMap<TokenDigest, Caller>);

impl StaticTokens {
    /// The tokens of the file's text.
    ///
    /// # Errors
    /// [`TokenFileError`], for `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, TokenFileError> {
        let invalid = |reason: String| TokenFileError::Invalid { path: path.to_owned(), reason };
        let file: TokenFile = toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            TokenFileError::Malformed { path: path.to_owned(), line, reason: reason(error.message()) }
        })?;
        if file.token.is_empty() || file.token.len() > MOST {
            return Err(invalid(format!("it must have 1 to {MOST} [[token]] tables")));
        }
        let mut tokens = HashMap::with_capacity(file.token.len());
        for entry in file.token {
            let subject = entry.subject.clone();
            let of_subject = |reason: String| invalid(format!("the token of '{subject}': {reason}"));
            if entry.token.expose().len() < SHORTEST {
                return Err(of_subject(format!(
                    "it must have at least {SHORTEST} characters: make one with `openssl rand -hex 32`"
                )));
            }
            let role: Role = entry.role.parse().map_err(|error| of_subject(format!("{error}")))?;
            let caller = Caller::new(entry.subject, entry.project, Some(role), AuthMethod::Token)
                .map_err(|error| of_subject(error.to_string()))?;
            if tokens.insert(token_digest(entry.token.expose()), caller).is_some() {
                return Err(of_subject("another table has the same token".to_owned()));
            }
        }
        Ok(Self(tokens))
    }

    /// The text of a file with one token, that of an admin. `token` must be random.
    pub fn file_with(token: &str) -> String {
        format!(
            "# Static tokens: whoever sends one is its subject. `role` is reader, member, manager or admin.\n\n\
             [[token]]\ntoken = \"{token}\"\nsubject = \"admin\"\nproject = \"{}\"\nrole = \"admin\"\n",
            ProjectId::DEFAULT
        )
    }

    /// The caller who sent one of the tokens; `None` if the request carries none of them.
    ///
    /// # Errors
    /// A header with a credential is ambiguous.
    pub fn caller(&self, credentials: &Credentials<'_>) -> Result<Option<Caller>, AuthError> {
        let sent = match credentials.bearer()? {
            Some(token) => Some(token),
            None => credentials.auth_token()?,
        };
        Ok(sent.and_then(|token| self.0.get(&token_digest(token)).cloned()))
    }
}

/// What the reader says if it quotes no value, which may be a token.
fn reason(message: &str) -> String {
    let quotes_nothing = ["missing field", "unknown field", "duplicate"].iter().any(|start| message.starts_with(start));
    let text = if quotes_nothing { message } else { "it must be TOML with [[token]] tables, whose values are texts" };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::with_headers;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn parse(text: &str) -> Result<StaticTokens, String> {
        StaticTokens::parse(Path::new("tokens.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn knows_the_sender_by_either_header() {
        let tokens = parse(&StaticTokens::file_with(TOKEN)).unwrap();
        let role = |name, value: &str| {
            with_headers(&[(name, value)], None, |it| tokens.caller(it).unwrap()).and_then(|caller| caller.role)
        };
        assert_eq!(role("Authorization", &format!("Bearer {TOKEN}")), Some(Role::Admin));
        assert_eq!(role("X-Auth-Token", TOKEN), Some(Role::Admin));
        assert_eq!(role("X-Auth-Token", &TOKEN[1..]), None);
        assert_eq!(role("Authorization", "Bearer"), None);
    }

    #[test]
    fn says_what_is_wrong_with_a_file_and_shows_no_token() {
        let table = |token: &str, rest: &str| format!("[[token]]\ntoken = '{token}'\n{rest}\n");
        let valid = table(TOKEN, "subject = 'a'\nrole = 'reader'");
        for (text, expected) in [
            ("".to_owned(), "1 to 10000 [[token]] tables"),
            (table("short", "subject = 'a'\nrole = 'reader'"), "at least 32 characters"),
            (table(TOKEN, "subject = 'a'\nrole = 'root'"), "'root' is not a role"),
            (table(TOKEN, "subject = ''\nrole = 'reader'"), "the subject must have"),
            (table(TOKEN, "subject = 'a'"), "line 1: missing field `role`"),
            (table(TOKEN, "subject = 'a'\nroles = 'reader'"), "line 4: unknown field `roles`"),
            (valid.repeat(2), "the same token"),
            (format!("token = '{TOKEN}'"), "line 1: it must be TOML with [[token]] tables"),
            (format!("[[token]]\ntoken = ['{TOKEN}']"), "line 2: it must be TOML"),
            (format!("[[token]]\ntoken = {TOKEN}"), "it must be TOML"),
        ] {
            let error = parse(&text).err().unwrap_or_default();
            assert!(error.contains(expected) && !error.contains(TOKEN), "{text}: {error}");
        }
        assert!(parse(&valid).is_ok());
    }
}
