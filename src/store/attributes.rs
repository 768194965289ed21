//! The attributes of the resources that have lists: the names that callers use, the types, and the SQL that reads each
//! attribute. There is one table per resource. `sql/shared/filters.rs` turns a [`Filter`] into SQL;
//! `crate::api::selectors` uses the tables to decide what a list may leave out.
//!
//! The SQL in the tables is a constant text that both engines understand. Text of a caller enters a statement only as a
//! bound parameter. The tables have no attribute that a GET does not show, secrets above all: filters refuse them as unknown.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::filter::{self, Condition, Operator, PathSegment};
use crate::domain::problem::{Problem, ProblemType, problem};

pub mod audit;
pub mod op_occs;
pub mod packages;
pub mod subscriptions;
pub mod vnf_instances;

/// An SQL expression. It uses the columns of the resource's table, or `entry.key` and `entry.value` inside an array or a
/// map. `MEMBERS_OF` stands for the engine's table function that returns the members of a JSON object.
pub type Sql = &'static str;

/// An attribute of a resource.
pub struct Attribute {
    /// The name in the standard.
    pub name: &'static str,
    /// Whether the standard requires it wherever its parent is present. Selectors cannot leave it out then.
    pub mandatory: bool,
    /// The type, and the SQL that reads it.
    pub kind: AttributeKind,
}

/// The type of an attribute, and the SQL that reads it.
pub enum AttributeKind {
    /// A single value.
    Simple(AttributeType, Sql),
    /// A structure.
    Structure(Members),
    /// An array of structures.
    Array(JsonRows, Members),
    /// A map of structures; the caller chooses the keys.
    Map(JsonRows, Members),
    /// JSON of the caller, or JSON without a fixed shape.
    Open(Sql),
    /// As [`AttributeKind::Open`], but only these members are shown.
    OpenMembers(Sql, &'static [&'static str]),
    /// An attribute of the standard that Gybe never sets. No condition holds for it.
    Never,
}

/// The members of a structure.
pub struct Members {
    /// Members with a fixed name.
    pub known: &'static [Attribute],
    /// JSON that contains further members.
    pub rest: Option<Sql>,
}

/// The type of a simple attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeType {
    /// Any text.
    Text,
    /// One of these texts. The list has all enumerators of the editions, also those that Gybe never uses.
    Enumeration(&'static [&'static str]),
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A point in time, to the millisecond. The database has milliseconds since the epoch.
    Time,
}

/// The rows that an array or a map is read as. Each row is called `entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonRows {
    /// The elements of a JSON array: `entry.value`.
    Elements(Sql),
    /// The members of a JSON object: `entry.key` and `entry.value`.
    Members(Sql),
}

impl Members {
    /// A structure that has these members and no others.
    pub const fn of(known: &'static [Attribute]) -> Self {
        Self { known, rest: None }
    }

    fn find(&self, name: &str) -> Option<&Attribute> {
        self.known.iter().find(|attribute| attribute.name == name)
    }

    /// The known member of that name. `None`: it is not a known member, but the structure may have further ones.
    ///
    /// # Errors
    /// The structure has no such member.
    pub fn get(&self, name: &PathSegment) -> Result<Option<&Attribute>, UnknownAttribute> {
        let known = if let PathSegment::Member(name) = name { self.find(name) } else { None };
        if known.is_none() && self.rest.is_none() { Err(UnknownAttribute) } else { Ok(known) }
    }
}

/// The member names in `sql`, if it is nothing but JSON member access such as `-> 'a' ->> 'b'`, or empty.
pub(in crate::store) fn member_names(sql: Sql) -> Option<Vec<&'static str>> {
    let name = |text: &'static str| {
        let name = text.trim_start_matches('>').trim().strip_prefix('\'')?.strip_suffix('\'')?;
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
    };
    let mut steps = sql.split("->");
    steps.next().filter(|before| before.trim().is_empty())?;
    steps.map(name).collect()
}

/// The resource has no such attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAttribute;

const fn attribute(name: &'static str, kind: AttributeKind) -> Attribute {
    Attribute { name, mandatory: false, kind }
}

const fn mandatory(name: &'static str, kind: AttributeKind) -> Attribute {
    Attribute { name, mandatory: true, kind }
}

const fn text(name: &'static str, sql: Sql) -> Attribute {
    attribute(name, AttributeKind::Simple(AttributeType::Text, sql))
}

const fn never(name: &'static str) -> Attribute {
    attribute(name, AttributeKind::Never)
}

/// The filter of a list: it selects the resources for which all terms hold. The default selects all resources.
#[derive(Debug, Default)]
pub struct Filter {
    pub(in crate::store) terms: FilterTerms,
}

impl Filter {
    /// Whether it selects all resources.
    pub fn is_empty(&self) -> bool {
        self.terms.own.is_empty() && self.terms.entries.is_empty()
    }

    /// Adds the conditions of `other`.
    pub fn and(&mut self, other: Self) {
        self.terms.own.extend(other.terms.own);
        self.terms.entries.extend(other.terms.entries);
    }
}

/// Conditions that must all hold for a resource, or for an entry of an array or a map.
#[derive(Debug, Default, PartialEq)]
pub(in crate::store) struct FilterTerms {
    /// Conditions on the resource or the entry itself.
    pub(in crate::store) own: Vec<FilterTerm>,
    /// Conditions on entries of its arrays and maps.
    pub(in crate::store) entries: Vec<EntryTerms>,
}

/// Holds if one entry of `rows`, with this key if there is one, meets all terms.
#[derive(Debug, PartialEq)]
pub(in crate::store) struct EntryTerms {
    pub(in crate::store) rows: JsonRows,
    pub(in crate::store) key: Option<String>,
    pub(in crate::store) terms: FilterTerms,
}

/// A condition on one attribute.
#[derive(Debug, PartialEq)]
pub(in crate::store) enum FilterTerm {
    /// Tests the value of an expression.
    Value(ValueTest, Sql),
    /// Tests the values at a path in JSON.
    Open(ValueTest, Sql, Vec<PathSegment>),
    /// Never holds.
    Never,
}

/// Compares a value with operands.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct ValueTest {
    pub(in crate::store) operator: Operator,
    pub(in crate::store) operands: Operands,
}

/// The operands of a comparison; never empty.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) enum Operands {
    Texts(Vec<String>),
    /// JSON numbers as texts, so that no engine rounds them.
    Numbers(Vec<String>),
    Booleans(Vec<bool>),
    /// Milliseconds since the epoch.
    Times(Vec<i64>),
}

/// Parses a filter over the attributes of `members`. Conditions on attributes of the same array apply to the same entry of
/// it (SOL013 clause 5.2.2).
///
/// # Errors
/// 400: a syntax error, an unknown attribute, or a value that does not have the attribute's type.
pub fn parse_filter(text: &str, members: &Members) -> Result<Filter, Problem> {
    let conditions = filter::parse(text)
        .map_err(|error| problem!(ProblemType::BadRequest, "filter: {reason}", reason = error.to_string()))?;
    let mut terms = FilterTerms::default();
    for condition in &conditions {
        add_condition(&mut terms, members, condition, &condition.path)?;
    }
    Ok(Filter { terms })
}

/// Adds the condition. `path` is the rest of the path to the attribute, relative to `members`.
fn add_condition(
    terms: &mut FilterTerms,
    members: &Members,
    condition: &Condition,
    path: &[PathSegment],
) -> Result<(), Problem> {
    let Some((first, rest)) = path.split_first() else { return Err(not_simple(condition)) };
    let kind = match members.get(first).map_err(|UnknownAttribute| unknown(condition))? {
        Some(attribute) => &attribute.kind,
        None => {
            let json = members.rest.ok_or_else(|| unknown(condition))?;
            terms.own.push(FilterTerm::Open(untyped_test(condition), json, path.to_vec()));
            return Ok(());
        }
    };
    match kind {
        AttributeKind::Simple(kind, sql) => {
            if !rest.is_empty() {
                return Err(unknown(condition));
            }
            terms.own.push(FilterTerm::Value(typed_test(*kind, condition)?, sql));
            Ok(())
        }
        AttributeKind::Structure(members) => add_condition(terms, members, condition, rest),
        AttributeKind::Array(rows, members) => add_condition(entry_terms(terms, *rows, None), members, condition, rest),
        AttributeKind::Map(rows, members) => match rest.split_first() {
            None => Err(not_simple(condition)),
            Some((PathSegment::Key, [])) => {
                let test = typed_test(AttributeType::Text, condition)?;
                entry_terms(terms, *rows, None).own.push(FilterTerm::Value(test, "entry.key"));
                Ok(())
            }
            Some((PathSegment::Key, _)) => Err(unknown(condition)),
            Some((PathSegment::Member(key), rest)) => {
                add_condition(entry_terms(terms, *rows, Some(key)), members, condition, rest)
            }
        },
        AttributeKind::Open(json) => {
            terms.own.push(FilterTerm::Open(untyped_test(condition), json, rest.to_vec()));
            Ok(())
        }
        AttributeKind::OpenMembers(json, names) => match rest.first() {
            None => Err(not_simple(condition)),
            Some(PathSegment::Member(name)) if names.contains(&name.as_str()) => {
                terms.own.push(FilterTerm::Open(untyped_test(condition), json, rest.to_vec()));
                Ok(())
            }
            Some(_) => Err(unknown(condition)),
        },
        AttributeKind::Never => {
            terms.own.push(FilterTerm::Never);
            Ok(())
        }
    }
}

/// The terms for an entry of `rows` with this key. Adds them if there are none yet.
fn entry_terms<'a>(terms: &'a mut FilterTerms, rows: JsonRows, key: Option<&String>) -> &'a mut FilterTerms {
    let same = |entry: &EntryTerms| entry.rows == rows && entry.key.as_ref() == key;
    let index = terms.entries.iter().position(same).unwrap_or_else(|| {
        terms.entries.push(EntryTerms { rows, key: key.cloned(), terms: FilterTerms::default() });
        terms.entries.len() - 1
    });
    &mut terms.entries[index].terms
}

fn unknown(condition: &Condition) -> Problem {
    problem!(ProblemType::BadRequest, "filter: unknown attribute '{attribute}'", attribute = condition.attribute)
}

fn not_simple(condition: &Condition) -> Problem {
    problem!(
        ProblemType::BadRequest,
        "filter: '{attribute}' is not a simple attribute: name one inside it",
        attribute = condition.attribute,
    )
}

/// A test of a value in JSON, which has a type of its own.
fn untyped_test(condition: &Condition) -> ValueTest {
    ValueTest { operator: condition.operator, operands: Operands::Texts(condition.values.clone()) }
}

fn typed_test(kind: AttributeType, condition: &Condition) -> Result<ValueTest, Problem> {
    let wrong = |reason: String| {
        problem!(
            ProblemType::BadRequest,
            "filter: '{attribute}' {reason}",
            attribute = condition.attribute,
            reason = reason,
        )
        .quoting("values", &condition.values)
    };
    let operator = condition.operator;
    let is_text = matches!(kind, AttributeType::Text | AttributeType::Enumeration(_));
    let searches = matches!(operator, Operator::Cont | Operator::Ncont);
    let orders = matches!(operator, Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte);
    if (searches && !is_text) || (orders && kind == AttributeType::Boolean) {
        return Err(wrong(format!("does not support the operator {}", operator.as_str())));
    }
    let values = condition.values.iter();
    let operands = match kind {
        AttributeType::Enumeration(names) if !searches && !orders => {
            if let Some(other) = values.clone().find(|value| !names.contains(&value.as_str())) {
                return Err(wrong(format!("must be one of {}, not '{other}'", names.join(", "))));
            }
            Operands::Texts(condition.values.clone())
        }
        AttributeType::Text | AttributeType::Enumeration(_) => Operands::Texts(condition.values.clone()),
        AttributeType::Number => {
            if let Some(other) = values.clone().find(|value| !is_number(value)) {
                return Err(wrong(format!("must be a number, not '{other}'")));
            }
            Operands::Numbers(condition.values.clone())
        }
        AttributeType::Boolean => {
            let boolean =
                |value: &String| value.parse().map_err(|_| wrong(format!("must be true or false, not '{value}'")));
            Operands::Booleans(values.map(boolean).collect::<Result<_, _>>()?)
        }
        AttributeType::Time => {
            let time =
                |value: &String| millis(value).ok_or_else(|| wrong(format!("must be a date-time, not '{value}'")));
            Operands::Times(values.map(time).collect::<Result<_, _>>()?)
        }
    };
    Ok(ValueTest { operator, operands })
}

/// Whether the text is a JSON number that both engines accept. PostgreSQL refuses a number with a large exponent, even one
/// that equals 0.
pub(in crate::store) fn is_number(text: &str) -> bool {
    let exponent = text.split_once(['e', 'E']).map_or("", |(_, exponent)| exponent);
    let digits = exponent.trim_start_matches(['+', '-']).trim_start_matches('0').len();
    text.len() <= 40 && digits <= 3 && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// A date-time of RFC 3339 in milliseconds since the epoch. The `+` of an offset arrives as a space if the caller did not
/// escape it in the query.
fn millis(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: JsonRows = JsonRows::Elements("entries");
    const KEYED: JsonRows = JsonRows::Members("keyed");
    const INNER: [Attribute; 2] = [text("id", "entry.id"), text("name", "entry.name")];
    const THING: Members = Members::of(&[
        text("id", "id"),
        attribute("state", AttributeKind::Simple(AttributeType::Enumeration(&["ON", "OFF"]), "state")),
        attribute("level", AttributeKind::Simple(AttributeType::Number, "level")),
        attribute("pending", AttributeKind::Simple(AttributeType::Boolean, "pending")),
        attribute("startTime", AttributeKind::Simple(AttributeType::Time, "start_time")),
        attribute("inner", AttributeKind::Structure(Members::of(&[text("a", "inner_a")]))),
        attribute("entries", AttributeKind::Array(ENTRIES, Members::of(&INNER))),
        attribute("map", AttributeKind::Map(KEYED, Members::of(&INNER))),
        attribute("access", AttributeKind::OpenMembers("access", &["user"])),
        attribute("data", AttributeKind::Open("data")),
        never("grantId"),
    ]);

    fn terms(text: &str) -> Vec<FilterTerm> {
        parse_filter(text, &THING).unwrap().terms.own
    }

    fn refusal(text: &str) -> String {
        let problem = parse_filter(text, &THING).unwrap_err();
        assert_eq!(problem.status, 400);
        problem.detail
    }

    fn texts(operator: Operator, values: &[&str]) -> ValueTest {
        ValueTest { operator, operands: Operands::Texts(values.iter().map(|value| (*value).to_owned()).collect()) }
    }

    fn member(name: &str) -> PathSegment {
        PathSegment::Member(name.to_owned())
    }

    #[test]
    fn parses_values_as_the_type_of_the_attribute() {
        let operands = |text: &str| match terms(text).remove(0) {
            FilterTerm::Value(test, _) => test.operands,
            other => panic!("{other:?}"),
        };
        assert_eq!(operands("(eq,id,5)"), Operands::Texts(vec!["5".to_owned()]));
        assert_eq!(operands("(gt,level,5)"), Operands::Numbers(vec!["5".to_owned()]));
        assert_eq!(operands("(in,pending,true,false)"), Operands::Booleans(vec![true, false]));
        assert_eq!(operands("(in,state,ON,OFF)"), Operands::Texts(vec!["ON".to_owned(), "OFF".to_owned()]));
        assert_eq!(operands("(cont,state,O)"), Operands::Texts(vec!["O".to_owned()]));
    }

    #[test]
    fn compares_times_regardless_of_their_offset() {
        let at = |text: &str| match terms(&format!("(gte,startTime,{text})")).remove(0) {
            FilterTerm::Value(ValueTest { operands: Operands::Times(times), .. }, _) => times[0],
            other => panic!("{other:?}"),
        };
        assert_eq!(at("1970-01-01T00:00:01.5Z"), 1500);
        assert_eq!(at("1970-01-01T01:00:01+01:00"), 1000);
        assert_eq!(at("1970-01-01T01:00:01 01:00"), 1000);
        assert_eq!(at("1969-12-31T23:59:59.9995Z"), -1);
    }

    #[test]
    fn rejects_values_and_operators_that_do_not_fit_the_type() {
        assert_eq!(refusal("(eq,level,x)"), "filter: 'level' must be a number, not 'x'");
        assert_eq!(refusal("(eq,level,NaN)"), "filter: 'level' must be a number, not 'NaN'");
        assert_eq!(refusal("(eq,level,9e-39999999999)"), "filter: 'level' must be a number, not '9e-39999999999'");
        assert_eq!(refusal("(eq,pending,1)"), "filter: 'pending' must be true or false, not '1'");
        assert_eq!(refusal("(eq,state,on)"), "filter: 'state' must be one of ON, OFF, not 'on'");
        assert_eq!(refusal("(lt,startTime,yesterday)"), "filter: 'startTime' must be a date-time, not 'yesterday'");
        assert_eq!(refusal("(gt,pending,true)"), "filter: 'pending' does not support the operator gt");
        assert_eq!(refusal("(cont,level,1)"), "filter: 'level' does not support the operator cont");
        assert!(refusal("(eq,id").starts_with("filter: expected ',' and a value"));
    }

    #[test]
    fn rejects_unknown_attributes_by_name() {
        for name in ["Id", "id/x", "inner/b", "entries/x", "entries/@key", "map/k/x", "map/@key/id", "@key"] {
            assert_eq!(refusal(&format!("(eq,{name},1)")), format!("filter: unknown attribute '{name}'"));
        }
        assert_eq!(refusal("(eq,access/token,1)"), "filter: unknown attribute 'access/token'");
        for name in ["inner", "entries", "map", "map/k", "access"] {
            assert!(refusal(&format!("(eq,{name},1)")).contains("is not a simple attribute"), "{name}");
        }
    }

    #[test]
    fn applies_conditions_on_the_same_array_or_key_to_one_entry() {
        let entries = |text: &str| parse_filter(text, &THING).unwrap().terms.entries;
        let of = |rows, key: Option<&str>, own| {
            let terms = FilterTerms { own, entries: Vec::new() };
            EntryTerms { rows, key: key.map(str::to_owned), terms }
        };
        let id = || FilterTerm::Value(texts(Operator::Eq, &["1"]), "entry.id");
        let name = || FilterTerm::Value(texts(Operator::Neq, &["x"]), "entry.name");
        assert_eq!(entries("(eq,entries/id,1);(neq,entries/name,x)"), [of(ENTRIES, None, vec![id(), name()])]);
        let expected = [of(KEYED, Some("a"), vec![id()]), of(KEYED, Some("b"), vec![name()])];
        assert_eq!(entries("(eq,map/a/id,1);(neq,map/b/name,x)"), expected);
        let key = FilterTerm::Value(texts(Operator::In, &["a", "b"]), "entry.key");
        assert_eq!(entries("(in,map/@key,a,b)"), [of(KEYED, None, vec![key])]);
    }

    #[test]
    fn accepts_any_path_into_open_json() {
        let open = |json, path: &[PathSegment]| FilterTerm::Open(texts(Operator::Eq, &["1"]), json, path.to_vec());
        assert_eq!(terms("(eq,data/a/b,1)"), [open("data", &[member("a"), member("b")])]);
        assert_eq!(terms("(eq,data/@key,1)"), [open("data", &[PathSegment::Key])]);
        assert_eq!(terms("(eq,access/user,1)"), [open("access", &[member("user")])]);
    }

    #[test]
    fn accepts_attributes_that_gybe_never_sets_and_matches_nothing() {
        assert_eq!(terms("(eq,grantId,1)"), [FilterTerm::Never]);
        assert_eq!(terms("(eq,grantId/whatever,1)"), [FilterTerm::Never]);
    }
}
