//! What a plain scalar means: the rules of `kubectl` (sigs.k8s.io/yaml over go-yaml 2), which are those of YAML 1.1.

use serde_json::Number;

use super::node::Data;

/// The value of the plain (unquoted) scalar `text`; `None` for infinities and not-a-number, which JSON can't hold.
pub(super) fn plain(text: &str) -> Option<Data> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Data::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Data::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return None,
        _ if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF") => return None,
        _ => number(text).map_or_else(|| Data::Text(text.to_owned()), Data::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    let text = text.replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let whole = magnitude(digits).and_then(|magnitude| match negative {
        true => 0_i64.checked_sub_unsigned(magnitude).map(Number::from),
        false => Some(magnitude.into()),
    });
    whole.or_else(|| if is_decimal(digits) { decimal(&text) } else { None })
}

/// `7.0` and `1e3` are written as whole numbers, as Go does: Kubernetes takes them where it wants an integer.
fn decimal(text: &str) -> Option<Number> {
    let value: f64 = text.parse().ok()?;
    if value.fract() == 0.0 && value.abs() < 1e15 { Some((value as i64).into()) } else { Number::from_f64(value) }
}

/// A whole number that fits 64 bits. A leading zero makes it octal, as in `defaultMode: 0644`.
fn magnitude(digits: &str) -> Option<u64> {
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // from_str_radix would take a sign here.
    if digits.starts_with(['+', '-']) { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// `12`, `1.5`, `.5`, `1e3`: what Rust parses as a float, less its words (`inf`, `NaN`).
fn is_decimal(digits: &str) -> bool {
    digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && digits.chars().all(|letter| letter.is_ascii_digit() || matches!(letter, '.' | 'e' | 'E' | '+' | '-'))
}
