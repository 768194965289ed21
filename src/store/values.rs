//! What is listed of the JSON of an op occurrence that is over, so that a filter finds it without looking into all others; and
//! which of that a filter asks for. `sql/shared/op_occ_values.rs` keeps it in `vnf_lcm_op_occ_values`, and asks.
//!
//! A list narrows down, it does not decide: whoever passes a condition has what is asked for here, but not the other way round.
//! So a value that is too long for a list is listed as one that may be anything, a hash may be that of two paths, and
//! values in one array are not told apart by their elements.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use serde_json::{Number, Value};

use crate::domain::filter::{Name, Operator};
use crate::domain::ids::ProjectId;
use crate::store::attributes::{Entry, Filter, Rows, Sql, Term, Terms, Test, Values, names_from, op_occs};

/// The longest value that is listed as it is, in bytes.
const MAX_LENGTH: usize = 256;
/// The most values of one op occurrence. Where there are more, what is listed is only which paths have any.
const MAX_VALUES: usize = 256;
/// What no attribute shows of `resource_changes`.
const NOT_SHOWN: [&str; 3] = ["pod_uid", "workload_name", "claim_uid"];
/// What each element of the arrays in `resource_changes` has.
const IN_EACH_ELEMENT: &str = "change";
/// Stands before, between and after the keys of an object.
const BETWEEN_KEYS: &str = "\n";

/// The columns that are JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Column {
    Params,
    Error,
    ResourceChanges,
    ChangedInfo,
}

/// What is at a path, once however often it is there. Written as an array, with the kind as the database has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::store) struct Listed(i64, Kind, String);

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    String,
    Number,
    Boolean,
    /// The keys of an object, in one text.
    Keys,
    /// It may be any value.
    Unknown,
}

/// What whoever passes a filter has at a path.
#[derive(Debug, PartialEq)]
pub(in crate::store) struct Sought {
    pub(in crate::store) path: i64,
    pub(in crate::store) what: What,
}

/// What is sought at a path.
#[derive(Debug, PartialEq)]
pub(in crate::store) enum What {
    /// A text that passes.
    Text(Test),
    /// A value that passes, compared as what it is.
    Value(Test),
    /// One of these within its keys.
    Keys(Vec<String>),
    /// Whatever is there.
    Anything,
}

impl Column {
    pub(in crate::store) const ALL: [Self; 4] = [Self::Params, Self::Error, Self::ResourceChanges, Self::ChangedInfo];

    pub(in crate::store) const fn as_str(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Error => "error",
            Self::ResourceChanges => "resource_changes",
            Self::ChangedInfo => "changed_info",
        }
    }
}

/// What is listed of a project's op occurrence with these columns; `None`: it has too much.
pub(in crate::store) fn listed(project: &ProjectId, columns: &[(Column, Value)]) -> Option<BTreeSet<Listed>> {
    let mut all = BTreeSet::new();
    for (column, value) in columns {
        list(&Way::to(project, *column), *column == Column::ResourceChanges, value, &mut all);
    }
    if all.len() > MAX_VALUES {
        let paths: BTreeSet<i64> = all.iter().map(|Listed(path, ..)| *path).collect();
        all = paths.into_iter().map(|path| Listed(path, Kind::Unknown, String::new())).collect();
    }
    (all.len() <= MAX_VALUES).then_some(all)
}

/// Work and what is added grow with the JSON text and no faster: callers choose names and values.
fn list(way: &Way, is_ours: bool, value: &Value, all: &mut BTreeSet<Listed>) {
    let mut add = |path: i64, kind: Kind, value: String| {
        // PostgreSQL has no text with U+0000.
        let is_short = value.len() <= MAX_LENGTH && !value.contains('\0');
        all.insert(if is_short { Listed(path, kind, value) } else { Listed(path, Kind::Unknown, String::new()) });
    };
    match value {
        Value::Null => {}
        Value::Bool(boolean) => add(way.path, Kind::Boolean, boolean.to_string()),
        // SQLite may read a number of more digits as its neighbour, unless it is an integer.
        Value::Number(number) if !number.is_i64() && digits(&number.to_string()) > 15 => {
            add(way.path, Kind::Unknown, String::new());
        }
        Value::Number(number) => add(way.path, Kind::Number, number.to_string()),
        Value::String(text) => add(way.path, Kind::String, text.clone()),
        Value::Array(elements) => {
            for element in elements {
                list(way, is_ours, element, all);
            }
        }
        Value::Object(members) => {
            if !is_ours && !members.is_empty() {
                let keys = members.keys().fold(BETWEEN_KEYS.to_owned(), |keys, key| keys + key + BETWEEN_KEYS);
                add(way.keys(), Kind::Keys, keys);
            }
            for (name, member) in members {
                if !is_ours || !NOT_SHOWN.contains(&name.as_str()) {
                    list(&way.member(name), is_ours, member, all);
                }
            }
        }
    }
}

/// The way to a value: what was hashed of it so far, so that no name is hashed again for each value behind it.
struct Way {
    context: Context,
    /// The hash of the way to the value.
    path: i64,
}

impl Way {
    fn to(project: &ProjectId, column: Column) -> Self {
        Self::of(Context::new(&SHA256), &project.0).member(column.as_str())
    }

    /// On to what has this name.
    fn member(&self, name: &str) -> Self {
        Self::of(self.context.clone(), name)
    }

    fn along(self, names: &[&str]) -> Self {
        names.iter().fold(self, |way, name| way.member(name))
    }

    /// The hash of the way to the keys of an object.
    fn keys(&self) -> i64 {
        finished(self.context.clone(), b"@")
    }

    /// Names may have any character, hence their lengths.
    fn of(mut context: Context, name: &str) -> Self {
        context.update(&name.len().to_be_bytes());
        context.update(name.as_bytes());
        let path = finished(context.clone(), b"=");
        Self { context, path }
    }
}

fn finished(mut context: Context, end: &[u8]) -> i64 {
    context.update(end);
    context.finish().as_ref().iter().take(8).fold(0, |hash, byte| hash << 8 | i64::from(*byte))
}

/// What whoever passes the filter has, each of these; what is likely to be had by the fewest comes first.
pub(in crate::store) fn sought(project: &ProjectId, filter: &Filter) -> Vec<Sought> {
    let mut all = Vec::new();
    seek(project, &filter.terms, None, &mut all);
    all.sort_by_key(Sought::commonness);
    all
}

/// The texts that numbers equal to these are listed as: comparing texts takes half the time. `None`: a number is so large, or
/// written with so many digits, that SQLite takes numbers for equal which differ.
pub(in crate::store) fn spellings(numbers: &[String]) -> Option<Vec<String>> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    const DIGITS: usize = 17;
    let mut all = Vec::new();
    for number in numbers {
        let float: f64 = number.parse().ok().filter(|float: &f64| digits(number) <= DIGITS && float.abs() < EXACT)?;
        all.push(Number::from_f64(float)?.to_string());
        if float == 0.0 {
            all.extend(["0.0", "-0.0"].map(str::to_owned));
        }
        if float.fract() == 0.0 {
            // Of -0 makes 0.
            all.push(format!("{:.0}", float + 0.0));
        }
    }
    Some(all)
}

fn digits(number: &str) -> usize {
    number.bytes().filter(u8::is_ascii_digit).count()
}

/// The terms of a filter that ask for nothing in JSON.
pub(in crate::store) fn simple(filter: &Filter) -> impl Iterator<Item = &Term> {
    filter.terms.own.iter().filter(|term| match term {
        Term::Value(_, place) => place_of(place).is_none(),
        Term::Open(..) => false,
        Term::Never => true,
    })
}

/// Of the terms of an op occurrence, or of an element of the array at `array`.
fn seek(project: &ProjectId, terms: &Terms, array: Option<&(Column, Vec<&str>)>, all: &mut Vec<Sought>) {
    for term in &terms.own {
        match term {
            Term::Value(test, place) => {
                let place = match (place.strip_prefix("entry.value"), array) {
                    (Some(rest), Some((column, path))) => {
                        names_from(rest).map(|names| (*column, [&path[..], &names[..]].concat()))
                    }
                    _ => place_of(place),
                };
                if let (Some((column, path)), Values::Texts(_)) = (place, &test.values) {
                    all.push(Sought {
                        path: Way::to(project, column).along(&path).path,
                        what: What::Text(test.clone()),
                    });
                }
            }
            Term::Open(test, json, path) => {
                if let Some((column, names)) = place_of(json) {
                    all.extend(seek_open(project, test, column, &names, path));
                }
            }
            Term::Never => {}
        }
    }
    for entry in &terms.entries {
        seek_entry(project, entry, all);
    }
}

fn seek_open<'a>(
    project: &ProjectId,
    test: &Test,
    column: Column,
    names: &[&'a str],
    path: &'a [Name],
) -> Option<Sought> {
    let (of_keys, path) = match path.split_last() {
        Some((Name::Key, path)) => (true, path),
        _ => (false, path),
    };
    let member = |name: &'a Name| if let Name::Member(name) = name { Some(name.as_str()) } else { None };
    let path = path.iter().map(member).collect::<Option<Vec<&str>>>()?;
    let way = Way::to(project, column).along(names).along(&path);
    let path = if of_keys { way.keys() } else { way.path };
    let what = if of_keys { seek_keys(test) } else { What::Value(test.clone()) };
    Some(Sought { path, what })
}

fn seek_entry(project: &ProjectId, entry: &Entry, all: &mut Vec<Sought>) {
    let before = all.len();
    match entry.rows {
        Rows::Elements(json) => {
            let Some(array) = place_of(json) else { return };
            seek(project, &entry.terms, Some(&array), all);
            if all.len() == before {
                let path = Way::to(project, array.0).along(&array.1).member(IN_EACH_ELEMENT).path;
                all.push(Sought { path, what: What::Anything });
            }
        }
        Rows::Members(json) => {
            let Some((column, names)) = place_of(json) else { return };
            let path = Way::to(project, column).along(&names).keys();
            let keys = entry.terms.own.iter().filter_map(|term| match term {
                Term::Value(test, "entry.key") => Some(seek_keys(test)),
                _ => None,
            });
            all.extend(keys.map(|what| Sought { path, what }));
            if all.len() == before {
                all.push(Sought { path, what: What::Anything });
            }
        }
    }
}

fn seek_keys(test: &Test) -> What {
    let Values::Texts(texts) = &test.values else { return What::Anything };
    match test.operator {
        Operator::Eq | Operator::In => {
            What::Keys(texts.iter().map(|text| format!("{BETWEEN_KEYS}{text}{BETWEEN_KEYS}")).collect())
        }
        Operator::Cont => What::Keys(texts.clone()),
        _ => What::Anything,
    }
}

/// The column and the names that lead to what `sql` is.
fn place_of(sql: Sql) -> Option<(Column, Vec<&'static str>)> {
    if sql == op_occs::CHANGED || sql == op_occs::MODIFICATIONS {
        return Some((Column::ChangedInfo, Vec::new()));
    }
    let sql = sql.strip_prefix("vnf_lcm_op_occs.")?;
    let (name, rest) = sql.split_at(sql.find(' ').unwrap_or(sql.len()));
    let column = Column::ALL.into_iter().find(|column| column.as_str() == name)?;
    Some((column, names_from(rest)?))
}

impl Sought {
    /// Of how many it is likely to be had: the more, the greater.
    const fn commonness(&self) -> u8 {
        match &self.what {
            What::Text(test) | What::Value(test) => match test.operator {
                Operator::Eq | Operator::In => 0,
                Operator::Neq | Operator::Nin | Operator::Ncont => 2,
                Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte | Operator::Cont => 1,
            },
            What::Keys(_) => 0,
            What::Anything => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::attributes::filter;

    fn hash(column: Column, path: &[&str], of_keys: bool) -> i64 {
        let way = Way::to(&ProjectId::default(), column).along(path);
        if of_keys { way.keys() } else { way.path }
    }

    fn values(column: Column, value: Value) -> Vec<(i64, Kind, String)> {
        let all = listed(&ProjectId::default(), &[(column, value)]).unwrap();
        all.into_iter().map(|Listed(path, kind, value)| (path, kind, value)).collect()
    }

    fn at(column: Column, path: &[&str], kind: Kind, value: &str) -> (i64, Kind, String) {
        (hash(column, path, kind == Kind::Keys), kind, value.to_owned())
    }

    fn sorted<T: Ord, const N: usize>(mut all: [T; N]) -> [T; N] {
        all.sort();
        all
    }

    #[test]
    fn values_are_listed_by_the_names_that_lead_to_them() {
        let at = |path, kind, value| at(Column::Params, path, kind, value);
        let params = json!({ "a": { "b": ["x", 1.5, true, null, "x"] }, "c": null });
        let expected = [
            at(&[], Kind::Keys, "\na\nc\n"),
            at(&["a"], Kind::Keys, "\nb\n"),
            at(&["a", "b"], Kind::String, "x"),
            at(&["a", "b"], Kind::Number, "1.5"),
            at(&["a", "b"], Kind::Boolean, "true"),
        ];
        assert_eq!(values(Column::Params, params), sorted(expected));
    }

    #[test]
    fn of_what_changed_only_that_is_listed_which_is_shown() {
        let at = |path, kind, value| at(Column::ResourceChanges, path, kind, value);
        let changes = json!({ "vim_connection_id": "v", "affected_storages": [],
            "affected_vnfcs": [{ "change": "ADDED", "vnfc": { "pod_name": "p", "pod_uid": "u", "workload_name": "w" } }] });
        let expected = [
            at(&["vim_connection_id"], Kind::String, "v"),
            at(&["affected_vnfcs", "change"], Kind::String, "ADDED"),
            at(&["affected_vnfcs", "vnfc", "pod_name"], Kind::String, "p"),
        ];
        assert_eq!(values(Column::ResourceChanges, changes), sorted(expected));
    }

    #[test]
    fn what_is_long_or_much_may_be_anything() {
        let unknown = |path| at(Column::Error, path, Kind::Unknown, "");
        for odd in [json!("x".repeat(MAX_LENGTH + 1)), json!("\0"), json!(u64::MAX), json!(0.123_456_789_012_345_67)] {
            assert!(values(Column::Error, json!({ "detail": odd })).contains(&unknown(&["detail"])));
        }
        let many = json!({ "list": (0..=MAX_VALUES).collect::<Vec<_>>() });
        let keys = (hash(Column::Error, &[], true), Kind::Unknown, String::new());
        assert_eq!(values(Column::Error, many), sorted([keys, unknown(&["list"])]));
        let wide: serde_json::Map<_, _> = (0..=MAX_VALUES).map(|n| (n.to_string(), Value::from(n))).collect();
        assert_eq!(listed(&ProjectId::default(), &[(Column::Error, wide.into())]), None);
    }

    #[test]
    fn paths_of_other_projects_columns_names_or_kinds_are_others() {
        let all = [
            hash(Column::Params, &["a", "b"], false),
            hash(Column::Params, &["a", "b"], true),
            hash(Column::Params, &["ab"], false),
            hash(Column::Params, &["a/b"], false),
            hash(Column::Error, &["a", "b"], false),
            Way::to(&ProjectId("other".to_owned()), Column::Params).along(&["a", "b"]).path,
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    fn paths(text: &str) -> Vec<i64> {
        sought(&ProjectId::default(), &filter(text, &op_occs::V1).unwrap())
            .into_iter()
            .map(|sought| sought.path)
            .collect()
    }

    #[test]
    fn a_long_name_is_hashed_once_for_all_values_behind_it() {
        // Hashed for each, it would be 25 GB.
        let long = "x".repeat(128 * 1024);
        let values: Vec<Value> = (0..200_000).map(Value::from).collect();
        let all = listed(&ProjectId::default(), &[(Column::Params, json!({ &long: values }))]).unwrap();
        assert!(all.contains(&Listed(hash(Column::Params, &[&long], false), Kind::Unknown, String::new())));
    }

    #[test]
    fn equal_numbers_are_listed_as_one_of_few_texts() {
        for text in ["0", "-0.0", "3", "3.0", "-7", "1e2", "1E+2", "0.1", "1e-7", "123456789012345", "2.5e15"] {
            let stored: Number = serde_json::from_str(text).unwrap();
            for same in [text, &stored.to_string(), &format!("{}", text.parse::<f64>().unwrap())] {
                let spellings = spellings(&[same.to_owned()]).unwrap();
                assert!(spellings.contains(&stored.to_string()), "{stored} among {spellings:?}");
            }
        }
        assert_eq!(spellings(&["9007199254740993".to_owned()]), None);
        assert_eq!(spellings(&["1e999".to_owned()]), None);
        assert_eq!(spellings(&["1.000000000000000111".to_owned()]), None);
    }

    #[test]
    fn a_filter_seeks_its_values_where_they_are_listed_the_rarest_first() {
        let params = |path: &[&str]| hash(Column::Params, path, false);
        assert_eq!(paths("(eq,operationState,FAILED);(eq,id,1)"), [0_i64; 0], "columns are in the list's index");
        assert_eq!(
            paths("(gt,operationParams/a/b,1);(in,operationParams/c,1,2)"),
            [params(&["c"]), params(&["a", "b"])]
        );
        let vnfcs = |path: &[&str]| hash(Column::ResourceChanges, &[&["affected_vnfcs"], path].concat(), false);
        assert_eq!(
            paths("(neq,resourceChanges/affectedVnfcs/changeType,ADDED);(eq,resourceChanges/affectedVnfcs/vduId,x)"),
            [vnfcs(&["vnfc", "vdu_id"]), vnfcs(&["change"])]
        );
        assert_eq!(
            paths("(neq,operationParams/a,1);(lt,operationParams/b,1);(eq,operationParams/c,1)"),
            [params(&["c"]), params(&["b"]), params(&["a"])]
        );
        assert_eq!(
            paths("(eq,resourceChanges/affectedVnfcs/computeResource/vimConnectionId,x)"),
            [hash(Column::ResourceChanges, &["vim_connection_id"], false)]
        );
        assert_eq!(paths("(eq,changedInfo/a,x)"), [hash(Column::ChangedInfo, &["a"], false)]);
        assert_eq!(paths("(eq,operationParams/a/@key,x)"), [hash(Column::Params, &["a"], true)]);
        assert_eq!(
            paths("(eq,operationParams/vimConnectionInfo/vimId,x)"),
            [hash(Column::Params, &["vimConnectionInfo"], true)],
            "whatever their names, connections are there"
        );
    }
}
