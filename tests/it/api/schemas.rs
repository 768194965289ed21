//! Every answer of a run through all operations is as the JSON Schemas of SOL003 say, where these are at hand.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fault_proxy::{Fault, Front};
use crate::support::gybe::{Answer, Gybe, connection};
use crate::support::sample;
use crate::support::schemas::{self, Answers, Schema, v1, v2};
use crate::support::subscriber::Subscriber;

/// The types of an edition.
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

/// A client of one edition that keeps what it is answered.
struct Run<'a> {
    gybe: &'a Gybe,
    types: &'a Types,
    answers: Answers,
}

impl Run<'_> {
    fn root(&self) -> String {
        format!("/vnflcm/{}", self.types.edition)
    }

    fn keep(&mut self, name: &str, schema: Schema, answer: &Answer) -> Value {
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{name}: {answer:?}"));
        let name = format!("{} {name} {}", self.types.edition, answer.status);
        let schema = if answer.status.is_success() { schema } else { self.types.problem };
        self.answers.add(&name, schema, &body);
        body
    }

    /// The instance and the op occurrences as they are now, alone and in lists.
    async fn look(&mut self, name: &str, instance: &str) {
        let (types, root) = (self.types, self.root());
        let shown = self.gybe.get(instance).await;
        self.keep(name, types.instance, &shown);
        for (list, schema) in [("vnf_instances", types.instance), ("vnf_lcm_op_occs", types.op_occ)] {
            // The schemas of lists demand what a list does not show by default.
            let listed = self.gybe.get(&format!("{root}/{list}?all_fields")).await.expect(StatusCode::OK);
            self.answers.add_list(&format!("{} {name}: {list}", types.edition), schema, &listed);
        }
    }

    /// Runs an operation to where it needs nobody's work; gives back its URI.
    async fn operate(&mut self, instance: &str, task: &str, body: &Value, state: &str) -> String {
        let op = match task {
            "modify" => {
                let accepted = self.gybe.patch(instance, body).await;
                accepted.expect(StatusCode::ACCEPTED);
                accepted.location.unwrap()
            }
            _ => self.gybe.begin(instance, task, body).await,
        };
        let running = self.gybe.get(&op).await;
        self.keep(&format!("{task} at its beginning"), self.types.op_occ, &running);
        let settled = self.gybe.settled(&op).await;
        assert_eq!(settled["operationState"], state, "{task}: {settled:#}\n{}", self.gybe.log());
        self.answers.add(&format!("{} {task}", self.types.edition), self.types.op_occ, &settled);
        self.look(&format!("after {task}"), instance).await;
        op
    }

    /// What is refused is told by a problem.
    async fn refused(&mut self, name: &str, answer: Answer) {
        assert!(answer.status.is_client_error(), "{name}: {answer:?}");
        self.keep(name, self.types.problem, &answer);
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

    async fn whole_life(&mut self, vnfd: &str, request: &Value) {
        let (types, root) = (self.types, self.root());
        let create =
            json!({ "vnfdId": vnfd, "vnfInstanceName": "n", "vnfInstanceDescription": "d", "metadata": { "a": 1 } });
        let created = self.gybe.post(&format!("{root}/vnf_instances"), &create).await;
        let created = self.keep("create", types.instance, &created);
        let path = format!("{root}/vnf_instances/{}", created["id"].as_str().unwrap());
        self.look("created", &path).await;
        self.refused(
            "terminate too early",
            self.gybe.post(&format!("{path}/terminate"), &json!({ "terminationType": "FORCEFUL" })).await,
        )
        .await;
        self.operate(&path, "instantiate", request, "COMPLETED").await;
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
            self.operate(&path, task, &body, "COMPLETED").await;
        }
        self.refused(
            "scale too far",
            self.gybe
                .post(&format!("{path}/scale"), &json!({ "type": "SCALE_OUT", "aspectId": "amf", "numberOfSteps": 99 }))
                .await,
        )
        .await;
        self.refused(
            "no such aspect",
            self.gybe.post(&format!("{path}/scale"), &json!({ "type": "SCALE_OUT", "aspectId": "x" })).await,
        )
        .await;
        self.refused("delete too early", self.gybe.delete(&path).await).await;
        self.refused(
            "no flavour",
            self.gybe.post(&format!("{path}/change_flavour"), &json!({ "newFlavourId": "x" })).await,
        )
        .await;
        self.operate(&path, "terminate", &json!({ "terminationType": "FORCEFUL" }), "COMPLETED").await;
        self.gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
        self.refused("gone", self.gybe.get(&path).await).await;
        self.refused("nothing there", self.gybe.get(&format!("{root}/nothing")).await).await;
        self.refused("no method", self.gybe.put(&path, &json!({})).await).await;
        self.refused("no JSON", self.gybe.post(&format!("{root}/vnf_instances"), &json!(1)).await).await;
    }

    /// Operations that stop, and what leads on from there.
    async fn stopped(&mut self, vnfd: &str, request: &Value) {
        let path = self.gybe.create(self.types.edition, vnfd).await;
        let op = self.operate(&path, "instantiate", request, "FAILED_TEMP").await;
        self.refused("instantiate again", self.gybe.post(&format!("{path}/instantiate"), request).await).await;
        self.gybe.post(&format!("{op}/retry"), &json!({})).await.expect(StatusCode::ACCEPTED);
        let again = self.gybe.get(&op).await;
        self.keep("retried", self.types.op_occ, &again);
        self.gybe.settled(&op).await;
        let failed = self.gybe.post(&format!("{op}/fail"), &json!({})).await;
        self.keep("failed", self.types.op_occ, &failed);
        self.look("failed", &path).await;
        self.refused("fail again", self.gybe.post(&format!("{op}/fail"), &json!({})).await).await;
    }

    /// An operation that is cancelled while nobody answers.
    async fn cancelled(&mut self, vnfd: &str, request: &Value) {
        let path = self.gybe.create(self.types.edition, vnfd).await;
        let op = self.gybe.begin(&path, "instantiate", request).await;
        self.gybe
            .post(&format!("{op}/cancel"), &json!({ "cancelMode": "GRACEFUL" }))
            .await
            .expect(StatusCode::ACCEPTED);
        let pending = self.gybe.get(&op).await;
        self.keep("cancel pending", self.types.op_occ, &pending);
        let settled = self.gybe.settled(&op).await;
        assert_eq!(settled["operationState"], "ROLLED_BACK");
        self.look("cancelled", &path).await;
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
        self.keep("subscribe with a filter", types.subscription, &filtered);
        let made = self.gybe.post(&path, &json!({ "callbackUri": subscriber.url })).await;
        let made = self.keep("subscribe", types.subscription, &made);
        let shown = self.gybe.get(made["_links"]["self"]["href"].as_str().unwrap()).await;
        self.keep("a subscription", types.subscription, &shown);
        let listed = self.gybe.get(&path).await.expect(StatusCode::OK);
        // Also those that were made through the other edition.
        self.answers.add_list(&format!("{} subscriptions", types.edition), types.subscription, &listed);
        self.refused("no URI", self.gybe.post(&path, &json!({ "callbackUri": "x" })).await).await;
    }

    async fn versions(&mut self) {
        for path in ["/vnflcm/api_versions".to_owned(), format!("{}/api_versions", self.root())] {
            let versions = self.gybe.get(&path).await;
            self.keep(&path, self.types.versions, &versions);
        }
    }

    /// What the subscriber was told.
    fn told(&mut self, subscriber: &Subscriber) {
        let mut kinds = 0;
        for one in subscriber.taken() {
            let kind = one.body["notificationType"].as_str().unwrap_or_default();
            let schema = match kind {
                "VnfLcmOperationOccurrenceNotification" => self.types.occurrence,
                "VnfIdentifierCreationNotification" => self.types.created,
                "VnfIdentifierDeletionNotification" => self.types.deleted,
                _ => continue,
            };
            kinds += 1;
            self.answers.add(&format!("{} {kind} {}", self.types.edition, one.tells()), schema, &one.body);
        }
        assert!(kinds > 20, "{kinds}");
    }
}

/// Whether the schemas are there; says so if not.
fn at_hand() -> bool {
    let there = schemas::folder().is_some();
    if !there {
        eprintln!("skipped: the JSON Schemas of SOL003 are not in ../shared/schemas, beside the repository");
    }
    there
}

async fn lives_as_the_schemas_say(types: &Types) {
    if !at_hand() {
        return;
    }
    let cluster = Cluster::running().await;
    let (namespace, other) = (cluster.namespace().await, cluster.namespace().await);
    let everything = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&other.name, "gybe", everything).await;
    let nobody = cluster.account(&other.name, "nobody", json!([])).await;
    let front = Front::of(&cluster.admin).await;
    let (gybe, subscriber) = (Gybe::start(), Subscriber::start().await);
    let (core, small) = (gybe.onboard("core5g").await, gybe.onboard("small").await);
    let mut run = Run { gybe: &gybe, types, answers: Answers::default() };
    run.versions().await;
    run.subscribe(&subscriber).await;
    let request = run.instantiation(&connection(&cluster.admin), &namespace);
    run.whole_life(&core, &request).await;
    let request = run.instantiation(&connection(&nobody), &other);
    run.stopped(&small, &request).await;
    let request = run.instantiation(&connection(&front.access(&account)), &other);
    front.set(Fault::Answers(StatusCode::SERVICE_UNAVAILABLE, 1));
    run.cancelled(&small, &request).await;
    // The last of what there is to tell.
    subscriber.until(|received| received.iter().filter(|one| one.tells().contains("Deletion")).count() >= 3).await;
    run.told(&subscriber);
    let (number, wrong) = run.answers.check();
    assert!(wrong.is_empty(), "{wrong}");
    assert!(number > 100, "{number}");
}

#[tokio::test]
async fn every_answer_of_a_life_is_as_the_schemas_say_in_2_6_1() {
    lives_as_the_schemas_say(&V1).await;
}

#[tokio::test]
async fn every_answer_of_a_life_is_as_the_schemas_say_in_3_3_1() {
    lives_as_the_schemas_say(&V2).await;
}

#[tokio::test]
async fn packages_are_as_the_schemas_of_2_6_1_say() {
    if !at_hand() {
        return;
    }
    let gybe = Gybe::start();
    let mut answers = Answers::default();
    let root = "/vnfpkgm/v1/vnf_packages";
    let created = gybe.post(root, &json!({ "userDefinedData": { "a": "b" } })).await.expect(StatusCode::CREATED);
    answers.add("created", PACKAGE, &created);
    let early = created["_links"]["packageContent"]["href"].as_str().unwrap();
    answers.add("no content yet", PACKAGE_PROBLEM, &serde_json::from_str(&gybe.get(early).await.text).unwrap());
    for name in ["core5g", "no-metadata", "own-namespace"] {
        answers.add(name, PACKAGE, &gybe.upload(&sample::pack(name)).await);
    }
    answers.add_list("all", PACKAGE, &gybe.get(&format!("{root}?all_fields")).await.expect(StatusCode::OK));
    answers.add_list("by default", PACKAGE, &gybe.get(root).await.expect(StatusCode::OK));
    let (_, wrong) = answers.check();
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn an_answer_that_is_wrong_is_found() {
    if !at_hand() {
        return;
    }
    for types in [V1, V2] {
        let mut answers = Answers::default();
        answers.add("wrong", types.instance, &json!({ "id": 7 }));
        answers.add_list("wrong", types.op_occ, &json!([{ "startTime": "yesterday" }]));
        let (_, wrong) = answers.check();
        assert!(wrong.contains("'vnfdId' is a required property") && wrong.contains("$[0].startTime"), "{wrong}");
    }
}
