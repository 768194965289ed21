//! Hides secrets in texts that come from a cluster: messages of objects and events, lines of logs.
//!
//! A text may be the only place that says why an operation stopped. So [`Mask`] hides known values: those of the VNF's Secret
//! objects, in their usual spellings, and the credentials of its VIM. It also hides what is a credential in any text: after
//! `Bearer`, in `password=…`, in `://user:password@`, JSON Web Tokens, private keys. A field path such as
//! `imagePullSecrets[1]` and the name of a Secret are no credentials.
//!
//! Secret objects also have values that are no secrets, such as a port, a path or a mode. Reasons contain the same texts, so
//! [`is_ordinary`] values and names that the package uses elsewhere stay.
//!
//! Packages and workloads write both the Secrets and the texts, so either may be hostile. All work here grows linearly with
//! their length: each search below passes over a text once, and the `regex` crate does not backtrack.

use std::collections::HashSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use regex::Regex;
use serde_json::Value;

use crate::domain::resource::Resource;

/// Shown in place of a secret.
const HIDDEN: &str = "***";
/// Bytes. Shorter values are not hidden: they occur everywhere.
const SHORTEST_SECRET: usize = 6;
/// Bytes. Shorter values are hidden only where no letter or digit precedes or follows them. Shorter lines of a value are not
/// hidden.
const SHORTEST_PART: usize = 8;
/// Bytes. Shorter values that are words are not hidden.
const LONGEST_WORD: usize = 16;
/// Bytes. Longer values are not ordinary.
const LONGEST_ORDINARY: usize = 128;
/// Bytes. Longer texts are cut before the search. It is less than the limit of a `Problem`, so that a text that was cut to
/// that limit counts as cut here.
const LONGEST_TEXT: usize = 4 * 1024;
/// Limits the total length of the secrets found within a value, as a multiple of the value's length: every letter of a
/// hostile value may begin another one.
const INNER: usize = 4;

/// A private key begins and ends with lines that have one of these before the kind of the key.
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
/// Bytes of base64 in a line of a private key, except its last line.
const KEY_LINE: usize = 40;
/// A credential follows one of these, as in HTTP's `Authorization`.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];
/// Bytes. How far a name is read backwards.
const LONGEST_NAME: usize = 64;

/// In lower-case text: a name whose value may be a secret, from its telling part to its end.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        "(?:password|passwd|passphrase|pwd|secret|token|credential|auth|api[_-]?key|access_?key|private_?key)[\\w.-]*",
    )
});
/// In lower-case text: the end of the name of a password.
static PASSWORD: LazyLock<Regex> = LazyLock::new(|| regex("(?:password|passwd|passphrase|pwd)[0-9]*$"));
/// In lower-case text: the end of the name of another credential.
static CREDENTIAL: LazyLock<Regex> = LazyLock::new(|| {
    regex("(?:token|(?:api|access|secret|private)[_-]?key|secret[_-]access[_-]key|client[_-]?secret)[0-9]*$")
});
/// In lower-case text: the end of a key of a Secret whose value is a secret, even if it is a word.
static SECRET_KEY: LazyLock<Regex> = LazyLock::new(|| {
    regex("(?:password|passwd|passphrase|passcode|pwd|pass|pw|secret|token|key|credentials?|auth|salt)[_.-]?[0-9]*$")
});
/// `scheme://user:password@host`, or all of it up to the password if the text ends there.
static URL_PASSWORD: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"://(?:[^\s/?"':]*:([^\s/?"']*)@|[^\s/?"':@]*:([^\s/?"'@]*)\z)"#));
/// Characters of a token, beginning as a JSON object in base64 does.
static WEB_TOKEN: LazyLock<Regex> = LazyLock::new(|| regex(r"eyJ[A-Za-z0-9\-._~+/=]*"));
/// A private key in one text: its beginning, its lines, and its end.
static PRIVATE_KEY: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:(?:\s|\\+[nr])*[A-Za-z0-9+/=]{4,})*(?:(?:\s|\\+[nr])*-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
    )
});
/// Paths, and URLs without a user and a query.
static LOCATION: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^(?:[a-z][a-z0-9+]*://(?:[a-z0-9.-]{1,64}|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?)?(?:/[A-Z]?[a-z0-9._-]{0,32})*$")
});
/// Names of Kubernetes and of programming languages, such as `StatefulSet`.
static CAMEL_CASE: LazyLock<Regex> = LazyLock::new(|| regex("^[A-Z]?[a-z]{2,12}(?:[A-Z][a-z]{2,12})+$"));
/// Numbers with a unit, versions, dates, addresses, host names and images.
static ORDINARY: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(
        "^(?:{})$",
        [
            r"[0-9]{1,12}(?:\.[0-9]{1,6})?[A-Za-z%]{0,3}",
            r"v?[0-9]{1,5}(?:\.[0-9]{1,5}){1,4}(?:[-+][a-z0-9.]{1,16})?",
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}[0-9T:+.Z-]{0,20}",
            r"[0-9.]{7,15}(?::[0-9]{1,5}|/[0-9]{1,2})?",
            r"\[?(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?:\]:[0-9]{1,5}|/[0-9]{1,3})?",
            r"[a-z][a-z0-9-]{0,30}:[0-9]{1,5}",
            r"[a-z0-9-]{1,32}(?:\.[a-z0-9-]{1,32})+(?::[0-9]{1,5})?(?:/[a-z0-9._-]{1,32})*(?::[\w.-]{1,32})?",
        ]
        .join("|")
    ))
});

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
    /// Hides the values of the Secret objects among `rows`, and credentials in any text. Names that the other objects have stay
    /// readable, so pass all rows.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Resource>) -> Self {
        Self::with_credentials(rows, [])
    }

    /// As [`Mask::of`]; hides `credentials`, such as those of a VIM, too.
    pub fn with_credentials<'a>(
        rows: impl IntoIterator<Item = &'a Resource>,
        credentials: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let (mut public, mut secrets) = (HashSet::new(), Vec::new());
        for row in rows {
            add_names(&mut public, row);
            if is_secret(row) {
                secrets.push(row);
            }
        }
        let mut values: Vec<String> = Vec::new();
        for row in secrets {
            add_values(&mut values, &public, row);
        }
        for credential in credentials {
            add_spellings(&mut values, &public, credential, true);
        }
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
        let mut text = hide(&text, [self.known_values(&text, is_cut), credentials(&text, is_cut)].concat());
        if is_cut {
            text.push('…');
        }
        text
    }

    /// The text without known values. Nothing else changes.
    pub fn hide_values(&self, text: &str) -> String {
        hide(text, self.known_values(text, false))
    }

    /// The known values in the text. The end of a text that was cut may be the beginning of a value.
    fn known_values(&self, text: &str, is_cut: bool) -> Vec<Span> {
        let is_alphanumeric = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
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
            let span = at..at + self.values[longest].len();
            let is_part =
                || is_alphanumeric(text[..at].chars().next_back()) || is_alphanumeric(text[span.end..].chars().next());
            (span.len() >= SHORTEST_PART || !is_part()).then_some(span)
        });
        spans.collect()
    }

    /// [`Mask::apply`] for consecutive lines: hides private keys over several lines, also if their first or last line is not
    /// among `lines`.
    pub fn apply_to_lines(&self, lines: &[String]) -> Vec<String> {
        let keys = private_key_lines(lines);
        let mask = |(line, is_hidden): (&String, bool)| match line.find(BEGIN) {
            Some(begin) if is_hidden => self.apply(&line[..begin]) + HIDDEN,
            None if is_hidden => HIDDEN.to_owned(),
            _ => self.apply(line),
        };
        lines.iter().zip(keys).map(mask).collect()
    }
}

/// For each line, whether it is part of a private key that has several lines.
fn private_key_lines(lines: &[String]) -> Vec<bool> {
    let position = |line: &str, mark: &str| line.find(mark).filter(|at| line[*at..].contains("PRIVATE KEY-----"));
    let begins = |line: &String| position(line, BEGIN) > position(line, END);
    let ends = |line: &String| position(line, END).is_some() && position(line, BEGIN).is_none();
    let is_base64 = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    let is_key_line = |line: &String| {
        let last = line.split_whitespace().next_back().unwrap_or_default();
        last.len() >= KEY_LINE && is_base64(last)
    };
    let mut hidden = vec![false; lines.len()];
    let mut at = 0;
    while at < lines.len() {
        if begins(&lines[at]) {
            let after = &lines[at + 1..];
            let other = after.iter().position(begins).unwrap_or(after.len());
            let end = match after[..other].iter().position(ends) {
                Some(end) => at + 1 + end,
                None => {
                    let full = after.iter().take_while(|line| is_key_line(line)).count();
                    // The last line of a key is shorter.
                    let last = after.get(full).is_some_and(|line| full > 0 && is_base64(line.trim()));
                    at + full + usize::from(last)
                }
            };
            // The mark alone shows nothing.
            if end > at {
                hidden[at..=end].iter_mut().for_each(|it| *it = true);
            }
            at = end + 1;
        } else {
            if ends(&lines[at]) {
                let first = lines[..at].iter().rposition(|line| !is_base64(line.trim())).map_or(0, |before| before + 1);
                hidden[first..=at].iter_mut().for_each(|it| *it = true);
            }
            at += 1;
        }
    }
    hidden
}

/// Calls `change` with each text in `value`, except names of members.
pub fn change_texts(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(elements) => elements.iter_mut().for_each(|element| change_texts(element, change)),
        Value::Object(members) => members.values_mut().for_each(|member| change_texts(member, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether the row is a Secret, whose values [`Mask::of`] hides.
pub fn is_secret(row: &Resource) -> bool {
    row.key.api_version == "v1" && row.key.kind == "Secret"
}

/// Adds the names in the manifest: those of its fields, and the values of fields that hold names. For a Secret, all but the
/// values of its data.
fn add_names<'a>(names: &mut HashSet<&'a str>, row: &'a Resource) {
    fn add<'a>(names: &mut HashSet<&'a str>, value: &'a Value, is_name: bool) {
        match value {
            Value::String(text) if is_name => {
                names.insert(text);
                names.extend(text.split(['/', ':', '@']));
            }
            Value::Array(elements) => elements.iter().for_each(|element| add(names, element, is_name)),
            Value::Object(members) => {
                for (field, value) in members {
                    names.insert(field);
                    let is_name = is_name && value.is_string()
                        || NAME_FIELDS.contains(&field.as_str())
                        || LABEL_FIELDS.contains(&field.as_str());
                    add(names, value, is_name);
                }
            }
            _ => {}
        }
    }
    names.extend([row.key.api_version.as_str(), &row.key.kind, &row.key.name]);
    for (field, value) in &row.manifest {
        names.insert(field);
        if is_secret(row) && ["data", "stringData"].contains(&field.as_str()) {
            names.extend(value.as_object().into_iter().flat_map(|it| it.keys().map(String::as_str)));
        } else {
            add(names, value, NAME_FIELDS.contains(&field.as_str()));
        }
    }
}

/// The fields whose values are names.
const NAME_FIELDS: [&str; 10] = [
    "kind",
    "name",
    "namespace",
    "image",
    "type",
    "serviceName",
    "serviceAccountName",
    "secretName",
    "claimName",
    "storageClassName",
];
/// The fields whose members have names as values.
const LABEL_FIELDS: [&str; 3] = ["labels", "matchLabels", "selector"];

/// Adds what is to be hidden of a Secret: each value, its lines, and the secrets within a value that is a whole file.
fn add_values(values: &mut Vec<String>, public: &HashSet<&str>, secret: &Resource) {
    let members = |member: &str| secret.manifest.get(member).and_then(Value::as_object).into_iter().flatten();
    let plain = members("stringData").filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
    let encoded = members("data").filter_map(|(key, value)| {
        // Kubernetes ignores line ends in base64.
        let text: String = value.as_str()?.split_ascii_whitespace().collect();
        let decoded = BASE64.decode(&text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        // A value that is no text occurs in texts as it is written here.
        Some((key, decoded.unwrap_or(text)))
    });
    for (key, value) in plain.chain(encoded) {
        let is_secret_key = SECRET_KEY.is_match(&key.to_ascii_lowercase());
        add_spellings(values, public, &value, is_secret_key);
        let mut inner = inner(&value);
        inner.sort_unstable_by_key(|(span, _)| span.len());
        let mut left = INNER * value.len();
        for (span, is_secret_key) in inner {
            let Some(rest) = left.checked_sub(span.len()) else { break };
            left = rest;
            add_spellings(values, public, &value[span], is_secret_key);
        }
    }
}

/// Adds the value, unless it is ordinary or one of `public`: as it is, in base64, escaped as in JSON and in URLs; and each of its
/// lines. `is_secret`: it is a secret even if it is a word.
fn add_spellings(values: &mut Vec<String>, public: &HashSet<&str>, value: &str, is_secret: bool) {
    let trimmed = value.trim();
    let is_hidden = |text: &str, shortest: usize| {
        text.len() >= shortest && !public.contains(text) && !is_location(text) && (is_secret || !is_ordinary(text))
    };
    if !is_hidden(trimmed, SHORTEST_SECRET) {
        return;
    }
    for text in [value, trimmed] {
        values.push(text.to_owned());
        values.push(BASE64.encode(text));
        values.push(URL_SAFE_NO_PAD.encode(text));
    }
    // A longer value occurs in no text as a whole.
    if trimmed.len() <= LONGEST_TEXT {
        let json = Value::from(trimmed).to_string();
        values.extend([json[1..json.len() - 1].to_owned(), percent_encoded(trimmed)]);
    }
    if trimmed.contains(['\n', '\r']) {
        let lines = trimmed.lines().map(str::trim);
        values.extend(lines.filter(|line| is_hidden(line, SHORTEST_PART)).map(str::to_owned));
    }
}

/// As in a URL (RFC 3986 section 2.1).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Whether the value of a Secret is no secret by its form: words, a number, an address, a host name, a version.
fn is_ordinary(value: &str) -> bool {
    let value = value.trim_matches(|c: char| c.is_whitespace() || "\"'`,;:{}[]()#".contains(c));
    value.len() <= LONGEST_ORDINARY && (is_words(value) || CAMEL_CASE.is_match(value) || ORDINARY.is_match(value))
}

/// Whether it is a path, or a URL without credentials.
fn is_location(value: &str) -> bool {
    value.len() <= LONGEST_ORDINARY && LOCATION.is_match(value)
}

/// Whether the text is short and consists of words as people write them, joined by `-` and the like.
fn is_words(text: &str) -> bool {
    let is_word = |word: &str| {
        let tail = word.get(1..).unwrap_or_default();
        let is_one_case = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_lowercase()) || text.bytes().all(|byte| byte.is_ascii_uppercase())
        };
        is_one_case(word)
            || CAMEL_CASE.is_match(word)
            || word.starts_with(|c: char| c.is_ascii_uppercase()) && tail.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    text.len() < LONGEST_WORD && text.split(['-', '_', '.', '/']).all(is_word)
}

type Span = std::ops::Range<usize>;

/// The secrets within the value of a Secret that is a whole file, and whether each has a name that says so.
fn inner(value: &str) -> Vec<(Span, bool)> {
    let lower = value.to_ascii_lowercase();
    let assigned = assignments(&lower).into_iter();
    let mut found: Vec<(Span, bool)> =
        assigned.map(|it| (it.value.clone(), SECRET_KEY.is_match(name_before(&lower, it.name_end)))).collect();
    found.extend(scheme_credentials(value, &lower, false).map(|span| (span, true)));
    found.extend(url_passwords(value, false).map(|span| (span, true)));
    found.extend(web_tokens(value, false).map(|span| (span, true)));
    found
}

/// The credentials in any text, and, in a text that was cut, the spans at its end that may have continued so.
fn credentials(text: &str, is_cut: bool) -> Vec<Span> {
    // The same bytes but for the case of ASCII letters, so that spans fit both.
    let lower = text.to_ascii_lowercase();
    let assigned = assignments(&lower).into_iter().filter(|it| it.is_credential(text, &lower));
    let mut spans: Vec<Span> = assigned.map(|it| it.value).collect();
    spans.extend(scheme_credentials(text, &lower, is_cut));
    spans.extend(url_passwords(text, is_cut));
    spans.extend(web_tokens(text, is_cut));
    spans.extend(private_keys(text, is_cut));
    spans
}

/// A name that may be that of a secret, with its value: `password=…`, `"password": "…"`, `--password …`.
struct Assignment {
    name_end: usize,
    value: Span,
    /// Between them is `=` or `=>`, or a space after a flag; otherwise a colon.
    is_equals: bool,
    /// Both are in quotes.
    is_quoted: bool,
}

impl Assignment {
    /// Whether the value is a credential in any text. A message such as `spec.auth.password: Invalid value` has none.
    fn is_credential(&self, text: &str, lower: &str) -> bool {
        const NO_VALUES: [&str; 10] =
            ["null", "nil", "none", "true", "false", "undefined", "required", "missing", "invalid", "expired"];
        let value = &text[self.value.clone()];
        let name = name_before(lower, self.name_end);
        let is_password = PASSWORD.is_match(name);
        // A reference, a placeholder or a file.
        let is_reference = value.starts_with(['$', '<', '/', '%', '*', '{', '[']);
        if is_reference || NO_VALUES.contains(&&lower[self.value.clone()]) || !is_password && !CREDENTIAL.is_match(name)
        {
            return false;
        }
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
        if self.is_equals {
            return value.len() >= 3 && (is_password || !is_number);
        }
        let is_long = value.len() >= SHORTEST_SECRET && !is_words(value);
        if is_password { is_long || self.is_quoted && value.len() >= 4 } else { is_long && self.is_quoted }
    }
}

fn assignments(text: &str) -> Vec<Assignment> {
    let closing_quotes = Stops::new(text, is_quote);
    let separators = Stops::new(text, |c| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '}' | ')'));
    let assignment = |name: regex::Match<'_>| {
        let after_name = &text[name.end()..];
        let unquoted = after_name.trim_start_matches(is_quote);
        let operator = unquoted.trim_start_matches(' ');
        let assigned = operator.trim_start_matches(['=', ':', '>']);
        // `--password value`. The word ends here, so that no two searches pass over the same word.
        let is_flag = || {
            let is_word_end = unquoted.len() == after_name.len() && operator.len() < unquoted.len();
            is_word_end && word_before(text, name.end()).starts_with("--")
        };
        let has_operator = assigned.len() < operator.len();
        if !has_operator && !is_flag() {
            return None;
        }
        let spaced = assigned.trim_start_matches(' ');
        let value = spaced.trim_start_matches(is_quote);
        let begin = text.len() - value.len();
        let scheme = SCHEMES.iter().find(|scheme| value.starts_with(*scheme)).map_or(0, |scheme| scheme.len());
        let is_value_quoted = value.len() < spaced.len();
        let end = if is_value_quoted { &closing_quotes } else { &separators }.first_from(begin + scheme);
        (end > begin + scheme).then(|| Assignment {
            name_end: name.end(),
            value: begin..end,
            is_equals: !has_operator || operator.starts_with('='),
            is_quoted: is_value_quoted && unquoted.len() < after_name.len(),
        })
    };
    SECRET_NAME.find_iter(text).filter_map(assignment).collect()
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\')
}

/// The word that ends at `end`.
fn word_before(text: &str, end: usize) -> &str {
    text[..end].rsplit(char::is_whitespace).next().unwrap_or_default()
}

/// The end of the name that ends at `end`.
fn name_before(text: &str, end: usize) -> &str {
    let begin = text.ceil_char_boundary(end.saturating_sub(LONGEST_NAME));
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = &text[begin..end];
    name.rfind(|c| !is_part(c)).map_or(name, |before| &name[name.ceil_char_boundary(before + 1)..])
}

/// The positions of the characters that end a value. Values may overlap: this way the text is searched once for all.
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

/// The words after `Bearer` or `Basic` that may be credentials: not `Bearer authentication`.
fn scheme_credentials<'a>(text: &'a str, lower: &'a str, is_cut: bool) -> impl Iterator<Item = Span> + 'a {
    let begins = SCHEMES.iter().flat_map(|scheme| lower.match_indices(scheme).map(|(at, _)| at + scheme.len()));
    begins.filter_map(move |begin| {
        let length = lower[begin..].find(|c| !is_token_character(c));
        let end = length.map_or(lower.len(), |length| begin + length);
        let is_long = end - begin >= SHORTEST_PART && !is_words(&text[begin..end]);
        (is_long || (is_cut && end == text.len())).then_some(begin..end)
    })
}

/// The private keys that begin in the text.
fn private_keys(text: &str, is_cut: bool) -> impl Iterator<Item = Span> {
    PRIVATE_KEY.find_iter(text).filter_map(move |key| {
        let is_open = is_cut && key.end() + KEY_LINE >= text.len();
        let lines = key.as_str().split([' ', '\\', '-']);
        let is_key = key.as_str().contains(END) || lines.into_iter().any(|line| line.len() >= KEY_LINE);
        (is_key || is_open).then(|| key.start()..if is_open { text.len() } else { key.end() })
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
    use crate::domain::resource::ObjectKey;

    fn secret(manifest: &Value) -> Resource {
        Resource::planned("v1", "Secret", "s", manifest)
    }

    #[test]
    fn hides_credentials_in_any_text() {
        for (text, shown) in [
            ("DB_PASSWORD=hunter2 next", "DB_PASSWORD=*** next"),
            (r#"{"password":"hun ter2","user":"x"}"#, r#"{"password":"***","user":"x"}"#),
            (r#"msg="{\"token\": \"hunter2\"}""#, r#"msg="{\"token\": \"***\"}""#),
            ("run --password hunter2 --verbose", "run --password *** --verbose"),
            ("password: hunter2, user: x", "password: ***, user: x"),
            ("--api-key=hunter2, token=abc", "--api-key=***, token=***"),
            ("GET /x?access_token=hunter2&y=1", "GET /x?access_token=***&y=1"),
            ("client_secret => 'hunter2'", "client_secret => '***'"),
            ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG TZ=UTC", "AWS_SECRET_ACCESS_KEY=*** TZ=UTC"),
            ("host=db user=app password=swordfish sslmode=disable", "host=db user=app password=*** sslmode=disable"),
            ("Authorization: Bearer abcdef.123456", "Authorization: Bearer ***"),
            ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
            ("token: Bearer abcdef123456 sent", "token: Bearer *** sent"),
            ("postgres://app:hunter2@db:5432/x", "postgres://app:***@db:5432/x"),
            ("got eyJhbGciOi.eyJzdWIi.c2ln here", "got *** here"),
            ("Passwört: é password=éééé", "Passwört: é password=***"),
        ] {
            assert_eq!(Mask::default().apply(text), shown);
        }
    }

    #[test]
    fn keeps_reasons() {
        let secrets = json!({ "stringData": {
            "user": "app1", "db": "spec", "mode": "Deployment", "port": "8080", "path": "/healthz/ready", "host": "10.0.0.5",
            "name": "web-frontend-01", "kind": "StatefulSet", "url": "http://db.default.svc:5432/metrics", "tokenFile": "/var/run/t",
            "level": "container", "policy": "ImagePullBackOff", "version": "v1.30.2", "password": "admin", "token": "web-frontend-01",
            "image": "registry.example.com/web/app:1.2.3", "timeout": "30s", "nginx.conf": "server {\n  listen 8080;\n}\n",
        } });
        let web = Resource {
            key: ObjectKey { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned(), name: "web".to_owned() },
            ..secret(&json!({ "metadata": { "name": "web-frontend-01" } }))
        };
        let mask = Mask::of(&[secret(&secrets), web]);
        for text in [
            r#"secret "db-credentials" not found"#,
            "couldn't find key password in Secret x/db",
            r#"Secret "Db_Secret" is invalid: metadata.name: Invalid value: "Db_Secret": a lowercase RFC 1123 subdomain"#,
            r#"spec.template.spec.imagePullSecrets[1]: Duplicate value: {"name":"reg"}"#,
            "spec.template.spec.imagePullSecrets: duplicate entries for key [name=\"reg-7\"]",
            "spec.containers[0].env[0].valueFrom.secretKeyRef.key: Required value",
            "spec.volumes[0].secret.defaultMode: Invalid value: 5000: must be a number between 0 and 0777",
            "spec.volumes[0].projected.sources[0].serviceAccountToken.path: Required value",
            r#"data[tls.crt]: Required value, data[tls.key]: Required value; type: "kubernetes.io/tls""#,
            r#"Unsupported value: "Nonsense": supported values: "Recreate", "RollingUpdate" of Deployment.spec app1"#,
            "Back-off restarting failed container app in pod web-1",
            "Back-off pulling image \"registry.example.com/web/app:1.2.3\": ImagePullBackOff",
            r#"pull access denied, authorization failed: no basic auth credentials"#,
            r#"failed to authorize: unexpected status from GET request to https://auth.docker.io/token?scope=x: 401 Unauthorized"#,
            r#"WWW-Authenticate: Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#,
            "Bearer authentication failed, Basic authorization required",
            "Unable to retrieve some image pull secrets (regcred-2); attempting to pull the image may not succeed.",
            r#"Readiness probe failed: Get "http://10.0.0.5:8080/healthz/ready": dial tcp 10.0.0.5:8080: connect: connection refused"#,
            "Startup probe failed: HTTP probe failed with statuscode: 503",
            "panic: runtime error: invalid memory address or nil pointer dereference [signal SIGSEGV code=0x1 addr=0x18]",
            "main.(*Server).checkToken(0xc0000b4000) /go/src/app/token.go:42 +0x1d",
            "File \"/app/auth/password.py\", line 42, in check_password: raise TokenExpired(token)",
            r#"{"level":"error","ts":"2026-11-30T02:00:00Z","msg":"token expired","secret":"db-credentials"}"#,
            r#"FATAL: password authentication failed for user "app1" (using password: YES)"#,
            "invalid password: must be longer than 8; token: unexpected EOF; api key: not set",
            "env TOKEN_TTL=3600 PASSWORD_FILE=/run/secrets/db TOKEN_PATH=/var/run/t MAX_TOKENS=4096",
            "--password=$(DB_PASSWORD) --token-file /etc/token-7 --password <value>",
            "tls: failed to find any PEM data: expected -----BEGIN RSA PRIVATE KEY----- at the start of the file",
            "http://registry:5000/image:tag not found",
            "0/3 nodes are available: 3 Insufficient cpu. StatefulSet web-frontend-01 on 10.0.0.5",
        ] {
            assert_eq!(mask.apply(text), text);
            assert_eq!(mask.apply_to_lines(&[text.to_owned()]), [text]);
        }
    }

    #[test]
    fn hides_values_of_secret_objects_in_every_spelling() {
        let mask = Mask::of(&[
            secret(
                &json!({ "stringData": { "a": "hunter2", "b": "hunter2-and-more", "c": "one-line 1\nother-line 2\n" } }),
            ),
            secret(&json!({ "data": { "d": "czNj\ncjN0", "short": "YQ==", "binary": "/+7dzLuqmYh3ZlVEMyIRAA==" } })),
            secret(&json!({ "stringData": { "config.yaml": "host: db\npassword: innermost\n" } })),
            secret(&json!({ "stringData": { "password": "swordfish", "dsn": "postgres://app:tr0ub4dor@db/x" } })),
            secret(&json!({ "stringData": { "apiToken": "q\"u/o+t e", "line": "s3cr3t-value\n" } })),
            secret(
                &json!({ "stringData": { ".dockerconfigjson": r#"{"auths":{"reg.io":{"auth":"dXNlcjpwYXNz"}}}"# } }),
            ),
        ]);
        for (text, shown) in [
            ("login with hunter2 fails", "login with *** fails"),
            ("hunter2-and-more!", "***!"),
            ("other-line 2, one-line 1", "***, ***"),
            ("s3cr3t or czNjcjN0", "*** or ***"),
            ("aHVudGVyMg== or aHVudGVyMg of a", "*** or *** of a"),
            ("innermost of db", "*** of db"),
            ("illegal base64 /+7dzLuqmYh3ZlVEMyIRAA==", "illegal base64 ***"),
            ("env dump: X=swordfish Y=tr0ub4dor", "env dump: X=*** Y=***"),
            (r#"{"v":"q\"u/o+t e"} ?v=q%22u%2Fo%2Bt%20e"#, r#"{"v":"***"} ?v=***"#),
            ("got 's3cr3t-value'", "got '***'"),
            ("auth dXNlcjpwYXNz for reg.io", "auth *** for reg.io"),
        ] {
            assert_eq!(mask.apply(text), shown);
        }
    }

    #[test]
    fn hides_a_short_value_only_as_a_word() {
        let mask = Mask::of(&[secret(&json!({ "stringData": { "password": "listen", "a": "hunter2" } }))]);
        assert_eq!(mask.apply("listener of hunter2s: listen, hunter2"), "listener of hunter2s: ***, ***");
    }

    #[test]
    fn hides_known_values_and_nothing_else() {
        let mask = Mask::with_credentials(&[], ["vim-credential-1"]);
        assert_eq!(mask.apply("vim-credential-1 is expired"), "*** is expired");
        assert_eq!(mask.hide_values("a\nPASSWORD=hunter2 vim-credential-1"), "a\nPASSWORD=hunter2 ***");
    }

    #[test]
    fn hides_a_private_key_from_its_first_line_to_its_last() {
        let material = "MIIEpAIBAAKCAQEAwJ0dmX8ljV1kq3nCkE7TQpP9d8LAJ0RZqLz1mYyqfDk3aXoS";
        let lines =
            ["x", "key: -----BEGIN RSA PRIVATE KEY-----", material, "shOrt==", "-----END RSA PRIVATE KEY-----", "y"];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let mask = Mask::default();
        assert_eq!(mask.apply_to_lines(&lines), ["x", "key: ***", "***", "***", "***", "y"]);
        assert_eq!(mask.apply_to_lines(&lines[2..]), ["***", "***", "***", "y"]);
        assert_eq!(mask.apply_to_lines(&lines[..4]), ["x", "key: ***", "***", "***"]);
        let cut = [&lines[..4], &["panic: bad key".to_owned(), "goroutine 1".to_owned()]].concat();
        assert_eq!(mask.apply_to_lines(&cut)[4..], ["panic: bad key", "goroutine 1"]);
        let json = format!(
            r#"{{"key":"-----BEGIN PRIVATE KEY-----\n{material}\nshOrt==\n-----END PRIVATE KEY-----\n","error":"refused"}}"#
        );
        assert_eq!(mask.apply_to_lines(&[json]), [r#"{"key":"***\n","error":"refused"}"#]);
    }

    #[test]
    fn a_mark_of_a_private_key_in_a_message_hides_no_other_line() {
        let lines = ["expected -----BEGIN RSA PRIVATE KEY-----", "at start of file", "exit status 1"];
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(Mask::default().apply_to_lines(&lines), lines);
    }

    #[test]
    fn takes_white_space_of_several_bytes_for_white_space() {
        let secrets = Mask::of(&[]);
        assert_eq!(secrets.apply("a\u{a0}--token abcdef12"), "a\u{a0}--token ***");
    }

    proptest! {
        #[test]
        fn takes_any_text(text in "(password|--token|bearer |basic |://|eyJ|[-:=\"'\\\\ .@/\nÀé€]|.){0,24}") {
            let mask = Mask::of(&[secret(&json!({ "stringData": { "a": text } }))]);
            let masked = mask.apply(&text);
            prop_assert!(!masked.chars().any(char::is_control));
            prop_assert_eq!(mask.apply_to_lines(std::slice::from_ref(&text)).len(), 1);
            let is_hidden = mask.values.contains(&text);
            prop_assert_eq!(is_hidden, text.trim().len() >= SHORTEST_SECRET && !is_location(text.trim()) && !is_ordinary(&text));
            if is_hidden && !text.chars().any(char::is_control) {
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
            let longest = LONGEST_TEXT + HIDDEN.len() + '…'.len_utf8();
            assert!(mask.apply(&text).len() <= longest, "{part}");
            assert!(mask.apply_to_lines(std::slice::from_ref(&text))[0].len() <= longest, "{part}");
        }
    }

    #[test]
    fn many_values_take_no_longer_than_few() {
        let lines: String = (0..150_000).map(|line| format!("line-{line:06}!\n")).collect();
        let mask = Mask::of(&[secret(&json!({ "stringData": { "a": lines } }))]);
        for _ in 0..200 {
            let masked = mask.apply(&"a line-077777! b, ".repeat(200));
            assert!(masked.starts_with("a *** b, a *** b"), "{masked}");
        }
    }

    #[test]
    fn hides_values_that_overlap_or_have_a_common_beginning() {
        let values = json!({ "a": "abcd1234", "b": "1234defgh", "c": "abcd1234-e", "d": "abcd123z" });
        let mask = Mask::of(&[secret(&json!({ "stringData": values }))]);
        for (text, shown) in [
            ("x abcd1234defgh y", "x *** y"),
            ("abcd1234-e, abcd1234-f, abcd123z", "***, ***-f, ***"),
            ("abcd123y abcd123", "abcd123y abcd123"),
            ("abcd1234-", "***-"),
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
