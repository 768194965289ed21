//! Attribute selectors (SOL013 clause 5.3): which attributes of its elements a list shows. Only optional structures, arrays and
//! maps can be left out; simple and mandatory attributes always stay.

use actix_web::web::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::filter::{self, PathSegment};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::store::attributes::{Attribute, AttributeKind, Members};

/// The names that lead to an attribute. The key of a map's entry is one of them.
type Path = Vec<String>;

/// The attributes of each element that a list shows.
pub struct Selection {
    members: &'static Members,
    form: SelectionForm,
    /// Always shown.
    fields: Vec<Path>,
    /// Left out.
    excluded: Vec<Path>,
}

/// The combination of selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectionForm {
    /// All attributes.
    All,
    /// All but those that the standard leaves out by default.
    Default,
    /// All but the excluded ones: those named, or those left out by default and not named.
    Excluding,
    /// The named ones only.
    Only,
}

/// Whether an optional attribute is shown.
enum Visibility {
    Shown,
    Hidden,
    /// Some of its own attributes are shown, others hidden.
    Partial,
}

/// The members of a value without a fixed schema: each may be left out.
static ANY: Members = Members { known: &[], rest: Some("") };
static NONE: Members = Members::of(&[]);

impl Selection {
    /// All attributes, as a resource is shown outside of lists.
    pub const ALL: Self = Self { members: &NONE, form: SelectionForm::All, fields: Vec::new(), excluded: Vec::new() };

    /// Reads the selectors. `value` looks up a query parameter.
    ///
    /// # Errors
    /// 400 for selectors that exclude each other, and for unknown attributes.
    pub fn read<'a>(
        value: impl Fn(&str) -> Option<&'a str>,
        members: &'static Members,
        not_by_default: &[&str],
    ) -> Result<Self, Problem> {
        let flag = |name: &str| match value(name) {
            None => Ok(false),
            Some(text) if text.is_empty() || text.eq_ignore_ascii_case("true") => Ok(true),
            Some(value) => Err(problem!(
                ProblemType::BadRequest,
                "query parameter '{parameter}' is a flag and has the value '{value}': leave the value out",
                parameter = name,
                value = value,
            )),
        };
        let paths = |name: &str| value(name).map(|list| paths(name, list, members)).transpose();
        let (all, default) = (flag("all_fields")?, flag("exclude_default")?);
        let not_by_default = || not_by_default.iter().map(|name| vec![(*name).to_owned()]).collect();
        let (form, fields, excluded) = match (all, paths("fields")?, paths("exclude_fields")?, default) {
            (true, None, None, false) => (SelectionForm::All, Vec::new(), Vec::new()),
            (false, None, None, _) => (SelectionForm::Default, Vec::new(), not_by_default()),
            (false, Some(fields), None, false) => (SelectionForm::Only, fields, Vec::new()),
            (false, Some(fields), None, true) => (SelectionForm::Excluding, fields, not_by_default()),
            (false, None, Some(excluded), false) => (SelectionForm::Excluding, Vec::new(), excluded),
            _ => {
                let detail = "of all_fields, fields, exclude_fields and exclude_default, only fields and exclude_default go together: leave the others out";
                return Err(Problem::bad_request(detail));
            }
        };
        Ok(Self { members, form, fields, excluded })
    }

    /// The combination of selectors.
    pub const fn form(&self) -> SelectionForm {
        self.form
    }

    /// The JSON text of `element` with the selected attributes.
    ///
    /// # Errors
    /// The element cannot be serialized: a defect.
    pub fn text(&self, element: &impl Serialize) -> Result<Bytes, serde_json::Error> {
        if self.form == SelectionForm::All {
            return Ok(serde_json::to_vec(element)?.into());
        }
        let mut value = serde_json::to_value(element)?;
        self.prune(&mut value, self.members, &mut Path::new());
        Ok(serde_json::to_vec(&value)?.into())
    }

    /// Removes the hidden attributes from the structure, or from each structure in the array, at `path`.
    fn prune(&self, value: &mut Value, members: &Members, path: &mut Path) {
        match value {
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.prune(element, members, path)),
            Value::Object(object) => self.retain(object, path, |selection, name, member, path| {
                match members.get(&PathSegment::Member(name.to_owned())) {
                    Ok(Some(attribute)) => selection.keeps_known(member, attribute, path),
                    Ok(None) => selection.keeps(member, &ANY, path),
                    // Not an attribute, but part of the representation, such as `_links`.
                    Err(_) => true,
                }
            }),
            _ => {}
        }
    }

    fn retain(
        &self,
        object: &mut Map<String, Value>,
        path: &mut Path,
        keeps: impl Fn(&Self, &str, &mut Value, &mut Path) -> bool,
    ) {
        object.retain(|name, member| {
            path.push(name.clone());
            let kept = keeps(self, name, member, path);
            path.pop();
            kept
        });
    }

    fn keeps_known(&self, member: &mut Value, attribute: &Attribute, path: &mut Path) -> bool {
        match &attribute.kind {
            _ if attribute.mandatory => true,
            AttributeKind::Simple(..) => true,
            AttributeKind::Structure(members) | AttributeKind::Array(_, members) => self.keeps(member, members, path),
            AttributeKind::Open(_) | AttributeKind::OpenMembers(..) | AttributeKind::Never => {
                self.keeps(member, &ANY, path)
            }
            AttributeKind::Map(_, members) => match (self.visibility(path), member) {
                (Visibility::Partial, Value::Object(entries)) => {
                    self.retain(entries, path, |selection, _, entry, path| selection.keeps(entry, members, path));
                    true
                }
                (visibility, _) => !matches!(visibility, Visibility::Hidden),
            },
        }
    }

    /// Whether the value at `path` stays. Removes its hidden attributes if it stays in part.
    fn keeps(&self, member: &mut Value, members: &Members, path: &mut Path) -> bool {
        if !member.is_object() && !member.is_array() {
            return true;
        }
        match self.visibility(path) {
            Visibility::Shown => true,
            Visibility::Hidden => false,
            Visibility::Partial => {
                self.prune(member, members, path);
                true
            }
        }
    }

    fn visibility(&self, path: &Path) -> Visibility {
        let within = |paths: &[Path]| paths.iter().any(|other| other.len() > path.len() && other.starts_with(path));
        if self.fields.contains(path) {
            Visibility::Shown
        } else if within(&self.fields) {
            Visibility::Partial
        } else if self.form == SelectionForm::Only || self.excluded.iter().any(|other| path.starts_with(other)) {
            Visibility::Hidden
        } else if within(&self.excluded) {
            Visibility::Partial
        } else {
            Visibility::Shown
        }
    }
}

/// The attributes in a comma-separated list.
fn paths(parameter: &str, list: &str, members: &Members) -> Result<Vec<Path>, Problem> {
    let unknown = |text: &str| {
        problem!(
            ProblemType::BadRequest,
            "{parameter}: unknown attribute '{attribute}'",
            parameter = parameter,
            attribute = text,
        )
    };
    let path = |text: &str| {
        let path = filter::path(text).filter(|path| is_attribute(members, path)).ok_or_else(|| unknown(text))?;
        let name = |name| if let PathSegment::Member(name) = name { Some(name) } else { None };
        path.into_iter().map(name).collect::<Option<Path>>().ok_or_else(|| unknown(text))
    };
    let mut paths = list.split(',').map(path).collect::<Result<Vec<Path>, _>>()?;
    paths.sort_unstable();
    paths.dedup();
    if paths.len() > MAX_PATHS {
        return Err(problem!(
            ProblemType::BadRequest,
            "{parameter} names {number} attributes, more than {limit}: name fewer",
            parameter = parameter,
            number = paths.len(),
            limit = MAX_PATHS,
        ));
    }
    Ok(paths)
}

/// The most attributes in a selector. Each member of each element is compared with them.
const MAX_PATHS: usize = 128;

fn is_attribute(members: &Members, path: &[PathSegment]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let Ok(known) = members.get(first) else { return false };
    match known.map(|attribute| &attribute.kind) {
        None | Some(AttributeKind::Open(_) | AttributeKind::Never) => true,
        Some(AttributeKind::Simple(..)) => rest.is_empty(),
        Some(AttributeKind::Structure(members) | AttributeKind::Array(_, members)) => is_attribute(members, rest),
        Some(AttributeKind::Map(_, members)) => rest.split_first().is_none_or(|(_, rest)| is_attribute(members, rest)),
        Some(AttributeKind::OpenMembers(_, names)) => match rest.first() {
            None => true,
            Some(PathSegment::Member(name)) => names.contains(&name.as_str()),
            Some(PathSegment::Key) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::attributes::vnf_instances::{NOT_BY_DEFAULT, V1, V2};

    fn read(query: &[(&'static str, &'static str)], members: &'static Members) -> Result<Selection, Problem> {
        let value = |name: &str| query.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        Selection::read(value, members, NOT_BY_DEFAULT)
    }

    /// The attributes of an instance that these selectors show.
    fn shown(query: &[(&'static str, &'static str)]) -> Value {
        serde_json::from_slice(&read(query, &V2).unwrap().text(&instance()).unwrap()).unwrap()
    }

    fn instance() -> Value {
        json!({
            "id": "1", "vnfInstanceName": "n", "instantiationState": "INSTANTIATED", "_links": { "self": { "href": "/" } },
            "vnfConfigurableProperties": { "p": 1 },
            "metadata": { "namespace": "edge", "site": { "room": 1 } },
            "extensions": {},
            "vimConnectionInfo": { "vim": { "vimType": "kubernetes", "interfaceInfo": { "endpoint": "e" }, "extra": { "a": 1 } } },
            "instantiatedVnfInfo": {
                "flavourId": "simple",
                "scaleStatus": [{ "aspectId": "a", "scaleLevel": 1 }],
                "vnfcResourceInfo": [{ "id": "pod", "computeResource": { "resourceId": "pod" }, "metadata": { "podUid": "u" } }],
            },
        })
    }

    fn names(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    const STAYING: [&str; 4] = ["_links", "id", "instantiationState", "vnfInstanceName"];

    #[test]
    fn hides_the_standards_defaults_without_selectors() {
        assert_eq!(names(&shown(&[])), STAYING);
        assert_eq!(shown(&[("exclude_default", "")]), shown(&[]));
    }

    #[test]
    fn all_fields_shows_everything() {
        assert_eq!(shown(&[("all_fields", "")]), instance());
        assert_eq!(shown(&[("all_fields", "True")]), instance());
    }

    #[test]
    fn fields_shows_exactly_the_named_attributes() {
        let shown = shown(&[("fields", "metadata,extensions,vnfInstanceName")]);
        assert_eq!(shown["metadata"], instance()["metadata"]);
        assert_eq!(names(&shown), ["_links", "extensions", "id", "instantiationState", "metadata", "vnfInstanceName"]);
    }

    #[test]
    fn fields_within_a_structure_keeps_its_simple_and_mandatory_attributes() {
        let expected = json!({
            "flavourId": "simple",
            "vnfcResourceInfo": [{ "id": "pod", "computeResource": { "resourceId": "pod" }, "metadata": { "podUid": "u" } }],
        });
        assert_eq!(shown(&[("fields", "instantiatedVnfInfo/vnfcResourceInfo")])["instantiatedVnfInfo"], expected);
        let deep = shown(&[("fields", "instantiatedVnfInfo/vnfcResourceInfo/id")]);
        let expected = json!([{ "id": "pod", "computeResource": { "resourceId": "pod" } }]);
        assert_eq!(deep["instantiatedVnfInfo"]["vnfcResourceInfo"], expected);
        let entry = shown(&[("fields", "vimConnectionInfo/vim/extra")]);
        assert_eq!(entry["vimConnectionInfo"], json!({ "vim": { "vimType": "kubernetes", "extra": { "a": 1 } } }));
        assert_eq!(shown(&[("fields", "metadata/site")])["metadata"], instance()["metadata"]);
    }

    #[test]
    fn exclude_fields_hides_exactly_the_named_attributes() {
        let query = [("exclude_fields", "metadata,instantiatedVnfInfo/vnfcResourceInfo/metadata,id,metadata/site")];
        let mut expected = instance();
        expected.as_object_mut().unwrap().remove("metadata");
        expected["instantiatedVnfInfo"]["vnfcResourceInfo"][0].as_object_mut().unwrap().remove("metadata");
        assert_eq!(shown(&query), expected);
    }

    #[test]
    fn fields_with_exclude_default_hides_unnamed_defaults() {
        let shown = shown(&[("fields", "extensions,instantiatedVnfInfo/scaleStatus"), ("exclude_default", "")]);
        let mut expected = json!({ "extensions": {}, "instantiatedVnfInfo": { "flavourId": "simple" } });
        expected["instantiatedVnfInfo"]["scaleStatus"] = instance()["instantiatedVnfInfo"]["scaleStatus"].clone();
        for name in STAYING {
            expected[name] = instance()[name].clone();
        }
        assert_eq!(shown, expected);
    }

    #[test]
    fn rejects_contradictory_selectors() {
        let given =
            [("all_fields", ""), ("fields", "metadata"), ("exclude_fields", "metadata"), ("exclude_default", "")];
        for bits in 0..16_usize {
            let query: Vec<_> = (0..4).filter(|bit| bits >> bit & 1 == 1).map(|bit| given[bit]).collect();
            let allowed = query.len() < 2 || query == [given[1], given[3]];
            assert_eq!(read(&query, &V1).is_ok(), allowed, "{query:?}");
        }
    }

    #[test]
    fn rejects_unknown_attribute() {
        for name in ["nothing", "", "id/x", "vimConnectionInfo/nothing", "vimConnectionInfo/@key", "a//b"] {
            let Err(problem) = read(&[("fields", name)], &V1) else { panic!("{name}") };
            assert_eq!((problem.status, problem.detail), (400, format!("fields: unknown attribute '{name}'")));
        }
        assert!(read(&[("exclude_fields", "instantiatedVnfInfo/extCpInfo,metadata/x/y")], &V1).is_ok());
        assert!(read(&[("all_fields", "no")], &V1).is_err());
    }
}
