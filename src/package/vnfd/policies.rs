//! The policies of a flavour: scaling aspects and their deltas, initial deltas, instantiation levels (SOL001 clause 6.10).

use std::collections::BTreeMap;

use crate::domain::problem::Problem;
use crate::domain::text::names;
use crate::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect, Vdu};
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

    pub(super) fn apply(&self, flavour: &mut Flavour) -> Result<(), Problem> {
        let mut steps = BTreeMap::new();
        self.aspects.iter().try_for_each(|policy| aspects(*policy, flavour, &mut steps))?;
        self.deltas.iter().try_for_each(|policy| deltas(*policy, flavour, &steps))?;
        self.initial.iter().try_for_each(|policy| initial(*policy, flavour))?;
        self.levels.iter().try_for_each(|policy| levels(*policy, flavour))?;
        self.vdu_levels.iter().try_for_each(|policy| vdu_levels(*policy, flavour))
    }
}

/// The names of each aspect's steps, if it has any.
type Steps<'a> = BTreeMap<String, Vec<At<'a>>>;

fn property<'a>(policy: At<'a>, name: &'a str) -> Result<At<'a>, Problem> {
    policy.required("properties")?.required(name)
}

fn aspects<'a>(policy: At<'a>, flavour: &mut Flavour, steps: &mut Steps<'a>) -> Result<(), Problem> {
    for aspect in property(policy, "aspects")?.entries()? {
        let max_level = aspect.required("max_scale_level")?.number()?;
        flavour.aspects.insert(aspect.key().to_owned(), ScalingAspect { max_level, deltas: BTreeMap::new() });
        let Some(step_deltas) = aspect.member("step_deltas") else { continue };
        let names: Vec<At<'a>> = step_deltas.items()?.collect();
        if names.len() != 1 && names.len() != max_level as usize {
            return Err(step_deltas.problem(format!(
                "the aspect {} has {} step_deltas for {max_level} steps; name one for all steps, or one for each",
                aspect.key(),
                names.len()
            )));
        }
        names.iter().try_for_each(|name| name.text().map(drop))?;
        steps.insert(aspect.key().to_owned(), names);
    }
    Ok(())
}

fn deltas(policy: At<'_>, flavour: &mut Flavour, steps: &Steps<'_>) -> Result<(), Problem> {
    let aspect_id = property(policy, "aspect")?;
    let vdus = targets(policy, flavour)?;
    let known = names(flavour.aspects.keys());
    let Some(aspect) = flavour.aspects.get_mut(aspect_id.text()?) else {
        return Err(unknown(aspect_id, "aspect", aspect_id.text()?, &known));
    };
    let list = property(policy, "deltas")?;
    let numbers = step_numbers(aspect_id.text()?, list, steps)?;
    for vdu in vdus {
        if aspect.deltas.insert(vdu.clone(), numbers.clone()).is_some() {
            return Err(policy.problem(format!(
                "the deltas of VDU {vdu} for the aspect {} are stated twice; remove one",
                aspect_id.text()?
            )));
        }
    }
    Ok(())
}

/// The instances that each step of the aspect adds: none for a step that `list` does not have.
fn step_numbers(aspect: &str, list: At<'_>, steps: &Steps<'_>) -> Result<Vec<u32>, Problem> {
    let mut numbers = BTreeMap::new();
    for delta in list.entries()? {
        numbers.insert(delta.key().to_owned(), (delta, delta.required("number_of_instances")?.number()?));
    }
    let Some(steps) = steps.get(aspect) else {
        return match numbers.into_values().collect::<Vec<_>>().as_slice() {
            [(_, number)] => Ok(vec![*number]),
            _ => Err(list.problem(format!(
                "the aspect {aspect} has no step_deltas, so it takes exactly one delta; add step_deltas to the aspect"
            ))),
        };
    };
    let known: Vec<String> = steps.iter().filter_map(|step| Some(step.node().as_text()?.to_owned())).collect();
    if let Some((name, (delta, _))) = numbers.iter().find(|(name, _)| !known.contains(name)) {
        return Err(unknown(
            *delta,
            "delta",
            name,
            &format!("{} as step_deltas of the aspect {aspect}", names(known.iter())),
        ));
    }
    Ok(known.iter().map(|name| numbers.get(name).map_or(0, |(_, number)| *number)).collect())
}

fn initial(policy: At<'_>, flavour: &mut Flavour) -> Result<(), Problem> {
    let number = property(policy, "initial_delta")?.required("number_of_instances")?;
    let value = number.number()?;
    for id in targets(policy, flavour)? {
        let Some(vdu) = flavour.vdus.get_mut(&id) else { continue };
        check_profile(number, &id, vdu, value)?;
        vdu.initial = Some(value);
    }
    Ok(())
}

fn levels(policy: At<'_>, flavour: &mut Flavour) -> Result<(), Problem> {
    for level in property(policy, "levels")?.entries()? {
        let mut scale_levels = BTreeMap::new();
        if let Some(info) = level.member("scale_info") {
            for aspect in info.entries()? {
                scale_levels.insert(aspect.key().to_owned(), scale_level(aspect, flavour)?);
            }
        }
        let vdu_instances = BTreeMap::new();
        flavour.levels.insert(level.key().to_owned(), InstantiationLevel { scale_levels, vdu_instances });
    }
    flavour.default_level = match policy.member("properties").and_then(|properties| properties.member("default_level"))
    {
        Some(level) if !flavour.levels.contains_key(level.text()?) => {
            return Err(unknown(level, "level", level.text()?, &names(flavour.levels.keys())));
        }
        Some(level) => Some(level.text()?.to_owned()),
        None if flavour.levels.len() == 1 => flavour.levels.keys().next().cloned(),
        None => None,
    };
    Ok(())
}

fn scale_level(at: At<'_>, flavour: &Flavour) -> Result<u32, Problem> {
    let Some(aspect) = flavour.aspects.get(at.key()) else {
        return Err(unknown(at, "aspect", at.key(), &names(flavour.aspects.keys())));
    };
    let level = at.required("scale_level")?;
    let value = level.number()?;
    if value > aspect.max_level {
        let what = format!(
            "the scale level {value} of the aspect {} is beyond its max_scale_level {}; correct one of them",
            at.key(),
            aspect.max_level
        );
        return Err(level.problem(what));
    }
    Ok(value)
}

fn vdu_levels(policy: At<'_>, flavour: &mut Flavour) -> Result<(), Problem> {
    let vdus = targets(policy, flavour)?;
    for level in property(policy, "levels")?.entries()? {
        let known = names(flavour.levels.keys());
        let number = level.required("number_of_instances")?;
        let value = number.number()?;
        let Some(of_level) = flavour.levels.get_mut(level.key()) else {
            return Err(unknown(level, "level", level.key(), &known));
        };
        for id in &vdus {
            // Tacker's packages write 0 for a VDU that a level leaves out.
            if let Some(vdu) = flavour.vdus.get(id).filter(|_| value != 0) {
                check_profile(number, id, vdu, value)?;
            }
            of_level.vdu_instances.insert(id.clone(), value);
        }
    }
    Ok(())
}

fn check_profile(at: At<'_>, id: &str, vdu: &Vdu, number: u32) -> Result<(), Problem> {
    if (vdu.min..=vdu.max).contains(&number) {
        return Ok(());
    }
    Err(at.problem(format!(
        "{number} instances of VDU {id} are outside its vdu_profile, which allows {} to {}; correct one of them",
        vdu.min, vdu.max
    )))
}

/// The target VDUs of a policy.
fn targets(policy: At<'_>, flavour: &Flavour) -> Result<Vec<String>, Problem> {
    let mut targets = Vec::new();
    for target in policy.required("targets")?.items()? {
        let name = target.text()?;
        if !flavour.vdus.contains_key(name) {
            return Err(unknown(target, "VDU", name, &names(flavour.vdus.keys())));
        }
        targets.push(name.to_owned());
    }
    Ok(targets)
}

fn unknown(at: At<'_>, what: &str, name: &str, known: &str) -> Problem {
    at.problem(format!("there is no {what} {name}; there is: {known}. Correct the name"))
}
