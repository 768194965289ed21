//! Clients that two generators make from our OpenAPI documents, as users make theirs, read each list and resource of a life in both
//! editions: every attribute, with and without selectors, of what succeeded and of what failed.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::documents::UNKNOWN;
use crate::support::generated_clients::{Answer, GeneratedClients};
use crate::support::gybe::{Gybe, SHORT_GRACE, connection, vim};
use crate::support::sample;
use crate::support::subscriber::Subscriber;

const EDITIONS: [&str; 2] = ["v1", "v2"];
/// The lists with the attributes to select or to leave out.
const LISTS: [(&str, &str, &[&str]); 6] = [
    (
        "vnflcm",
        "vnf_instances",
        &["instantiatedVnfInfo", "instantiatedVnfInfo/vnfcResourceInfo/metadata", "metadata", "vimConnectionInfo"],
    ),
    ("vnflcm", "vnf_lcm_op_occs", &["operationParams", "resourceChanges/affectedVnfcs", "error"]),
    ("vnflcm", "subscriptions", &["filter"]),
    ("vnfpkgm", "vnf_packages", &["checksum", "additionalArtifacts", "softwareImages", "userDefinedData"]),
    ("vnfpkgm", "onboarded_vnf_packages", &["softwareImages/checksum"]),
    ("vnfpkgm", "subscriptions", &["filter"]),
];
const MANIFEST: &str = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: red}}
---
{apiVersion: v1, kind: Service, metadata: {name: app}, spec: {selector: {app: app}, ports: [{port: 80}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: app}
spec:
  serviceName: app
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: 'IMAGE'}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
";

/// A CSAR of that version with that image.
fn csar(version: &str, image: &str) -> Vec<u8> {
    sample::scalable(version, &[("Files/app.yaml", &MANIFEST.replace("IMAGE", image))])
}

fn id(body: &Value) -> String {
    body["id"].as_str().unwrap_or_else(|| panic!("{body:#}")).to_owned()
}

/// A user of the generated clients.
struct ClientUser {
    gybe: Gybe,
    clients: GeneratedClients,
}

impl ClientUser {
    /// A GET that succeeds.
    fn get(&mut self, document: &str, operation: &str, arguments: Value) -> Value {
        let answer = self.clients.call(document, operation, arguments, Value::Null);
        assert_eq!(answer.status, 200, "{document} {operation}: {answer:?}");
        answer.body
    }

    fn post(&mut self, document: &str, operation: &str, arguments: Value, body: Value) -> Answer {
        self.clients.call(document, operation, arguments, body)
    }

    /// Reads a list with all selectors, and all its elements.
    fn read_list(&mut self, document: &str, list: &str, attributes: &[&str]) {
        let operation = format!("get_{list}");
        let listed = self.get(document, &operation, json!({}));
        for flag in ["all_fields", "exclude_default"] {
            assert_eq!(
                self.get(document, &operation, json!({ flag: "" })).as_array().unwrap().len(),
                listed.as_array().unwrap().len()
            );
        }
        for attribute in attributes {
            self.get(document, &operation, json!({ "fields": attribute }));
            self.get(document, &operation, json!({ "fields": attribute, "exclude_default": "" }));
            self.get(document, &operation, json!({ "exclude_fields": attribute }));
        }
        if let Some(first) = listed.as_array().unwrap().first() {
            let filtered = self.get(document, &operation, json!({ "filter_": format!("(eq,id,{})", id(first)) }));
            assert_eq!(filtered.as_array().unwrap().len(), 1, "{filtered:#}");
        }
        for one in listed.as_array().unwrap() {
            match list {
                "onboarded_vnf_packages" => {
                    self.get(document, &format!("{operation}_vnfdId"), json!({ "vnfd_id": one["vnfdId"] }))
                }
                _ => self.get(document, &format!("{operation}_id"), json!({ "id": id(one) })),
            };
            if one["instantiationState"] == "INSTANTIATED" {
                self.get(document, "get_vnf_instances_id_drift", json!({ "id": id(one) }));
            }
            if list == "subscriptions" {
                self.get(document, "get_subscriptions_id_notifications", json!({ "id": id(one) }));
            }
        }
    }

    /// Reads all lists of an interface in both editions.
    fn read_all(&mut self, interface: &str) {
        EDITIONS.iter().for_each(|edition| self.read_lists(interface, edition));
    }

    /// Reads all lists of an interface.
    fn read_lists(&mut self, interface: &str, edition: &str) {
        let document = format!("{interface}-{edition}.json");
        self.get(&document, "get_api_versions", json!({}));
        for (_, list, attributes) in LISTS.iter().filter(|(of, _, _)| *of == interface) {
            self.read_list(&document, list, attributes);
        }
    }

    /// Onboards a package with the client of an edition, and reads it at each step.
    async fn onboard(&mut self, edition: &str, csar: Vec<u8>) -> Value {
        let document = format!("vnfpkgm-{edition}.json");
        let created = self.post(&document, "post_vnf_packages", json!({}), json!({ "userDefinedData": { "a": [1] } }));
        assert_eq!(created.status, 201, "{created:?}");
        let package = id(&created.body);
        self.get(&document, "get_vnf_packages_id", json!({ "id": package }));
        let file = self.gybe.folder().join(&package);
        std::fs::write(&file, csar).unwrap();
        let (operation, of) = ("put_vnf_packages_id_package_content", json!({ "id": package }));
        assert_eq!(self.clients.upload(&document, operation, of.clone(), file.to_str().unwrap()).status, 202);
        let href = format!("/vnfpkgm/{edition}/vnf_packages/{package}");
        let is_ended =
            |package: &Value| !matches!(package["onboardingState"].as_str(), Some("UPLOADING" | "PROCESSING"));
        self.gybe.wait_until(&href, is_ended).await;
        let shown = self.get(&document, "get_vnf_packages_id", of);
        if shown["onboardingState"] == "ONBOARDED" {
            for edition in EDITIONS {
                let document = format!("vnfpkgm-{edition}.json");
                self.read_content(&document, "get_vnf_packages_id", &json!({ "id": package }), &shown);
                let of = json!({ "vnfd_id": shown["vnfdId"] });
                self.read_content(&document, "get_onboarded_vnf_packages_vnfdId", &of, &shown);
            }
        }
        shown
    }

    /// Reads the files of a package.
    fn read_content(&mut self, document: &str, operation: &str, of: &Value, package: &Value) {
        for part in ["package_content", "vnfd", "artifacts"] {
            self.get(document, &format!("{operation}_{part}"), of.clone());
        }
        let manifest = self.clients.call(document, &format!("{operation}_manifest"), of.clone(), Value::Null);
        assert!(matches!(manifest.status, 200 | 404), "{manifest:?}");
        let mut of = of.clone();
        let [artifact, image] =
            [&package["additionalArtifacts"][0]["artifactPath"], &package["softwareImages"][0]["imagePath"]];
        of["path"] = if artifact.is_string() { artifact.clone() } else { image.clone() };
        self.get(document, &format!("{operation}_artifacts_path"), of);
    }

    /// Runs a task of an instance until its operation is in that state; returns the id of the op occurrence.
    async fn run_operation(&mut self, edition: &str, instance: &str, task: &str, body: Value, state: &str) -> String {
        let document = format!("vnflcm-{edition}.json");
        let operation = match task {
            "modify" => "patch_vnf_instances_id".to_owned(),
            _ => format!("post_vnf_instances_id_{task}"),
        };
        let accepted = self.post(&document, &operation, json!({ "id": instance }), body);
        assert_eq!(accepted.status, 202, "{task}: {accepted:?}");
        self.ended(edition, &accepted.location.unwrap(), state).await
    }

    /// Waits until the operation is in that state, and reads all lists.
    async fn ended(&mut self, edition: &str, location: &str, state: &str) -> String {
        let op = self.gybe.wait_ended(location).await;
        assert_eq!(op["operationState"], state, "{op:#}\n{}", self.gybe.log());
        for operation in ["get_vnf_lcm_op_occs_id", "get_vnf_lcm_op_occs_id_steps"] {
            self.get(&format!("vnflcm-{edition}.json"), operation, json!({ "id": op["id"] }));
        }
        self.read_lists("vnflcm", edition);
        id(&op)
    }

    /// Runs a task of an op occurrence until it is in that state.
    async fn resolve(&mut self, edition: &str, op: &str, task: &str, state: &str) {
        let operation = format!("post_vnf_lcm_op_occs_id_{task}");
        let answer = self.post(&format!("vnflcm-{edition}.json"), &operation, json!({ "id": op }), Value::Null);
        assert!(matches!(answer.status, 200 | 202), "{task}: {answer:?}");
        self.ended(edition, &format!("/vnflcm/{edition}/vnf_lcm_op_occs/{op}"), state).await;
    }

    fn subscribe(&mut self, subscriber: &Subscriber) {
        for interface in ["vnflcm", "vnfpkgm"] {
            for edition in EDITIONS {
                let filter = match interface {
                    "vnflcm" => {
                        json!({ "operationTypes": ["INSTANTIATE", "HEAL"], "operationStates": ["COMPLETED", "FAILED_TEMP"] })
                    }
                    _ => json!({ "usageState": ["IN_USE", "NOT_IN_USE"] }),
                };
                let request = json!({
                    "callbackUri": format!("{}/{interface}/{edition}", subscriber.url), "filter": filter,
                    "authentication": { "authType": ["BASIC"], "paramsBasic": { "userName": "u", "password": "p" } },
                });
                let document = format!("{interface}-{edition}.json");
                let created = self.post(&document, "post_subscriptions", json!({}), request);
                assert_eq!(created.status, 201, "{created:?}");
            }
        }
    }

    /// Registers a VIM with all its resources read.
    fn use_vims(&mut self, cluster: &Cluster) {
        let document = "vims.json";
        let mut request = vim(&cluster.admin, "cluster", true);
        request["vim"]["extra"] = json!({ "site": "a" });
        let created = self.post(document, "post_v1_0_vims", json!({}), request);
        assert_eq!(created.status, 201, "{created:?}");
        let of = json!({ "id": created.body["vim"]["id"] });
        let update = json!({ "vim": { "description": "a cluster", "is_default": false } });
        assert_eq!(self.post(document, "put_v1_0_vims_id", of.clone(), update).status, 200);
        self.get(document, "get_v1_0_vims_id", of);
        for selectors in [
            json!({}),
            json!({ "fields": "id,status" }),
            json!({ "name": "cluster", "type_": "kubernetes", "is_default": false, "shared": false }),
        ] {
            let listed = self.get(document, "get_v1_0_vims", selectors);
            assert_eq!(listed["vims"].as_array().unwrap().len(), 1, "{listed:#}");
        }
    }

    /// The request of an instantiation, with each attribute that it may have.
    fn instantiation(edition: &str, cluster: &Cluster, namespace: &TestNamespace) -> Value {
        let mut connection = connection(&cluster.admin);
        let connections = match edition {
            "v1" => {
                connection["id"] = "vim".into();
                json!([connection])
            }
            _ => json!({ "vim": connection }),
        };
        json!({
            "flavourId": "simple", "vimConnectionInfo": connections, "localizationLanguage": "en",
            "additionalParams": { "namespace": namespace.name.as_str(), "a": { "b": [1, null] } },
        })
    }

    /// The life of an instance; `packages` are that of the instance, its successor, and one that can't become ready.
    async fn run_life(&mut self, edition: &str, cluster: &Cluster, packages: &[Value; 3]) {
        let [first, second, broken] = packages.each_ref().map(|package| package["vnfdId"].clone());
        let namespace = cluster.namespace().await;
        let document = format!("vnflcm-{edition}.json");
        let create =
            json!({ "vnfdId": first, "vnfInstanceName": "n", "vnfInstanceDescription": "d", "metadata": { "a": 1 } });
        let created = self.post(&document, "post_vnf_instances", json!({}), create);
        assert_eq!(created.status, 201, "{created:?}");
        let vnf = id(&created.body);
        self.read_lists("vnflcm", edition);
        let request = Self::instantiation(edition, cluster, &namespace);
        self.run_operation(edition, &vnf, "instantiate", request, "COMPLETED").await;
        let shown = self.get(&document, "get_vnf_instances_id", json!({ "id": vnf }));
        let vnfcs = if edition == "v1" { "vnfcResourceInfo" } else { "vnfcInfo" };
        let vnfc = &shown["instantiatedVnfInfo"][vnfcs][0]["id"];
        for (task, body) in [
            ("scale", json!({ "type": "SCALE_OUT", "aspectId": "app", "numberOfSteps": 1 })),
            ("scale_to_level", json!({ "scaleInfo": [{ "aspectId": "app", "scaleLevel": 0 }] })),
            ("heal", json!({ "cause": "test", "vnfcInstanceId": [vnfc] })),
            ("modify", json!({ "vnfInstanceName": "m", "metadata": { "b": 2 }, "extensions": { "c": 3 } })),
            ("operate", json!({ "changeStateTo": "STOPPED", "stopType": "GRACEFUL", "gracefulStopTimeout": 1 })),
            ("operate", json!({ "changeStateTo": "STARTED" })),
        ] {
            self.run_operation(edition, &vnf, task, body, "COMPLETED").await;
        }
        if edition == "v2" {
            self.run_operation(edition, &vnf, "change_vnfpkg", json!({ "vnfdId": second }), "COMPLETED").await;
            let op =
                self.run_operation(edition, &vnf, "change_vnfpkg", json!({ "vnfdId": broken }), "FAILED_TEMP").await;
            self.resolve(edition, &op, "rollback", "ROLLED_BACK").await;
        } else {
            self.fail_instantiation(edition, cluster, &broken).await;
        }
        self.cause_drift(&document, cluster, &namespace, &vnf).await;
        self.read_all("vnflcm");
        let terminate = json!({ "terminationType": "GRACEFUL", "gracefulTerminationTimeout": 1 });
        self.run_operation(edition, &vnf, "terminate", terminate, "COMPLETED").await;
        let deleted = self.post(&document, "delete_vnf_instances_id", json!({ "id": vnf }), Value::Null);
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }

    async fn fail_instantiation(&mut self, edition: &str, cluster: &Cluster, vnfd: &Value) {
        let namespace = cluster.namespace().await;
        let document = format!("vnflcm-{edition}.json");
        let created = self.post(&document, "post_vnf_instances", json!({}), json!({ "vnfdId": vnfd }));
        let request = Self::instantiation(edition, cluster, &namespace);
        let op = self.run_operation(edition, &id(&created.body), "instantiate", request, "FAILED_TEMP").await;
        self.resolve(edition, &op, "retry", "FAILED_TEMP").await;
        self.resolve(edition, &op, "fail", "FAILED").await;
        let terminate = json!({ "terminationType": "FORCEFUL" });
        self.run_operation(edition, &id(&created.body), "terminate", terminate, "COMPLETED").await;
    }

    /// Others change an object and delete another one.
    async fn cause_drift(&mut self, document: &str, cluster: &Cluster, namespace: &TestNamespace, vnf: &str) {
        let namespace = Some(&namespace.name);
        let change = Patch::Merge(json!({ "data": { "colour": "blue" } }));
        let settings = cluster.api("v1", "ConfigMap", "configmaps", namespace);
        settings.patch("settings", &PatchParams::default(), &change).await.unwrap();
        let services = cluster.api("v1", "Service", "services", namespace);
        services.delete("app", &DeleteParams::default()).await.unwrap();
        let drift = self.get(document, "get_vnf_instances_id_drift", json!({ "id": vnf }));
        let states: Vec<_> =
            drift["objects"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
        assert!(states.contains(&"CHANGED") && states.contains(&"MISSING"), "{drift:#}");
    }

    /// Shares a VIM or a package with another project.
    fn share(&mut self, what: &str, of: &Value, share: Value) {
        const DOCUMENT: &str = "shares.json";
        let operation = |method: &str| format!("{method}_tenancy_v1_{what}_id_shares");
        let shared = self.post(DOCUMENT, &operation("put"), of.clone(), json!({ "shares": [share] }));
        assert_eq!(shared.body, self.get(DOCUMENT, &operation("get"), of.clone()));
        assert_eq!(self.post(DOCUMENT, &operation("delete"), of.clone(), Value::Null).status, 204);
    }

    /// Adopts a namespace, shares the package and a VIM, sets quotas, and reads what the project has and had.
    async fn use_projects(&mut self, cluster: &Cluster, package: &Value) {
        const DOCUMENT: &str = "tenancy.json";
        let (namespace, project) = (cluster.namespace().await, json!({ "id": "default" }));
        let vim = self.gybe.register_vim(&cluster.admin, "of-namespaces", false).await;
        self.share("vims", &json!({ "id": vim }), json!({ "projectId": "b", "namespaces": ["team-b-*"] }));
        self.share("vnf_packages", &json!({ "id": package["id"] }), json!({ "allProjects": true }));
        let wanted = json!({
            "vimId": vim, "name": namespace.name, "projectId": "default", "labels": { "a": "b" }, "isolate": true,
            "serviceAccount": { "name": "a", "clusterRole": "view" },
        });
        let made = self.post(DOCUMENT, "post_tenancy_v1_namespaces", json!({}), wanted);
        assert_eq!(made.status, 201, "{made:?}");
        let of = json!({ "id": id(&made.body) });
        self.get(DOCUMENT, "get_tenancy_v1_namespaces", json!({}));
        assert_eq!(self.get(DOCUMENT, "get_tenancy_v1_namespaces_id", of.clone()), made.body);
        let moved = self.post(DOCUMENT, "post_tenancy_v1_namespaces_id_resync", of.clone(), Value::Null);
        assert_eq!(moved.status, 200, "{moved:?}");
        let quotas = json!({ "vims": 1000, "packages": null });
        let set = self.post(DOCUMENT, "put_tenancy_v1_projects_id_quotas", project.clone(), quotas);
        assert_eq!(set.body, self.get(DOCUMENT, "get_tenancy_v1_projects_id_quotas", project.clone()));
        self.get(DOCUMENT, "get_tenancy_v1_projects_id_usage", project.clone());
        let metering = self.get(DOCUMENT, "get_tenancy_v1_projects_id_metering", project);
        assert!(!metering.as_array().unwrap().is_empty(), "{metering}");
        assert_eq!(self.post(DOCUMENT, "delete_tenancy_v1_namespaces_id", of, Value::Null).status, 204);
    }

    /// Reads the problems of requests that must be refused.
    fn read_problems(&mut self) {
        for edition in EDITIONS {
            let document = format!("vnflcm-{edition}.json");
            for (operation, arguments, body, status) in [
                ("get_vnf_instances_id", json!({ "id": UNKNOWN }), Value::Null, 404),
                ("get_vnf_instances", json!({ "filter_": "(eq,none,1)" }), Value::Null, 400),
                ("post_vnf_instances", json!({}), json!({ "vnfdId": "none" }), 422),
                ("post_vnf_lcm_op_occs_id_cancel", json!({ "id": UNKNOWN }), json!({ "cancelMode": "GRACEFUL" }), 404),
                ("get_subscriptions", json!({ "version": "9.0.0" }), Value::Null, 406),
            ] {
                let answer = self.post(&document, operation, arguments, body);
                assert_eq!(answer.status, status, "{operation}: {answer:?}");
            }
            let uri = json!({ "addressInformation": "https://packages.invalid/a.zip" });
            let operation = "post_vnf_packages_id_package_content_upload_from_uri";
            let answer = self.post(&format!("vnfpkgm-{edition}.json"), operation, json!({ "id": UNKNOWN }), uri);
            assert!(matches!(answer.status, 403 | 404), "{answer:?}");
        }
        for operation in ["get_vnf_snapshots", "post_vnf_snapshots"] {
            let answer = self.post("vnflcm-v2.json", operation, json!({}), Value::Null);
            assert!(answer.status >= 400, "{answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_clients_read_every_answer_of_a_life() {
    let (cluster, subscriber) = (Cluster::running().await, Subscriber::start().await);
    // Namespaces belong to projects: those without annotation to the only one that there is.
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("gybe.toml");
    std::fs::write(&file, "[tenancy]\nverify_project = 'off'\n[neutron_defaults]\nproject = 'default'\n").unwrap();
    let gybe = Gybe::start_with(&[&SHORT_GRACE[..], &["--config", file.to_str().unwrap()]].concat());
    let mut user = ClientUser { clients: GeneratedClients::of(&gybe.url), gybe };
    user.use_vims(&cluster);
    assert_eq!(user.get("audit.json", "get_audit_v1_records", json!({})), json!([]));
    user.subscribe(&subscriber);
    // From now on, notifications wait in the outbox.
    subscriber.answer_status(503);

    user.onboard("v1", b"no zip".to_vec()).await;
    user.onboard("v1", sample::with_image()).await;
    let other = user.onboard("v2", sample::pack("own-namespace")).await;
    let disabled = json!({ "operationalState": "DISABLED", "userDefinedData": { "b": null } });
    let answer = user.post("vnfpkgm-v2.json", "patch_vnf_packages_id", json!({ "id": other["id"] }), disabled);
    assert_eq!(answer.status, 200, "{answer:?}");
    let packages = [
        user.onboard("v2", csar("2.0", "registry.k8s.io/pause:3.9")).await,
        user.onboard("v2", csar("3.0", "registry.k8s.io/pause:3.10")).await,
        user.onboard("v1", csar("4.0", "registry.invalid/gybe/app:1")).await,
    ];
    user.read_all("vnfpkgm");
    for edition in EDITIONS {
        user.run_life(edition, &cluster, &packages).await;
    }
    user.use_projects(&cluster, &other).await;
    user.read_problems();
    assert_eq!(user.clients.unread(), []);
}
