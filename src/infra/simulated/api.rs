//! What a simulated API server answers: discovery, reviews, and the requests for objects. Server-side apply has one manager for each
//! object, so that an object becomes what is applied.

use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::USER;
use super::controllers::{FULL, QUOTA, owners, uid};
use super::kinds::{ServedKind, served};
use super::managed::with_managed_fields;
use super::pods::{log, text};
use super::request::{ApiRequest, Refusal, has_fields, has_labels};
use super::script::{ALLOWED, ANNOTATION, Fault};
use super::state::{Place, State, size};
use crate::clock::{Ids as _, System};

/// The members of the metadata that the API server sets.
const SERVER_METADATA: [&str; 5] = ["uid", "resourceVersion", "generation", "creationTimestamp", "ownerReferences"];

/// An answer.
pub(super) enum Answer {
    /// With this HTTP status.
    Object(u16, Value),
    Text(&'static str),
    Watch(Watched),
}

/// What a watch shows.
pub(super) struct Watched {
    /// Up to which version its caller knows the objects.
    pub version: u64,
    /// How long it lasts; 0 if the request does not say.
    pub seconds: u64,
    /// The name is empty.
    place: Place,
    labels: String,
    fields: String,
}

impl Watched {
    /// Whether it shows an object.
    pub fn selects(&self, place: &Place, object: &Value) -> bool {
        let Place { group, plural, namespace, .. } = &self.place;
        place.group == *group
            && place.plural == *plural
            && (namespace.is_empty() || place.namespace == *namespace)
            && has_labels(object, &self.labels)
            && has_fields(object, &self.fields)
    }
}

/// Answers a request, and changes `state` if it asks for that.
pub(super) fn answer(state: &mut State, request: &ApiRequest, now: OffsetDateTime) -> Result<Answer, Refusal> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let (api_version, rest) = match path[..] {
        ["apis"] => return Ok(Answer::Object(200, groups(state))),
        ["api", version, ref rest @ ..] => (version.to_owned(), rest),
        ["apis", group, version, ref rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return Err(Refusal::not_found("the simulated API server has no such path")),
    };
    match rest {
        [] => resources(state, &api_version),
        ["selfsubjectreviews"] => Ok(review(request, json!({ "userInfo": { "username": USER } }))),
        ["selfsubjectaccessreviews"] => Ok(review(request, json!({ "allowed": true }))),
        ["namespaces", namespace, plural, rest @ ..] => {
            objects(state, request, &api_version, namespace, plural, rest, now)
        }
        [plural, rest @ ..] => objects(state, request, &api_version, "", plural, rest, now),
    }
}

/// Reviews are answered and not stored.
fn review(request: &ApiRequest, status: Value) -> Answer {
    let mut review = request.body.clone();
    review["status"] = status;
    Answer::Object(201, review)
}

fn all_kinds(state: &State) -> Vec<ServedKind> {
    served(state.of_kind("apiextensions.k8s.io", "customresourcedefinitions", "").map(|(_, object)| object.as_ref()))
}

fn groups(state: &State) -> Value {
    let kinds = all_kinds(state);
    let mut versions: Vec<&str> =
        kinds.iter().map(|kind| kind.api_version.as_str()).filter(|version| version.contains('/')).collect();
    versions.dedup();
    let groups = versions.into_iter().filter_map(|version| {
        let (group, short) = version.split_once('/')?;
        let version = json!({ "groupVersion": version, "version": short });
        Some(json!({ "name": group, "versions": [version], "preferredVersion": version }))
    });
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>() })
}

fn resources(state: &State, api_version: &str) -> Result<Answer, Refusal> {
    let kinds = all_kinds(state);
    let resources: Vec<Value> =
        kinds.iter().filter(|kind| kind.api_version == api_version).map(ServedKind::resource).collect();
    if resources.is_empty() {
        return Err(Refusal::not_found("the server could not find the requested resource"));
    }
    let list =
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources });
    Ok(Answer::Object(200, list))
}

fn objects(
    state: &mut State,
    request: &ApiRequest,
    api_version: &str,
    namespace: &str,
    plural: &str,
    rest: &[&str],
    now: OffsetDateTime,
) -> Result<Answer, Refusal> {
    let kind = all_kinds(state).into_iter().find(|kind| kind.api_version == api_version && kind.plural == plural);
    let kind = kind.ok_or_else(|| Refusal::not_found("the server could not find the requested resource"))?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let name = rest.first().copied().unwrap_or_default();
    let [group, plural, namespace, name] = [group, plural, namespace, name].map(str::to_owned);
    let place = Place { group, plural, namespace, name };
    let object = ObjectRequest { request, kind: &kind, place, now };
    match (&request.method, rest) {
        (&Method::GET, []) if request.parameter("watch") == "true" => object.watch().map(Answer::Watch),
        (&Method::GET, []) => Ok(Answer::Object(200, object.list(state))),
        (&Method::GET, [_]) => object.found(state).map(|found| Answer::Object(200, Value::clone(found))),
        (&Method::GET, [_, "log"]) => object.found(state).map(|pod| Answer::Text(log(pod))),
        (&Method::POST, []) => object.create(state, &request.body).map(|made| Answer::Object(201, made)),
        (&Method::PATCH, [_]) if request.is_merge_patch => object.merge(state).map(|made| Answer::Object(200, made)),
        (&Method::PATCH, [_]) => object.apply(state).map(|made| Answer::Object(200, made)),
        (&Method::DELETE, [_]) => object.delete(state).map(|status| Answer::Object(200, status)),
        _ => Err(Refusal {
            code: 405,
            reason: "MethodNotAllowed",
            message: "the simulated API server cannot do that".to_owned(),
        }),
    }
}

/// A request for the objects of a kind, or for one of them.
struct ObjectRequest<'a> {
    request: &'a ApiRequest,
    kind: &'a ServedKind,
    place: Place,
    now: OffsetDateTime,
}

impl ObjectRequest<'_> {
    /// The kind as messages name it: `deployments.apps`.
    fn resource(&self) -> String {
        let Place { group, plural, .. } = &self.place;
        if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") }
    }

    fn found<'a>(&self, state: &'a State) -> Result<&'a Arc<Value>, Refusal> {
        let name = &self.place.name;
        state.get(&self.place).ok_or_else(|| Refusal::not_found(format!("{} \"{name}\" not found", self.resource())))
    }

    fn list(&self, state: &State) -> Value {
        let (labels, fields) = (self.request.parameter("labelSelector"), self.request.parameter("fieldSelector"));
        let all = state.of_kind(&self.place.group, &self.place.plural, &self.place.namespace);
        let items = all.filter(|(_, object)| has_labels(object, labels) && has_fields(object, fields));
        json!({
            "apiVersion": self.kind.api_version, "kind": format!("{}List", self.kind.kind),
            "metadata": { "resourceVersion": state.version().to_string() },
            "items": items.map(|(_, object)| Value::clone(object)).collect::<Vec<_>>(),
        })
    }

    fn watch(&self) -> Result<Watched, Refusal> {
        Ok(Watched {
            version: self.request.parameter("resourceVersion").parse().map_err(|_| Refusal::gone())?,
            seconds: self.request.parameter("timeoutSeconds").parse().unwrap_or_default(),
            place: self.place.clone(),
            labels: self.request.parameter("labelSelector").to_owned(),
            fields: self.request.parameter("fieldSelector").to_owned(),
        })
    }

    /// Server-side apply.
    fn apply(&self, state: &mut State) -> Result<Value, Refusal> {
        match state.get(&self.place).cloned() {
            None => self.create(state, &self.request.body),
            Some(live) => self.update(state, &live, self.request.body.clone()),
        }
    }

    fn create(&self, state: &mut State, body: &Value) -> Result<Value, Refusal> {
        let mut object = body.clone();
        let metadata = metadata(&mut object).ok_or_else(|| Refusal::invalid("metadata is missing"))?;
        let named = metadata.get("name").and_then(Value::as_str).map(str::to_owned).or_else(|| {
            let prefix = metadata.get("generateName")?.as_str()?;
            Some(format!("{prefix}{}", &System.uuid().simple().to_string()[..5]))
        });
        let place =
            Place { name: named.ok_or_else(|| Refusal::invalid("metadata.name is missing"))?, ..self.place.clone() };
        if state.get(&place).is_some() {
            let message = format!("{} \"{}\" already exists", self.resource(), place.name);
            return Err(Refusal { code: 409, reason: "AlreadyExists", message });
        }
        if metadata.contains_key("uid") {
            return Err(Refusal::conflict(format!(
                "{} \"{}\": the object with this uid is gone",
                self.resource(),
                place.name
            )));
        }
        if let Err(refusal) = self.check(&object, "create", &place) {
            // Otherwise the driver would say that the rights are missing because the namespace is.
            ensure_namespace(state, &place.namespace, self.now);
            return Err(refusal);
        }
        fill_in(&mut object, &place, &System.uuid().to_string(), self.now);
        if !state.has_room(&place, size(&object)) {
            return Err(Refusal::forbidden(format!("{} \"{}\" is forbidden: {FULL}", self.resource(), place.name)));
        }
        if self.request.is_dry_run() {
            return Ok(object);
        }
        ensure_namespace(state, &place.namespace, self.now);
        Ok(Value::clone(&state.put(place, object)))
    }

    /// Makes `live` what `wanted` says.
    fn update(&self, state: &mut State, live: &Value, mut wanted: Value) -> Result<Value, Refusal> {
        let (resource, name) = (self.resource(), &self.place.name);
        let given = |member: &str| wanted.pointer(&format!("/metadata/{member}")).and_then(Value::as_str);
        if given("uid").is_some_and(|given| given != uid(live)) {
            return Err(Refusal::invalid(format!(
                "{resource} \"{name}\" is invalid: metadata.uid: Invalid value: field is immutable"
            )));
        }
        let version = live.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if given("resourceVersion").is_some_and(|given| Some(given) != version) {
            return Err(Refusal::conflict(format!("{resource} \"{name}\": the object has been modified")));
        }
        self.check(&wanted, "patch", &self.place)?;
        default_replicas(&mut wanted);
        if let (Some(wanted), Some(live)) = (metadata(&mut wanted), live.get("metadata").and_then(Value::as_object)) {
            for member in SERVER_METADATA {
                wanted.remove(member);
                wanted.extend(live.get(member).map(|value| (member.to_owned(), value.clone())));
            }
        }
        if let (Some(status), Value::Object(wanted)) = (live.get("status"), &mut wanted) {
            wanted.insert("status".to_owned(), status.clone());
        }
        if wanted == *live {
            return Ok(wanted);
        }
        let spec = |object: &Value| {
            let members = object.as_object().into_iter().flatten();
            members
                .filter(|(name, _)| *name != "metadata")
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect::<Map<_, _>>()
        };
        if spec(&wanted) != spec(live) {
            let generation = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(1);
            wanted["metadata"]["generation"] = (generation + 1).into();
        }
        if !state.has_room(&self.place, size(&wanted)) {
            return Err(Refusal::forbidden(format!("{resource} \"{name}\" is forbidden: {FULL}")));
        }
        if self.request.is_dry_run() {
            return Ok(with_managed_fields(wanted, self.request.parameter("fieldManager")));
        }
        Ok(Value::clone(&state.put(self.place.clone(), wanted)))
    }

    /// A merge patch (RFC 7396).
    fn merge(&self, state: &mut State) -> Result<Value, Refusal> {
        let live = self.found(state)?.clone();
        let mut wanted = Value::clone(&live);
        json_patch::merge(&mut wanted, &self.request.body);
        self.update(state, &live, wanted)
    }

    /// Deletes the object, and all that it owns or that is in it.
    fn delete(&self, state: &mut State) -> Result<Value, Refusal> {
        let found = uid(self.found(state)?).to_owned();
        let wanted = self.request.body.pointer("/preconditions/uid").and_then(Value::as_str);
        if wanted.is_some_and(|wanted| wanted != found) {
            let message = format!("{} \"{}\": the object has another uid", self.resource(), self.place.name);
            return Err(Refusal::conflict(message));
        }
        remove(state, &self.place);
        Ok(json!({ "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success" }))
    }

    /// Whether the object may be written: it is a workload with containers, and it is not scripted to be refused.
    fn check(&self, object: &Value, verb: &str, place: &Place) -> Result<(), Refusal> {
        let (resource, kind, name) = (self.resource(), &self.kind.kind, &place.name);
        let template = object.pointer("/spec/template").filter(|_| matches!(place.group.as_str(), "apps" | "batch"));
        for scripted in [Some(object), template].into_iter().flatten() {
            Fault::of_annotation(scripted).map_err(|value| {
                let text =
                    format!("annotation {ANNOTATION}: Unsupported value: \"{value:.64}\": supported values: {ALLOWED}");
                Refusal::invalid(format!("{kind} \"{name}\" is invalid: {text}"))
            })?;
        }
        let makes_pods = matches!(place.group.as_str(), "apps" | "batch") && place.plural != "cronjobs";
        let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        if makes_pods && containers.is_none_or(Vec::is_empty) {
            return Err(Refusal::invalid(format!(
                "{kind} \"{name}\" is invalid: spec.template.spec.containers: Required value"
            )));
        }
        let is_pod = place.group.is_empty() && place.plural == "pods";
        let fault = if is_pod { Fault::of_pod(object) } else { Fault::of_annotation(object).ok().flatten() };
        match fault {
            Some(Fault::Denied) => {
                let place = if place.namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace \"{}\"", place.namespace)
                };
                Err(Refusal::forbidden(format!(
                    "{resource} \"{name}\" is forbidden: User \"{USER}\" cannot {verb} resource \"{}\" in API group \"{}\" {place}",
                    self.place.plural, self.place.group
                )))
            }
            Some(Fault::Quota) if !makes_pods => {
                Err(Refusal::forbidden(format!("{resource} \"{name}\" is forbidden: {QUOTA}")))
            }
            _ => Ok(()),
        }
    }
}

fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.as_object_mut()
}

/// Sets what the API server sets of a new object.
fn fill_in(object: &mut Value, place: &Place, uid: &str, now: OffsetDateTime) {
    default_replicas(object);
    let Some(metadata) = metadata(object) else { return };
    metadata.remove("ownerReferences");
    metadata.insert("name".to_owned(), place.name.clone().into());
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("generation".to_owned(), 1.into());
    metadata.insert("creationTimestamp".to_owned(), text(now).into());
    if !place.namespace.is_empty() {
        metadata.insert("namespace".to_owned(), place.namespace.clone().into());
    }
}

/// A workload without a number of replicas has one.
fn default_replicas(object: &mut Value) {
    let has_replicas = object
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| matches!(kind, "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController"));
    if has_replicas && let Some(Value::Object(spec)) = object.get_mut("spec") {
        spec.entry("replicas").or_insert_with(|| 1.into());
    }
}

/// Makes the Namespace if there is none: namespaces of a simulated cluster exist as soon as something is made in them.
pub(super) fn ensure_namespace(state: &mut State, name: &str, now: OffsetDateTime) {
    let place = Place {
        group: String::new(),
        plural: "namespaces".to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    };
    if name.is_empty() || state.get(&place).is_some() {
        return;
    }
    let mut namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {} });
    fill_in(&mut namespace, &place, &System.uuid().to_string(), now);
    state.put(place, namespace);
}

/// Makes an object again with the uid that it had.
pub(super) fn restore(
    state: &mut State,
    api_version: &str,
    plural: &str,
    mut object: Value,
    uid: &str,
    now: OffsetDateTime,
) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let place = Place {
        group,
        plural: plural.to_owned(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    };
    if !state.has_room(&place, size(&object)) {
        tracing::warn!("the simulated cluster is full: {} {} is not made again", place.plural, place.name);
        return;
    }
    fill_in(&mut object, &place, uid, now);
    ensure_namespace(state, &place.namespace, now);
    state.put(place, object);
}

/// Deletes the object with all that it owns, and all that is in it if it is a Namespace.
fn remove(state: &mut State, place: &Place) {
    let mut doomed = vec![place.clone()];
    if place.group.is_empty() && place.plural == "namespaces" {
        doomed.extend(state.iter().filter(|(other, _)| other.namespace == place.name).map(|(other, _)| other.clone()));
    }
    while let Some(place) = doomed.pop() {
        let Some(gone) = state.remove(&place) else { continue };
        let owned = state.iter().filter(|(_, object)| owners(object).any(|owner| owner == uid(&gone)));
        let owned: Vec<Place> = owned.map(|(place, _)| place.clone()).collect();
        doomed.extend(owned);
    }
}
