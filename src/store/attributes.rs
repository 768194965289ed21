//! The attributes of the resources that have lists: how callers name them, of what type they are, and where the database has
//! them. A table per resource; `sql/shared/filters.rs` makes SQL of a [`Filter`], `crate::api::selectors` reads from the
//! tables what may be left out of a list.
//!
//! The places are SQL that both engines read alike, written here and nowhere taken from a caller: what callers write gets
//! into statements as bound parameters alone. What a GET does not show, secrets above all, is in no table: such attributes
//! are unknown.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::filter::{self, Condition, Name, Operator};
use crate::domain::problem::Problem;

pub mod op_occs;
pub mod packages;
pub mod subscriptions;
pub mod vnf_instances;

/// SQL for a value, in terms of the columns of the resource's table, or of `entry` within an array or a map. `MEMBERS_OF` is
/// the engine's table function that gives the members of a JSON object.
pub type Sql = &'static str;

/// An attribute of a resource.
pub struct Attribute {
    /// As the standard spells it.
    pub name: &'static str,
    /// Whether it must be there wherever what it is part of is: then no selector leaves it out.
    pub mandatory: bool,
    /// What it is, and where.
    pub kind: Kind,
}

/// What an attribute is, and where the database has it.
pub enum Kind {
    /// A value.
    Simple(Type, Sql),
    /// A structure.
    Structure(Members),
    /// An array of structures.
    Array(Rows, Members),
    /// A map of structures by keys that are the caller's.
    Map(Rows, Members),
    /// JSON of the caller's own, or of no fixed shape.
    Open(Sql),
    /// As [`Kind::Open`], but with these members only.
    OpenMembers(Sql, &'static [&'static str]),
    /// The standard has it, Gybe never does: nothing matches.
    Never,
}

/// The members of a structure.
pub struct Members {
    /// Those of fixed names.
    pub known: &'static [Attribute],
    /// JSON that has others.
    pub rest: Option<Sql>,
}

/// The type of a simple attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Any text.
    Text,
    /// One of these texts: all that the editions have, also where Gybe never has it.
    Enumeration(&'static [&'static str]),
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A point in time, to the millisecond; in the database milliseconds since the epoch.
    Time,
}

/// Where the entries of an array or a map come from, each as `entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// A JSON array: `entry.value`.
    Elements(Sql),
    /// A JSON object: `entry.key` and `entry.value`.
    Members(Sql),
}

impl Members {
    /// These and no others.
    pub const fn of(known: &'static [Attribute]) -> Self {
        Self { known, rest: None }
    }

    fn find(&self, name: &str) -> Option<&Attribute> {
        self.known.iter().find(|attribute| attribute.name == name)
    }

    /// The known member of that name; or, if there can be others, `None`.
    ///
    /// # Errors
    /// There is no such member.
    pub fn get(&self, name: &Name) -> Result<Option<&Attribute>, Unknown> {
        let known = if let Name::Member(name) = name { self.find(name) } else { None };
        if known.is_none() && self.rest.is_none() { Err(Unknown) } else { Ok(known) }
    }
}

/// The names that `sql` leads on by from a JSON value: it is nothing but `-> 'a' ->> 'b'`, or empty.
pub(in crate::store) fn names_from(sql: Sql) -> Option<Vec<&'static str>> {
    let name = |text: &'static str| {
        let name = text.trim_start_matches('>').trim().strip_prefix('\'')?.strip_suffix('\'')?;
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(name)
    };
    let mut steps = sql.split("->");
    steps.next().filter(|before| before.trim().is_empty())?;
    steps.map(name).collect()
}

/// There is no such attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

const fn attribute(name: &'static str, kind: Kind) -> Attribute {
    Attribute { name, mandatory: false, kind }
}

const fn mandatory(name: &'static str, kind: Kind) -> Attribute {
    Attribute { name, mandatory: true, kind }
}

const fn text(name: &'static str, place: Sql) -> Attribute {
    attribute(name, Kind::Simple(Type::Text, place))
}

const fn never(name: &'static str) -> Attribute {
    attribute(name, Kind::Never)
}

/// What a list is to show: those of which all terms hold. The default shows all.
#[derive(Debug, Default)]
pub struct Filter {
    pub(in crate::store) terms: Terms,
}

impl Filter {
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.own.is_empty() && self.terms.entries.is_empty()
    }

    /// Asks for what `other` asks for, too.
    pub fn and(&mut self, other: Self) {
        self.terms.own.extend(other.terms.own);
        self.terms.entries.extend(other.terms.entries);
    }
}

/// Conditions on the way to SQL, all of which must hold.
#[derive(Debug, Default, PartialEq)]
pub(in crate::store) struct Terms {
    /// Of the resource itself, or of the entry.
    pub(in crate::store) own: Vec<Term>,
    /// Each about an entry of an array or a map of it.
    pub(in crate::store) entries: Vec<Entry>,
}

/// One of the rows, with that key if there is one, has all of these.
#[derive(Debug, PartialEq)]
pub(in crate::store) struct Entry {
    pub(in crate::store) rows: Rows,
    pub(in crate::store) key: Option<String>,
    pub(in crate::store) terms: Terms,
}

/// A condition.
#[derive(Debug, PartialEq)]
pub(in crate::store) enum Term {
    /// Of a value.
    Value(Test, Sql),
    /// Of a value somewhere in JSON.
    Open(Test, Sql, Vec<Name>),
    /// Of an attribute that is never there.
    Never,
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct Test {
    pub(in crate::store) operator: Operator,
    pub(in crate::store) values: Values,
}

/// What it is compared with: never empty.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) enum Values {
    Texts(Vec<String>),
    /// JSON numbers as texts: neither engine has to round them.
    Numbers(Vec<String>),
    Booleans(Vec<bool>),
    /// Milliseconds since the epoch.
    Times(Vec<i64>),
}

/// Reads a filter over the attributes of `members`. Conditions that lead through the same array are about the same entry of it.
///
/// # Errors
/// 400: the text is no filter, names an attribute that there is not, or a value is not of the attribute's type.
pub fn filter(text: &str, members: &Members) -> Result<Filter, Problem> {
    let conditions = filter::parse(text).map_err(|error| Problem::bad_request(format!("filter: {error}")))?;
    let mut terms = Terms::default();
    for condition in &conditions {
        add(&mut terms, members, condition, &condition.path)?;
    }
    Ok(Filter { terms })
}

/// Adds the condition, of which `path` is what is left of the way to the attribute.
fn add(terms: &mut Terms, members: &Members, condition: &Condition, path: &[Name]) -> Result<(), Problem> {
    let Some((first, rest)) = path.split_first() else { return Err(not_simple(condition)) };
    let kind = match members.get(first).map_err(|Unknown| unknown(condition))? {
        Some(attribute) => &attribute.kind,
        None => {
            let json = members.rest.ok_or_else(|| unknown(condition))?;
            terms.own.push(Term::Open(untyped(condition), json, path.to_vec()));
            return Ok(());
        }
    };
    match kind {
        Kind::Simple(kind, place) => {
            if !rest.is_empty() {
                return Err(unknown(condition));
            }
            terms.own.push(Term::Value(typed(*kind, condition)?, place));
            Ok(())
        }
        Kind::Structure(members) => add(terms, members, condition, rest),
        Kind::Array(rows, members) => add(entry(terms, *rows, None), members, condition, rest),
        Kind::Map(rows, members) => match rest.split_first() {
            None => Err(not_simple(condition)),
            Some((Name::Key, [])) => {
                let test = typed(Type::Text, condition)?;
                entry(terms, *rows, None).own.push(Term::Value(test, "entry.key"));
                Ok(())
            }
            Some((Name::Key, _)) => Err(unknown(condition)),
            Some((Name::Member(key), rest)) => add(entry(terms, *rows, Some(key)), members, condition, rest),
        },
        Kind::Open(json) => {
            terms.own.push(Term::Open(untyped(condition), json, rest.to_vec()));
            Ok(())
        }
        Kind::OpenMembers(json, names) => match rest.first() {
            None => Err(not_simple(condition)),
            Some(Name::Member(name)) if names.contains(&name.as_str()) => {
                terms.own.push(Term::Open(untyped(condition), json, rest.to_vec()));
                Ok(())
            }
            Some(_) => Err(unknown(condition)),
        },
        Kind::Never => {
            terms.own.push(Term::Never);
            Ok(())
        }
    }
}

/// The terms about an entry of `rows` (of that key), to add to.
fn entry<'a>(terms: &'a mut Terms, rows: Rows, key: Option<&String>) -> &'a mut Terms {
    let same = |entry: &Entry| entry.rows == rows && entry.key.as_ref() == key;
    let index = terms.entries.iter().position(same).unwrap_or_else(|| {
        terms.entries.push(Entry { rows, key: key.cloned(), terms: Terms::default() });
        terms.entries.len() - 1
    });
    &mut terms.entries[index].terms
}

fn unknown(condition: &Condition) -> Problem {
    Problem::bad_request(format!("filter: there is no attribute {}", condition.attribute))
}

fn not_simple(condition: &Condition) -> Problem {
    Problem::bad_request(format!("filter: {} is no simple attribute: name one within it", condition.attribute))
}

/// Of JSON, whose values have types of their own.
fn untyped(condition: &Condition) -> Test {
    Test { operator: condition.operator, values: Values::Texts(condition.values.clone()) }
}

fn typed(kind: Type, condition: &Condition) -> Result<Test, Problem> {
    let wrong = |what: String| Problem::bad_request(format!("filter: {} {what}", condition.attribute));
    let operator = condition.operator;
    let texts = matches!(kind, Type::Text | Type::Enumeration(_));
    let within = matches!(operator, Operator::Cont | Operator::Ncont);
    let ordered = matches!(operator, Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte);
    if (within && !texts) || (ordered && kind == Type::Boolean) {
        return Err(wrong(format!("can't be compared by {}", operator.as_str())));
    }
    let values = condition.values.iter();
    let values = match kind {
        Type::Enumeration(names) if !within && !ordered => {
            if let Some(other) = values.clone().find(|value| !names.contains(&value.as_str())) {
                return Err(wrong(format!("is one of {}, not '{other}'", names.join(", "))));
            }
            Values::Texts(condition.values.clone())
        }
        Type::Text | Type::Enumeration(_) => Values::Texts(condition.values.clone()),
        Type::Number => {
            if let Some(other) = values.clone().find(|value| !is_number(value)) {
                return Err(wrong(format!("is a number, not '{other}'")));
            }
            Values::Numbers(condition.values.clone())
        }
        Type::Boolean => {
            let boolean = |value: &String| value.parse().map_err(|_| wrong(format!("is true or false, not '{value}'")));
            Values::Booleans(values.map(boolean).collect::<Result<_, _>>()?)
        }
        Type::Time => {
            let time = |value: &String| millis(value).ok_or_else(|| wrong(format!("is no date-time: '{value}'")));
            Values::Times(values.map(time).collect::<Result<_, _>>()?)
        }
    };
    Ok(Test { operator, values })
}

/// Whether it is a JSON number that both engines take: PostgreSQL has none with an exponent of any size, though it be as good
/// as 0.
pub(in crate::store) fn is_number(text: &str) -> bool {
    let exponent = text.split_once(['e', 'E']).map_or("", |(_, exponent)| exponent);
    let digits = exponent.trim_start_matches(['+', '-']).trim_start_matches('0').len();
    text.len() <= 40 && digits <= 3 && serde_json::from_str::<serde_json::Number>(text).is_ok()
}

/// A date-time of RFC 3339 in milliseconds since the epoch. The `+` of an offset is a space here if the caller did not
/// escape it in the query.
fn millis(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: Rows = Rows::Elements("entries");
    const KEYED: Rows = Rows::Members("keyed");
    const INNER: [Attribute; 2] = [text("id", "entry.id"), text("name", "entry.name")];
    const THING: Members = Members::of(&[
        text("id", "id"),
        attribute("state", Kind::Simple(Type::Enumeration(&["ON", "OFF"]), "state")),
        attribute("level", Kind::Simple(Type::Number, "level")),
        attribute("pending", Kind::Simple(Type::Boolean, "pending")),
        attribute("startTime", Kind::Simple(Type::Time, "start_time")),
        attribute("inner", Kind::Structure(Members::of(&[text("a", "inner_a")]))),
        attribute("entries", Kind::Array(ENTRIES, Members::of(&INNER))),
        attribute("map", Kind::Map(KEYED, Members::of(&INNER))),
        attribute("access", Kind::OpenMembers("access", &["user"])),
        attribute("data", Kind::Open("data")),
        never("grantId"),
    ]);

    fn terms(text: &str) -> Vec<Term> {
        filter(text, &THING).unwrap().terms.own
    }

    fn refusal(text: &str) -> String {
        let problem = filter(text, &THING).unwrap_err();
        assert_eq!(problem.status, 400);
        problem.detail
    }

    fn texts(operator: Operator, values: &[&str]) -> Test {
        Test { operator, values: Values::Texts(values.iter().map(|value| (*value).to_owned()).collect()) }
    }

    fn member(name: &str) -> Name {
        Name::Member(name.to_owned())
    }

    #[test]
    fn values_are_read_as_what_the_attribute_is() {
        let values = |text: &str| match terms(text).remove(0) {
            Term::Value(test, _) => test.values,
            other => panic!("{other:?}"),
        };
        assert_eq!(values("(eq,id,5)"), Values::Texts(vec!["5".to_owned()]));
        assert_eq!(values("(gt,level,5)"), Values::Numbers(vec!["5".to_owned()]));
        assert_eq!(values("(in,pending,true,false)"), Values::Booleans(vec![true, false]));
        assert_eq!(values("(in,state,ON,OFF)"), Values::Texts(vec!["ON".to_owned(), "OFF".to_owned()]));
        assert_eq!(values("(cont,state,O)"), Values::Texts(vec!["O".to_owned()]));
    }

    #[test]
    fn times_are_points_in_time_whatever_their_offset() {
        let at = |text: &str| match terms(&format!("(gte,startTime,{text})")).remove(0) {
            Term::Value(Test { values: Values::Times(times), .. }, _) => times[0],
            other => panic!("{other:?}"),
        };
        assert_eq!(at("1970-01-01T00:00:01.5Z"), 1500);
        assert_eq!(at("1970-01-01T01:00:01+01:00"), 1000);
        assert_eq!(at("1970-01-01T01:00:01 01:00"), 1000);
        assert_eq!(at("1969-12-31T23:59:59.9995Z"), -1);
    }

    #[test]
    fn a_value_of_another_type_and_an_operator_that_makes_no_sense_are_refused() {
        assert_eq!(refusal("(eq,level,x)"), "filter: level is a number, not 'x'");
        assert_eq!(refusal("(eq,level,NaN)"), "filter: level is a number, not 'NaN'");
        assert_eq!(refusal("(eq,level,9e-39999999999)"), "filter: level is a number, not '9e-39999999999'");
        assert_eq!(refusal("(eq,pending,1)"), "filter: pending is true or false, not '1'");
        assert_eq!(refusal("(eq,state,on)"), "filter: state is one of ON, OFF, not 'on'");
        assert_eq!(refusal("(lt,startTime,yesterday)"), "filter: startTime is no date-time: 'yesterday'");
        assert_eq!(refusal("(gt,pending,true)"), "filter: pending can't be compared by gt");
        assert_eq!(refusal("(cont,level,1)"), "filter: level can't be compared by cont");
        assert!(refusal("(eq,id").starts_with("filter: ',' and a value is expected"));
    }

    #[test]
    fn an_attribute_that_there_is_not_is_refused_by_its_name() {
        for name in ["Id", "id/x", "inner/b", "entries/x", "entries/@key", "map/k/x", "map/@key/id", "@key"] {
            assert_eq!(refusal(&format!("(eq,{name},1)")), format!("filter: there is no attribute {name}"));
        }
        assert_eq!(refusal("(eq,access/token,1)"), "filter: there is no attribute access/token");
        for name in ["inner", "entries", "map", "map/k", "access"] {
            assert!(refusal(&format!("(eq,{name},1)")).contains("is no simple attribute"), "{name}");
        }
    }

    #[test]
    fn conditions_through_the_same_array_or_key_are_about_one_entry() {
        let entries = |text: &str| filter(text, &THING).unwrap().terms.entries;
        let of = |rows, key: Option<&str>, own| {
            let terms = Terms { own, entries: Vec::new() };
            Entry { rows, key: key.map(str::to_owned), terms }
        };
        let id = || Term::Value(texts(Operator::Eq, &["1"]), "entry.id");
        let name = || Term::Value(texts(Operator::Neq, &["x"]), "entry.name");
        assert_eq!(entries("(eq,entries/id,1);(neq,entries/name,x)"), [of(ENTRIES, None, vec![id(), name()])]);
        let expected = [of(KEYED, Some("a"), vec![id()]), of(KEYED, Some("b"), vec![name()])];
        assert_eq!(entries("(eq,map/a/id,1);(neq,map/b/name,x)"), expected);
        let key = Term::Value(texts(Operator::In, &["a", "b"]), "entry.key");
        assert_eq!(entries("(in,map/@key,a,b)"), [of(KEYED, None, vec![key])]);
    }

    #[test]
    fn any_way_into_open_json_is_an_attribute() {
        let open = |json, path: &[Name]| Term::Open(texts(Operator::Eq, &["1"]), json, path.to_vec());
        assert_eq!(terms("(eq,data/a/b,1)"), [open("data", &[member("a"), member("b")])]);
        assert_eq!(terms("(eq,data/@key,1)"), [open("data", &[Name::Key])]);
        assert_eq!(terms("(eq,access/user,1)"), [open("access", &[member("user")])]);
    }

    #[test]
    fn what_gybe_never_has_is_known_and_matches_nothing() {
        assert_eq!(terms("(eq,grantId,1)"), [Term::Never]);
        assert_eq!(terms("(eq,grantId/whatever,1)"), [Term::Never]);
    }
}
