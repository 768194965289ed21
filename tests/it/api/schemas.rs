//! The responses of a life cycle match the JSON Schemas of SOL003, where these are available.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fault_proxy::{FaultProxy, ProxyFault};
use crate::support::gybe::{ApiResponse, Gybe, connection};
use crate::support::sample;
use crate::support::schemas::{self, Schema, SchemaCheck, v1, v2};
use crate::support::subscriber::Subscriber;

/// The schemas of an edition.
struct Types {
    edition: &'static str,
    versions: Schema,
    instance: Schema,
    op_occ: Schema,
    subscription: Schema,
    problem: Schema,
    occurrence: Schema,
    created: Schema,
    deleted: Schema,
}

const V1: Types = Types {
    edition: "v1",
    versions: v1("v2.6.1/VNFLifecycleManagement/ApiVersionInformation.schema.json"),
    instance: v1("v2.6.1/VNFLifecycleManagement/vnfInstance.schema.json"),
    op_occ: v1("v2.6.1/VNFLifecycleManagement/VnfLcmOpOcc.schema.json"),
    subscription: v1("v2.6.1/VNFLifecycleManagement/LccnSubscription.schema.json"),
    problem: v1("v2.6.1/VNFLifecycleManagement/ProblemDetails.schema.json"),
    occurrence: v1("v2.6.1/VNFLifecycleManagement/VnfLcmOperationOccurrenceNotification.schema.json"),
    created: v1("v2.6.1/VNFLifecycleManagement/VnfIdentifierCreationNotification.schema.json"),
    deleted: v1("v2.6.1/VNFLifecycleManagement/vnfIdentifierDeletionNotification.schema.json"),
};
const V2: Types = Types {
    edition: "v2",
    versions: v2("ApiVersionInformation"),
    instance: v2("VnfInstance"),
    op_occ: v2("VnfLcmOpOcc"),
    subscription: v2("LccnSubscription"),
    problem: v2("ProblemDetails"),
    occurrence: v2("VnfLcmOperationOccurrenceNotification"),
    created: v2("VnfIdentifierCreationNotification"),
    deleted: v2("VnfIdentifierDeletionNotification"),
};
const PACKAGE: Schema = v1("v2.6.1/VNFPackageManagement/vnfPkgInfo.schema.json");
const PACKAGE_PROBLEM: Schema = v1("v2.6.1/VNFPackageManagement/ProblemDetails.schema.json");

/// A client of one edition that records its responses.
struct SchemaRun<'a> {
    gybe: &'a Gybe,
    types: &'a Types,
    checks: SchemaCheck,
}

impl SchemaRun<'_> {
    fn root(&self) -> String {
        format!("/vnflcm/{}", self.types.edition)
    }

    fn record(&mut self, name: &str, schema: Schema, answer: &ApiResponse) -> Value {
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{name}: {answer:?}"));
        let name = format!("{} {name} {}", self.types.edition, answer.status);
        let schema = if answer.status.is_success() { schema } else { self.types.problem };
        self.checks.add(&name, schema, &body);
        body
    }

    /// Reads the instance and the op occurrences, alone and in lists.
    async fn read_all(&mut self, name: &str, instance: &str) {
        let (types, root) = (self.types, self.root());
        let shown = self.gybe.get(instance).await;
        self.record(name, types.instance, &shown);
        for (list, schema) in [("vnf_instances", types.instance), ("vnf_lcm_op_occs", types.op_occ)] {
            // The schemas of lists demand what a list does not show by default.
            let listed = self.gybe.get(&format!("{root}/{list}?all_fields")).await.expect(StatusCode::OK);
            self.checks.add_list(&format!("{} {name}: {list}", types.edition), schema, &listed);
        }
    }

    /// Runs an operation until no conductor has to work on it; returns its URI.
    async fn run_operation(&mut self, instance: &str, task: &str, body: &Value, state: &str) -> String {
        let op = match task {
            "modify" => {
                let accepted = self.gybe.patch(instance, body).await;
                accepted.expect(StatusCode::ACCEPTED);
                accepted.location.unwrap()
            }
            _ => self.gybe.begin(instance, task, body).await,
        };
        let running = self.gybe.get(&op).await;
        self.record(&format!("{task} at its beginning"), self.types.op_occ, &running);
        let settled = self.gybe.wait_ended(&op).await;
        assert_eq!(settled["operationState"], state, "{task}: {settled:#}\n{}", self.gybe.log());
        self.checks.add(&format!("{} {task}", self.types.edition), self.types.op_occ, &settled);
        self.read_all(&format!("after {task}"), instance).await;
        op
    }

    /// Records the problems of rejected requests.
    async fn record_problem(&mut self, name: &str, answer: ApiResponse) {
        assert!(answer.status.is_client_error(), "{name}: {answer:?}");
        self.record(name, self.types.problem, &answer);
    }

    fn instantiation(&self, connection: &Value, namespace: &TestNamespace) -> Value {
        let mut connection = connection.clone();
        let connections = if self.types.edition == "v1" {
            connection["id"] = "vim".into();
            json!([connection])
        } else {
            json!({ "vim": connection })
        };
        json!({
            "flavourId": "simple", "vimConnectionInfo": connections, "localizationLanguage": "en",
            "additionalParams": { "namespace": namespace.name.as_str(), "a": { "b": [1, null] } },
        })
    }

    async fn run_life_cycle(&mut self, vnfd: &str, request: &Value) {
        let (types, root) = (self.types, self.root());
        let create =
            json!({ "vnfdId": vnfd, "vnfInstanceName": "n", "vnfInstanceDescription": "d", "metadata": { "a": 1 } });
        let created = self.gybe.post(&format!("{root}/vnf_instances"), &create).await;
        let created = self.record("create", types.instance, &created);
        let path = format!("{root}/vnf_instances/{}", created["id"].as_str().unwrap());
        self.read_all("created", &path).await;
        self.record_problem(
            "terminate too early",
            self.gybe.post(&format!("{path}/terminate"), &json!({ "terminationType": "FORCEFUL" })).await,
        )
        .await;
        self.run_operation(&path, "instantiate", request, "COMPLETED").await;
        for (task, body) in [
            ("modify", json!({ "vnfInstanceName": "m", "metadata": { "b": 2 }, "extensions": { "c": 3 } })),
            ("modify", json!({ "vnfInstanceDescription": null, "metadata": { "a": null } })),
            ("scale", json!({ "type": "SCALE_OUT", "aspectId": "amf" })),
            ("scale", json!({ "type": "SCALE_OUT", "aspectId": "subscriber_data", "numberOfSteps": 1 })),
            ("scale_to_level", json!({ "instantiationLevelId": "default" })),
            ("heal", json!({ "cause": "test" })),
            ("operate", json!({ "changeStateTo": "STOPPED", "stopType": "GRACEFUL", "gracefulStopTimeout": 1 })),
            ("operate", json!({ "changeStateTo": "STARTED" })),
        ] {
            self.run_operation(&path, task, &body, "COMPLETED").await;
        }
        self.record_problem(
            "scale too far",
            self.gybe
                .post(&format!("{path}/scale"), &json!({ "type": "SCALE_OUT", "aspectId": "amf", "numberOfSteps": 99 }))
                .await,
        )
        .await;
        self.record_problem(
            "no such aspect",
            self.gybe.post(&format!("{path}/scale"), &json!({ "type": "SCALE_OUT", "aspectId": "x" })).await,
        )
        .await;
        self.record_problem("delete too early", self.gybe.delete(&path).await).await;
        self.record_problem(
            "no flavour",
            self.gybe.post(&format!("{path}/change_flavour"), &json!({ "newFlavourId": "x" })).await,
        )
        .await;
        self.run_operation(&path, "terminate", &json!({ "terminationType": "FORCEFUL" }), "COMPLETED").await;
        self.gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
        self.record_problem("gone", self.gybe.get(&path).await).await;
        self.record_problem("nothing there", self.gybe.get(&format!("{root}/nothing")).await).await;
        self.record_problem("no method", self.gybe.put(&path, &json!({})).await).await;
        self.record_problem("no JSON", self.gybe.post(&format!("{root}/vnf_instances"), &json!(1)).await).await;
    }

    /// Runs operations that stop, and the tasks that resolve them.
    async fn run_failures(&mut self, vnfd: &str, request: &Value) {
        let path = self.gybe.create(self.types.edition, vnfd).await;
        let op = self.run_operation(&path, "instantiate", request, "FAILED_TEMP").await;
        self.record_problem("instantiate again", self.gybe.post(&format!("{path}/instantiate"), request).await).await;
        self.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
        let again = self.gybe.get(&op).await;
        self.record("retried", self.types.op_occ, &again);
        self.gybe.wait_ended(&op).await;
        let failed = self.gybe.post(&format!("{op}/fail"), &json!({})).await;
        self.record("failed", self.types.op_occ, &failed);
        self.read_all("failed", &path).await;
        self.record_problem("fail again", self.gybe.post(&format!("{op}/fail"), &json!({})).await).await;
    }

    /// Cancels an operation while the VIM does not respond.
    async fn run_cancel(&mut self, vnfd: &str, request: &Value) {
        let path = self.gybe.create(self.types.edition, vnfd).await;
        let op = self.gybe.begin(&path, "instantiate", request).await;
        self.gybe
            .post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" }))
            .await
            .expect(StatusCode::ACCEPTED);
        let pending = self.gybe.get(&op).await;
        self.record("cancel pending", self.types.op_occ, &pending);
        let settled = self.gybe.wait_ended(&op).await;
        assert_eq!(settled["operationState"], "ROLLED_BACK");
        self.read_all("cancelled", &path).await;
        self.gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    }

    async fn subscribe(&mut self, subscriber: &Subscriber) {
        let (types, path) = (self.types, format!("{}/subscriptions", self.root()));
        let request = json!({
            "callbackUri": subscriber.url, "filter": { "vnfInstanceSubscriptionFilter": { "vnfProductsFromProviders": [
                { "vnfProvider": "Gybe", "vnfProducts": [{ "vnfProductName": "Core5g" }] },
            ] } },
        });
        let filtered = self.gybe.post(&path, &request).await;
        self.record("subscribe with a filter", types.subscription, &filtered);
        let made = self.gybe.post(&path, &json!({ "callbackUri": subscriber.url })).await;
        let made = self.record("subscribe", types.subscription, &made);
        let shown = self.gybe.get(made["_links"]["self"]["href"].as_str().unwrap()).await;
        self.record("a subscription", types.subscription, &shown);
        let listed = self.gybe.get(&path).await.expect(StatusCode::OK);
        // The list includes the subscriptions of the other edition.
        self.checks.add_list(&format!("{} subscriptions", types.edition), types.subscription, &listed);
        self.record_problem("no URI", self.gybe.post(&path, &json!({ "callbackUri": "x" })).await).await;
    }

    async fn versions(&mut self) {
        for path in ["/vnflcm/api_versions".to_owned(), format!("{}/api_versions", self.root())] {
            let versions = self.gybe.get(&path).await;
            self.record(&path, self.types.versions, &versions);
        }
    }

    /// Records the notifications of the subscriber.
    fn record_notifications(&mut self, subscriber: &Subscriber) {
        let mut kinds = 0;
        for one in subscriber.accepted() {
            let kind = one.body["notificationType"].as_str().unwrap_or_default();
            let schema = match kind {
                "VnfLcmOperationOccurrenceNotification" => self.types.occurrence,
                "VnfIdentifierCreationNotification" => self.types.created,
                "VnfIdentifierDeletionNotification" => self.types.deleted,
                _ => continue,
            };
            kinds += 1;
            self.checks.add(&format!("{} {kind} {}", self.types.edition, one.summary()), schema, &one.body);
        }
        assert!(kinds > 20, "{kinds}");
    }
}

/// Whether the schemas are available; prints a note if not.
fn available() -> bool {
    let there = schemas::folder().is_some();
    if !there {
        eprintln!("skipped: the JSON Schemas of SOL003 are not in ../shared/schemas, beside the repository");
    }
    there
}

async fn check_life_cycle(types: &Types) {
    if !available() {
        return;
    }
    let cluster = Cluster::running().await;
    let (namespace, other) = (cluster.namespace().await, cluster.namespace().await);
    let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&other.name, "gybe", everything).await;
    let nobody = cluster.account(&other.name, "nobody", json!([])).await;
    let proxy = FaultProxy::of(&cluster.admin).await;
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    let (core, small) = (gybe.onboard("core5g").await, gybe.onboard("small").await);
    let mut run = SchemaRun { gybe: &gybe, types, checks: SchemaCheck::default() };
    run.versions().await;
    run.subscribe(&subscriber).await;
    let request = run.instantiation(&connection(&cluster.admin), &namespace);
    run.run_life_cycle(&core, &request).await;
    let request = run.instantiation(&connection(&nobody), &other);
    run.run_failures(&small, &request).await;
    let request = run.instantiation(&connection(&proxy.access(&account)), &other);
    proxy.set(ProxyFault::Answers(StatusCode::SERVICE_UNAVAILABLE, 1));
    run.run_cancel(&small, &request).await;
    // The last notification.
    subscriber
        .wait_until(|received| received.iter().filter(|one| one.summary().contains("Deletion")).count() >= 3)
        .await;
    run.record_notifications(&subscriber);
    let (number, wrong) = run.checks.errors();
    assert!(wrong.is_empty(), "{wrong}");
    assert!(number > 100, "{number}");
}

#[tokio::test]
async fn responses_of_a_life_cycle_match_the_2_6_1_schemas() {
    check_life_cycle(&V1).await;
}

#[tokio::test]
async fn responses_of_a_life_cycle_match_the_3_3_1_schemas() {
    check_life_cycle(&V2).await;
}

#[tokio::test]
async fn packages_match_the_2_6_1_schemas() {
    if !available() {
        return;
    }
    let gybe = Gybe::start();
    let mut checks = SchemaCheck::default();
    let root = "/vnfpkgm/v1/vnf_packages";
    let created = gybe.post(root, &json!({ "userDefinedData": { "a": "b" } })).await.expect(StatusCode::CREATED);
    checks.add("created", PACKAGE, &created);
    let early = created["_links"]["packageContent"]["href"].as_str().unwrap();
    checks.add("no content yet", PACKAGE_PROBLEM, &serde_json::from_str(&gybe.get(early).await.text).unwrap());
    for name in ["core5g", "no-metadata", "own-namespace"] {
        checks.add(name, PACKAGE, &gybe.upload(&sample::pack(name)).await);
    }
    checks.add_list("all", PACKAGE, &gybe.get(&format!("{root}?all_fields")).await.expect(StatusCode::OK));
    checks.add_list("by default", PACKAGE, &gybe.get(root).await.expect(StatusCode::OK));
    let (_, wrong) = checks.errors();
    assert!(wrong.is_empty(), "{wrong}");
}

/// `Gybe::get` holds each response against our own documents.
#[tokio::test]
async fn selected_lists_match_our_own_documents() {
    let (cluster, gybe, subscriber) = (Cluster::running().await, Gybe::start(), Subscriber::start().await);
    let namespace = cluster.namespace().await;
    gybe.register_vim(&cluster.admin, "cluster", true).await;
    let path = gybe.instantiate("v2", &gybe.onboard("core5g").await, namespace.name.as_str()).await;
    gybe.complete(&path, "heal", &json!({ "cause": "test", "additionalParams": { "a": 1 } })).await;
    let subscription = json!({ "callbackUri": subscriber.url, "filter": { "operationTypes": ["HEAL"] } });
    gybe.post("/vnflcm/v2/subscriptions", &subscription).await.expect(StatusCode::CREATED);
    let lists = [
        (
            "vnflcm",
            "vnf_instances",
            &[
                "instantiatedVnfInfo",
                "instantiatedVnfInfo/vnfcResourceInfo",
                "metadata",
                "vimConnectionInfo",
                "instantiatedVnfInfo/vnfcResourceInfo/metadata",
                "instantiatedVnfInfo/scaleStatus",
            ][..],
        ),
        (
            "vnflcm",
            "vnf_lcm_op_occs",
            &["operationParams", "resourceChanges", "resourceChanges/affectedVnfcs", "error"],
        ),
        ("vnflcm", "subscriptions", &["filter"]),
        (
            "vnfpkgm",
            "vnf_packages",
            &["checksum", "additionalArtifacts", "additionalArtifacts/checksum", "userDefinedData"],
        ),
        ("vnfpkgm", "onboarded_vnf_packages", &["softwareImages"]),
    ];
    for (interface, list, attributes) in lists {
        for edition in ["v1", "v2"] {
            let get = async |query: String| {
                let listed = gybe.get(&format!("/{interface}/{edition}/{list}?{query}")).await.expect(StatusCode::OK);
                assert!(!listed.as_array().unwrap().is_empty(), "{list}?{query}");
            };
            get(String::new()).await;
            get("all_fields".to_owned()).await;
            get("exclude_default".to_owned()).await;
            for attribute in attributes {
                get(format!("fields={attribute}")).await;
                get(format!("fields={attribute}&exclude_default")).await;
                get(format!("exclude_fields={attribute}")).await;
            }
        }
    }
    for query in ["", "?fields=id", "?fields=name&fields=status", "?name=cluster"] {
        let vims = gybe.get(&format!("/v1.0/vims{query}")).await.expect(StatusCode::OK);
        assert_eq!(vims["vims"].as_array().unwrap().len(), 1, "{query}");
    }
}

#[test]
fn validation_finds_a_wrong_response() {
    if !available() {
        return;
    }
    for types in [V1, V2] {
        let mut checks = SchemaCheck::default();
        checks.add("wrong", types.instance, &json!({ "id": 7 }));
        checks.add_list("wrong", types.op_occ, &json!([{ "startTime": "yesterday" }]));
        let (_, wrong) = checks.errors();
        assert!(wrong.contains("'vnfdId' is a required property") && wrong.contains("$[0].startTime"), "{wrong}");
    }
}
