//! What contradicts itself in a package or request, and runs on Tacker, runs with a warning (docs/tolerance.md). Only an operation that
//! needs the contradictory part is refused.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::gybe::{Gybe, instantiate_request};
use crate::support::sample;

/// A cluster with a namespace, and Gybe with that cluster as its default VIM.
async fn fixture() -> (Cluster, TestNamespace, Gybe) {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start();
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    (cluster, namespace, gybe)
}

fn deployment(name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      containers:\n      - {{name: main, image: \
         registry.k8s.io/pause:3.10, readinessProbe: {{exec: {{command: [x]}}}}}}\n"
    )
}

/// `gybe:warnings` of a resource.
fn warnings(resource: &Value) -> Vec<&str> {
    resource["gybe:warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[track_caller]
fn assert_warned(resource: &Value, text: &str) {
    assert!(warnings(resource).iter().any(|warning| warning.contains(text)), "{text}\n{resource:#}");
}

/// The number of pods of VDU1, and the level of the aspect `app`.
async fn size(gybe: &Gybe, path: &str) -> (usize, u64) {
    let instance = gybe.get(path).await.expect(StatusCode::OK);
    let info = &instance["instantiatedVnfInfo"];
    (info["vnfcResourceInfo"].as_array().unwrap().len(), info["scaleStatus"][0]["scaleLevel"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_scaling_of_a_vdu_without_a_workload_is_refused() {
    let (_cluster, namespace, gybe) = fixture().await;
    let other = deployment("other");
    let csar = sample::scalable("without-workload", &[("Files/other.yaml", &other)]);
    let vnfd = gybe.upload(&csar).await["vnfdId"].as_str().unwrap().to_owned();
    let path = gybe.create("v2", &vnfd).await;
    let op = gybe.complete(&path, "instantiate", &instantiate_request(namespace.name.as_str())).await;
    let said =
        "VDU 'VDU1': no Deployment, StatefulSet, DaemonSet, ReplicaSet, Pod named 'app' is in the definition files";
    assert_warned(&op, said);
    assert_warned(&gybe.get(&path).await.expect(StatusCode::OK), said);
    let scale = json!({ "type": "SCALE_OUT", "aspectId": "app" });
    let refused = gybe.post(&format!("{path}/scale"), &scale).await.problem(422);
    assert!(refused.starts_with("aspect 'app' scales VDU 'VDU1', but the VNF has no Deployment"), "{refused}");
    let to_level = json!({ "scaleInfo": [{ "aspectId": "app", "scaleLevel": 1 }] });
    gybe.post(&format!("{path}/scale_to_level"), &to_level).await.problem(422);
    gybe.complete(&path, "heal", &json!({})).await;
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

/// The levels of a VNFD that say 2 and 5 where the deltas say 1 and 3, beyond the vdu_profile of 1 to 3.
const LEVELS: &str = "
    - levels:
        type: tosca.policies.nfv.InstantiationLevels
        properties:
          levels: {little: {scale_info: {app: {scale_level: 0}}}, big: {scale_info: {app: {scale_level: 2}}}}
          default_level: little
    - vdu_levels:
        type: tosca.policies.nfv.VduInstantiationLevels
        properties: {levels: {little: {number_of_instances: 2}, big: {number_of_instances: 5}}}
        targets: [VDU1]
    - unused:
        type: tosca.policies.nfv.VduScalingAspectDeltas
        properties: {aspect: app, deltas: {unused: {number_of_instances: 9}}}
        targets: [VDU1]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_step_changes_the_present_number_by_its_delta_and_back() {
    let (_cluster, namespace, gybe) = fixture().await;
    let app = deployment("app");
    let csar = sample::edit_files(sample::scalable("levels", &[("Files/app.yaml", &app)]), &mut |name, text| {
        if name == "Definitions/small_df_simple.yaml" {
            text.push_str(LEVELS.trim_start_matches('\n'));
        }
    });
    let package = gybe.upload(&csar).await;
    assert_warned(&package, "5 instances of VDU VDU1 are outside its vdu_profile, which allows 1 to 3");
    assert_warned(
        &package,
        "there is no delta unused, so this is ignored; there is: one as step_deltas of the aspect app",
    );
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    gybe.complete(&path, "instantiate", &instantiate_request(namespace.name.as_str())).await;
    assert_eq!(size(&gybe, &path).await, (2, 0), "the instantiation level states it");
    let steps = |direction: &str, steps: u32| json!({ "type": direction, "aspectId": "app", "numberOfSteps": steps });
    gybe.complete(&path, "scale", &steps("SCALE_OUT", 1)).await;
    assert_eq!(size(&gybe, &path).await, (3, 1));
    let op = gybe.complete(&path, "scale", &steps("SCALE_OUT", 1)).await;
    assert_warned(&op, "VDU 'VDU1' has 4 instances as the VNFD states; its vdu_profile allows 1 to 3");
    assert_eq!(size(&gybe, &path).await, (4, 2));
    gybe.complete(&path, "change_vnfpkg", &json!({ "vnfdId": package["vnfdId"] })).await;
    assert_eq!(size(&gybe, &path).await, (4, 2), "a change of package keeps the number");
    gybe.post(&format!("{path}/scale"), &steps("SCALE_OUT", 1)).await.problem(422);
    gybe.complete(&path, "scale", &steps("SCALE_IN", 2)).await;
    assert_eq!(size(&gybe, &path).await, (2, 0), "back where it began");
    gybe.complete(&path, "scale_to_level", &json!({ "instantiationLevelId": "big" })).await;
    assert_eq!(size(&gybe, &path).await, (5, 2), "a level that the request names has its own numbers");
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unused_connection_of_another_kind_is_kept_without_its_credentials() {
    let (_cluster, namespace, gybe) = fixture().await;
    let vims = gybe.get("/v1.0/vims").await.expect(StatusCode::OK);
    let registered = json!({ "vimId": vims["vims"][0]["id"], "vimType": "kubernetes" });
    let with_password = json!({
        "vimType": "ETSINFV.KUBERNETES.V_1", "interfaceInfo": { "endpoint": "https://10.0.0.1:6443" },
        "accessInfo": { "username": "operator", "password": "pw-secret" },
    });
    let openstack = json!({
        "vimType": "ETSINFV.OPENSTACK_KEYSTONE.V_3", "interfaceInfo": { "endpoint": "http://10.0.0.2/v3" },
        "accessInfo": { "username": "operator", "password": "pw-secret", "project": "p" },
    });
    let vnfd = gybe.onboard("small").await;
    let mut request = instantiate_request(namespace.name.as_str());
    // The one of another kind comes first: a VNF on Kubernetes can't live there.
    request["vimConnectionInfo"] = json!({ "a": openstack, "b": registered, "c": with_password });
    let path = gybe.create("v2", &vnfd).await;
    let op = gybe.complete(&path, "instantiate", &request).await;
    for text in ["vimConnectionInfo 'a': vimType 'ETSINFV.OPENSTACK_KEYSTONE.V_3'", "vimConnectionInfo 'c': "] {
        assert_warned(&op, text);
    }
    let instance = gybe.get(&path).await.expect(StatusCode::OK);
    let connections = instance["vimConnectionInfo"].as_object().unwrap();
    assert_eq!(connections.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(connections["a"]["accessInfo"], json!({ "username": "operator", "project": "p" }));
    assert!(!format!("{instance}{op}").contains("pw-secret"), "{instance:#}\n{op:#}");
    let database = std::fs::read(gybe.folder().join("gybe.db")).unwrap();
    assert!(!database.windows(9).any(|bytes| bytes == b"pw-secret"));
    let vnfc = &instance["instantiatedVnfInfo"]["vnfcResourceInfo"][0];
    assert_eq!(vnfc["computeResource"]["vimConnectionId"], "b");
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;

    // The only one, or one that the VNF would live in, must be usable.
    let path = gybe.create("v2", &vnfd).await;
    request["vimConnectionInfo"] = json!({ "a": request["vimConnectionInfo"]["c"], "b": registered });
    gybe.post(&format!("{path}/instantiate"), &request).await.problem(422);
}

/// Onboards the sample `small` with these definition files and returns the package.
async fn upload(gybe: &Gybe, files: &[(&str, &str)]) -> Value {
    let package = gybe.upload(&sample::with_manifests(files)).await;
    assert_eq!(package["onboardingState"], "ONBOARDED", "{package:#}");
    package
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_is_refused_by_the_operation_that_needs_it() {
    let (_cluster, namespace, gybe) = fixture().await;
    let (app, large) = (deployment("app"), (0..700_000).map(|number| format!("# {number:010}\n")).collect::<String>());
    let package =
        upload(&gybe, &[("Files/app.yaml", &app), ("Files/large.yaml", &large), ("Files/text.yaml", "a: [")]).await;
    assert_warned(&package, "Files/large.yaml: 9100000 bytes are more than the 8388608 that Gybe reads");
    assert_warned(&package, "Files/text.yaml:1: not valid YAML");
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    let mut request = instantiate_request(namespace.name.as_str());
    let refused = gybe.post(&format!("{path}/instantiate"), &request).await.problem(422);
    assert!(refused.starts_with("Files/large.yaml: 9100000 bytes are more than"), "{refused}");
    request["additionalParams"]["lcm-kubernetes-def-files"] = json!(["Files/text.yaml"]);
    let refused = gybe.post(&format!("{path}/instantiate"), &request).await.problem(422);
    assert!(refused.starts_with("Files/text.yaml:1: not valid YAML"), "{refused}");
    request["additionalParams"]["lcm-kubernetes-def-files"] = json!(["./Files/app.yaml"]);
    gybe.complete(&path, "instantiate", &request).await;
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

/// A CustomResourceDefinition of more than 1.5 MB as YAML, most of it indentation.
fn large_definition(group: &str) -> String {
    let indent = " ".repeat(60);
    let property = |number: usize| {
        format!("          p{number:04}:\n{indent}description: what it is for, in some words\n{indent}type: string\n")
    };
    let head = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: profiles.{group}}}\nspec:\n  group: {group}\n  \
         scope: Namespaced\n  names: {{kind: Profile, plural: profiles}}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    \
         schema:\n      openAPIV3Schema:\n        type: object\n        properties:\n"
    );
    head + &(0..9000).map(property).collect::<String>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_definition_file_is_applied() {
    let (cluster, namespace, gybe) = fixture().await;
    let group = format!("{}.example", namespace.name);
    let (app, definition) = (deployment("app"), large_definition(&group));
    assert!(definition.len() > 1_600_000, "{}", definition.len());
    let package = upload(&gybe, &[("Files/app.yaml", &app), ("Files/crd.yaml", &definition)]).await;
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    gybe.complete(&path, "instantiate", &instantiate_request(namespace.name.as_str())).await;
    let definitions =
        cluster.api("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", None);
    definitions.get(&format!("profiles.{group}")).await.unwrap();
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_in_quotes_over_several_lines_is_read_as_kubectl_reads_it() {
    let (cluster, namespace, gybe) = fixture().await;
    let app = deployment("app");
    let map = |indent: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: nets\n  annotations:\n    nets: '[\n{indent}{{ \"name\": \"n3\" }},\n{indent}]'\n"
        )
    };
    let maps: Vec<String> = ["        ", "    ", "", "  \t"].iter().map(|indent| map(indent)).collect();
    let named: Vec<String> =
        maps.iter().enumerate().map(|(n, it)| it.replace("nets\n", &format!("nets{n}\n"))).collect();
    let mut files: Vec<(String, &str)> =
        named.iter().enumerate().map(|(n, it)| (format!("Files/{n}.yaml"), it.as_str())).collect();
    files.push(("Files/app.yaml".to_owned(), &app));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let package = upload(&gybe, &files).await;
    let path = gybe.create("v2", package["vnfdId"].as_str().unwrap()).await;
    gybe.complete(&path, "instantiate", &instantiate_request(namespace.name.as_str())).await;
    let api = cluster.api("v1", "ConfigMap", "configmaps", Some(&namespace.name));
    for number in 0..named.len() {
        let annotations = api.get(&format!("nets{number}")).await.unwrap().metadata.annotations.unwrap();
        assert_eq!(annotations["nets"], r#"[ { "name": "n3" }, ]"#, "{number}");
    }
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}

#[tokio::test]
async fn members_without_effect_are_warned_of_or_refused() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let gybe = Gybe::start_with(&["--require-namespace"]);
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let misspelt = json!({ "flavourId": "simple", "additionalParams": { "nameSpace": namespace.name.as_str() } });
    let refused = gybe.post(&format!("{path}/instantiate"), &misspelt).await.problem(422);
    assert!(refused.starts_with("no namespace is given, and this site never uses 'default'"), "{refused}");
    let helm = json!({ "flavourId": "simple", "additionalParams": { "use_helm": "true" } });
    let refused = gybe.post(&format!("{path}/instantiate"), &helm).await.problem(422);
    assert!(refused.contains("Helm charts are not supported yet"), "{refused}");

    let mut request = instantiate_request(namespace.name.as_str());
    request["additionalParams"]["nameSpace"] = "elsewhere".into();
    let op = gybe.complete(&path, "instantiate", &request).await;
    let said =
        "these members of additionalParams are unknown and have no effect: 'nameSpace' (did you mean 'namespace'?)";
    assert_warned(&op, said);
    assert_warned(&gybe.get(&path).await.expect(StatusCode::OK), said);
    let heal = gybe.complete(&path, "heal", &json!({ "additionalParams": { "reason": "x" } })).await;
    assert_warned(&heal, "'reason'; known: all");

    let refused = gybe.patch(&path, &json!({ "additionalParams": { "namespace": "x" } })).await.problem(422);
    assert!(refused.starts_with("additionalParams can't be changed by PATCH; these can: vnfInstanceName"), "{refused}");
    gybe.patch(&path, &json!({ "unknown": 1 })).await.problem(422);
    let patched = gybe.patch(&path, &json!({ "vnfInstanceName": "a", "unknown": 1 })).await;
    patched.expect(StatusCode::ACCEPTED);
    let op = gybe.wait_ended(patched.location.as_deref().unwrap()).await;
    assert_warned(&op, "these attributes are unknown and ignored: 'unknown'");
    gybe.complete(&path, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
}
