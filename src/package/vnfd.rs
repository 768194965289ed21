//! The VNFD (SOL001): its files by their imports, and of those the part that an operation on containers depends on.
//!
//! [`super::csar`] gives the entry file and a way to read others. What is read: the node of the VNF in the entry file, and of
//! each file that says which flavour it is, the VDUs and the policies of scaling and instantiation levels. Networks,
//! storages, images and the bulk of the types are passed over, but their files have to be there and to be YAML.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::domain::problem::Problem;
use crate::domain::scale::names;
use crate::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect, Vdu, Vnfd};
use crate::package::yaml::{self, At, Budget, Node};

/// The most files of a VNFD.
const MAX_FILES: usize = 100;
/// The most a VNFD has in all.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How far a type may be derived from the one it is of.
const MAX_DERIVATIONS: usize = 32;

const VNF: &str = "tosca.nodes.nfv.VNF";
const VDUS: [&str; 2] = ["tosca.nodes.nfv.Vdu.Compute", "tosca.nodes.nfv.Vdu.OsContainerDeployableUnit"];

/// A VNFD that was read.
#[derive(Debug)]
pub struct Descriptor {
    /// What it says.
    pub vnfd: Vnfd,
    /// Its files, path and text, the entry first.
    pub files: Vec<(String, String)>,
}

/// Gives the text of a file of the package; `None` if there is no such file.
pub type Source<'a> = dyn FnMut(&str) -> Result<Option<String>, Problem> + 'a;

/// Reads the VNFD whose entry file is `entry`, which is named at `place`.
///
/// # Errors
/// 422 naming file and line of the first thing that is missing or contradicts another, and what to do.
pub fn read(entry: &str, place: &str, source: &mut Source<'_>) -> Result<Descriptor, Problem> {
    let (files, documents) = load(entry, place, source)?;
    let roots: Vec<At<'_>> =
        files.iter().zip(&documents).map(|((path, _), node)| At::root(path, "the VNFD", node)).collect();
    let vnfd = Model::new(&roots).vnfd()?;
    Ok(Descriptor { vnfd, files })
}

type Files = Vec<(String, String)>;

fn load(entry: &str, place: &str, source: &mut Source<'_>) -> Result<(Files, Vec<Node>), Problem> {
    let (mut files, mut documents) = (Files::new(), Vec::new());
    let mut seen = BTreeSet::from([entry.to_owned()]);
    let mut wanted = VecDeque::from([(entry.to_owned(), place.to_owned())]);
    let (mut size, mut budget) = (0, Budget::default());
    while let Some((path, place)) = wanted.pop_front() {
        let text = source(&path)?.ok_or_else(|| {
            Problem::impossible(format!("{place}: there is no file {path} in the CSAR; add it or correct the path"))
        })?;
        size += text.len();
        if files.len() == MAX_FILES || size > MAX_BYTES {
            return Err(Problem::impossible(format!(
                "{place}: the VNFD has more than {MAX_FILES} files or {MAX_BYTES} bytes; import less"
            )));
        }
        let node = only_document(&path, &text, &mut budget)?;
        for (import, place) in imports(At::root(&path, "the VNFD", &node))? {
            if seen.insert(import.clone()) {
                wanted.push_back((import, place));
            }
        }
        files.push((path, text));
        documents.push(node);
    }
    Ok((files, documents))
}

fn only_document(path: &str, text: &str, budget: &mut Budget) -> Result<Node, Problem> {
    let mut documents = yaml::documents(path, text, budget)?.into_iter();
    match (documents.next(), documents.next()) {
        (Some(node), None) if node.as_map().is_some() => Ok(node),
        (Some(_), Some(second)) => Err(Problem::impossible(format!(
            "{path}:{}: a file of a VNFD is one YAML document, and this is another; remove the '---'",
            second.line
        ))),
        _ => Err(Problem::impossible(format!(
            "{path}:1: a file of a VNFD is a mapping with tosca_definitions_version; correct the file"
        ))),
    }
}

/// The paths a file imports, and where it does.
fn imports(root: At<'_>) -> Result<Vec<(String, String)>, Problem> {
    let Some(list) = root.member("imports") else { return Ok(Vec::new()) };
    let items: Vec<At<'_>> =
        if list.node().as_map().is_some() { list.entries()?.collect() } else { list.items()?.collect() };
    let mut imports = Vec::new();
    for import in items.into_iter().map(imported) {
        let path = import.text()?;
        // What the standard's own types say is known here.
        let standard = path.rsplit('/').next().is_some_and(|name| name.starts_with("etsi_nfv_sol001_"));
        if !(standard && path.contains("://")) {
            imports.push((resolve(import, path)?, format!("{}:{}", import.file(), import.node().line)));
        }
    }
    Ok(imports)
}

/// Where an import has its path: `path`, `file: path`, `name: path` or `name: {file: path}`.
fn imported(import: At<'_>) -> At<'_> {
    let only = || import.entries().ok()?.next();
    let file = import.member("file").or_else(|| only().map(|named| named.member("file").unwrap_or(named)));
    file.unwrap_or(import)
}

/// `path` as seen from the file it is imported by.
fn resolve(at: At<'_>, path: &str) -> Result<String, Problem> {
    if path.contains("://") {
        return Err(
            at.problem(format!("the import {path} is a URL, and nothing is fetched; put the file into the CSAR"))
        );
    }
    let mut components: Vec<&str> = if path.starts_with('/') { Vec::new() } else { at.file().split('/').collect() };
    components.pop();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if components.pop().is_none() => {
                return Err(at.problem(format!("the import {path} leads out of the CSAR; correct the path")));
            }
            ".." => {}
            name => components.push(name),
        }
    }
    Ok(components.join("/"))
}

/// All files of a VNFD.
struct Model<'a> {
    files: &'a [At<'a>],
    types: BTreeMap<&'a str, At<'a>>,
}

impl<'a> Model<'a> {
    fn new(files: &'a [At<'a>]) -> Self {
        let types = files.iter().filter_map(|file| file.member("node_types")?.entries().ok()).flatten();
        Self { files, types: types.map(|node_type| (node_type.key(), node_type)).collect() }
    }

    fn vnfd(&self) -> Result<Vnfd, Problem> {
        let Some(entry) = self.files.first().copied() else { return Err(Problem::impossible("the VNFD is empty")) };
        let vnf = self.nodes(entry)?.into_iter().find(|node| self.is_a(*node, &[VNF])).ok_or_else(|| {
            entry.problem(format!(
                "topology_template.node_templates has no node whose type is derived from {VNF}; add the node of the VNF, \
                 or import the file that has its type"
            ))
        })?;
        Ok(Vnfd {
            id: self.required_text(vnf, "descriptor_id")?,
            version: self.required_text(vnf, "descriptor_version")?,
            provider: self.required_text(vnf, "provider")?,
            product_name: self.required_text(vnf, "product_name")?,
            software_version: self.required_text(vnf, "software_version")?,
            vnfm_info: self.vnfm_info(vnf)?,
            flavours: self.flavours(entry, vnf)?,
        })
    }

    fn nodes(&self, file: At<'a>) -> Result<Vec<At<'a>>, Problem> {
        let templates = file.member("topology_template").and_then(|topology| topology.member("node_templates"));
        templates.map_or(Ok(Vec::new()), |templates| Ok(templates.entries()?.collect()))
    }

    fn is_a(&self, node: At<'a>, wanted: &[&str]) -> bool {
        let Some(name) = node.member("type").and_then(|name| name.node().as_text()) else { return false };
        self.derivation(name).any(|name| wanted.contains(&name))
    }

    /// A type and those it is derived from.
    fn derivation(&self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let parent = |name: &&'a str| self.types.get(name)?.member("derived_from")?.node().as_text();
        std::iter::successors(Some(name), parent).take(MAX_DERIVATIONS)
    }

    /// A property of a node: as the node has it, or else the default of the input it is got from or of the node's type.
    fn property(&self, node: At<'a>, name: &'a str) -> Option<At<'a>> {
        let own = node.member("properties").and_then(|properties| properties.member(name));
        match own {
            Some(value) if value.member("get_input").is_none() => Some(value),
            Some(value) => self.input_default(value).or_else(|| self.type_default(node, name)),
            None => self.type_default(node, name),
        }
    }

    fn input_default(&self, value: At<'a>) -> Option<At<'a>> {
        let input = value.member("get_input")?.node().as_text()?;
        let file = self.files.iter().find(|file| file.file() == value.file())?;
        file.member("topology_template")?.member("inputs")?.member(input)?.member("default")
    }

    fn type_default(&self, node: At<'a>, name: &'a str) -> Option<At<'a>> {
        let default = |type_name| self.types.get(type_name)?.member("properties")?.member(name)?.member("default");
        self.derivation(node.member("type")?.node().as_text()?).find_map(default)
    }

    fn required_text(&self, node: At<'a>, name: &'a str) -> Result<String, Problem> {
        let missing = || node.problem(format!("the node {} has no property {name}; add it", node.key()));
        let value = self.property(node, name).ok_or_else(missing)?;
        // Of a default, the key says only `default`.
        let text = value.node().as_text().ok_or_else(|| {
            value
                .problem(format!("{name} must be a string, and this is {}; put it in quotes", value.node().type_name()))
        })?;
        if text.is_empty() { Err(missing()) } else { Ok(text.to_owned()) }
    }

    fn vnfm_info(&self, vnf: At<'a>) -> Result<Vec<String>, Problem> {
        let Some(value) = self.property(vnf, "vnfm_info") else { return Ok(Vec::new()) };
        if let Some(text) = value.node().as_text() {
            return Ok(vec![text.to_owned()]);
        }
        value.items()?.map(|item| item.text().map(str::to_owned)).collect()
    }

    fn flavours(&self, entry: At<'a>, vnf: At<'a>) -> Result<BTreeMap<String, Flavour>, Problem> {
        let mut flavours: BTreeMap<String, (At<'a>, Flavour)> = BTreeMap::new();
        let stated = self.files.iter().filter_map(|file| Some((*file, flavour_id(*file)?)));
        for (file, id) in stated {
            let name = id.text()?.to_owned();
            if let Some((first, _)) = flavours.get(&name) {
                let what = format!("the flavour {name} is defined here and in {}; rename or remove one", first.file());
                return Err(id.problem(what));
            }
            flavours.insert(name, (file, self.flavour(file)?));
        }
        if flavours.is_empty()
            && let Some(id) = self.property(vnf, "flavour_id").filter(|id| id.node().as_text().is_some())
        {
            flavours.insert(id.text()?.to_owned(), (entry, self.flavour(entry)?));
        }
        if flavours.is_empty() {
            return Err(entry.problem(
                "the VNFD has no deployment flavour; import a file with topology_template.substitution_mappings.properties.flavour_id",
            ));
        }
        Ok(flavours.into_iter().map(|(name, (_, flavour))| (name, flavour)).collect())
    }

    fn flavour(&self, file: At<'a>) -> Result<Flavour, Problem> {
        let mut flavour = Flavour::default();
        for node in self.nodes(file)? {
            if self.is_a(node, &VDUS) {
                flavour.vdus.insert(node.key().to_owned(), self.vdu(node)?);
            } else if self.is_a(node, &[VNF])
                && let Some(description) = self.property(node, "flavour_description")
            {
                flavour.description = description.node().as_text().unwrap_or_default().to_owned();
            }
        }
        Policies::of(file)?.apply(&mut flavour)?;
        Ok(flavour)
    }

    fn vdu(&self, node: At<'a>) -> Result<Vdu, Problem> {
        let profile = self.property(node, "vdu_profile");
        let bound = |name| profile.and_then(|profile| profile.member(name)).map(At::number).transpose();
        // The standard wants both; where one is missing, nothing is bounded.
        let min = bound("min_number_of_instances")?.unwrap_or(0);
        let max = bound("max_number_of_instances")?.unwrap_or(u32::MAX);
        if min > max {
            let at = profile.unwrap_or(node);
            return Err(
                at.problem(format!("the vdu_profile of {} allows {min} to {max} instances; correct it", node.key()))
            );
        }
        Ok(Vdu { name: self.required_text(node, "name")?, min, max, initial: None })
    }
}

fn flavour_id(file: At<'_>) -> Option<At<'_>> {
    let mappings = file.member("topology_template")?.member("substitution_mappings")?;
    mappings.member("properties")?.member("flavour_id")
}

/// The policies of one flavour's file, in the order in which they have to be read.
#[derive(Default)]
struct Policies<'a> {
    aspects: Vec<At<'a>>,
    deltas: Vec<At<'a>>,
    initial: Vec<At<'a>>,
    levels: Vec<At<'a>>,
    vdu_levels: Vec<At<'a>>,
}

impl<'a> Policies<'a> {
    /// `policies` is a list of mappings with one key, or one mapping.
    fn of(file: At<'a>) -> Result<Self, Problem> {
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

    fn apply(&self, flavour: &mut Flavour) -> Result<(), Problem> {
        let mut steps = BTreeMap::new();
        self.aspects.iter().try_for_each(|policy| aspects(*policy, flavour, &mut steps))?;
        self.deltas.iter().try_for_each(|policy| deltas(*policy, flavour, &steps))?;
        self.initial.iter().try_for_each(|policy| initial(*policy, flavour))?;
        self.levels.iter().try_for_each(|policy| levels(*policy, flavour))?;
        self.vdu_levels.iter().try_for_each(|policy| vdu_levels(*policy, flavour))
    }
}

/// The names of each aspect's steps, where it has any.
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

/// How many instances each step of the aspect adds: a step that `list` has nothing for adds none.
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

/// The VDUs a policy is for.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOP: &str = "\
tosca_definitions_version: tosca_simple_yaml_1_2
imports:
  - types.yaml
  - https://forge.etsi.org/rep/nfv/SOL001/raw/v4.4.1/etsi_nfv_sol001_vnfd_types.yaml
  - flavour: {file: df/simple.yaml}
topology_template:
  inputs:
    product: {type: string, default: App}
  node_templates:
    VNF:
      type: example.VNF
      properties:
        descriptor_id: id-1
        product_name: {get_input: product}
        software_version: '1.0'
        descriptor_version: '1.1'
";
    const TYPES: &str = "\
node_types:
  example.Base:
    derived_from: tosca.nodes.nfv.VNF
    properties:
      provider: {type: string, default: Example}
      vnfm_info: {type: list, default: [Gybe]}
  example.VNF: {derived_from: example.Base}
  example.Vdu: {derived_from: tosca.nodes.nfv.Vdu.OsContainerDeployableUnit}
";
    const FLAVOUR: &str = "\
imports:
  - ../types.yaml
topology_template:
  substitution_mappings:
    properties: {flavour_id: simple}
  node_templates:
    VNF:
      type: example.VNF
      properties: {flavour_description: A flavour}
    A:
      type: tosca.nodes.nfv.Vdu.Compute
      properties:
        name: a
        vdu_profile: {min_number_of_instances: 1, max_number_of_instances: 5}
    B:
      type: example.Vdu
      properties: {name: b}
    Chart:
      type: tosca.nodes.nfv.Mciop
      properties: {name: c}
  policies:
    - levels:
        type: tosca.policies.nfv.InstantiationLevels
        properties:
          levels:
            little: {scale_info: {x: {scale_level: 0}}}
            big: {scale_info: {x: {scale_level: 2}}}
          default_level: little
    - aspects:
        type: tosca.policies.nfv.ScalingAspects
        properties:
          aspects:
            x: {max_scale_level: 2, step_deltas: [one, two]}
    - a_deltas:
        type: tosca.policies.nfv.VduScalingAspectDeltas
        properties:
          aspect: x
          deltas: {one: {number_of_instances: 1}, two: {number_of_instances: 3}}
        targets: [A]
    - b_deltas:
        type: tosca.policies.nfv.VduScalingAspectDeltas
        properties:
          aspect: x
          deltas: {two: {number_of_instances: 1}}
        targets: [B]
    - initial:
        type: tosca.policies.nfv.VduInitialDelta
        properties:
          initial_delta: {number_of_instances: 1}
        targets: [A]
    - vdu_levels:
        type: tosca.policies.nfv.VduInstantiationLevels
        properties:
          levels: {little: {number_of_instances: 1}, big: {number_of_instances: 5}}
        targets: [A]
";

    fn read_files(files: &[(&str, &str)]) -> Result<Descriptor, Problem> {
        let find = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
        read("Definitions/top.yaml", "meta:4", &mut |path| Ok(find(path)))
    }

    fn read_with(top: &str, flavour: &str) -> Result<Descriptor, Problem> {
        let files =
            [("Definitions/top.yaml", top), ("Definitions/types.yaml", TYPES), ("Definitions/df/simple.yaml", flavour)];
        read_files(&files)
    }

    #[test]
    fn a_vnfd_is_read_through_its_imports() {
        let Descriptor { vnfd, files } = read_with(TOP, FLAVOUR).unwrap();
        let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["Definitions/top.yaml", "Definitions/types.yaml", "Definitions/df/simple.yaml"]);
        assert_eq!((vnfd.id.as_str(), vnfd.version.as_str(), vnfd.software_version.as_str()), ("id-1", "1.1", "1.0"));
        assert_eq!((vnfd.provider.as_str(), vnfd.product_name.as_str()), ("Example", "App"));
        assert_eq!(vnfd.vnfm_info, ["Gybe"]);
        let flavour = &vnfd.flavours["simple"];
        assert_eq!(flavour.description, "A flavour");
        assert_eq!(flavour.vdus["A"], Vdu { name: "a".to_owned(), min: 1, max: 5, initial: Some(1) });
        assert_eq!(flavour.vdus["B"], Vdu { name: "b".to_owned(), min: 0, max: u32::MAX, initial: None });
        assert_eq!(flavour.vdus.len(), 2);
        let aspect = &flavour.aspects["x"];
        assert_eq!((aspect.max_level, &aspect.deltas["A"], &aspect.deltas["B"]), (2, &vec![1, 3], &vec![0, 1]));
        assert_eq!(flavour.default_level.as_deref(), Some("little"));
        assert_eq!(flavour.levels["big"].scale_levels["x"], 2);
        assert_eq!(flavour.levels["big"].vdu_instances["A"], 5);
    }

    #[test]
    fn one_file_may_be_the_whole_vnfd() {
        let text = "node_types:\n  t: {derived_from: tosca.nodes.nfv.VNF, properties: {flavour_id: {default: f}}}\n\
                    topology_template:\n  node_templates:\n    VNF:\n      type: t\n      properties: {descriptor_id: i, \
                    descriptor_version: v, provider: p, product_name: q, software_version: s}\n    A:\n      type: \
                    tosca.nodes.nfv.Vdu.Compute\n      properties: {name: a}\n";
        let vnfd = read_files(&[("Definitions/top.yaml", text)]).unwrap().vnfd;
        assert_eq!(vnfd.flavours["f"].vdus["A"].name, "a");
        let without = text.replace("{default: f}", "{type: string}");
        let error = read_files(&[("Definitions/top.yaml", &without)]).unwrap_err().detail;
        assert!(error.starts_with("Definitions/top.yaml:1: the VNFD has no deployment flavour"), "{error}");
    }

    #[test]
    fn mistakes_in_the_top_file_are_told_with_their_place() {
        let cases = [
            ("        descriptor_id: id-1\n", "", "top.yaml:10: the node VNF has no property descriptor_id; add it"),
            ("id-1", "''", "top.yaml:10: the node VNF has no property descriptor_id; add it"),
            ("'1.0'", "1.0", "top.yaml:15: software_version must be a string, and this is a number; put it in quotes"),
            (
                "type: example.VNF",
                "type: other.VNF",
                "top.yaml:1: topology_template.node_templates has no node whose type",
            ),
            ("- types.yaml", "- gone.yaml", "top.yaml:3: there is no file Definitions/gone.yaml in the CSAR"),
            ("- types.yaml", "- ../../gone.yaml", "top.yaml:3: the import ../../gone.yaml leads out of the CSAR"),
            ("- types.yaml", "- http://x/y.yaml", "top.yaml:3: the import http://x/y.yaml is a URL"),
            ("- types.yaml", "- [a]", "top.yaml:3: imports must be a string, and this is a list"),
            ("imports:", "x: &a [1, *a]\nimports:", "top.yaml:2: an alias (*) within its own anchor"),
            ("imports:", "---\nimports:", "top.yaml:3: a file of a VNFD is one YAML document"),
        ];
        for (from, to, expected) in cases {
            assert!(TOP.contains(from), "{from}");
            let error = read_with(&TOP.replacen(from, to, 1), FLAVOUR).unwrap_err().detail;
            assert!(error.starts_with(&format!("Definitions/{expected}")), "{to}\n{error}");
        }
        assert!(read_files(&[]).unwrap_err().detail.starts_with("meta:4: there is no file Definitions/top.yaml"));
    }

    #[test]
    fn contradictions_in_a_flavour_are_told_with_their_place() {
        let cases = [
            ("little: {scale_info: {x:", "little: {scale_info: {y:", ":26: there is no aspect y; there is: x"),
            (
                "{scale_level: 2}",
                "{scale_level: 3}",
                ":27: the scale level 3 of the aspect x is beyond its max_scale_level 2",
            ),
            ("default_level: little", "default_level: none", ":28: there is no level none; there is: big, little"),
            ("[one, two]", "[one, two, three]", ":33: the aspect x has 3 step_deltas for 2 steps"),
            (", step_deltas: [one, two]", "", ":38: the aspect x has no step_deltas, so it takes exactly one delta"),
            ("{max_scale_level: 2, ", "{", ":33: x has no max_scale_level; add it"),
            ("aspect: x", "aspect: z", ":37: there is no aspect z; there is: x"),
            ("{one: {", "{uno: {", ":38: there is no delta uno; there is: one, two as step_deltas of the aspect x"),
            ("targets: [A]", "targets: [C]", ":39: there is no VDU C; there is: A, B"),
            ("targets: [B]", "targets: [A]", ":40: the deltas of VDU A for the aspect x are stated twice"),
            (
                "initial_delta: {number_of_instances: 1}",
                "initial_delta: {number_of_instances: 6}",
                ":49: 6 instances of VDU A are outside its vdu_profile, which allows 1 to 5",
            ),
            ("big: {number_of_instances: 5}", "big: {number_of_instances: 6}", ":54: 6 instances of VDU A are outside"),
            (
                "big: {number_of_instances: 5}",
                "huge: {number_of_instances: 5}",
                ":54: there is no level huge; there is: big, little",
            ),
            (
                "{number_of_instances: 1}, two",
                "{number_of_instances: -1}, two",
                ":38: number_of_instances must be a whole number from 0",
            ),
            (
                "min_number_of_instances: 1,",
                "min_number_of_instances: 6,",
                ":14: the vdu_profile of A allows 6 to 5 instances",
            ),
            ("        name: a\n", "", ":10: the node A has no property name; add it"),
        ];
        for (from, to, expected) in cases {
            assert!(FLAVOUR.contains(from), "{from}");
            let error = read_with(TOP, &FLAVOUR.replacen(from, to, 1)).unwrap_err().detail;
            assert!(error.starts_with(&format!("Definitions/df/simple.yaml{expected}")), "{to}\n{error}");
        }
        let files = [
            ("Definitions/top.yaml", TOP.replace("- types.yaml", "- types.yaml\n  - other.yaml")),
            ("Definitions/types.yaml", TYPES.to_owned()),
            ("Definitions/other.yaml", FLAVOUR.replace("../types", "types")),
            ("Definitions/df/simple.yaml", FLAVOUR.to_owned()),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let error = read_files(&files).unwrap_err().detail;
        assert!(
            error.starts_with(
                "Definitions/df/simple.yaml:5: the flavour simple is defined here and in Definitions/other.yaml"
            ),
            "{error}"
        );
    }

    #[test]
    fn imports_and_derivations_may_go_round_in_circles() {
        let types = TYPES.replace("derived_from: tosca.nodes.nfv.VNF", "derived_from: example.VNF");
        let types = format!("imports: [top.yaml, types.yaml]\n{types}");
        let files = [
            ("Definitions/top.yaml", TOP),
            ("Definitions/types.yaml", types.as_str()),
            ("Definitions/df/simple.yaml", FLAVOUR),
        ];
        let error = read_files(&files).unwrap_err().detail;
        assert!(error.starts_with("Definitions/top.yaml:1: topology_template.node_templates has no node"), "{error}");
        let mut number = 0;
        let endless = read("0.yaml", "meta:4", &mut |_| {
            number += 1;
            Ok(Some(format!("imports: [{number}.yaml]\n")))
        });
        assert!(endless.unwrap_err().detail.contains("more than 100 files"));
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = read_files(&[("Definitions/top.yaml", &text)]);
        }

        #[test]
        fn never_panics_on_what_looks_like_a_vnfd(at in 0..FLAVOUR.len(), length in 0_usize..40, text in "([a-z: \n\\[\\]{},0-9-]){0,20}") {
            let mut flavour = FLAVOUR.to_owned();
            flavour.replace_range(at..(at + length).min(FLAVOUR.len()), &text);
            let _ = read_with(TOP, &flavour);
        }
    }
}
