//! Reads YAML and JSON texts into trees that know their lines. [`super::vnfd`] and [`super::manifest`] read everything
//! through this module.
//!
//! **What is read.** A definition file ([`manifests`]) means what it means to `kubectl`, or is refused with the line: see [`kubectl`] and
//! `docs/adr/0023-definition-files-as-kubectl-reads-them.md`. A file of a VNFD ([`documents`]) is YAML as the parser reads it.
//!
//! **Bounds.** [`documents`] refuses a text that is too long, too deep, or that multiplies itself by aliases (the billion
//! laughs, an alias within its own anchor), after a bounded amount of work: see [`limits`].
//!
//! **Types.** Plain scalars mean what they mean to `kubectl`, and nearly always what they mean to Tacker. Both read YAML 1.1,
//! where `yes`, `on` and `y` are booleans and `0644` is 420: a manifest that works there works here. Keys are strings as
//! written, timestamps stay strings, integers keep all of their 64 bits, and a key that occurs twice is an error.

mod at;
mod composer;
mod kubectl;
mod limits;
mod node;
mod scalar;
mod tabs;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError};

use crate::domain::package::DefinitionFile;
use crate::domain::problem::Problem;
pub use at::At;
use composer::{Composer, Keys};
use kubectl::Part;
use limits::too_much;
pub use limits::{Budget, MAX_DEPTH, problem};
pub use node::{Data, Node};
use tabs::Tabs;

/// The documents of a file of a VNFD, without those that hold nothing. Keys are strings as written.
///
/// # Errors
/// 422 naming `file` and line, if the text is no YAML or is beyond the bounds.
pub fn documents(file: &str, text: &str, budget: &mut Budget) -> Result<Vec<Node>, Problem> {
    check_length(file, text)?;
    let mut composer = Composer::new(file, Keys::AsWritten, budget);
    for event in Parser::new_from_str_with_options(text, parser_options()) {
        let (event, span) = event.map_err(|error| syntax_error(file, &error, 0))?;
        composer.take(event, span.start.line(), span.end.line())?;
    }
    Ok(composer.documents)
}

/// The documents of a definition file, without those that hold nothing: what `kubectl` reads, or an error.
///
/// # Errors
/// 422 naming `file` and line, if the text is no YAML or JSON, if `kubectl` would ignore a part of it, or beyond the bounds.
pub fn manifests(file: &str, text: &str, budget: &mut Budget) -> Result<Vec<Node>, Problem> {
    check_length(file, text)?;
    let mut composer = Composer::new(file, Keys::OfKubectl, budget);
    for part in kubectl::parts(file, text)? {
        composer.begin_part();
        read_part(file, &part, &mut |event, line, end_line| composer.take(event, line, end_line))?;
    }
    Ok(composer.documents)
}

/// Checks that a definition file is YAML or JSON with any content.
///
/// # Errors
/// 422 naming `file` and line.
pub fn check_syntax(file: &str, text: &str) -> Result<(), Problem> {
    kubectl::parts(file, text)?.iter().try_for_each(|part| read_part(file, part, &mut |_, _, _| Ok(())))
}

/// Passes the events of a part of a definition file, each with its first and last line, to `take`.
fn read_part(
    file: &str,
    part: &Part<'_>,
    take: &mut dyn FnMut(Event<'_>, usize, usize) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut tabs = Tabs::of(&part.text);
    for event in Parser::new_from_str_with_options(&part.text, parser_options()) {
        let (event, span) = event.map_err(|error| syntax_error(file, &error, part.lines_before))?;
        if let Some(tabs) = &mut tabs {
            tabs.take(&event, &span);
        }
        let (line, end_line) = (part.lines_before + span.start.line(), part.lines_before + span.end.line());
        if !part.is_json {
            let bytes = span.byte_range().unwrap_or_default();
            let text = |range| part.text.get(range).unwrap_or_default();
            if let Some(what) = refused_by_kubectl(&event, text(bytes.clone()), text(bytes.end..part.text.len())) {
                return Err(problem(file, line, what));
            }
        }
        take(event, line, end_line)?;
    }
    match tabs.and_then(|tabs| tabs.misplaced(&part.text)) {
        Some(line) => Err(problem(file, part.lines_before + line, "a tab in the indentation; use spaces")),
        None => Ok(()),
    }
}

/// Why `kubectl` refuses an event that the parser takes, or reads it otherwise. `raw` is its text in the file, `rest` what follows.
fn refused_by_kubectl(event: &Event<'_>, raw: &str, rest: &str) -> Option<&'static str> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    match event {
        Event::Scalar(_, ScalarStyle::DoubleQuoted, ..) if raw.replace("\\\\", "").contains("\\/") => {
            Some("the escape \\/ exists in JSON only; write '/'")
        }
        Event::Scalar(_, ScalarStyle::Plain, ..)
            if rest.strip_prefix(':').is_some_and(|rest| rest.starts_with([',', '[', ']', '{', '}'])) =>
        {
            Some("a ':' within {} is followed by a space, or kubectl takes it as part of the key; write one")
        }
        Event::Anchor(_, name) if !name.chars().all(is_word) => {
            Some("the name of an anchor (&) has letters, digits, '-' and '_' only, as for kubectl")
        }
        _ => None,
    }
}

fn check_length(file: &str, text: &str) -> Result<(), Problem> {
    let (length, most) = (text.len(), DefinitionFile::MAX_BYTES);
    if length as u64 <= most {
        return Ok(());
    }
    Err(problem(file, 1, &format!("{length} bytes are more than the {most} that are read; split the file")))
}

fn parser_options() -> Options {
    granit_parser::options! {
        emit_comments: false,
        emit_anchor_events: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    }
}

fn syntax_error(file: &str, error: &ScanError, lines_before: usize) -> Problem {
    let line = lines_before + error.marker().line();
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_much(file, line),
        ErrorKind::UnknownAnchor => problem(file, line, "an alias (*) of an anchor (&) that is not in the document"),
        _ => problem(file, line, &format!("not valid YAML: {}", error.info())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<Vec<Node>, Problem> {
        documents("f.yaml", text, &mut Budget::default())
    }

    fn values(text: &str) -> Vec<Value> {
        read(text).unwrap().into_iter().map(Value::from).collect()
    }

    fn error(text: &str) -> String {
        read(text).unwrap_err().detail
    }

    #[test]
    fn a_nul_character_is_refused_with_its_line() {
        let problem = read("a: 1\nb: \"x\\0y\"\n").unwrap_err();
        assert!(problem.detail.contains(":2: the character U+0000"), "{}", problem.detail);
    }

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        let text = "a: yes\nb: off\nc: 0644\nd: 0o17\ne: -9223372036854775808\nf: 18446744073709551615\ng: -5\nh: 1.5\n\
                    i: 2024-01-01\nj: ~\nk: 'yes'\nl: \"0644\"\nm: 1_000\n8080: port\nyes: key\n0x10: hex\nn: 1.2.3\n\
                    o: !!str 5\nao: ! 5\nap: !!int \"5\"\np: 500m\nq:\nr: 0x1F\ns: 1e3\nt: .5\nu: -0b11\nv: +7\nw: yEs\nx: inf\nz: 0x\n\
                    aa: '-'\nab: 1e999\nac: 0x+5\nad: 10.0.0.1\n";
        let expected = json!({
            "a": true, "b": false, "c": 420, "d": 15, "e": i64::MIN, "f": u64::MAX, "g": -5, "h": 1.5,
            "i": "2024-01-01", "j": null, "k": "yes", "l": "0644", "m": 1000, "8080": "port", "yes": "key",
            "0x10": "hex", "n": "1.2.3", "o": "5", "ao": "5", "ap": 5, "p": "500m", "q": null, "r": 31, "s": 1000, "t": 0.5, "u": -3,
            "v": 7, "w": "yEs", "x": "inf", "z": "0x", "aa": "-", "ab": "1e999", "ac": "0x+5", "ad": "10.0.0.1"
        });
        assert_eq!(values(text), [expected]);
    }

    #[test]
    fn json_is_read_as_well() {
        let text = "{\n\t\"a\": [1, \"\\ud83d\\ude00\", \"\\/\"],\n\t\"b\": {\"c\":null}}\n";
        assert_eq!(values(text), [json!({"a": [1, "😀", "/"], "b": {"c": null}})]);
    }

    #[test]
    fn documents_and_members_know_their_lines() {
        let text = "# a comment\n---\n---\na:\n  b: 1\n  c:\n    - x\n    - y\n---\n~\n---\n# another\nd: 2\n...\n";
        let all = read(text).unwrap();
        let lines: Vec<usize> = all.iter().map(|node| node.line).collect();
        assert_eq!(lines, [4, 13]);
        let root = At::root("f.yaml", "document", &all[0]);
        let a = root.required("a").unwrap();
        let line = |key| a.required(key).unwrap().node().line;
        assert_eq!((a.node().line, line("b"), line("c")), (4, 5, 6));
        assert_eq!(a.required("c").unwrap().items().unwrap().nth(1).unwrap().node().line, 8);
        assert_eq!(a.required("d").unwrap_err().detail, "f.yaml:4: a has no d; add it");
        assert_eq!(
            a.required("c").unwrap().text().unwrap_err().detail,
            "f.yaml:6: c must be a string, and this is a list; put it in quotes"
        );
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let text = "base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\nagain: *base\nk: &k name\n*k : *k\n\
                    more:\n  <<: [{a: 5}, *base, {c: 6}]\n";
        let base = json!({"a": 1, "b": 2});
        let expected = json!({
            "base": base, "use": {"a": 1, "b": 3}, "again": base, "k": "name", "name": "name",
            "more": {"a": 5, "b": 2, "c": 6}
        });
        assert_eq!(values(text), [expected]);
        assert!(error("a:\n  <<: 5\n").starts_with("f.yaml:2: '<<' takes a mapping"));
    }

    #[test]
    fn a_text_without_anything_has_no_documents() {
        for text in ["", "\n", "# only a comment\n", "---\n", "---\n---\n...\n", "\u{feff}"] {
            assert_eq!(values(text), Vec::<Value>::new(), "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let cases = [
            ("a: 1\nb: [1\nc: 2\n", "f.yaml:3: not valid YAML: "),
            ("a: 1\nb: 2\na: 3\n", "f.yaml:3: the key 'a' occurs twice in one mapping, first on line 1; remove one"),
            ("a:\n\tb: 2\n", "f.yaml:2: not valid YAML: "),
            ("a: *gone\n", "f.yaml:1: an alias (*) of an anchor (&) that is not in the document"),
            ("a: &x 1\n---\na: *x\n", "f.yaml:3: an alias (*) of an anchor"),
            ("a: .inf\n", "f.yaml:1: .inf is no number that Kubernetes takes"),
            ("? [a, b]\n: c\n", "f.yaml:1: a key must be a string"),
            (": c\n", "f.yaml:1: a key is missing before ':'"),
            ("a: !Ref b\n", "f.yaml:1: the tag !Ref means nothing here; write the value without it"),
            ("a: !!set {b, c}\n", "f.yaml:1: the tag !!set means nothing here"),
            ("a: !!binary aGk=\n", "f.yaml:1: the tag !!binary means nothing here"),
            ("a: \"b\n", "f.yaml:"),
        ];
        for (text, expected) in cases {
            assert!(error(text).starts_with(expected), "{text}\n{}", error(text));
        }
        let most = usize::try_from(DefinitionFile::MAX_BYTES).unwrap();
        assert!(error(&"x".repeat(most + 1)).starts_with(&format!("f.yaml:1: {} bytes are more than", most + 1)));
    }

    #[test]
    fn syntax_is_checked_without_regard_to_meaning() {
        for text in ["a: !Ref b\n", "a: 1\na: 2\n", "a: .inf\n"] {
            assert_eq!(check_syntax("f.yaml", text), Ok(()), "{text}");
        }
        for (text, expected) in [("a: {b: 1\nc: 1\n", "f.yaml:2: not valid YAML: "), ("a: 1\n\t\n", "f.yaml:2: a tab")]
        {
            assert!(check_syntax("f.yaml", text).unwrap_err().detail.starts_with(expected), "{text:?}");
        }
    }

    fn manifest_values(text: &str) -> Vec<Value> {
        manifests("f.yaml", text, &mut Budget::default()).unwrap().into_iter().map(Value::from).collect()
    }

    /// As `sigs.k8s.io/yaml` and apimachinery's decoder of Kubernetes 1.36 read these texts.
    #[test]
    fn definition_files_are_read_as_kubectl_reads_them() {
        let config = |annotation: Value| json!({ "metadata": { "annotations": { "x": annotation } }, "y": 1 });
        for indent in ["      ", "    ", "", " \t", "\t\t"] {
            let text = format!(
                "metadata:\n  annotations:\n    x: '{{\n{indent}\"a\": \"b\",\n{indent}\"c\": 1\n{indent}}}'\n\"y\": 1\n"
            );
            assert_eq!(manifest_values(&text), [config(json!("{ \"a\": \"b\", \"c\": 1 }"))], "{text}");
        }
        let quoted = "metadata:\n  annotations:\n    x: \"first\n  second\n\n third\"\n\"y\": 1\n";
        assert_eq!(manifest_values(quoted), [config(json!("first second\nthird"))]);
        for (text, expected) in [
            ("{\"a\": 1}{\"b\": \"\\/\"}\n[2]", json!([{ "a": 1 }, { "b": "/" }, [2]])),
            ("{\"a\": 1}\n---\nb: 2\n---\n{c: 3}\n", json!([{ "a": 1 }, { "b": 2 }, { "c": 3 }])),
            ("a:\t1\t# c\nb: |\n  x\n  \ty\n", json!([{ "a": 1, "b": "x\n\ty\n" }])),
            ("---\n\u{feff}a: 1\n--- # c\n\n---\n\u{feff}b: 2", json!([{ "a": 1 }, { "b": 2 }])),
            ("yes: 1\n0x10: 2\n'on': 3\nNo: 4\n", json!([{ "true": 1, "16": 2, "on": 3, "false": 4 }])),
            ("a: |\n  x", json!([{ "a": "x\n" }])),
            ("a: ['it''s', \"b\\\n   c\"]\n", json!([{ "a": ["it's", "bc"] }])),
        ] {
            assert_eq!(Value::from(manifest_values(text)), expected, "{text:?}");
        }
    }

    #[test]
    fn what_kubectl_refuses_or_ignores_is_refused_with_its_line() {
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", "f.yaml:3: the key 'a' occurs twice in one mapping, first on line 1"),
            ("{\"a\": 1,\n\"a\": 2}", "f.yaml:2: the key 'a' occurs twice"),
            ("a: 1\n---\nb: 1\n\t\nc: 1\n", "f.yaml:4: a tab in the indentation"),
            ("a: 1\n---\nb: 1\n c: 1\n", "f.yaml:4: not valid YAML"),
            ("a: 1\n...\nb: 1\n", "f.yaml:3: the document ends before this line"),
            ("a:\n  - {b: http://x?y=1}\n", "f.yaml:2: a '?', or a ':' at the beginning"),
            ("a: {b c\n d: 1}\n", "f.yaml:1: a key continues on the next line"),
            ("a: {b: 1, c:}\n", "f.yaml:1: a ':' within {} is followed by a space"),
            ("a: \"x\\/y\"\n", "f.yaml:1: the escape \\/ exists in JSON only"),
            ("&a: 1\n", "f.yaml:1: the name of an anchor"),
            ("1.5: a\n", "f.yaml:1: the key 1.5 is no string"),
        ] {
            let found = manifests("f.yaml", text, &mut Budget::default()).unwrap_err().detail;
            assert!(found.starts_with(expected), "{text:?}\n{found}");
        }
    }

    #[test]
    fn a_text_that_multiplies_itself_is_refused() {
        let mut laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
        for i in 1..12 {
            let row = vec![format!("*a{}", i - 1); 10].join(", ");
            laughs.push_str(&format!("a{i}: &a{i} [{row}]\n"));
        }
        assert!(error(&laughs).starts_with("f.yaml:6: files are not read beyond"), "{}", error(&laughs));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 400].join(", "));
        assert!(error(&long).starts_with("f.yaml:2: files are not read beyond"), "{}", error(&long));
        assert!(error("a: &a [1, *a]\n").starts_with("f.yaml:1: an alias (*) within its own anchor"));
        assert!(error("a: &a\n  b: *a\n").starts_with("f.yaml:2: an alias (*) within its own anchor"));
    }

    #[test]
    fn depth_is_bounded_also_through_aliases() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let refused = |text: &str| assert!(error(text).contains("beyond 64 levels"), "{}", error(text));
        assert!(read(&deep(MAX_DEPTH)).is_ok());
        refused(&deep(MAX_DEPTH + 1));
        refused(&deep(700_000));
        refused(&(0..500).map(|level| format!("{}-\n", " ".repeat(level))).collect::<String>());
        let chain = (1..200).map(|i| format!("a{i}: &a{i} [*a{}]\n", i - 1)).collect::<String>();
        refused(&format!("a0: &a0 {}\n{chain}", deep(10)));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = read(&text);
            let _ = manifests("f.yaml", &text, &mut Budget::default());
        }

        #[test]
        fn never_panics_on_what_looks_like_yaml(text in "([-?:,&*!|>'\"{}#%@` \n\t\\[\\]]|a|b|0|<<|---|\\.\\.\\.){0,200}") {
            let _ = read(&text);
            let _ = manifests("f.yaml", &text, &mut Budget::default());
        }
    }
}
