//! The number of instances of each VDU: instantiation levels, scale levels and deltas (SOL001 clause 6.10, SOL003 clause 5.4.5).
//!
//! The API calls it to refuse impossible requests before the 202, the planner to compute replicas.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::problem::{Problem, ProblemType, QuotedValues, problem};
use crate::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect};

/// The scale level of each aspect.
pub type ScaleLevels = BTreeMap<String, u32>;

/// The direction of a scale request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleDirection {
    /// `SCALE_OUT`.
    Out,
    /// `SCALE_IN`.
    In,
}

/// The target of SCALE_TO_LEVEL (SOL003 clause 5.5.2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScaleTarget {
    /// The instantiation level of that id: its scale levels and its numbers of instances.
    Level(String),
    /// Levels of some aspects; the others keep theirs.
    Aspects(ScaleLevels),
}

impl ScaleTarget {
    /// The instantiation level of the target, if it names one.
    pub fn level(&self) -> Option<&str> {
        match self {
            Self::Level(name) => Some(name),
            Self::Aspects(_) => None,
        }
    }

    /// The VDUs whose numbers of instances may change.
    pub fn vdus<'a>(&self, flavour: &'a Flavour) -> BTreeSet<&'a String> {
        match self {
            Self::Level(_) => flavour.vdus.keys().collect(),
            Self::Aspects(levels) => {
                let aspects = flavour.aspects.iter().filter(|(id, _)| levels.contains_key(*id));
                aspects.flat_map(|(_, aspect)| aspect.deltas.keys()).collect()
            }
        }
    }
}

/// The scale levels of a new VNF: those of `level`, or of the default level, or 0 for every aspect.
///
/// # Errors
/// 422 if the flavour has no such level.
pub fn initial_levels(flavour: &Flavour, level: Option<&str>) -> Result<ScaleLevels, Problem> {
    let mut levels: ScaleLevels = flavour.aspects.keys().map(|aspect| (aspect.clone(), 0)).collect();
    if let Some(name) = level.or(flavour.default_level.as_deref()) {
        let chosen = flavour.levels.get(name).ok_or_else(|| {
            problem!(
                ProblemType::Unprocessable,
                "instantiationLevelId '{instantiationLevelId}' is not in the VNFD; it has: {allowed}",
                instantiationLevelId = name,
                allowed = flavour.levels.keys().collect::<QuotedValues>(),
            )
        })?;
        levels.extend(chosen.scale_levels.iter().map(|(aspect, level)| (aspect.clone(), *level)));
    }
    Ok(levels)
}

/// The number of instances that the VNFD states for each VDU at `levels`. A VDU without a number is left out, and keeps the replicas of
/// its manifest.
///
/// `level` is the instantiation level that has these `levels`, if any: its `VduInstantiationLevels` take precedence over the deltas.
pub fn instances(flavour: &Flavour, levels: &ScaleLevels, level: Option<&str>) -> BTreeMap<String, u32> {
    let stated = level.or(flavour.default_level.as_deref()).and_then(|name| flavour.levels.get(name));
    flavour
        .vdus
        .iter()
        .filter_map(|(id, vdu)| {
            // An aspect that an instantiation level does not name is at 0.
            let named = |at: &InstantiationLevel, aspect| at.scale_levels.get(aspect).copied().unwrap_or(0);
            let from_level = stated.filter(|at| levels.iter().all(|(aspect, level)| named(at, aspect) == *level));
            let number = from_level
                .and_then(|at| at.vdu_instances.get(id).copied())
                .or_else(|| vdu.initial.map(|initial| initial.saturating_add(added(flavour, levels, id))))?;
            Some((id.clone(), number))
        })
        .collect()
}

/// The number of instances of each of `vdus` after scaling from the levels `before` to `after`.
///
/// `level` is the instantiation level that the request names, if any: its numbers hold. For other VDUs, the initial number and the deltas
/// of the VNFD hold. Where the VNFD states no initial number, or other numbers in its instantiation levels, the difference of the deltas is
/// added to the number in `present`: a step changes what is there by its delta. A VDU without any of these is left out.
pub fn numbers_after<'v>(
    flavour: &Flavour,
    (before, after): (&ScaleLevels, &ScaleLevels),
    level: Option<&str>,
    vdus: impl IntoIterator<Item = &'v String>,
    present: &BTreeMap<String, u32>,
) -> BTreeMap<String, u32> {
    let named = level.and_then(|name| flavour.levels.get(name));
    let number = |id: &String| {
        if let Some(number) = named.and_then(|level| level.vdu_instances.get(id)) {
            return Some(*number);
        }
        let initial = flavour.vdus.get(id)?.initial.filter(|_| agrees(flavour, id));
        match initial {
            Some(initial) => Some(initial.saturating_add(added(flavour, after, id))),
            None => moved(*present.get(id)?, added(flavour, before, id), added(flavour, after, id)),
        }
    };
    vdus.into_iter().filter_map(|id| Some((id.clone(), number(id)?))).collect()
}

/// `present`, of which the deltas are `before`, with `after` in their place.
pub fn moved(present: u32, before: u32, after: u32) -> Option<u32> {
    present.saturating_add(after).checked_sub(before)
}

/// Whether the instantiation levels state the numbers of VDU `id` that follow from its initial number and the deltas.
pub fn agrees(flavour: &Flavour, id: &str) -> bool {
    let Some(initial) = flavour.vdus.get(id).and_then(|vdu| vdu.initial) else { return true };
    flavour.levels.values().all(|level| {
        let follows = || initial.saturating_add(added(flavour, &level.scale_levels, id));
        level.vdu_instances.get(id).is_none_or(|number| *number == follows())
    })
}

/// The scale levels after `steps` steps of `aspect`.
///
/// # Errors
/// 422 if the aspect is unknown, the level would leave 0..=max, or a VDU would have too many instances.
pub fn scaled(
    flavour: &Flavour,
    levels: &ScaleLevels,
    direction: ScaleDirection,
    aspect_id: &str,
    steps: u32,
) -> Result<ScaleLevels, Problem> {
    let aspect = aspect(flavour, aspect_id)?;
    let current = levels.get(aspect_id).copied().unwrap_or(0);
    let target = match direction {
        ScaleDirection::Out => current.checked_add(steps).filter(|level| *level <= aspect.max_level),
        ScaleDirection::In => current.checked_sub(steps),
    };
    let target = target.ok_or_else(|| {
        problem!(
            ProblemType::Unprocessable,
            "numberOfSteps {numberOfSteps} leaves the range of aspect '{aspectId}', which is at level {scaleLevel} and allows 0 to {limit}",
            numberOfSteps = steps,
            aspectId = aspect_id,
            scaleLevel = current,
            limit = aspect.max_level,
        )
    })?;
    let mut after = levels.clone();
    after.insert(aspect_id.to_owned(), target);
    let mut numbers = instances(flavour, &after, None);
    numbers.retain(|vdu, _| aspect.deltas.contains_key(vdu));
    check_numbers(&numbers)?;
    Ok(after)
}

/// The scale levels after SCALE_TO_LEVEL.
///
/// # Errors
/// 422 if the flavour has no such instantiation level or aspect, a level is beyond its aspect's, or a VDU would have too many
/// instances.
pub fn scaled_to(flavour: &Flavour, levels: &ScaleLevels, target: &ScaleTarget) -> Result<ScaleLevels, Problem> {
    let after = match target {
        ScaleTarget::Level(name) => initial_levels(flavour, Some(name))?,
        ScaleTarget::Aspects(wanted) => {
            for (id, level) in wanted {
                let max = aspect(flavour, id)?.max_level;
                if *level > max {
                    return Err(problem!(
                        ProblemType::Unprocessable,
                        "scaleLevel {scaleLevel} of aspect '{aspectId}' is not allowed; allowed: 0 to {limit}",
                        scaleLevel = level,
                        aspectId = id,
                        limit = max,
                    ));
                }
            }
            levels.clone().into_iter().chain(wanted.clone()).collect()
        }
    };
    let scaled_vdus = target.vdus(flavour);
    let mut numbers = instances(flavour, &after, target.level());
    numbers.retain(|vdu, _| scaled_vdus.contains(vdu));
    check_numbers(&numbers)?;
    Ok(after)
}

/// Refuses a change of scale levels that nothing would follow: an aspect whose deltas the VNFD does not define, or a VDU without a
/// workload. `has_workload` says whether the VNF has a workload with replicas for a VDU.
///
/// # Errors
/// 422 naming the aspect and the VDU.
pub fn check_workloads(
    flavour: &Flavour,
    before: &ScaleLevels,
    after: &ScaleLevels,
    has_workload: impl Fn(&str) -> bool,
) -> Result<(), Problem> {
    for (id, aspect) in flavour.aspects.iter().filter(|(id, _)| before.get(*id) != after.get(*id)) {
        if aspect.deltas.is_empty() {
            return Err(problem!(
                ProblemType::Unprocessable,
                "aspect '{aspectId}' can't be scaled: the VNFD defines none of its deltas for any VDU; correct VduScalingAspectDeltas in the package, and change to it",
                aspectId = id,
            ));
        }
        if let Some(vdu_id) = aspect.deltas.keys().find(|vdu| !has_workload(vdu)) {
            return Err(problem!(
                ProblemType::Unprocessable,
                "aspect '{aspectId}' scales VDU '{vduId}', but the VNF has no Deployment, StatefulSet or ReplicaSet named '{name}'; name its definition file in a change of package",
                aspectId = id,
                vduId = vdu_id,
                name = flavour.vdus.get(vdu_id).map_or("", |vdu| vdu.name.as_str()),
            ));
        }
    }
    Ok(())
}

fn aspect<'a>(flavour: &'a Flavour, id: &str) -> Result<&'a ScalingAspect, Problem> {
    flavour.aspects.get(id).ok_or_else(|| {
        problem!(
            ProblemType::Unprocessable,
            "aspectId '{aspectId}' is not in the VNFD; it has: {allowed}",
            aspectId = id,
            allowed = flavour.aspects.keys().collect::<QuotedValues>(),
        )
    })
}

/// The level of an aspect that matches the actual replicas of its VDUs; the present level if it matches.
///
/// `None` if no level or more than one matches, if another aspect scales the same VDU, or if a VDU is unknown, has no numbers of its
/// own, or several that contradict each other: its level is known only from the operations.
pub fn level_of(
    flavour: &Flavour,
    levels: &ScaleLevels,
    aspect_id: &str,
    replicas: &BTreeMap<String, u32>,
) -> Option<u32> {
    let aspect = flavour.aspects.get(aspect_id)?;
    let actual: Vec<(&String, u32)> =
        aspect.deltas.keys().map(|vdu| Some((vdu, *replicas.get(vdu)?))).collect::<Option<_>>()?;
    let compare = |level: u32, holds: fn(&u32, &u32) -> bool| {
        let mut at = levels.clone();
        at.insert(aspect_id.to_owned(), level);
        let stated = instances(flavour, &at, None);
        !actual.is_empty() && actual.iter().all(|(vdu, number)| stated.get(*vdu).is_some_and(|it| holds(it, number)))
    };
    let fits = |level| compare(level, u32::eq);
    let present = levels.get(aspect_id).copied().unwrap_or(0);
    if fits(present) {
        return Some(present);
    }
    let others = flavour.aspects.iter().filter(|(id, _)| *id != aspect_id);
    if !aspect.deltas.keys().all(|vdu| agrees(flavour, vdu)) {
        return None;
    }
    if others.flat_map(|(_, other)| other.deltas.keys()).any(|vdu| aspect.deltas.contains_key(vdu)) {
        return None;
    }
    // No number decreases with the level, so the first level that reaches all numbers is the only candidate.
    let (mut first, mut last) = (0, aspect.max_level);
    while first < last {
        let middle = first + (last - first) / 2;
        if compare(middle, u32::ge) { last = middle } else { first = middle + 1 }
    }
    let unique = first == aspect.max_level || !fits(first + 1);
    (fits(first) && unique).then_some(first)
}

/// The most instances of a VDU, whatever the VNFD says: each is shown, granted and observed one by one.
pub const MAX_INSTANCES: u32 = 10_000;

/// Checks numbers of instances, by VDU, against [`MAX_INSTANCES`].
///
/// # Errors
/// 422 naming the VDU, the number and the limit.
pub fn check_numbers(numbers: &BTreeMap<String, u32>) -> Result<(), Problem> {
    match numbers.iter().find(|(_, number)| **number > MAX_INSTANCES) {
        None => Ok(()),
        Some((id, number)) => Err(problem!(
            ProblemType::Unprocessable,
            "VDU '{vduId}' would have {number} instances; the limit is {limit}",
            vduId = id,
            number = number,
            limit = MAX_INSTANCES,
        )),
    }
}

/// Warnings of numbers of instances, by VDU, outside of the VDUs' profiles. They are used: levels and deltas of the same VNFD state them.
pub fn profile_warnings(flavour: &Flavour, numbers: &BTreeMap<String, u32>) -> Vec<String> {
    let outside = |(id, number): (&String, &u32)| {
        let vdu = flavour.vdus.get(id).filter(|vdu| !(vdu.min..=vdu.max).contains(number))?;
        let (min, max) = (vdu.min, vdu.max);
        Some(format!("VDU '{id}' has {number} instances as the VNFD states; its vdu_profile allows {min} to {max}"))
    };
    numbers.iter().filter_map(outside).collect()
}

/// The number of instances that the aspects add to VDU `id` at `levels`.
pub fn added(flavour: &Flavour, levels: &ScaleLevels, id: &str) -> u32 {
    flavour
        .aspects
        .iter()
        .filter_map(|(name, aspect)| Some((aspect.deltas.get(id)?, levels.get(name).copied().unwrap_or(0))))
        .map(|(deltas, level)| match deltas.as_slice() {
            [uniform] => uniform.saturating_mul(level),
            steps => steps.iter().take(level as usize).fold(0, |sum: u32, step| sum.saturating_add(*step)),
        })
        .fold(0, u32::saturating_add)
}
