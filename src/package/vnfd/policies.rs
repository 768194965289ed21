//! The policies of a flavour: scaling aspects and their deltas, initial deltas, instantiation levels (SOL001 clause 6.10).

use std::collections::BTreeMap;

use crate::domain::problem::Problem;
use crate::domain::text::names;
use crate::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect, Vdu};
use crate::domain::warning::Warnings;
use crate::package::yaml::At;

/// The policies of one flavour's file, in the order of evaluation.
#[derive(Default)]
pub(super) struct Policies<'a> {
    aspects: Vec<At<'a>>,
    deltas: Vec<At<'a>>,
    initial: Vec<At<'a>>,
    levels: Vec<At<'a>>,
    vdu_levels: Vec<At<'a>>,
}

impl<'a> Policies<'a> {
    /// `policies` is a list of mappings with one key, or one mapping.
    pub(super) fn of(file: At<'a>) -> Result<Self, Problem> {
        let mut found = Self::default();
        let Some(policies) = file.member("topology_template").and_then(|topology| topology.member("policies")) else {
            return Ok(found);
        };
        let groups: Vec<At<'a>> =
            if policies.node().as_map().is_some() { vec![policies] } else { policies.items()?.collect() };
        for group in groups {
            for policy in group.entries()? {
                let kind = policy.member("type").and_then(|name| name.node().as_text()).unwrap_or_default();
                match kind.strip_prefix("tosca.policies.nfv.") {
                    Some("ScalingAspects") => found.aspects.push(policy),
                    Some("VduScalingAspectDeltas") => found.deltas.push(policy),
                    Some("VduInitialDelta") => found.initial.push(policy),
                    Some("InstantiationLevels") => found.levels.push(policy),
                    Some("VduInstantiationLevels") => found.vdu_levels.push(policy),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Adds the policies to `flavour`. What contradicts other parts of the VNFD is ignored with a warning: an operation that needs it
    /// refuses it.
    ///
    /// # Errors
    /// 422 for what cannot be read.
    pub(super) fn apply(&self, flavour: &mut Flavour, warnings: &mut Warnings) -> Result<(), Problem> {
        let mut steps = BTreeMap::new();
        for policy in &self.aspects {
            aspects(*policy, flavour, &mut steps, warnings)?;
        }
        for policy in &self.deltas {
            deltas(*policy, flavour, &steps, warnings)?;
        }
        for policy in &self.initial {
            initial(*policy, flavour, warnings)?;
        }
        for policy in &self.levels {
            levels(*policy, flavour, warnings)?;
        }
        self.vdu_levels.iter().try_for_each(|policy| vdu_levels(*policy, flavour, warnings))
    }
}

/// The names of each aspect's steps, if it has any.
type Steps<'a> = BTreeMap<String, Vec<At<'a>>>;

fn property<'a>(policy: At<'a>, name: &'a str) -> Result<At<'a>, Problem> {
    policy.required("properties")?.required(name)
}

fn aspects<'a>(
    policy: At<'a>,
    flavour: &mut Flavour,
    steps: &mut Steps<'a>,
    warnings: &mut Warnings,
) -> Result<(), Problem> {
    for aspect in property(policy, "aspects")?.entries()? {
        let max_level = aspect.required("max_scale_level")?.number()?;
        flavour.aspects.insert(aspect.key().to_owned(), ScalingAspect { max_level, deltas: BTreeMap::new() });
        let Some(step_deltas) = aspect.member("step_deltas") else { continue };
        let mut names: Vec<At<'a>> = step_deltas.items()?.collect();
        names.iter().try_for_each(|name| name.text().map(drop))?;
        if names.len() > 1 && names.len() != max_level as usize {
            warnings.add(step_deltas.located(format!(
                "the aspect {} has {} step_deltas for {max_level} steps; the first is used for all steps",
                aspect.key(),
                names.len()
            )));
            names.truncate(1);
        }
        if !names.is_empty() {
            steps.insert(aspect.key().to_owned(), names);
        }
    }
    Ok(())
}

fn deltas(policy: At<'_>, flavour: &mut Flavour, steps: &Steps<'_>, warnings: &mut Warnings) -> Result<(), Problem> {
    let aspect_id = property(policy, "aspect")?;
    let name = aspect_id.text()?;
    let vdus = targets(policy, flavour)?;
    let known = names(flavour.aspects.keys());
    let Some(aspect) = flavour.aspects.get_mut(name) else {
        warnings.add(unknown(aspect_id, "aspect", name, &known));
        return Ok(());
    };
    let Some(numbers) = step_numbers(name, property(policy, "deltas")?, steps, warnings)? else { return Ok(()) };
    for vdu in vdus {
        if aspect.deltas.contains_key(&vdu) {
            let text = format!("the deltas of VDU {vdu} for the aspect {name} are stated twice; the first are used");
            warnings.add(policy.located(text));
            continue;
        }
        aspect.deltas.insert(vdu, numbers.clone());
    }
    Ok(())
}

/// The instances that each step of the aspect adds: none for a step that `list` does not have. `None` if it defines no step at all.
fn step_numbers(
    aspect: &str,
    list: At<'_>,
    steps: &Steps<'_>,
    warnings: &mut Warnings,
) -> Result<Option<Vec<u32>>, Problem> {
    let mut numbers = BTreeMap::new();
    for delta in list.entries()? {
        numbers.insert(delta.key().to_owned(), (delta, delta.required("number_of_instances")?.number()?));
    }
    let Some(steps) = steps.get(aspect) else {
        if let [(_, number)] = numbers.values().collect::<Vec<_>>().as_slice() {
            return Ok(Some(vec![*number]));
        }
        let text = format!(
            "the aspect {aspect} has no step_deltas, so it takes exactly one delta; until then it cannot be scaled"
        );
        warnings.add(list.located(text));
        return Ok(None);
    };
    let known: Vec<String> = steps.iter().filter_map(|step| Some(step.node().as_text()?.to_owned())).collect();
    for (name, (delta, _)) in numbers.iter().filter(|(name, _)| !known.contains(name)) {
        let known = format!("{} as step_deltas of the aspect {aspect}", names(known.iter()));
        warnings.add(unknown(*delta, "delta", name, &known));
    }
    let number = |name| numbers.get(name).map(|(_, number)| *number);
    let defined = known.iter().any(|name| number(name).is_some());
    Ok(defined.then(|| known.iter().map(|name| number(name).unwrap_or(0)).collect()))
}

fn initial(policy: At<'_>, flavour: &mut Flavour, warnings: &mut Warnings) -> Result<(), Problem> {
    let number = property(policy, "initial_delta")?.required("number_of_instances")?;
    let value = number.number()?;
    for id in targets(policy, flavour)? {
        let Some(vdu) = flavour.vdus.get_mut(&id) else { continue };
        check_profile(number, &id, vdu, value, warnings);
        vdu.initial = Some(value);
    }
    Ok(())
}

fn levels(policy: At<'_>, flavour: &mut Flavour, warnings: &mut Warnings) -> Result<(), Problem> {
    for level in property(policy, "levels")?.entries()? {
        let mut scale_levels = BTreeMap::new();
        if let Some(info) = level.member("scale_info") {
            for aspect in info.entries()? {
                scale_levels.insert(aspect.key().to_owned(), scale_level(aspect, flavour, warnings)?);
            }
        }
        let vdu_instances = BTreeMap::new();
        flavour.levels.insert(level.key().to_owned(), InstantiationLevel { scale_levels, vdu_instances });
    }
    let default = policy.member("properties").and_then(|properties| properties.member("default_level"));
    let name = default.map(At::text).transpose()?;
    if let (Some(level), Some(name)) = (default, name)
        && !flavour.levels.contains_key(name)
    {
        warnings.add(unknown(level, "level", name, &names(flavour.levels.keys())));
    }
    let known = name.filter(|name| flavour.levels.contains_key(*name)).map(str::to_owned);
    let only = || if flavour.levels.len() == 1 { flavour.levels.keys().next().cloned() } else { None };
    flavour.default_level = known.or_else(only);
    Ok(())
}

/// # Errors
/// 422 for an unknown aspect: the level would leave the aspect that is meant at 0.
fn scale_level(at: At<'_>, flavour: &Flavour, warnings: &mut Warnings) -> Result<u32, Problem> {
    let Some(aspect) = flavour.aspects.get(at.key()) else {
        let known = names(flavour.aspects.keys());
        return Err(at.problem(format!("there is no aspect {}; there is: {known}. Correct the name", at.key())));
    };
    let level = at.required("scale_level")?;
    let value = level.number()?;
    if value > aspect.max_level {
        let text = format!(
            "the scale level {value} of the aspect {} is beyond its max_scale_level {}; correct one of them",
            at.key(),
            aspect.max_level
        );
        warnings.add(level.located(text));
    }
    Ok(value)
}

fn vdu_levels(policy: At<'_>, flavour: &mut Flavour, warnings: &mut Warnings) -> Result<(), Problem> {
    let vdus = targets(policy, flavour)?;
    for level in property(policy, "levels")?.entries()? {
        let known = names(flavour.levels.keys());
        let number = level.required("number_of_instances")?;
        let value = number.number()?;
        let Some(of_level) = flavour.levels.get_mut(level.key()) else {
            warnings.add(unknown(level, "level", level.key(), &known));
            continue;
        };
        for id in &vdus {
            // Tacker's packages write 0 for a VDU that a level leaves out.
            if let Some(vdu) = flavour.vdus.get(id).filter(|_| value != 0) {
                check_profile(number, id, vdu, value, warnings);
            }
            of_level.vdu_instances.insert(id.clone(), value);
        }
    }
    Ok(())
}

/// Numbers outside of the profile are used: the VNFD states them, too.
fn check_profile(at: At<'_>, id: &str, vdu: &Vdu, number: u32, warnings: &mut Warnings) {
    if !(vdu.min..=vdu.max).contains(&number) {
        warnings.add(at.located(format!(
            "{number} instances of VDU {id} are outside its vdu_profile, which allows {} to {}; correct one of them",
            vdu.min, vdu.max
        )));
    }
}

/// The target VDUs of a policy.
///
/// # Errors
/// 422 for a target that is no VDU: Tacker's parser refuses it, too.
fn targets(policy: At<'_>, flavour: &Flavour) -> Result<Vec<String>, Problem> {
    let mut targets = Vec::new();
    for target in policy.required("targets")?.items()? {
        let name = target.text()?;
        if !flavour.vdus.contains_key(name) {
            let known = names(flavour.vdus.keys());
            return Err(target.problem(format!("there is no VDU {name}; there is: {known}. Correct the name")));
        }
        targets.push(name.to_owned());
    }
    Ok(targets)
}

fn unknown(at: At<'_>, what: &str, name: &str, known: &str) -> String {
    at.located(format!("there is no {what} {name}, so this is ignored; there is: {known}"))
}
