//! The steps from the objects of one package to those of another (CHANGE_VNFPKG, SOL003 clause 5.4.11a), and back.
//!
//! `crate::lcm::change` asks for the steps and the conductor runs them. On the way forward nothing old is removed before everything
//! new is ready. An object may be of the old package, of the new one, or absent when a step meets it: each step reads the inventory
//! when it runs (`docs/adr/0009-change-of-package.md`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::domain::instance::VnfInstance;
use crate::domain::manifest::Manifest;
use crate::domain::namespace::Namespace;
use crate::domain::order::{Class, Classes, class, is_awaited};
use crate::domain::plan::{Step, await_servers, remove_all};
use crate::domain::problem::{Problem, ProblemType, problem};
use crate::domain::render::declared_replicas;
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::scale::{ScaleLevels, added, agrees, check_numbers, initial_levels, instances, moved};
use crate::domain::vnfd::Flavour;

// --- the instance -----------------------------------------------------------------------------------------------------

/// `modificationsTriggeredByVnfPkgChange` (clause 5.5.2.12a): the attributes that changed; of those that the request is merged
/// into, the value in the request.
pub fn modifications(before: &VnfInstance, after: &VnfInstance, request: &Value) -> Value {
    let texts = [
        ("vnfdId", &before.vnfd_id, &after.vnfd_id),
        ("vnfProvider", &before.provider, &after.provider),
        ("vnfProductName", &before.product_name, &after.product_name),
        ("vnfSoftwareVersion", &before.software_version, &after.software_version),
        ("vnfdVersion", &before.vnfd_version, &after.vnfd_version),
    ];
    let merged = [
        ("extensions", &before.extensions, &after.extensions),
        ("vnfConfigurableProperties", &before.configurable_properties, &after.configurable_properties),
    ];
    let texts = texts.into_iter().filter(|(_, before, after)| before != after);
    let texts = texts.map(|(name, _, after)| (name.to_owned(), Value::from(after.clone())));
    let merged = merged.into_iter().filter(|(_, before, after)| before != after);
    let merged = merged.filter_map(|(name, ..)| Some((name.to_owned(), request.get(name)?.clone())));
    texts.chain(merged).collect::<Map<String, Value>>().into()
}

// --- levels -----------------------------------------------------------------------------------------------------------

/// The scale levels under the new flavour: the present ones, and the initial level of each new aspect.
///
/// # Errors
/// 422 if the VNF is at a level that the new flavour does not have.
pub fn levels_under(flavour: &Flavour, before: &ScaleLevels) -> Result<ScaleLevels, Problem> {
    let mut levels = initial_levels(flavour, None)?;
    for (aspect, level) in &mut levels {
        let Some(present) = before.get(aspect) else { continue };
        let max = flavour.aspects.get(aspect).map_or(0, |aspect| aspect.max_level);
        if *present > max {
            return Err(problem!(
                ProblemType::Unprocessable,
                "aspect '{aspectId}' is at level {scaleLevel}, but the new VNFD allows 0 to {limit}: scale in first",
                aspectId = aspect,
                scaleLevel = present,
                limit = max,
            ));
        }
        *level = *present;
    }
    Ok(levels)
}

/// The instantiation level that matches the scale levels and the replicas (by VDU) of a VNF; the default one if several match.
pub fn matching_level<'a>(
    flavour: &'a Flavour,
    levels: &ScaleLevels,
    replicas: &BTreeMap<String, u32>,
) -> Option<&'a str> {
    let named = |at: &BTreeMap<String, u32>, aspect| at.get(aspect).copied().unwrap_or(0);
    let fits = |name: &&String| {
        flavour.levels.get(*name).is_some_and(|at| {
            levels.iter().all(|(aspect, level)| named(&at.scale_levels, aspect) == *level)
                && at.vdu_instances.iter().all(|(vdu, number)| replicas.get(vdu) == Some(number))
        })
    };
    flavour.default_level.iter().chain(flavour.levels.keys()).find(fits).map(String::as_str)
}

/// The number of instances of each VDU at `levels` of the new flavour. `level` is the instantiation level that has these levels, if
/// any. For a scaled VDU without an initial number, the replicas in the manifest are the initial number.
///
/// # Errors
/// 422 if a VDU that is scaled would have too many instances.
pub fn instance_numbers(
    flavour: &Flavour,
    levels: &ScaleLevels,
    level: Option<&str>,
    manifests: &[Manifest],
) -> Result<BTreeMap<String, u32>, Problem> {
    let scaled: BTreeSet<&String> = flavour.aspects.values().flat_map(|aspect| aspect.deltas.keys()).collect();
    let initial = initial_levels(flavour, None)?;
    let mut numbers = instances(flavour, levels, level.filter(|name| flavour.levels.contains_key(*name)));
    for (id, vdu) in flavour.vdus.iter().filter(|(id, _)| scaled.contains(id)) {
        let base = || declared_replicas(manifests, vdu);
        let moved = |base: u32| base.saturating_add(added(flavour, levels, id));
        numbers.entry(id.clone()).or_insert_with(|| moved(base()).saturating_sub(added(flavour, &initial, id)));
    }
    check_numbers(&numbers)?;
    Ok(numbers)
}

/// Replaces the numbers of those VDUs about which both the present flavour and the new one state several: they keep the number in
/// `present`, changed by the difference of the deltas.
pub fn keep_present_numbers(
    numbers: &mut BTreeMap<String, u32>,
    (before, levels_before): (&Flavour, &ScaleLevels),
    (after, levels_after): (&Flavour, &ScaleLevels),
    present: &BTreeMap<String, u32>,
) {
    for (id, number) in numbers {
        if let Some(present) = present.get(id).filter(|_| !agrees(before, id) && !agrees(after, id)) {
            let kept = moved(*present, added(before, levels_before, id), added(after, levels_after, id));
            *number = kept.unwrap_or(*number);
        }
    }
}

// --- the objects ------------------------------------------------------------------------------------------------------

/// Whether an object must be deleted and made again to get from `before` to `after`: the API server refuses the update, or the old
/// pods would stay. Only kinds that lose no data by it.
pub fn must_be_replaced(before: &Resource, after: &Resource) -> bool {
    let template = |row: &Resource| row.manifest.get("spec").and_then(|spec| spec.get("template")).cloned();
    match (after.key.group(), after.key.kind.as_str()) {
        ("batch", "Job") | ("", "Pod") => before.manifest != after.manifest,
        // Their controllers do not replace the pods they have.
        ("apps", "ReplicaSet") | ("", "ReplicationController") => template(before) != template(after),
        _ => false,
    }
}

/// Whether the object is a Job that exists as `wanted`: it has run, or runs, and must not run again.
pub fn is_unchanged_job(now: &Resource, wanted: &Resource) -> bool {
    wanted.key.kind == "Job" && matches!(now.state, ResourceState::Present { .. }) && !must_be_replaced(now, wanted)
}

/// The rows of `before` that the VNF keeps although the new package lacks them: the Namespace it lives in.
pub fn retained_rows<'a>(before: &'a [Resource], after: &[Resource], home: &Namespace) -> Vec<&'a Resource> {
    let is_home =
        |row: &&Resource| row.key.kind == "Namespace" && row.key.group().is_empty() && row.key.name == home.as_str();
    before.iter().filter(is_home).filter(|row| find(after, &row.key).is_none()).collect()
}

/// The steps from `before` to `after`.
pub fn forward(before: &[Resource], after: &[Resource]) -> Vec<Step> {
    let (dropped, released) = (keys_missing_in(after, before), released_by_autoscaler(before, after));
    let awaited = after.iter().filter(|row| !find(before, &row.key).is_some_and(|now| is_unchanged_job(now, row)));
    let mut steps = change_steps(before, after, true);
    steps.push(await_ready(awaited));
    steps.extend(mark_jobs_uncertain(dropped.iter()));
    steps.extend(remove_all(&dropped, None));
    if !released.is_empty() {
        let ready = await_ready(released.iter());
        steps.extend([Step::Change { rows: released, sets_replicas: true }, ready]);
    }
    steps
}

/// The steps back to `before` from any point of the way to `after`.
///
/// Objects that the new package added are removed before the wait for the old ones: a new quota or policy may keep these from getting
/// ready. Webhooks among them are removed before everything else: if nobody answers them, they refuse every change. Removed Jobs are made again and not awaited: they ran before, and may fail for that reason.
pub fn backward(before: &[Resource], after: &[Resource]) -> Vec<Step> {
    let added = keys_missing_in(before, after);
    let (hooks, added): (Vec<_>, Vec<_>) = added.into_iter().partition(|key| class(key) == Class::Admission);
    let mut steps = remove_all(&hooks, None);
    steps.extend(change_steps(after, before, false));
    steps.extend(mark_jobs_uncertain(added.iter()));
    steps.extend(remove_all(&added, None));
    let released = released_by_autoscaler(after, before);
    if !released.is_empty() {
        steps.push(Step::Change { rows: released, sets_replicas: true });
    }
    steps.push(await_ready(before.iter().filter(|row| row.key.kind != "Job")));
    steps
}

/// The steps that change objects from `from` to `to`, class by class. With `awaits_servers`, the workloads that answer for an
/// `APIService` or a webhook must be ready before it changes.
fn change_steps(from: &[Resource], to: &[Resource], awaits_servers: bool) -> Vec<Step> {
    let known = Classes::of(to.iter().map(|row| &row.key));
    let all: Vec<&Resource> = to.iter().collect();
    let mut classes = BTreeMap::<Class, Vec<Resource>>::new();
    for row in to {
        let row = Resource { state: ResourceState::Planned, ..row.clone() };
        classes.entry(known.class(&row.key)).or_default().push(row);
    }
    let mut steps = Vec::new();
    for (class, rows) in classes {
        let is_replaced = |row: &&Resource| find(from, &row.key).is_some_and(|before| must_be_replaced(before, row));
        let replaced: Vec<Resource> = rows.iter().filter(is_replaced).cloned().collect();
        if !replaced.is_empty() {
            steps.extend(mark_jobs_uncertain(
                replaced.iter().filter_map(|row| find(from, &row.key)).map(|row| &row.key),
            ));
            steps.push(Step::DeleteReplaced { rows: replaced });
        }
        if awaits_servers {
            steps.extend(await_servers(&rows, &all));
        }
        let established = is_awaited(class).then(|| await_ready(rows.iter()));
        steps.push(Step::Change { rows, sets_replicas: false });
        steps.extend(established);
    }
    steps
}

/// The step before the removal of `objects`, if Jobs are among them.
fn mark_jobs_uncertain<'a>(objects: impl Iterator<Item = &'a ObjectKey>) -> Option<Step> {
    let jobs: Vec<ObjectKey> = objects.filter(|key| key.kind == "Job").cloned().collect();
    (!jobs.is_empty()).then_some(Step::MarkUncertain { objects: jobs })
}

fn await_ready<'a>(rows: impl Iterator<Item = &'a Resource>) -> Step {
    Step::AwaitReady { objects: rows.map(|row| row.key.clone()).collect() }
}

/// The keys of `rows` that `others` lacks.
fn keys_missing_in(others: &[Resource], rows: &[Resource]) -> Vec<ObjectKey> {
    rows.iter().map(|row| &row.key).filter(|key| find(others, key).is_none()).cloned().collect()
}

/// The workloads of `to` whose replicas an autoscaler of `from` sets and no autoscaler of `to`. They are changed once more when that
/// autoscaler is gone: until then it may have changed the replicas again.
fn released_by_autoscaler(from: &[Resource], to: &[Resource]) -> Vec<Resource> {
    let (before, after) = (autoscaled(from), autoscaled(to));
    let released = to.iter().filter(|row| {
        let target = (row.key.kind.as_str(), row.key.name.as_str());
        row.replicas().is_some() && before.contains(&target) && !after.contains(&target)
    });
    released.map(|row| Resource { state: ResourceState::Planned, ..row.clone() }).collect()
}

/// Kind and name of the workloads that the HorizontalPodAutoscalers among `rows` scale.
fn autoscaled(rows: &[Resource]) -> BTreeSet<(&str, &str)> {
    let autoscalers = rows.iter().filter(|row| row.key.kind == "HorizontalPodAutoscaler");
    autoscalers
        .filter_map(|row| {
            let target = row.manifest.get("spec")?.get("scaleTargetRef")?;
            Some((target.get("kind")?.as_str()?, target.get("name")?.as_str()?))
        })
        .collect()
}

/// The row of the object that `key` names, in any version of its group.
pub fn find<'a>(rows: &'a [Resource], key: &ObjectKey) -> Option<&'a Resource> {
    rows.iter().find(|row| row.key.is_same_object(key))
}
