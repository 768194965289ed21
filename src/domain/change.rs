//! From the objects of one package to those of another (CHANGE_VNFPKG, SOL003 clause 5.4.11a), and back.
//!
//! Pure; `crate::lcm::change` asks for the steps, the conductor does them. Nothing old is removed on the way forward before
//! everything new is ready. What either way meets may be of the old package, of the new one, or not there: each step
//! looks at the inventory when it is done (`docs/adr/0009-change-of-package.md`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::domain::instance::VnfInstance;
use crate::domain::manifest::Manifest;
use crate::domain::namespace::Namespace;
use crate::domain::order::{Class, class};
use crate::domain::plan::{Step, remove_all};
use crate::domain::problem::Problem;
use crate::domain::render::declared_replicas;
use crate::domain::resource::{ObjectKey, Resource, ResourceState};
use crate::domain::scale::{ScaleLevels, added, check_profiles, initial_levels, instances};
use crate::domain::vnfd::Flavour;

// --- the instance -----------------------------------------------------------------------------------------------------

/// `modificationsTriggeredByVnfPkgChange` (clause 5.5.2.12a): the attributes that are others now; of those that the request
/// was merged into, what it said.
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

/// The scale levels with the new flavour: those that the VNF has; of aspects that are new, those of an instantiation.
///
/// # Errors
/// 422 if the VNF is at a level that the new flavour does not have.
pub fn kept_levels(flavour: &Flavour, before: &ScaleLevels) -> Result<ScaleLevels, Problem> {
    let mut levels = initial_levels(flavour, None)?;
    for (aspect, level) in &mut levels {
        let Some(kept) = before.get(aspect) else { continue };
        let max = flavour.aspects.get(aspect).map_or(0, |aspect| aspect.max_level);
        if *kept > max {
            return Err(Problem::unprocessable(format!(
                "aspect '{aspect}' is at level {kept}, but the new VNFD allows 0 to {max}: scale in first"
            )));
        }
        *level = *kept;
    }
    Ok(levels)
}

/// The instantiation level that fits the levels and the replicas that a VNF has, by VDU; the default one if several do.
pub fn level_in_force<'a>(
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

/// The number of instances of each VDU that the new flavour states at `levels` (and at that instantiation level, if they are
/// its levels). Of a VDU that is scaled and has no initial number, the manifest's is that of an instantiation.
///
/// # Errors
/// 422 if a VDU that is scaled would leave the bounds of its profile.
pub fn numbers(
    flavour: &Flavour,
    levels: &ScaleLevels,
    level: Option<&str>,
    manifests: &[Manifest],
) -> Result<BTreeMap<String, u32>, Problem> {
    let scaled: BTreeSet<&String> = flavour.aspects.values().flat_map(|aspect| aspect.deltas.keys()).collect();
    let initial = initial_levels(flavour, None)?;
    let mut numbers = instances(flavour, levels, level.filter(|name| flavour.levels.contains_key(*name)));
    for (id, vdu) in flavour.vdus.iter().filter(|(id, _)| scaled.contains(id)) {
        let base = || declared_replicas(manifests, &vdu.name);
        let moved = |base: u32| base.saturating_add(added(flavour, levels, id));
        numbers.entry(id.clone()).or_insert_with(|| moved(base()).saturating_sub(added(flavour, &initial, id)));
    }
    let mut checked = numbers.clone();
    checked.retain(|vdu, _| scaled.contains(vdu));
    check_profiles(flavour, &checked)?;
    Ok(numbers)
}

// --- the objects ------------------------------------------------------------------------------------------------------

/// Whether an object that is as `before` says is removed and made anew to be as `after` says: where the API server refuses the
/// change of what it ran with, or pods would stay that are of no use any more, and nothing is lost by it.
pub fn is_remade(before: &Resource, after: &Resource) -> bool {
    let template = |row: &Resource| row.manifest.get("spec").and_then(|spec| spec.get("template")).cloned();
    match (after.key.group(), after.key.kind.as_str()) {
        ("batch", "Job") | ("", "Pod") => before.manifest != after.manifest,
        // Their controllers leave the pods alone that they have.
        ("apps", "ReplicaSet") | ("", "ReplicationController") => template(before) != template(after),
        _ => false,
    }
}

/// Whether it is a Job that `now` says is there as `wanted`: it has run, or runs, and is not to run again.
pub fn has_run(now: &Resource, wanted: &Resource) -> bool {
    wanted.key.kind == "Job" && matches!(now.state, ResourceState::Present { .. }) && !is_remade(now, wanted)
}

/// The rows of `before` that a package does not have and the VNF keeps: the Namespace it lives in.
pub fn kept<'a>(before: &'a [Resource], after: &[Resource], home: &Namespace) -> Vec<&'a Resource> {
    let is_home =
        |row: &&Resource| row.key.kind == "Namespace" && row.key.group().is_empty() && row.key.name == home.as_str();
    before.iter().filter(is_home).filter(|row| find(after, &row.key).is_none()).collect()
}

/// The way from `before` to `after`.
pub fn forward(before: &[Resource], after: &[Resource]) -> Vec<Step> {
    let (dropped, freed) = (dropped(before, after), freed(before, after));
    let awaited = after.iter().filter(|row| !find(before, &row.key).is_some_and(|now| has_run(now, row)));
    let mut steps = become_of(before, after);
    steps.push(await_ready(awaited));
    steps.extend(doubt(dropped.iter()));
    steps.extend(remove_all(&dropped, None));
    if !freed.is_empty() {
        let ready = await_ready(freed.iter());
        steps.extend([Step::Change { rows: freed }, ready]);
    }
    steps
}

/// The way back from anywhere on the way from `before` to `after`. What the new package added goes before the old objects
/// are waited for: a quota or a policy of it may be what keeps them from getting ready. Jobs are made again where they
/// were removed, and not waited for: that they ran before may be what keeps them from succeeding.
pub fn backward(before: &[Resource], after: &[Resource]) -> Vec<Step> {
    let added = dropped(after, before);
    let mut steps = become_of(after, before);
    steps.extend(doubt(added.iter()));
    steps.extend(remove_all(&added, None));
    let freed = freed(after, before);
    if !freed.is_empty() {
        steps.push(Step::Change { rows: freed });
    }
    steps.push(await_ready(before.iter().filter(|row| row.key.kind != "Job")));
    steps
}

/// Brings what may be as `from` says to what `to` says, class by class.
fn become_of(from: &[Resource], to: &[Resource]) -> Vec<Step> {
    let mut classes = BTreeMap::<Class, Vec<Resource>>::new();
    for row in to {
        let row = Resource { state: ResourceState::Planned, ..row.clone() };
        classes.entry(class(&row.key)).or_default().push(row);
    }
    let mut steps = Vec::new();
    for (class, rows) in classes {
        let remade = |row: &&Resource| find(from, &row.key).is_some_and(|before| is_remade(before, row));
        let remade: Vec<Resource> = rows.iter().filter(remade).cloned().collect();
        if !remade.is_empty() {
            steps.extend(doubt(remade.iter().filter_map(|row| find(from, &row.key)).map(|row| &row.key)));
            steps.push(Step::DeleteReplaced { rows: remade });
        }
        // Objects of the kinds that a definition brings can't be made before it is established.
        let established = (class == Class::Definition).then(|| await_ready(rows.iter()));
        steps.push(Step::Change { rows });
        steps.extend(established);
    }
    steps
}

/// What comes before the removal of `objects`.
fn doubt<'a>(objects: impl Iterator<Item = &'a ObjectKey>) -> Option<Step> {
    let jobs: Vec<ObjectKey> = objects.filter(|key| key.kind == "Job").cloned().collect();
    (!jobs.is_empty()).then_some(Step::MarkUncertain { objects: jobs })
}

fn await_ready<'a>(rows: impl Iterator<Item = &'a Resource>) -> Step {
    Step::AwaitReady { objects: rows.map(|row| row.key.clone()).collect() }
}

/// The objects of `from` that are not in `to`.
fn dropped(from: &[Resource], to: &[Resource]) -> Vec<ObjectKey> {
    from.iter().map(|row| &row.key).filter(|key| find(to, key).is_none()).cloned().collect()
}

/// The workloads of `to` whose replicas an autoscaler of `from` had, and no autoscaler of `to` has: until that one was gone,
/// it may have changed them again.
fn freed(from: &[Resource], to: &[Resource]) -> Vec<Resource> {
    let (then, now) = (targets(from), targets(to));
    let freed = to.iter().filter(|row| {
        let target = (row.key.kind.as_str(), row.key.name.as_str());
        row.replicas().is_some() && then.contains(&target) && !now.contains(&target)
    });
    freed.map(|row| Resource { state: ResourceState::Planned, ..row.clone() }).collect()
}

/// Kind and name of what the HorizontalPodAutoscalers among `rows` scale.
fn targets(rows: &[Resource]) -> BTreeSet<(&str, &str)> {
    let autoscalers = rows.iter().filter(|row| row.key.kind == "HorizontalPodAutoscaler");
    autoscalers
        .filter_map(|row| {
            let target = row.manifest.get("spec")?.get("scaleTargetRef")?;
            Some((target.get("kind")?.as_str()?, target.get("name")?.as_str()?))
        })
        .collect()
}

/// The row of the object that `key` names, in whatever version.
pub fn find<'a>(rows: &'a [Resource], key: &ObjectKey) -> Option<&'a Resource> {
    rows.iter().find(|row| row.key.is_same_object(key))
}
