//! Packages and requests in the format of Tacker's users, sloppy on purpose in every way that docs/tolerance.md names: each goes through a
//! whole life on the real control plane. Only the scaling of what is not there is refused.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use aws_lc_rs::digest;
use futures::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::cluster::Cluster;
use crate::support::gybe::{Gybe, instantiate_request};

const DF: &str = "Definitions/df_simple.yaml";
const TOP: &str = "Definitions/top.vnfd.yaml";
const APP: &str = "Files/kubernetes/deployment.yaml";
const META: &str = "TOSCA-Metadata/TOSCA.meta";
/// Lives at the same time.
const CONCURRENT: usize = 8;

/// A package in the making, and the request that instantiates it.
struct Draft {
    /// The name of the workload of VDU1, `web-` and the id of the package.
    name: String,
    files: BTreeMap<String, Vec<u8>>,
    /// Begins the names of all entries of the ZIP.
    prefix: &'static str,
    /// Whether artifacts are listed with their hashes.
    hashed: bool,
    request: Value,
}

impl Draft {
    /// Two VDUs, of which the first has one to three instances and an aspect `web` of two steps, as Tacker's documentation shows it.
    fn new(id: usize, namespace: &str) -> Self {
        let (name, vnfd) = (format!("web-{id}"), format!("sloppy-{id}"));
        let types = format!(
            "tosca_definitions_version: tosca_simple_yaml_1_2\nimports: [etsi_nfv_sol001_common_types.yaml, etsi_nfv_sol001_vnfd_types.yaml]\n\
             node_types:\n  company.provider.VNF:\n    derived_from: tosca.nodes.nfv.VNF\n    properties:\n      descriptor_id: {{type: \
             string, default: {vnfd}}}\n      vnfm_info: {{type: list, default: [Tacker]}}\n"
        );
        let top = format!(
            "tosca_definitions_version: tosca_simple_yaml_1_2\nimports:\n  - etsi_nfv_sol001_common_types.yaml\n  - etsi_nfv_sol001_vnfd_types.yaml\n  \
             - types.yaml\n  - df_simple.yaml\ntopology_template:\n  inputs:\n    selected_flavour: {{type: string, default: simple}}\n  \
             node_templates:\n    VNF:\n      type: company.provider.VNF\n      properties:\n        flavour_id: {{get_input: \
             selected_flavour}}\n        descriptor_id: {vnfd}\n        provider: Company\n        product_name: Sample\n        \
             software_version: '1.0'\n        descriptor_version: '1.0'\n        vnfm_info: [Tacker]\n"
        );
        let etsi = "tosca_definitions_version: tosca_simple_yaml_1_2\n";
        let mut draft =
            Self { files: BTreeMap::new(), prefix: "", hashed: true, request: instantiate_request(namespace), name };
        draft.put("Definitions/types.yaml", types);
        draft.put(TOP, top);
        draft.put(DF, FLAVOUR.replace("NAME", &draft.name));
        draft.put("Definitions/etsi_nfv_sol001_common_types.yaml", etsi);
        draft.put("Definitions/etsi_nfv_sol001_vnfd_types.yaml", etsi);
        draft.put(APP, deployment(&draft.name));
        draft
    }

    fn put(&mut self, path: &str, content: impl AsRef<[u8]>) {
        self.files.insert(path.to_owned(), content.as_ref().to_vec());
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.files[path].clone()).unwrap()
    }

    fn edit(&mut self, path: &str, from: &str, to: &str) {
        let text = self.text(path);
        assert!(text.contains(from), "{path}: {from}");
        self.put(path, text.replace(from, to));
    }

    fn append(&mut self, path: &str, more: &str) {
        let text = self.text(path) + more;
        self.put(path, text);
    }

    fn params(&mut self) -> &mut Value {
        &mut self.request["additionalParams"]
    }

    fn csar(&self) -> Vec<u8> {
        let mut meta =
            format!("TOSCA-Meta-File-Version: 1.0\nCreated-by: Company\nCSAR-Version: 1.1\nEntry-Definitions: {TOP}\n");
        for (path, content) in self.files.iter().filter(|(path, _)| !path.starts_with("Definitions/")) {
            meta += &format!("\nName: {path}\nContent-Type: test-data\n");
            if self.hashed {
                let hash = hex::encode(digest::digest(&digest::SHA256, content));
                meta += &format!("Algorithm: SHA-256\nHash: {hash}\n");
            }
        }
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let meta = meta.into_bytes();
        for (path, content) in self.files.iter().map(|(path, it)| (path.as_str(), it)).chain([(META, &meta)]) {
            zip.start_file(format!("{}{path}", self.prefix), SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }
}

const FLAVOUR: &str = "\
tosca_definitions_version: tosca_simple_yaml_1_2
imports: [etsi_nfv_sol001_common_types.yaml, etsi_nfv_sol001_vnfd_types.yaml, types.yaml]
topology_template:
  substitution_mappings:
    node_type: company.provider.VNF
    properties: {flavour_id: simple}
  node_templates:
    VNF:
      type: company.provider.VNF
      properties: {flavour_description: A simple flavour}
    VDU1:
      type: tosca.nodes.nfv.Vdu.Compute
      properties:
        name: NAME
        description: the workload
        vdu_profile: {min_number_of_instances: 1, max_number_of_instances: 3}
  policies:
    - scaling_aspects:
        type: tosca.policies.nfv.ScalingAspects
        properties:
          aspects:
            web: {name: web, description: pods, max_scale_level: 2, step_deltas: [delta_1]}
    - initial:
        type: tosca.policies.nfv.VduInitialDelta
        properties: {initial_delta: {number_of_instances: 1}}
        targets: [VDU1]
    - deltas:
        type: tosca.policies.nfv.VduScalingAspectDeltas
        properties: {aspect: web, deltas: {delta_1: {number_of_instances: 1}}}
        targets: [VDU1]
    - levels:
        type: tosca.policies.nfv.InstantiationLevels
        properties:
          levels:
            level_1: {description: Smallest, scale_info: {web: {scale_level: 0}}}
            level_2: {description: Largest, scale_info: {web: {scale_level: 2}}}
          default_level: level_1
    - vdu_levels:
        type: tosca.policies.nfv.VduInstantiationLevels
        properties: {levels: {level_1: {number_of_instances: 1}, level_2: {number_of_instances: 3}}}
        targets: [VDU1]
";

fn deployment(name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  replicas: 1\n  selector:\n    matchLabels: {{app: {name}}}\n  \
         template:\n    metadata:\n      labels: {{app: {name}}}\n    spec:\n      containers:\n        - name: main\n          image: \
         registry.k8s.io/pause:3.10\n"
    )
}

fn utf16(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff_u16).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// What scaling does.
#[derive(Clone, Copy)]
enum Scaling {
    /// Instances of VDU1 at first, and with each of two steps.
    Steps([usize; 3]),
    /// The API refuses it.
    Refused,
}
use Scaling::{Refused, Steps};

/// One, two, three instances.
const USUAL: Scaling = Steps([1, 2, 3]);

/// A kind of sloppiness, what scaling does with it, and how a draft gets it.
type Case = (&'static str, Scaling, fn(&mut Draft));

const CASES: [Case; 34] = [
    ("nothing is wrong", USUAL, |_| {}),
    ("the workload of the scalable VDU is missing", Refused, |it| {
        it.put(APP, deployment(&format!("other-{}", it.name)))
    }),
    ("two of three VDUs have no workload", USUAL, |it| {
        let vdu =
            |id| format!("    {id}:\n      type: tosca.nodes.nfv.Vdu.Compute\n      properties: {{name: none-{id}}}\n");
        it.edit(DF, "  policies:\n", &format!("{}{}  policies:\n", vdu("VDU2"), vdu("VDU3")));
    }),
    ("the scalable VDU is a DaemonSet", Refused, |it| {
        it.edit(APP, "kind: Deployment", "kind: DaemonSet");
        it.edit(APP, "  replicas: 1\n", "");
    }),
    ("initial_delta is below vdu_profile", USUAL, |it| {
        it.edit(DF, "initial_delta: {number_of_instances: 1}", "initial_delta: {number_of_instances: 0}")
    }),
    ("all numbers are above vdu_profile", USUAL, |it| {
        it.edit(
            DF,
            "min_number_of_instances: 1, max_number_of_instances: 3",
            "min_number_of_instances: 0, max_number_of_instances: 0",
        );
    }),
    ("a level is above vdu_profile", USUAL, |it| {
        it.edit(DF, "level_2: {number_of_instances: 3}", "level_2: {number_of_instances: 9}")
    }),
    ("the steps lead beyond vdu_profile", USUAL, |it| {
        it.edit(DF, "max_number_of_instances: 3", "max_number_of_instances: 2")
    }),
    ("the minimum of vdu_profile is above its maximum", USUAL, |it| {
        it.edit(DF, "min_number_of_instances: 1", "min_number_of_instances: 7")
    }),
    ("the first level has another number than the deltas", Steps([2, 3, 4]), |it| {
        it.edit(DF, "level_1: {number_of_instances: 1}", "level_1: {number_of_instances: 2}")
    }),
    ("a delta is defined that no step names", USUAL, |it| {
        it.edit(DF, "deltas: {delta_1:", "deltas: {delta_2: {number_of_instances: 5}, delta_1:")
    }),
    ("the delta of the steps is not defined", Refused, |it| it.edit(DF, "deltas: {delta_1:", "deltas: {delta_2:")),
    ("there are more step_deltas than steps", USUAL, |it| it.edit(DF, "[delta_1]", "[delta_1, delta_2, delta_3]")),
    ("the deltas are stated twice", USUAL, |it| {
        it.append(DF, "    - again:\n        type: tosca.policies.nfv.VduScalingAspectDeltas\n        properties: {aspect: web, deltas: {delta_1: {number_of_instances: 2}}}\n        targets: [VDU1]\n");
    }),
    ("deltas are for an unknown aspect", USUAL, |it| {
        it.append(DF, "    - other:\n        type: tosca.policies.nfv.VduScalingAspectDeltas\n        properties: {aspect: none, deltas: {delta_1: {number_of_instances: 2}}}\n        targets: [VDU1]\n");
    }),
    ("the default level is unknown", USUAL, |it| it.edit(DF, "default_level: level_1", "default_level: level_7")),
    ("a level is beyond max_scale_level", USUAL, |it| it.edit(DF, "{scale_level: 2}", "{scale_level: 6}")),
    ("a second connection has user and password", USUAL, |it| {
        it.request["vimConnectionInfo"]["z"] = json!({ "vimType": "kubernetes", "interfaceInfo": { "endpoint": "https://10.0.0.1:6443" }, "accessInfo": { "username": "u", "password": "p" } });
    }),
    ("the first connection is of another kind", USUAL, |it| {
        it.request["vimConnectionInfo"]["a"] =
            json!({ "vimType": "ETSINFV.OPENSTACK_KEYSTONE.V_3", "accessInfo": { "username": "u", "password": "p" } });
    }),
    ("a second connection names an unknown VIM", USUAL, |it| {
        it.request["vimConnectionInfo"]["z"] = json!({ "vimId": "none", "vimType": "kubernetes" })
    }),
    ("names begin with ./", USUAL, |it| it.prefix = "./"),
    ("all files have a byte order mark", USUAL, |it| {
        it.files.values_mut().for_each(|content| *content = [b"\xef\xbb\xbf", content.as_slice()].concat());
    }),
    ("the manifest is UTF-16", USUAL, |it| it.put(APP, utf16(&it.text(APP)))),
    ("the manifest is JSON, one object after the other", USUAL, |it| {
        let pod = json!({ "metadata": { "labels": { "app": it.name } }, "spec": { "containers": [{ "name": "main", "image": "x" }] } });
        let spec = json!({ "selector": { "matchLabels": { "app": it.name } }, "template": pod });
        let app =
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": it.name }, "spec": spec });
        let map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("map-{}", it.name) } });
        it.put(APP, format!("{app}{map}"));
    }),
    ("JSON in quotes ends as far left as its key", USUAL, |it| {
        it.edit(APP, "spec:\n  replicas", "  annotations:\n    nets: '[\n    { \"a\": 1 },\n]'\nspec:\n  replicas")
    }),
    ("tabs follow the colons", USUAL, |it| it.edit(APP, ": ", ":\t")),
    ("all files have CRLF", USUAL, |it| {
        for path in it.files.keys().cloned().collect::<Vec<_>>() {
            it.edit(&path, "\n", "\r\n");
        }
    }),
    ("the types of the standard are not in the package", USUAL, |it| {
        it.files.retain(|path, _| !path.contains("etsi_nfv"))
    }),
    ("artifacts are no YAML, and the request names the manifest", USUAL, |it| {
        it.put("Artifacts/event.yaml", "---\n\tevent: {a: 1}\n");
        it.put("Artifacts/latin.yaml", b"name: caf\xe9\n");
        it.put("Artifacts/settings.json", "{\n  // name\n}\n");
        it.params()["lcm-kubernetes-def-files"] = json!([APP]);
    }),
    ("artifacts have no hashes", USUAL, |it| it.hashed = false),
    ("members of additionalParams are misspelt", USUAL, |it| {
        it.params()["nameSpace"] = "elsewhere".into();
        it.params()["lcm_kubernetes_def_files"] = json!(["Files/none.yaml"]);
    }),
    ("the files are one text with ./", USUAL, |it| {
        it.params()["lcm-kubernetes-def-files"] = format!("./{APP}, {APP}").into()
    }),
    ("the manifest is large", USUAL, |it| {
        it.append(APP, &(0..100_000).map(|number| format!("# comment {number}\n")).collect::<String>())
    }),
    ("documents are empty, a List holds another, booleans are words", USUAL, |it| {
        let more = format!(
            "---\n---\n# nothing\n--- # a list\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {{name: map-{}}}\n  \
             immutable: no\n  data: {{on: \"1\"}}\n---\n",
            it.name
        );
        it.append(APP, &more);
    }),
];

/// The instances of VDU1.
async fn instances(gybe: &Gybe, path: &str) -> usize {
    let instance = gybe.get(path).await.expect(StatusCode::OK);
    let all = instance["instantiatedVnfInfo"]["vnfcResourceInfo"].as_array().unwrap();
    all.iter().filter(|vnfc| vnfc["vduId"] == "VDU1").count()
}

/// The whole life of a package.
async fn live(gybe: &Gybe, draft: Draft, scaling: Scaling) {
    let package = gybe.upload(&draft.csar()).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    gybe.complete(&path, "instantiate", &draft.request).await;
    let scale = |direction: &str, steps| json!({ "type": direction, "aspectId": "web", "numberOfSteps": steps });
    match scaling {
        Refused => {
            gybe.post(&format!("{path}/scale"), &scale("SCALE_OUT", 1)).await.problem(422);
        }
        Steps(numbers) => {
            assert_eq!(instances(gybe, &path).await, numbers[0], "at first");
            for number in &numbers[1..] {
                gybe.complete(&path, "scale", &scale("SCALE_OUT", 1)).await;
                assert_eq!(instances(gybe, &path).await, *number, "after a step");
            }
            gybe.post(&format!("{path}/scale"), &scale("SCALE_OUT", 1)).await.problem(422);
            gybe.complete(&path, "scale", &scale("SCALE_IN", 2)).await;
            assert_eq!(instances(gybe, &path).await, numbers[0], "back where it began");
        }
    }
    gybe.complete(&path, "heal", &json!({})).await;
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sloppy_package_lives_a_whole_life() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    let vim = gybe.register_vim(&cluster.admin, "cluster", true).await;
    let lives = CASES.into_iter().enumerate().map(|(id, (name, scaling, spoil))| {
        let mut draft = Draft::new(id, namespace.name.as_str());
        draft.request["vimConnectionInfo"] = json!({ "vim1": { "vimId": vim, "vimType": "ETSINFV.KUBERNETES.V_1" } });
        spoil(&mut draft);
        let gybe = &gybe;
        async move {
            println!("{id}: {name}");
            live(gybe, draft, scaling).await;
        }
    });
    stream::iter(lives).buffer_unordered(CONCURRENT).collect::<Vec<()>>().await;
    let left: Vec<_> = cluster.marked(&namespace.name).await;
    assert!(left.is_empty(), "{left:?}");
}
