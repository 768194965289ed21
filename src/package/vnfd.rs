//! Reads the part of a VNFD (SOL001) that operations on containers depend on.
//!
//! [`super::csar`] calls [`read`] with the entry file and a reader of the other files. This reads the node of the VNF in the
//! entry file; the VDUs and the policies of scaling and instantiation levels in each file that states a flavour; and the
//! software images. It ignores networks, storages and most types, but their files must exist and be YAML.

mod images;
mod imports;
mod model;
mod policies;

use std::collections::BTreeMap;

use crate::domain::problem::Problem;
use crate::domain::vnfd::{Flavour, Vdu, Vnfd};
use crate::domain::warning::Warnings;
use crate::package::yaml::At;
pub use images::DescribedImage;
pub use imports::FileReader;
use model::Model;
use policies::Policies;

const VNF: &str = "tosca.nodes.nfv.VNF";
const VDUS: [&str; 2] = ["tosca.nodes.nfv.Vdu.Compute", "tosca.nodes.nfv.Vdu.OsContainerDeployableUnit"];

/// A VNFD that was read.
#[derive(Debug)]
pub struct Descriptor {
    /// Its content.
    pub vnfd: Vnfd,
    /// Its files, path and text, the entry first.
    pub files: Vec<(String, String)>,
    /// The software images it describes.
    pub images: Vec<DescribedImage>,
    /// Its contradictions, each with file and line.
    pub warnings: Warnings,
}

/// Reads the VNFD with the entry file `entry`. If that is missing, the error names `place`, where the package mentions it.
///
/// # Errors
/// 422 naming file and line of the first thing that is missing or unreadable, and what to do.
pub fn read(entry: &str, place: &str, read_file: &mut FileReader<'_>) -> Result<Descriptor, Problem> {
    let (files, documents) = imports::load(entry, place, read_file)?;
    let roots: Vec<At<'_>> =
        files.iter().zip(&documents).map(|((path, _), node)| At::root(path, "the VNFD", node)).collect();
    let reader = Reader { model: Model::new(&roots) };
    let mut warnings = Warnings::default();
    let vnfd = reader.vnfd(&mut warnings)?;
    let images = images::of(&reader.model, &vnfd);
    Ok(Descriptor { vnfd, files, images, warnings })
}

/// The part of a VNFD that operations depend on.
struct Reader<'a> {
    model: Model<'a>,
}

impl<'a> Reader<'a> {
    fn vnfd(&self, warnings: &mut Warnings) -> Result<Vnfd, Problem> {
        let Some(entry) = self.model.files.first().copied() else {
            return Err(Problem::invalid_package("the VNFD is empty"));
        };
        let vnf = self.model.nodes(entry)?.into_iter().find(|node| self.model.is_a(*node, &[VNF])).ok_or_else(|| {
            entry.problem(format!(
                "topology_template.node_templates has no node whose type is derived from {VNF}; add the node of the VNF, \
                 or import the file that has its type"
            ))
        })?;
        Ok(Vnfd {
            id: self.model.required_text(vnf, "descriptor_id")?,
            version: self.model.required_text(vnf, "descriptor_version")?,
            provider: self.model.required_text(vnf, "provider")?,
            product_name: self.model.required_text(vnf, "product_name")?,
            software_version: self.model.required_text(vnf, "software_version")?,
            vnfm_info: self.vnfm_info(vnf)?,
            flavours: self.flavours(entry, vnf, warnings)?,
        })
    }

    fn vnfm_info(&self, vnf: At<'a>) -> Result<Vec<String>, Problem> {
        let Some(value) = self.model.property(vnf, "vnfm_info") else { return Ok(Vec::new()) };
        if let Some(text) = value.node().as_text() {
            return Ok(vec![text.to_owned()]);
        }
        value.items()?.map(|item| item.text().map(str::to_owned)).collect()
    }

    fn flavours(
        &self,
        entry: At<'a>,
        vnf: At<'a>,
        warnings: &mut Warnings,
    ) -> Result<BTreeMap<String, Flavour>, Problem> {
        let mut flavours: BTreeMap<String, (At<'a>, Flavour)> = BTreeMap::new();
        let stated = self.model.files.iter().filter_map(|file| Some((*file, flavour_id(*file)?)));
        for (file, id) in stated {
            let name = id.text()?.to_owned();
            if let Some((first, _)) = flavours.get(&name) {
                let what = format!("the flavour {name} is defined here and in {}; rename or remove one", first.file());
                return Err(id.problem(what));
            }
            flavours.insert(name, (file, self.flavour(file, warnings)?));
        }
        if flavours.is_empty()
            && let Some(id) = self.model.property(vnf, "flavour_id").filter(|id| id.node().as_text().is_some())
        {
            flavours.insert(id.text()?.to_owned(), (entry, self.flavour(entry, warnings)?));
        }
        if flavours.is_empty() {
            return Err(entry.problem(
                "the VNFD has no deployment flavour; import a file with topology_template.substitution_mappings.properties.flavour_id",
            ));
        }
        Ok(flavours.into_iter().map(|(name, (_, flavour))| (name, flavour)).collect())
    }

    fn flavour(&self, file: At<'a>, warnings: &mut Warnings) -> Result<Flavour, Problem> {
        let mut flavour = Flavour::default();
        for node in self.model.nodes(file)? {
            if self.model.is_a(node, &VDUS) {
                flavour.vdus.insert(node.key().to_owned(), self.vdu(node, warnings)?);
            } else if self.model.is_a(node, &[VNF])
                && let Some(description) = self.model.property(node, "flavour_description")
            {
                flavour.description = description.node().as_text().unwrap_or_default().to_owned();
            }
        }
        Policies::of(file)?.apply(&mut flavour, warnings)?;
        Ok(flavour)
    }

    fn vdu(&self, node: At<'a>, warnings: &mut Warnings) -> Result<Vdu, Problem> {
        let profile = self.model.property(node, "vdu_profile");
        let bound = |name| profile.and_then(|profile| profile.member(name)).map(At::number).transpose();
        // The standard requires both; without one, the number is unbounded.
        let min = bound("min_number_of_instances")?.unwrap_or(0);
        let max = bound("max_number_of_instances")?.unwrap_or(u32::MAX);
        if min > max {
            let text = format!("the vdu_profile of {} allows {min} to {max} instances; correct it", node.key());
            warnings.add(profile.unwrap_or(node).located(text));
        }
        Ok(Vdu { name: self.model.required_text(node, "name")?, kind: None, min, max, initial: None })
    }
}

fn flavour_id(file: At<'_>) -> Option<At<'_>> {
    let mappings = file.member("topology_template")?.member("substitution_mappings")?;
    mappings.member("properties")?.member("flavour_id")
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
        let Descriptor { vnfd, files, .. } = read_with(TOP, FLAVOUR).unwrap();
        let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["Definitions/top.yaml", "Definitions/types.yaml", "Definitions/df/simple.yaml"]);
        assert_eq!((vnfd.id.as_str(), vnfd.version.as_str(), vnfd.software_version.as_str()), ("id-1", "1.1", "1.0"));
        assert_eq!((vnfd.provider.as_str(), vnfd.product_name.as_str()), ("Example", "App"));
        assert_eq!(vnfd.vnfm_info, ["Gybe"]);
        let flavour = &vnfd.flavours["simple"];
        assert_eq!(flavour.description, "A flavour");
        assert_eq!(flavour.vdus["A"], Vdu { name: "a".to_owned(), kind: None, min: 1, max: 5, initial: Some(1) });
        assert_eq!(flavour.vdus["B"], Vdu { name: "b".to_owned(), kind: None, min: 0, max: u32::MAX, initial: None });
        assert_eq!(flavour.vdus.len(), 2);
        let aspect = &flavour.aspects["x"];
        assert_eq!((aspect.max_level, &aspect.deltas["A"], &aspect.deltas["B"]), (2, &vec![1, 3], &vec![0, 1]));
        assert_eq!(flavour.default_level.as_deref(), Some("little"));
        assert_eq!(flavour.levels["big"].scale_levels["x"], 2);
        assert_eq!(flavour.levels["big"].vdu_instances["A"], 5);
    }

    #[test]
    fn software_images_are_what_the_standard_says_of_them() {
        let data = "sw_image_data: {name: i, version: '3', container_format: bare, disk_format: qcow2, min_disk: 2 GiB, size: 100 MB}";
        let described = format!(
            "B:\n      type: example.Vdu\n      properties: {{name: b, {data}}}\n      artifacts: {{image: {{type: tosca.artifacts.nfv.SwImage, file: ../../Files/i.qcow2}}}}"
        );
        let with = |described: &str| {
            read_with(TOP, &FLAVOUR.replacen("B:\n      type: example.Vdu\n      properties: {name: b}", described, 1))
                .unwrap()
                .images
        };
        let images = with(&described);
        assert_eq!(images[0].paths, ["Files/i.qcow2", "../../Files/i.qcow2"]);
        let image = &images[0].image;
        assert_eq!((image.id.as_str(), image.provider.as_str(), image.disk_format.as_str()), ("B", "Example", "QCOW2"));
        assert_eq!((image.min_disk, image.min_ram, image.size), (2 << 30, 0, 100_000_000));
        for (from, to) in [
            ("2 GiB", "much"),
            ("bare", "crate"),
            ("version: '3'", "v: 3"),
            ("SwImage", "File"),
            ("100 MB", "9999999 TiB"),
        ] {
            assert!(with(&described.replacen(from, to, 1)).is_empty(), "{to}");
        }
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

    /// The flavour's file with one edit.
    fn edited(from: &str, to: &str) -> String {
        assert!(FLAVOUR.contains(from), "{from}");
        FLAVOUR.replacen(from, to, 1)
    }

    #[test]
    fn contradictions_in_a_flavour_are_warnings_with_their_place() {
        let cases = [
            (
                "{scale_level: 2}",
                "{scale_level: 3}",
                ":27: the scale level 3 of the aspect x is beyond its max_scale_level 2",
            ),
            (
                "default_level: little",
                "default_level: none",
                ":28: there is no level none, so this is ignored; there is: big, little",
            ),
            ("[one, two]", "[one, two, three]", ":33: the aspect x has 3 step_deltas for 2 steps; the first is used"),
            (", step_deltas: [one, two]", "", ":38: the aspect x has no step_deltas, so it takes exactly one delta"),
            ("aspect: x", "aspect: z", ":37: there is no aspect z, so this is ignored; there is: x"),
            (
                "{one: {",
                "{uno: {",
                ":38: there is no delta uno, so this is ignored; there is: one, two as step_deltas of the aspect x",
            ),
            ("targets: [B]", "targets: [A]", ":40: the deltas of VDU A for the aspect x are stated twice; the first"),
            (
                "initial_delta: {number_of_instances: 1}",
                "initial_delta: {number_of_instances: 6}",
                ":49: 6 instances of VDU A are outside its vdu_profile, which allows 1 to 5",
            ),
            ("big: {number_of_instances: 5}", "big: {number_of_instances: 6}", ":54: 6 instances of VDU A are outside"),
            (
                "big: {number_of_instances: 5}",
                "huge: {number_of_instances: 5}",
                ":54: there is no level huge, so this is ignored; there is: big, little",
            ),
            (
                "min_number_of_instances: 1,",
                "min_number_of_instances: 6,",
                ":14: the vdu_profile of A allows 6 to 5 instances",
            ),
        ];
        assert!(read_with(TOP, FLAVOUR).unwrap().warnings.is_empty());
        for (from, to, expected) in cases {
            let warnings = read_with(TOP, &edited(from, to)).unwrap().warnings;
            let first = warnings.iter().next().unwrap_or_default();
            assert!(first.starts_with(&format!("Definitions/df/simple.yaml{expected}")), "{to}\n{first}");
        }
    }

    #[test]
    fn what_a_contradiction_leaves_of_a_flavour_is_used() {
        let flavour = |from, to| read_with(TOP, &edited(from, to)).unwrap().vnfd.flavours.remove("simple").unwrap();
        let undefined = flavour(
            "{one: {number_of_instances: 1}, two: {number_of_instances: 3}}",
            "{uno: {number_of_instances: 1}}",
        );
        assert!(!undefined.aspects["x"].deltas.contains_key("A") && undefined.aspects["x"].deltas.contains_key("B"));
        assert_eq!(flavour("[one, two]", "[one, two, three]").aspects["x"].deltas["A"], [1]);
        assert_eq!(flavour("{one: {", "{uno: {").aspects["x"].deltas["A"], [0, 3]);
        assert_eq!(
            flavour("number_of_instances: 1}\n        targets: [A]", "number_of_instances: 9}\n        targets: [A]")
                .vdus["A"]
                .initial,
            Some(9)
        );
        assert_eq!(
            flavour("big: {number_of_instances: 5}", "big: {number_of_instances: 6}").levels["big"].vdu_instances["A"],
            6
        );
        assert_eq!(flavour("default_level: little", "default_level: none").default_level, None);
    }

    #[test]
    fn mistakes_in_a_flavour_are_told_with_their_place() {
        let cases = [
            ("{max_scale_level: 2, ", "{", ":33: x has no max_scale_level; add it"),
            ("targets: [A]", "targets: [C]", ":39: there is no VDU C; there is: A, B"),
            ("little: {scale_info: {x:", "little: {scale_info: {y:", ":26: there is no aspect y; there is: x"),
            (
                "{number_of_instances: 1}, two",
                "{number_of_instances: -1}, two",
                ":38: number_of_instances must be a whole number from 0",
            ),
            ("        name: a\n", "", ":10: the node A has no property name; add it"),
        ];
        for (from, to, expected) in cases {
            let error = read_with(TOP, &edited(from, to)).unwrap_err().detail;
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
