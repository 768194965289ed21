//! Taking secrets out of texts that come from a cluster: messages of objects and events, lines of logs.
//!
//! [`Mask`] knows the values of the VNF's Secret objects, and what secrets look like in a text: credentials after
//! `Bearer`, `password=…` and the like, passwords in URLs, JSON Web Tokens, private keys. It errs on the side of hiding.
//!
//! Packages and workloads write both the Secrets and the texts: however these are made, the work grows with their length
//! and no faster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::domain::resource::Resource;

/// In place of a secret.
const HIDDEN: &str = "***";
/// Shorter values of Secret objects are no secrets, and would be found everywhere.
const SHORTEST_SECRET: usize = 4;
/// Longer texts are cut, before anything is looked for: less than what a `Problem` was cut to, so that such a one is known
/// to be cut.
const LONGEST_TEXT: usize = 4 * 1024;
/// What looks like a secret within a Secret's value is so many times longer than that, together, at most: it may be one
/// in several ways, but a text may be made so that each of its letters begins another.
const INNER: usize = 4;

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
    /// In ascending order: those that have a beginning in common are neighbours.
    values: Vec<String>,
    /// For each of these, where the longest other one is that it begins with.
    shorter: Vec<Option<usize>>,
}

impl Mask {
    /// Hides the values of the Secret objects among `inventory`, beside what looks like a secret.
    pub fn of<'a>(inventory: impl IntoIterator<Item = &'a Resource>) -> Self {
        let secrets = inventory.into_iter().filter(|row| is_secret(row));
        let mut values: Vec<String> = secrets.flat_map(values).filter(|it| it.len() >= SHORTEST_SECRET).collect();
        values.sort_unstable();
        values.dedup();
        let mut beginnings: Vec<usize> = Vec::new();
        let shorter = values.iter().enumerate().map(|(at, value)| {
            while beginnings.pop_if(|it| !value.starts_with(&values[*it])).is_some() {}
            let longest = beginnings.last().copied();
            beginnings.push(at);
            longest
        });
        let shorter = shorter.collect();
        Self { values, shorter }
    }

    /// The text without secrets and without control characters, which no database or terminal needs. The end of a long one
    /// is cut off.
    pub fn apply(&self, text: &str) -> String {
        let is_cut = text.len() > LONGEST_TEXT;
        let text = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut text = hide(&text, [self.known(&text, is_cut), suspicious(&text, is_cut)].concat());
        if is_cut {
            text.push('…');
        }
        text
    }

    /// Where the text has values of Secret objects; of one that is cut, its end may be the beginning of a value.
    fn known(&self, text: &str, is_cut: bool) -> Vec<Span> {
        let spans = text.char_indices().filter_map(|(at, _)| {
            let rest = &text[at..];
            let next = self.values.partition_point(|value| value.as_str() <= rest);
            if is_cut && self.values.get(next).is_some_and(|value| value.starts_with(rest)) {
                return Some(at..text.len());
            }
            // All that `rest` begins with are beginnings of the last one that is not after it.
            let last = next.checked_sub(1)?;
            let common = rest.bytes().zip(self.values[last].bytes()).take_while(|(a, b)| a == b).count();
            let mut beginnings = std::iter::successors(Some(last), |it| self.shorter[*it]);
            let longest = beginnings.find(|it| self.values[*it].len() <= common)?;
            Some(at..at + self.values[longest].len())
        });
        spans.collect()
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

/// Whether the row is of a Secret, whose values [`Mask::of`] hides.
pub fn is_secret(row: &Resource) -> bool {
    row.key.api_version == "v1" && row.key.kind == "Secret"
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
    let inner: Vec<String> = values.iter().flat_map(|value| inner(value)).map(str::to_owned).collect();
    values.extend(spelled);
    values.extend(lines);
    values.extend(inner);
    values
}

/// What looks like a secret within the value, the shortest first, as far as it is not too much.
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

/// Where the text has what looks like a secret, or, where it is cut, may have gone on so.
fn suspicious(text: &str, is_cut: bool) -> Vec<Span> {
    // The same bytes but for the case of ASCII letters, so that spans are of either.
    let lower = text.to_ascii_lowercase();
    [assignments(&lower), credentials(&lower, is_cut), url_passwords(&lower, is_cut), web_tokens(text, is_cut)].concat()
}

/// The ends of stretches of a text, asked for from its beginning to its end: none is gone through twice.
struct Ends<'a> {
    text: &'a str,
    ends: fn(char) -> bool,
    /// The stretch that was gone through last.
    known: Span,
}

impl<'a> Ends<'a> {
    fn new(text: &'a str, ends: fn(char) -> bool) -> Self {
        Self { text, ends, known: 0..0 }
    }

    /// Where the stretch ends that `begin` is in.
    fn of(&mut self, begin: usize) -> usize {
        if !self.known.contains(&begin) {
            let length = self.text[begin..].find(self.ends);
            self.known = begin..length.map_or(self.text.len(), |length| begin + length);
        }
        self.known.end
    }
}

/// The values of `password=…`, `"password": "…"`, `--password …` and the like.
fn assignments(text: &str) -> Vec<Span> {
    let mut named: Vec<Span> =
        NAMES.iter().flat_map(|name| text.match_indices(name).map(|(at, _)| at..at + name.len())).collect();
    named.sort_unstable_by_key(|name| name.start);
    let mut values = Values {
        text,
        names: Ends::new(text, |c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))),
        quoted: Ends::new(text, is_quote),
        bare: Ends::new(text, |c| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '}' | ')')),
        looked_to: 0,
        word: 0,
    };
    named.into_iter().filter_map(|name| values.next(&name)).collect()
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\')
}

/// Finds the values of names, which are asked for in ascending order.
struct Values<'a> {
    text: &'a str,
    names: Ends<'a>,
    quoted: Ends<'a>,
    bare: Ends<'a>,
    /// Up to here the text was looked through for white space, and the last word that begins there begins at `word`.
    looked_to: usize,
    word: usize,
}

impl Values<'_> {
    /// The value that belongs to the name that has `part` in it, if one does.
    fn next(&mut self, part: &Span) -> Option<Span> {
        let text = self.text;
        // Of the parts of one name the first has found its value already.
        let is_known = self.names.known.contains(&part.start);
        let name_end = self.names.of(part.start);
        if is_known {
            return None;
        }
        let skip = |from: usize, wanted: fn(char) -> bool| {
            text[from..].find(|c| !wanted(c)).map_or(text.len(), |length| from + length)
        };
        let after_quotes = skip(name_end, is_quote);
        let separator = skip(after_quotes, |c| c == ' ');
        let assigned = skip(separator, |c| matches!(c, '=' | ':' | '>'));
        let is_flag = self.word_of(part.start).starts_with("--") && after_quotes == name_end && separator > name_end;
        if assigned == separator && !is_flag {
            return None;
        }
        let spaced = skip(assigned, |c| c == ' ');
        let begin = skip(spaced, is_quote);
        let scheme = SCHEMES.iter().find(|scheme| text[begin..].starts_with(*scheme));
        let word = begin + scheme.map_or(0, |scheme| scheme.len());
        let end = if begin > spaced { self.quoted.of(word) } else { self.bare.of(word) };
        (end > word).then_some(begin..end)
    }

    /// The text from where the word begins that `at` is in.
    fn word_of(&mut self, at: usize) -> &str {
        let between = &self.text[self.looked_to..at];
        if let Some((space, c)) = between.char_indices().rfind(|(_, c)| c.is_whitespace()) {
            self.word = self.looked_to + space + c.len_utf8();
        }
        self.looked_to = at;
        &self.text[self.word..]
    }
}

/// What follows `Bearer` or `Basic`, if it may be a credential.
fn credentials(text: &str, is_cut: bool) -> Vec<Span> {
    let schemes = SCHEMES.iter().flat_map(|scheme| text.match_indices(scheme).map(|(at, _)| at + scheme.len()));
    let credential = |begin: usize| {
        let end = Ends::new(text, ends_word).of(begin);
        (end - begin >= 8 || (is_cut && end == text.len())).then_some(begin..end)
    };
    schemes.filter_map(credential).collect()
}

/// The passwords of `scheme://user:password@host`.
fn url_passwords(text: &str, is_cut: bool) -> Vec<Span> {
    let password = |(at, mark): (usize, &str)| {
        let begin = at + mark.len();
        let end = text[begin..].find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '"' | '\''));
        let authority = &text[begin..end.map_or(text.len(), |length| begin + length)];
        let end = authority.rfind('@').or((is_cut && end.is_none()).then_some(authority.len()))?;
        let colon = authority[..end].find(':')?;
        Some(begin + colon + 1..begin + end)
    };
    text.match_indices("://").filter_map(password).collect()
}

/// JSON Web Tokens, such as those of ServiceAccounts: three parts, of which the first is a JSON object.
fn web_tokens(text: &str, is_cut: bool) -> Vec<Span> {
    let mut words = Ends::new(text, ends_word);
    let token = |(begin, _): (usize, &str)| {
        // What begins within a word has no more parts than what began before it, and is hidden with that.
        let is_known = words.known.contains(&begin);
        let end = words.of(begin);
        let is_token = || text[begin..end].matches('.').count() >= 2 || (is_cut && end == text.len());
        (!is_known && is_token()).then_some(begin..end)
    };
    text.match_indices("eyJ").filter_map(token).collect()
}

/// Whether it is no character of a token.
fn ends_word(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '='))
}

/// The text with each of `spans`, which may overlap, hidden. Those that touch are one.
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
    fn hostile_texts_take_no_longer_than_others() {
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
    fn values_that_overlap_or_begin_alike_are_hidden_whole() {
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
    fn a_secret_that_is_cut_in_half_is_hidden() {
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
    fn control_characters_and_the_ends_of_long_texts_go() {
        assert_eq!(Mask::default().apply("\u{1b}[31mred\u{0}\n"), " [31mred  ");
        let long = format!("x{}", "é".repeat(LONGEST_TEXT));
        assert!(Mask::default().apply(&long).ends_with("é…"), "cut between two characters");
    }
}
