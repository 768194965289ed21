//! Definition files mean what they mean to `kubectl`: real manifests, perturbed in fields, order, encoding, indentation and quotes, are read
//! by Gybe and by `kubectl create --dry-run=server`. Each gives the same objects, or Gybe refuses it with the line.
//!
//! `GYBE_PERTURBATIONS` files (300) are derived from `GYBE_PERTURBATION_SEED` (1); `scripts/perturbations` tries 10,000.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use gybe::domain::package::DefinitionFile;
use gybe::package::encoding::decode;
use gybe::package::manifest;
use regex::Regex;
use serde_json::{Deserializer, Value, json};
use tempfile::TempDir;

use crate::support::rng::Rng;

/// The files of one call of `kubectl`.
const BATCH: usize = 500;

const OWN: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: own
  annotations:
    nets: '[
      { \"name\": \"n3\" },
    ]'
    text: \"a
     b\"
    plain: a
      b
data:
  a: |
    line one
      line two
  b: >-
    folded
    text

    more
  \"c\": 'it''s'
  d: \"a\\tb\\u00e9\"
  ? e
  : f
  g: &anchor v
  h: *anchor
---
apiVersion: v1
kind: List
items:
- kind: Secret
  apiVersion: v1
  metadata: {name: own}
  stringData: {\"a\":\"b\"}
-   apiVersion: v1
    kind: Service
    metadata:
        name: own
    spec:
        ports:
        - port: 80
          name: http
        -   port: 81
            name: \"h\"
";

/// The manifests of the samples, those of the crash matrix, and one of our own.
fn bases() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("tests/it/recovery/matrix/many_kinds.yaml")];
    for sample in ["small", "core5g", "own-namespace", "with-namespace-object"] {
        let folder = std::fs::read_dir(root.join("samples").join(sample).join("Files/kubernetes")).unwrap();
        paths.extend(folder.map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "yaml"));
    }
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).chain([OWN.to_owned()]).collect()
}

const VALUES: [&str; 44] = [
    "yes",
    "0644",
    "0o17",
    "1e3",
    "1_000",
    "~",
    "null",
    ".inf",
    "2024-01-01",
    "0x1F",
    "!!str 5",
    "&a x",
    "*a",
    ">-",
    "|",
    "\"a\\\n   b\"",
    "1:30",
    "=",
    "<<",
    "!!binary aGk=",
    "!x y",
    "-",
    "\"\\x41\\u00e9\"",
    "'it''s'",
    "{a: b}",
    "[a, b,]",
    "? a",
    "@x",
    "`x",
    "%x",
    "a: b",
    "a #b",
    "a#b",
    "012",
    "1.",
    ".5",
    "+1",
    "-0x1f",
    "\"\\/\"",
    ".nan",
    "y",
    "On",
    "o\u{2028}b",
    "{a:}",
];
const LINES: [&str; 12] =
    ["", "---", "--- ", "# c", "  # c", "...", "\t", "  ", "---\t", "--- # c", "%YAML 1.1", "\u{feff}---"];
const ENDS: [&str; 6] = [" ", "\t", "   # c", " #c", "#c", "\t# c"];
const CONTINUATIONS: [&str; 7] = ["more", "\tmore", "- more", "# more", "a: b", "%x", "---"];
const LETTERS: [char; 34] = [
    '-', '?', ':', ',', '&', '*', '!', '|', '>', '\'', '"', '{', '}', '#', '%', '@', '`', ' ', '\n', '\t', '[', ']',
    'a', 'b', '0', '<', '~', '\r', '\u{7f}', '\u{2028}', '\u{feff}', '\u{e9}', '.', '=',
];

/// Changes one line: its indentation, its end, its value, its quotes, its place.
fn perturb_line(text: &str, rng: &mut Rng) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let at = rng.below(lines.len());
    let value = lines[at].find(": ").map(|colon| colon + 2);
    let spaces = " ".repeat(rng.below(8));
    match (rng.below(14), value) {
        (0, _) => lines[at].insert_str(0, &spaces),
        (1, _) => lines[at] = lines[at].trim_start().to_owned(),
        (2, _) => lines[at] = lines[at].chars().skip(1 + rng.below(2)).collect(),
        (3, _) => lines[at] = lines[at].replacen("  ", "\t", 1),
        (4, _) => lines[at].push_str(rng.choose(&ENDS)),
        (5, _) => lines.insert(at, rng.choose(&LINES).to_owned()),
        (6, _) => drop(lines.remove(at)),
        (7, _) => {
            let other = rng.below(lines.len());
            lines.swap(at, other);
        }
        (8, _) => lines.insert(at, lines[at].clone()),
        (9, _) => lines[at] = lines[at].replacen(": ", rng.choose(&[":\t", ":  ", " : ", ":"]), 1),
        (10, Some(value)) => {
            let quote = rng.choose(&["'", "\""]);
            lines[at] = format!("{}{quote}{}{quote}", &lines[at][..value], &lines[at][value..]);
        }
        (11, Some(value)) => lines[at] = format!("{}{}", &lines[at][..value], rng.choose(&VALUES)),
        (12, Some(value)) => {
            let (quote, more) = (rng.choose(&["'", "\""]), rng.choose(&CONTINUATIONS));
            lines[at] = format!("{}{quote}{}\n{spaces}{more}{quote}", &lines[at][..value], &lines[at][value..]);
        }
        (_, Some(_)) => lines[at] = format!("{}\n{spaces}{}", lines[at], rng.choose(&CONTINUATIONS)),
        (_, None) => {}
    }
    lines.join("\n")
}

/// Adds, removes or replaces one character.
fn perturb_letter(text: &str, rng: &mut Rng) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    if letters.is_empty() {
        return String::new();
    }
    let (at, letter) = (rng.below(letters.len()), rng.choose(&LETTERS));
    match rng.below(3) {
        0 => letters.insert(at, letter),
        1 => drop(letters.remove(at)),
        _ => letters[at] = letter,
    }
    letters.into_iter().collect()
}

/// The objects of `text` as JSON, in some order of members, with or without space between them.
fn as_json(text: &str, rng: &mut Rng) -> String {
    let objects = manifest::read(&[DefinitionFile::new("f", text)]).unwrap();
    let pretty = rng.below(2) == 0;
    let written = objects.into_iter().map(|it| Value::Object(it.object)).map(|object| {
        if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap()
    });
    let between = rng.choose(&["", "\n", " ", "\n---\n", "\n--- ", "---"]);
    written.collect::<Vec<_>>().join(between)
}

fn encoded(text: &str, rng: &mut Rng) -> Vec<u8> {
    let units =
        |bytes: fn(u16) -> [u8; 2]| std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect();
    match rng.below(24) {
        0 => format!("\u{feff}{text}").into_bytes(),
        1 => units(u16::to_le_bytes),
        2 => units(u16::to_be_bytes),
        3 => text.replace('\n', "\r\n").into_bytes(),
        4 => text.replace('\n', "\r").into_bytes(),
        _ => text.as_bytes().to_vec(),
    }
}

/// A perturbed manifest; the first ones are whole.
fn perturbed(number: usize, bases: &[String], rng: &mut Rng) -> Vec<u8> {
    let mut text = bases[number % bases.len()].clone();
    if number < bases.len() {
        return text.into_bytes();
    }
    if rng.below(7) == 0 {
        text = as_json(&text, rng);
    }
    for _ in 0..rng.choose(&[1, 1, 1, 2, 3]) {
        text = if rng.below(10) < 7 { perturb_line(&text, rng) } else { perturb_letter(&text, rng) };
    }
    encoded(&text, rng)
}

/// What Gybe reads: the objects one after the other as JSON, or why it refuses them.
fn read(name: &str, bytes: &[u8]) -> Result<String, String> {
    let text = decode(bytes.to_vec()).map_err(|reason| format!("{name}:1: {reason}"))?;
    let objects = manifest::read(&[DefinitionFile::new(name, text)]).map_err(|problem| problem.detail)?;
    Ok(objects.into_iter().map(|it| Value::Object(it.object).to_string()).collect::<Vec<_>>().join("\n"))
}

/// The objects that the API server would make of each file, by the file's number. A file with a known object follows each file and
/// separates the objects.
fn created(files: &[(usize, &[u8])]) -> BTreeMap<usize, Vec<String>> {
    let folder = TempDir::new().unwrap();
    for (number, content) in files {
        std::fs::write(folder.path().join(format!("{number:06}a.yaml")), content).unwrap();
        let end =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("end-of-{number}") } });
        std::fs::write(folder.path().join(format!("{number:06}b.json")), end.to_string()).unwrap();
    }
    let cluster = PathBuf::from(std::env::var("GYBE_TEST_CLUSTER").expect("GYBE_TEST_CLUSTER names a running cluster"));
    let output = Command::new(cluster.join("kubectl"))
        // Unknown fields are for the API server: kubectl would refuse all objects of a List for one.
        .args(["create", "--dry-run=server", "--validate=ignore", "-o", "json", "-f"])
        .arg(folder.path())
        .arg("--kubeconfig")
        .arg(cluster.join("admin.kubeconfig"))
        .output()
        .unwrap();
    // The API server chooses these at random.
    let random =
        Regex::new(r#"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|kube-api-access-[0-9a-z]{5}|"nodePort":[0-9]+"#)
            .unwrap();
    let (mut all, mut present) = (BTreeMap::new(), Vec::new());
    for object in Deserializer::from_slice(&output.stdout).into_iter::<Value>() {
        let mut object = object.unwrap();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match name.strip_prefix("end-of-").and_then(|number| number.parse().ok()) {
            Some(number) => drop(all.insert(number, std::mem::take(&mut present))),
            None => {
                let is_service = object["kind"] == "Service";
                let metadata = object["metadata"].as_object_mut().unwrap();
                ["uid", "creationTimestamp", "resourceVersion", "managedFields"]
                    .iter()
                    .for_each(|key| drop(metadata.remove(*key)));
                if let Some(spec) = object["spec"].as_object_mut().filter(|_| is_service) {
                    spec.retain(|key, _| !key.starts_with("clusterIP"));
                }
                present.push(random.replace_all(&object.to_string(), "random").into_owned());
            }
        }
    }
    assert_eq!(all.len(), files.len(), "{}", String::from_utf8_lossy(&output.stderr));
    all
}

/// Whether a refusal names a line.
fn has_line(refusal: &str) -> bool {
    let mut parts = refusal.splitn(3, ':');
    parts.next().is_some() && parts.next().is_some_and(|line| line.parse::<usize>().is_ok())
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |number| number.parse().unwrap())
}

#[test]
fn perturbed_manifests_give_the_objects_of_kubectl_or_a_refusal_with_a_line() {
    let (seed, total) = (number("GYBE_PERTURBATION_SEED", 1), number("GYBE_PERTURBATIONS", 300));
    println!("GYBE_PERTURBATION_SEED={seed}");
    let bases = bases();
    let mut rng = Rng(seed as u64);
    let (mut same, mut refused, mut other) = (0, 0, Vec::new());
    let files: Vec<Vec<u8>> = (0..total).map(|number| perturbed(number, &bases, &mut rng)).collect();
    for (batch, files) in files.chunks(BATCH).enumerate() {
        let mut ours = Vec::new();
        for (index, content) in files.iter().enumerate() {
            let number = batch * BATCH + index;
            match read("f.yaml", content) {
                Ok(objects) => ours.push((number, content.as_slice(), objects)),
                Err(refusal) => {
                    assert!(number >= bases.len(), "the whole manifest {number} is read: {refusal}");
                    assert!(has_line(&refusal), "{refusal}");
                    refused += 1;
                }
            }
        }
        let whole: Vec<(usize, &[u8])> = ours.iter().map(|(number, content, _)| (*number, *content)).collect();
        let read: Vec<(usize, &[u8])> = ours.iter().map(|(number, _, objects)| (*number, objects.as_bytes())).collect();
        let (of_kubectl, of_gybe) = std::thread::scope(|scope| {
            let of_kubectl = scope.spawn(|| created(&whole));
            let of_gybe = created(&read);
            (of_kubectl.join().unwrap(), of_gybe)
        });
        for (number, content, _) in &ours {
            if of_kubectl[number] == of_gybe[number] {
                same += 1;
            } else {
                let text = String::from_utf8_lossy(content);
                other.push(format!(
                    "--- {number}\n{text}\nGybe: {:#?}\nkubectl: {:#?}",
                    of_gybe[number], of_kubectl[number]
                ));
            }
        }
    }
    println!(
        "{total} perturbations: {same} give the objects of kubectl, {refused} are refused with a line, {} differ",
        other.len()
    );
    assert!(other.is_empty(), "{}", other.join("\n"));
}
