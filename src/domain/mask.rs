//! Hides secrets in texts that come from a cluster: messages of objects and events, lines of logs.
//!
//! [`Mask`] hides the values of the VNF's Secret objects and whatever looks like a secret: credentials after `Bearer`,
//! `password=…` and the like, passwords in URLs, JSON Web Tokens, private keys. When in doubt it hides.
//!
//! Packages and workloads write both the Secrets and the texts, so either may be hostile. All work here grows linearly with
//! their length: each search below passes over a text once, and the `regex` crate does not backtrack.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use regex::Regex;
use serde_json::Value;

use crate::domain::resource::Resource;

/// Shown in place of a secret.
const HIDDEN: &str = "***";
/// Bytes. Shorter values of Secret objects are not hidden: they occur everywhere.
const SHORTEST_SECRET: usize = 4;
/// Bytes. Longer texts are cut before the search. It is less than the limit of a `Problem`, so that a text that was cut to
/// that limit counts as cut here.
const LONGEST_TEXT: usize = 4 * 1024;
/// Limits the total length of the secrets found within a value, as a multiple of the value's length: every letter of a
/// hostile value may begin another one.
const INNER: usize = 4;

/// A private key begins and ends with lines that have one of these before the kind of the key.
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
/// A credential follows one of these, as in HTTP's `Authorization`.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// In lower-case text: a name whose value is a secret, from its telling part to its end.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    regex("(?:password|passwd|passphrase|pwd|secret|token|credential|api[_-]?key|access_key|private_key)[\\w.-]*")
});
/// `scheme://user:password@host`, or all of it up to the password if the text ends there.
static URL_PASSWORD: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"://(?:[^\s/?"':]*:([^\s/?"']*)@|[^\s/?"':@]*:([^\s/?"'@]*)\z)"#));
/// Characters of a token, beginning as a JSON object in base64 does.
static WEB_TOKEN: LazyLock<Regex> = LazyLock::new(|| regex(r"eyJ[A-Za-z0-9\-._~+/=]*"));

#[expect(clippy::expect_used, reason = "the patterns are constants, and the tests compile each of them")]
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a valid pattern")
}

/// Hides secrets in texts.
#[derive(Default)]
pub struct Mask {
    /// Sorted, so that values with a common beginning are neighbours. An automaton of all values would need a hundred times
    /// the memory, and packages decide how many there are.
    values: Vec<String>,
    /// For each value, the index of the longest other value that it begins with.
    prefixes: Vec<Option<usize>>,
}

impl Mask {
    /// Hides the values of the Secret objects in `inventory` and whatever looks like a secret.
    pub fn of<'a>(inventory: impl IntoIterator<Item = &'a Resource>) -> Self {
        let secrets = inventory.into_iter().filter(|row| is_secret(row));
        let mut values: Vec<String> = secrets.flat_map(values).filter(|it| it.len() >= SHORTEST_SECRET).collect();
        values.sort_unstable();
        values.dedup();
        let mut beginnings: Vec<usize> = Vec::new();
        let prefixes = values.iter().enumerate().map(|(at, value)| {
            while beginnings.pop_if(|it| !value.starts_with(&values[*it])).is_some() {}
            let longest = beginnings.last().copied();
            beginnings.push(at);
            longest
        });
        let prefixes = prefixes.collect();
        Self { values, prefixes }
    }

    /// The text without secrets and without control characters, which databases and terminals do not need. The end of a
    /// long text is cut off.
    pub fn apply(&self, text: &str) -> String {
        let is_cut = text.len() > LONGEST_TEXT;
        let text = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut text = hide(&text, [self.known_values(&text, is_cut), suspicious(&text, is_cut)].concat());
        if is_cut {
            text.push('…');
        }
        text
    }

    /// The values of Secret objects in the text. The end of a text that was cut may be the beginning of a value.
    fn known_values(&self, text: &str, is_cut: bool) -> Vec<Span> {
        let spans = text.char_indices().filter_map(|(at, _)| {
            let rest = &text[at..];
            let next = self.values.partition_point(|value| value.as_str() <= rest);
            if is_cut && self.values.get(next).is_some_and(|value| value.starts_with(rest)) {
                return Some(at..text.len());
            }
            // Each value that `rest` begins with is a prefix of the last value that is not greater than `rest`.
            let last = next.checked_sub(1)?;
            let common = rest.bytes().zip(self.values[last].bytes()).take_while(|(a, b)| a == b).count();
            let mut prefixes = std::iter::successors(Some(last), |it| self.prefixes[*it]);
            let longest = prefixes.find(|it| self.values[*it].len() <= common)?;
            Some(at..at + self.values[longest].len())
        });
        spans.collect()
    }

    /// [`Mask::apply`] for consecutive lines: private keys are hidden from their first to their last line, even if that line
    /// comes before or after `lines`.
    pub fn apply_to_lines(&self, lines: &[String]) -> Vec<String> {
        let mark = |line: &&String, mark: &str| line.contains(mark) && line.contains("PRIVATE KEY-----");
        let first = lines.iter().find(|line| mark(line, BEGIN) || mark(line, END));
        let mut in_key = first.is_some_and(|line| !line.contains(BEGIN));
        let mask = |line: &String| {
            let is_hidden = in_key || mark(&line, BEGIN);
            in_key = is_hidden && !mark(&line, END);
            if is_hidden { HIDDEN.to_owned() } else { self.apply(line) }
        };
        lines.iter().map(mask).collect()
    }
}

/// Whether the row is a Secret, whose values [`Mask::of`] hides.
pub fn is_secret(row: &Resource) -> bool {
    row.key.api_version == "v1" && row.key.kind == "Secret"
}

/// The contents of a Secret: each value as it is written, decoded, line by line, and the secrets within a value that is a
/// whole file.
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
    let inner: Vec<String> = values.iter().flat_map(|value| inner(value)).map(str::to_owned).collect();
    values.extend(spelled);
    values.extend(lines);
    values.extend(inner);
    values
}

/// The secrets within a value, the shortest first, up to the limit [`INNER`].
fn inner(value: &str) -> impl Iterator<Item = &str> {
    let mut spans = suspicious(value, false);
    spans.sort_unstable_by_key(|span| span.len());
    let mut left = INNER * value.len();
    spans.into_iter().map_while(move |span| {
        left = left.checked_sub(span.len())?;
        Some(&value[span])
    })
}

type Span = std::ops::Range<usize>;

/// The spans that look like secrets, and, in a text that was cut, the spans at its end that may have continued so.
fn suspicious(text: &str, is_cut: bool) -> Vec<Span> {
    // The same bytes but for the case of ASCII letters, so that spans fit both.
    let lower = text.to_ascii_lowercase();
    let mut spans = assigned_values(&lower);
    spans.extend(credentials(&lower, is_cut));
    spans.extend(url_passwords(text, is_cut));
    spans.extend(web_tokens(text, is_cut));
    spans
}

/// The values of `password=…`, `"password": "…"`, `--password …` and the like.
fn assigned_values(text: &str) -> Vec<Span> {
    let closing_quotes = Stops::new(text, is_quote);
    let separators = Stops::new(text, |c| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '}' | ')'));
    let value = |name: regex::Match<'_>| {
        let after_name = &text[name.end()..];
        let unquoted = after_name.trim_start_matches(is_quote);
        let operator = unquoted.trim_start_matches(' ');
        let assigned = operator.trim_start_matches(['=', ':', '>']);
        // `--password value`. The word ends here, so that no two searches pass over the same word.
        let is_flag = || {
            let is_word_end = unquoted.len() == after_name.len() && operator.len() < unquoted.len();
            is_word_end && word_before(text, name.end()).starts_with("--")
        };
        if assigned.len() == operator.len() && !is_flag() {
            return None;
        }
        let spaced = assigned.trim_start_matches(' ');
        let value = spaced.trim_start_matches(is_quote);
        let begin = text.len() - value.len();
        let scheme = SCHEMES.iter().find(|scheme| value.starts_with(*scheme)).map_or(0, |scheme| scheme.len());
        let stops = if value.len() < spaced.len() { &closing_quotes } else { &separators };
        let end = stops.first_from(begin + scheme);
        (end > begin + scheme).then_some(begin..end)
    };
    SECRET_NAME.find_iter(text).filter_map(value).collect()
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\')
}

/// The word that ends at `end`.
fn word_before(text: &str, end: usize) -> &str {
    text[..end].rsplit(char::is_whitespace).next().unwrap_or_default()
}

/// The positions of the characters that end a value. QuotedValues may overlap: this way the text is searched once for all.
struct Stops(Vec<usize>);

impl Stops {
    fn new(text: &str, is_stop: fn(char) -> bool) -> Self {
        Self(text.match_indices(is_stop).map(|(at, _)| at).chain([text.len()]).collect())
    }

    /// The first stop that is not before `begin`; the end of the text is the last one.
    fn first_from(&self, begin: usize) -> usize {
        self.0[self.0.partition_point(|at| *at < begin)]
    }
}

/// The words after `Bearer` or `Basic` that may be credentials.
fn credentials(text: &str, is_cut: bool) -> impl Iterator<Item = Span> {
    let begins = SCHEMES.iter().flat_map(|scheme| text.match_indices(scheme).map(|(at, _)| at + scheme.len()));
    begins.filter_map(move |begin| {
        let length = text[begin..].find(|c| !is_token_character(c));
        let end = length.map_or(text.len(), |length| begin + length);
        (end - begin >= 8 || (is_cut && end == text.len())).then_some(begin..end)
    })
}

/// RFC 6750 section 2.1: `b64token`.
fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '=')
}

/// The passwords of `scheme://user:password@host`.
fn url_passwords(text: &str, is_cut: bool) -> impl Iterator<Item = Span> {
    URL_PASSWORD.captures_iter(text).filter_map(move |url| {
        let password = url.get(1).or_else(|| url.get(2).filter(|_| is_cut))?;
        Some(password.range())
    })
}

/// JSON Web Tokens, such as those of ServiceAccounts: three parts, of which the first is a JSON object.
fn web_tokens(text: &str, is_cut: bool) -> impl Iterator<Item = Span> {
    WEB_TOKEN
        .find_iter(text)
        .map(|token| token.range())
        .filter(move |token| text[token.clone()].matches('.').count() >= 2 || (is_cut && token.end == text.len()))
}

/// The text with each of `spans` hidden. Spans may overlap; those that touch are hidden as one.
fn hide(text: &str, mut spans: Vec<Span>) -> String {
    spans.sort_by_key(|span| span.start);
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for span in spans {
        if at == 0 || span.start > at {
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
    fn hides_what_looks_like_a_secret() {
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
    fn keeps_what_is_no_secret() {
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
    fn hides_values_of_secret_objects_in_every_spelling() {
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
    fn hides_a_private_key_from_its_first_line_to_its_last() {
        let lines = ["x", "-----BEGIN RSA PRIVATE KEY-----", "MIIE", "-----END RSA PRIVATE KEY-----", "y"];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(Mask::default().apply_to_lines(&lines), ["x", "***", "***", "***", "y"]);
        assert_eq!(Mask::default().apply_to_lines(&lines[2..]), ["***", "***", "y"]);
        assert_eq!(Mask::default().apply_to_lines(&lines[..3]), ["x", "***", "***"]);
    }

    #[test]
    fn takes_white_space_of_several_bytes_for_white_space() {
        let secrets = Mask::of(&[]);
        assert_eq!(secrets.apply("a\u{a0}--token abcdefgh"), "a\u{a0}--token ***");
    }

    proptest! {
        #[test]
        fn takes_any_text(text in "(password|--token|bearer |basic |://|eyJ|[-:=\"'\\\\ .@/\nÀé€]|.){0,24}") {
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
    fn hostile_texts_take_linear_time() {
        // Each of these took minutes when its length was squared.
        for part in [
            "token", "token=", "token=\"", "--token", "token ", "eyj", "eyJ", "eyJ.", "://", "bearer ", "a:@", "aaaa\n",
        ] {
            let text = part.repeat((2 << 20) / part.len());
            let mask = Mask::of(&[secret(&json!({ "stringData": { "a": text } }))]);
            let total: usize = mask.values.iter().map(String::len).sum();
            assert!(total <= 16 * text.len(), "{part}: {total}");
            assert!(mask.apply(&text).len() <= LONGEST_TEXT + '…'.len_utf8(), "{part}");
            assert!(mask.apply_to_lines(std::slice::from_ref(&text))[0].len() <= LONGEST_TEXT + '…'.len_utf8());
        }
    }

    #[test]
    fn many_values_take_no_longer_than_few() {
        let lines: String = (0..150_000).map(|line| format!("line-{line:06}\n")).collect();
        let mask = Mask::of(&[secret(&json!({ "stringData": { "a": lines } }))]);
        for _ in 0..200 {
            let masked = mask.apply(&"a line-077777 b, ".repeat(200));
            assert!(masked.starts_with("a *** b, a *** b"), "{masked}");
        }
    }

    #[test]
    fn hides_values_that_overlap_or_have_a_common_beginning() {
        let values = json!({ "a": "abcd", "b": "cdefgh", "c": "abcd-e", "d": "abcz" });
        let mask = Mask::of(&[secret(&json!({ "stringData": values }))]);
        for (text, shown) in [
            ("x abcdefgh y", "x *** y"),
            ("abcd-e, abcd-f, abcz", "***, ***-f, ***"),
            ("abcy abc", "abcy abc"),
            ("abcd-", "***-"),
        ] {
            assert_eq!(mask.apply(text), shown);
        }
    }

    #[test]
    fn hides_a_secret_that_is_cut_in_half() {
        let mask = Mask::of(&[secret(&json!({ "stringData": { "a": "correct horse battery staple" } }))]);
        for (secret, shown) in [
            ("correct horse battery staple", "***…"),
            ("password=hunter2hunter2hunter2", "password=***…"),
            ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", "***…"),
            ("postgres://app:hunter2hunter2@db", "postgres://app:***…"),
            ("Bearer abcdefghijklmnop", "Bearer ***…"),
        ] {
            let known = shown.find("***").unwrap();
            for half in known + 4..secret.len() - 4 {
                let before = format!("{} ", "x".repeat(LONGEST_TEXT - half - 1));
                let masked = mask.apply(&format!("{before}{secret}"));
                assert!(
                    masked.ends_with(&format!(" {shown}")),
                    "{half} of {secret}: {}",
                    masked.trim_start_matches('x')
                );
            }
        }
    }

    #[test]
    fn removes_control_characters_and_cuts_long_texts() {
        assert_eq!(Mask::default().apply("\u{1b}[31mred\u{0}\n"), " [31mred  ");
        let long = format!("x{}", "é".repeat(LONGEST_TEXT));
        assert!(Mask::default().apply(&long).ends_with("é…"), "cut between two characters");
    }
}
