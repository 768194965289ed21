//! Taking secrets out of texts that come from a cluster: messages of objects and events, lines of logs.
//!
//! [`Mask`] knows the values of the VNF's Secret objects, and what secrets look like in a text: credentials after
//! `Bearer`, `password=…` and the like, passwords in URLs, JSON Web Tokens, private keys. It errs on the side of hiding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::domain::resource::Resource;

/// In place of a secret.
const HIDDEN: &str = "***";
/// Shorter values of Secret objects are no secrets, and would be found everywhere.
const SHORTEST_SECRET: usize = 4;

/// What the first and the last line of a private key have before its kind.
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
/// What `name = value` is about if the value is a secret: a part of the name, in lower case.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "private_key",
];
/// What a credential follows, as in HTTP's `Authorization`.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// Takes secrets out of texts.
#[derive(Default)]
pub struct Mask {
    /// The longest first, so that none is left in part where one is the beginning of another.
    values: Vec<String>,
}

impl Mask {
    /// Hides the values of the Secret objects among `inventory`, beside what looks like a secret.
    pub fn of<'a>(inventory: impl IntoIterator<Item = &'a Resource>) -> Self {
        let secrets = inventory.into_iter().filter(|row| row.key.api_version == "v1" && row.key.kind == "Secret");
        let mut values: Vec<String> = secrets.flat_map(values).filter(|it| it.len() >= SHORTEST_SECRET).collect();
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values }
    }

    /// The text without secrets and without control characters, which no database or terminal needs.
    pub fn apply(&self, text: &str) -> String {
        let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        for value in &self.values {
            text = text.replace(value, HIDDEN);
        }
        let spans = suspicious(&text);
        hide(&text, spans)
    }

    /// As [`Mask::apply`], for lines that follow each other: private keys are hidden from their first to their last one,
    /// whether these are among the lines or before and after them.
    pub fn apply_to_lines(&self, lines: &[String]) -> Vec<String> {
        let mark = |line: &&String, mark: &str| line.contains(mark) && line.contains("PRIVATE KEY-----");
        let first = lines.iter().find(|line| mark(line, BEGIN) || mark(line, END));
        let mut in_key = first.is_some_and(|line| !line.contains(BEGIN));
        let mask = |line: &String| {
            let hidden = in_key || mark(&line, BEGIN);
            in_key = hidden && !mark(&line, END);
            if hidden { HIDDEN.to_owned() } else { self.apply(line) }
        };
        lines.iter().map(mask).collect()
    }
}

/// What a Secret holds: each value as it is written, decoded, line by line, and what looks like a secret within a value
/// that is a whole file.
fn values(secret: &Resource) -> Vec<String> {
    let texts = |member: &str| {
        let values = secret.manifest.get(member).and_then(Value::as_object).into_iter().flat_map(|it| it.values());
        values.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let (plain, encoded) = (texts("stringData"), texts("data"));
    let decode = |text: &String| String::from_utf8(BASE64.decode(text).ok()?).ok();
    let mut values: Vec<String> = encoded.iter().filter_map(decode).chain(plain).collect();
    let encode = |value: &String| BASE64.encode(value);
    let spelled: Vec<String> = values.iter().map(encode).chain(encoded).collect();
    let lines: Vec<String> = values.iter().flat_map(|value| value.lines()).map(|line| line.trim().to_owned()).collect();
    let inner: Vec<String> =
        values.iter().flat_map(|value| suspicious(value).into_iter().map(|span| value[span].to_owned())).collect();
    values.extend(spelled);
    values.extend(lines);
    values.extend(inner);
    values
}

type Span = std::ops::Range<usize>;

/// Where the text has what looks like a secret.
fn suspicious(text: &str) -> Vec<Span> {
    // The same bytes but for the case of ASCII letters, so that spans are of either.
    let lower = text.to_ascii_lowercase();
    [assignments(&lower), credentials(&lower), url_passwords(&lower), web_tokens(text)].concat()
}

/// The values of `password=…`, `"password": "…"`, `--password …` and the like.
fn assignments(text: &str) -> Vec<Span> {
    let named = NAMES.iter().flat_map(|name| text.match_indices(name).map(|(at, _)| (at, at + name.len())));
    named.filter_map(|(at, end)| value_of(text, at, end)).collect()
}

/// The value that belongs to the name at `at`..`end`, if one does.
fn value_of(text: &str, at: usize, end: usize) -> Option<Span> {
    let skip = |from: usize, wanted: fn(char) -> bool| {
        text[from..].find(|c| !wanted(c)).map_or(text.len(), |length| from + length)
    };
    let quotes = |c: char| matches!(c, '"' | '\'' | '\\');
    let name_end = skip(end, |c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let after_quotes = skip(name_end, quotes);
    let separator = skip(after_quotes, |c| c == ' ');
    let assigned = skip(separator, |c| matches!(c, '=' | ':' | '>'));
    let name_begin = text[..at].rsplit(char::is_whitespace).next().map_or(at, |name| at - name.len());
    let is_flag = text[name_begin..].starts_with("--") && after_quotes == name_end && separator > name_end;
    if assigned == separator && !is_flag {
        return None;
    }
    let spaced = skip(assigned, |c| c == ' ');
    let begin = skip(spaced, quotes);
    let scheme = SCHEMES.iter().find(|scheme| text[begin..].starts_with(*scheme));
    let word = begin + scheme.map_or(0, |scheme| scheme.len());
    let quoted = begin > spaced;
    let ends = |c: char| {
        if quoted {
            matches!(c, '"' | '\'' | '\\')
        } else {
            c.is_whitespace() || matches!(c, ',' | ';' | '&' | '}' | ')')
        }
    };
    let length = text[word..].find(ends).unwrap_or(text.len() - word);
    (length > 0).then_some(begin..word + length)
}

/// What follows `Bearer` or `Basic`, if it may be a credential.
fn credentials(text: &str) -> Vec<Span> {
    let schemes = SCHEMES.iter().flat_map(|scheme| text.match_indices(scheme).map(|(at, _)| at + scheme.len()));
    let credential = |begin: usize| {
        let end = word_end(text, begin);
        (end - begin >= 8).then_some(begin..end)
    };
    schemes.filter_map(credential).collect()
}

/// The passwords of `scheme://user:password@host`.
fn url_passwords(text: &str) -> Vec<Span> {
    let password = |(at, mark): (usize, &str)| {
        let begin = at + mark.len();
        let authority = text[begin..].find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '"' | '\''));
        let authority = &text[begin..authority.map_or(text.len(), |length| begin + length)];
        let end = authority.rfind('@')?;
        let colon = authority[..end].find(':')?;
        Some(begin + colon + 1..begin + end)
    };
    text.match_indices("://").filter_map(password).collect()
}

/// JSON Web Tokens, such as those of ServiceAccounts: three parts, of which the first is a JSON object.
fn web_tokens(text: &str) -> Vec<Span> {
    let token = |(begin, _): (usize, &str)| {
        let end = word_end(text, begin);
        (text[begin..end].matches('.').count() >= 2).then_some(begin..end)
    };
    text.match_indices("eyJ").filter_map(token).collect()
}

/// The end of the word of a token's characters that begins at `begin`.
fn word_end(text: &str, begin: usize) -> usize {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '='));
    text[begin..].find(ends).map_or(text.len(), |length| begin + length)
}

/// The text with each of `spans`, which may overlap, hidden.
fn hide(text: &str, mut spans: Vec<Span>) -> String {
    spans.sort_by_key(|span| span.start);
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for span in spans {
        if span.start >= at {
            shown.push_str(&text[at..span.start]);
            shown.push_str(HIDDEN);
        }
        at = at.max(span.end);
    }
    shown + &text[at..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::resource::{KindInfo, ObjectKey, ResourceState};

    fn secret(manifest: &Value) -> Resource {
        Resource {
            key: ObjectKey { api_version: "v1".to_owned(), kind: "Secret".to_owned(), name: "s".to_owned() },
            info: KindInfo { plural: "secrets".to_owned(), namespaced: true },
            vdu_id: None,
            manifest: manifest.as_object().unwrap().clone(),
            state: ResourceState::Planned,
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        for (text, shown) in [
            ("DB_PASSWORD=hunter2 next", "DB_PASSWORD=*** next"),
            ("password: hunter2, user: x", "password: ***, user: x"),
            (r#"{"password":"hun ter2","user":"x"}"#, r#"{"password":"***","user":"x"}"#),
            (r#"msg="{\"token\": \"hunter2\"}""#, r#"msg="{\"token\": \"***\"}""#),
            ("run --password hunter2 --verbose", "run --password *** --verbose"),
            ("--api-key=hunter2", "--api-key=***"),
            ("GET /x?access_token=hunter2&y=1", "GET /x?access_token=***&y=1"),
            ("client_secret => 'hunter2'", "client_secret => '***'"),
            ("Authorization: Bearer abcdef.123456", "Authorization: Bearer ***"),
            ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
            ("token: Bearer abcdef123456 sent", "token: *** sent"),
            ("postgres://app:hunter2@db:5432/x", "postgres://app:***@db:5432/x"),
            ("got eyJhbGciOi.eyJzdWIi.c2ln here", "got *** here"),
            ("Passwört: é password=é", "Passwört: é password=***"),
        ] {
            assert_eq!(Mask::default().apply(text), shown);
        }
    }

    #[test]
    fn what_helps_stays() {
        for text in [
            r#"secret "db-credentials" not found"#,
            "couldn't find key password in Secret x/db",
            "Back-off restarting failed container app in pod web-1",
            "Basic auth failed for user x",
            "http://registry:5000/image:tag not found",
            "0/3 nodes are available: 3 Insufficient cpu.",
        ] {
            assert_eq!(Mask::default().apply(text), text);
        }
    }

    #[test]
    fn the_values_of_secret_objects_are_hidden_however_they_are_spelled() {
        let mask = Mask::of(&[
            secret(
                &json!({ "stringData": { "a": "hunter2", "b": "hunter2-and-more", "c": "one-line\nother-line\n" } }),
            ),
            secret(&json!({ "data": { "d": "czNjcjN0", "short": "YQ==" } })),
            secret(&json!({ "stringData": { "config.yaml": "host: db\npassword: inner-most\n" } })),
        ]);
        for (text, shown) in [
            ("login with hunter2 fails", "login with *** fails"),
            ("hunter2-and-more!", "***!"),
            ("other-line, one-line", "***, ***"),
            ("s3cr3t or czNjcjN0", "*** or ***"),
            ("aHVudGVyMg== of a", "*** of a"),
            ("inner-most of db", "*** of db"),
        ] {
            assert_eq!(mask.apply(text), shown);
        }
    }

    #[test]
    fn a_private_key_is_hidden_from_its_first_line_to_its_last() {
        let lines = ["x", "-----BEGIN RSA PRIVATE KEY-----", "MIIE", "-----END RSA PRIVATE KEY-----", "y"];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(Mask::default().apply_to_lines(&lines), ["x", "***", "***", "***", "y"]);
        assert_eq!(Mask::default().apply_to_lines(&lines[2..]), ["***", "***", "y"]);
        assert_eq!(Mask::default().apply_to_lines(&lines[..3]), ["x", "***", "***"]);
    }

    #[test]
    fn white_space_of_several_bytes_is_white_space() {
        let secrets = Mask::of(&[]);
        assert_eq!(secrets.apply("a\u{a0}--token abcdefgh"), "a\u{a0}--token ***");
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(password|--token|bearer |basic |://|eyJ|[-:=\"'\\\\ .@/\nÀé€]|.){0,24}") {
            let mask = Mask::of(&[secret(&json!({ "stringData": { "a": text } }))]);
            let masked = mask.apply(&text);
            prop_assert!(!masked.chars().any(char::is_control));
            prop_assert_eq!(mask.apply_to_lines(std::slice::from_ref(&text)).len(), 1);
            if text.len() >= SHORTEST_SECRET && !text.chars().any(char::is_control) {
                prop_assert!(masked == HIDDEN, "{}", masked);
            }
        }
    }

    #[test]
    fn control_characters_go() {
        assert_eq!(Mask::default().apply("\u{1b}[31mred\u{0}\n"), " [31mred  ");
    }
}
