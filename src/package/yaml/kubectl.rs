//! Splits a definition file into documents as `kubectl` does (`NewYAMLOrJSONDecoder` of apimachinery), before any of them is parsed.
//!
//! - A file that begins with `{` is a stream of JSON values, one after the other, with or without space between them. From the first
//!   value that is no JSON on, it is YAML, if at most one value precedes it.
//! - YAML is split at the lines that begin with `---`. Only a comment may follow on such a line.
//!
//! `kubectl` reads the first document of each part and ignores the rest of it, for example what follows a line `...`. Gybe refuses such a
//! part, because nothing may be left out in silence.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::limits::problem;
use crate::domain::problem::Problem;

const BOM: char = '\u{feff}';
/// The line breaks of YAML 1.1 that YAML 1.2 does not have.
const OLD_BREAKS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// What follows a JSON value and has fewer bytes is not read as YAML.
const SHORTEST_YAML: usize = 4;

/// A part of a file that holds one document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// The number of lines before it.
    pub lines_before: usize,
    /// Its text.
    pub text: Cow<'a, str>,
    /// Whether it is a JSON value.
    pub is_json: bool,
}

/// The parts of `text`.
///
/// # Errors
/// 422 naming `file` and line of what `kubectl` refuses or ignores.
pub(super) fn parts<'a>(file: &str, text: &'a str) -> Result<Vec<Part<'a>>, Problem> {
    let mut parts = Vec::new();
    let rest = if text.trim_start().starts_with('{') { json_parts(file, text, &mut parts)? } else { text };
    yaml_parts(file, rest, lines(text) - lines(rest), &mut parts)?;
    Ok(parts)
}

/// The number of line feeds.
fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Adds the JSON values at the beginning of `text`. Returns the rest, which is YAML or empty.
fn json_parts<'a>(file: &str, text: &'a str, parts: &mut Vec<Part<'a>>) -> Result<&'a str, Problem> {
    let (mut rest, mut count, mut lines_before) = (text, 0, 0);
    loop {
        let mut values = Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        match values.next() {
            None => return Ok(""),
            Some(Ok(IgnoredAny)) => {
                let (value, after) = rest.split_at(values.byte_offset());
                parts.push(Part { lines_before, text: Cow::Borrowed(value), is_json: true });
                (rest, count, lines_before) = (after, count + 1, lines_before + lines(value));
            }
            Some(Err(error)) if count > 1 || rest.len() < SHORTEST_YAML => {
                return Err(problem(file, lines_before + error.line().max(1), &format!("not valid JSON: {error}")));
            }
            // The line break after the last value belongs to it.
            Some(Err(_)) => {
                let blank = rest.find(|letter: char| !letter.is_whitespace() || letter == '\n').unwrap_or(rest.len());
                let blank = if rest[blank..].starts_with('\n') { blank + 1 } else { blank };
                return Ok(&rest[blank..]);
            }
        }
    }
}

/// Adds the parts of YAML between lines that begin with `---`.
fn yaml_parts<'a>(file: &str, text: &'a str, lines_before: usize, parts: &mut Vec<Part<'a>>) -> Result<(), Problem> {
    let (mut begin, mut at, mut first) = (0, 0, lines_before);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let after = at + line.len();
        if let Some(rest) = line.strip_prefix("---") {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                let what = "only a comment may follow '---', as for kubectl; put the rest on the next line";
                return Err(problem(file, lines_before + index + 1, what));
            }
            add(file, &text[begin..at], first, parts)?;
            (begin, first) = (after, lines_before + index + 1);
        }
        at = after;
    }
    add(file, &text[begin..], first, parts)
}

/// Adds a part of YAML, unless it is empty.
fn add<'a>(file: &str, text: &'a str, lines_before: usize, parts: &mut Vec<Part<'a>>) -> Result<(), Problem> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let mut ended = false;
    for (index, line) in text.lines().enumerate() {
        let wrong = |what: &str| Err(problem(file, lines_before + index + 1, what));
        let content = line.trim();
        if ended && !content.is_empty() && !content.starts_with('#') {
            return wrong(
                "the document ends before this line at '...', and kubectl reads nothing after it; write '---'",
            );
        }
        ended |= line.strip_prefix("...").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if line.starts_with(BOM) {
            return wrong(
                "the line begins with a byte order mark, which kubectl reads only after a line '---'; remove it",
            );
        }
        if line.contains(OLD_BREAKS) {
            return wrong(
                "the character U+0085, U+2028 or U+2029 is a line break to kubectl; write it as an escape in double quotes",
            );
        }
    }
    if text.is_empty() {
        return Ok(());
    }
    // kubectl ends each line. A block scalar at the end of the file depends on it.
    let text = if text.ends_with('\n') { Cow::Borrowed(text) } else { Cow::Owned(format!("{text}\n")) };
    parts.push(Part { lines_before, text, is_json: false });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(usize, String)> {
        parts("f", text).unwrap().into_iter().map(|part| (part.lines_before, part.text.into_owned())).collect()
    }

    fn parts_of(expected: &[(usize, &str)]) -> Vec<(usize, String)> {
        expected.iter().map(|(lines, text)| (*lines, (*text).to_owned())).collect()
    }

    #[test]
    fn yaml_is_split_at_separators() {
        for (text, expected) in [
            ("", &[][..]),
            ("a: 1", &[(0, "a: 1\n")]),
            ("---\na: 1\n--- # c\nb: |\n  x", &[(1, "a: 1\n"), (3, "b: |\n  x\n")]),
            ("a: 1\r\n---\r\n\u{feff}b: 2\n", &[(0, "a: 1\r\n"), (2, "b: 2\n")]),
            ("a: 1\n...\n# the end\n", &[(0, "a: 1\n...\n# the end\n")]),
            ("a: ---\n ---\n", &[(0, "a: ---\n ---\n")]),
        ] {
            assert_eq!(split(text), parts_of(expected), "{text:?}");
        }
    }

    #[test]
    fn json_values_follow_one_another() {
        for (text, expected) in [
            ("{}{\"a\": 1}\n\n[1]", &[(0, "{}"), (0, "{\"a\": 1}"), (0, "\n\n[1]")][..]),
            (" {\n}\n---\n{}\n---\na: 1\n", &[(0, " {\n}"), (3, "{}\n"), (5, "a: 1\n")]),
            ("{a: 1}\n---\nb: 2\n", &[(0, "{a: 1}\n"), (2, "b: 2\n")]),
            ("{} b: 1\n", &[(0, "{}"), (0, "b: 1\n")]),
        ] {
            assert_eq!(split(text), parts_of(expected), "{text:?}");
        }
    }

    #[test]
    fn what_kubectl_would_ignore_or_refuse_is_refused_with_its_line() {
        for (text, expected) in [
            ("a: 1\n--- {b: 2}\n", "f:2: only a comment may follow '---'"),
            ("a: 1\n----\n", "f:2: only a comment may follow '---'"),
            ("a: 1\n---\nb: 2\n...\nc: 3\n", "f:5: the document ends before this line"),
            ("a: 1\nb: x\u{2028}y\n", "f:2: the character U+0085, U+2028 or U+2029"),
            ("a: 1\n\u{feff}---\nb: 2\n", "f:2: the line begins with a byte order mark"),
            ("{}#c\n", "f:1: not valid JSON: "),
            ("{}\n{}\n{a}\n", "f:3: not valid JSON: "),
        ] {
            let found = parts("f", text).unwrap_err().detail;
            assert!(found.starts_with(expected), "{text:?}\n{found}");
        }
    }
}
