//! The real OpenStack client runs CNFs through their life cycle, with every command of its Tacker plug-in that applies
//! to CNFs. `vim`, `vnf package` and `vnflcm op cancel` exist only with `--os-tacker-api-version 1`; both versions use
//! what they register.
//!
//! Each test has runtime threads of its own, because one thread waits for the client.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, TestNamespace};
use crate::support::fault_proxy::{FaultProxy, ProxyFault};
use crate::support::gybe::Gybe;
use crate::support::openstack::{OpenStack, column, text, vim_config};
use crate::support::sample;
use crate::support::subscriber::Subscriber;

const VERSIONS: [&str; 2] = ["1", "2"];

/// A file for `vim register --config-file`, with an account that has `verbs` on everything in the namespace.
async fn vim_file(cluster: &Cluster, namespace: &TestNamespace, name: &str, verbs: &[&str]) -> String {
    let rules = verbs.iter().map(|verb| json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": [verb] })).collect();
    vim_config(&cluster.account(&namespace.name, name, rules).await)
}

/// A user of the client.
struct ClientFixture {
    gybe: Gybe,
    openstack: OpenStack,
}

impl ClientFixture {
    fn of(gybe: Gybe) -> Self {
        let openstack = OpenStack::of(&gybe.url);
        Self { gybe, openstack }
    }

    /// Onboards a sample; returns the ids of the package and of its VNFD.
    async fn onboard(&mut self, sample: &str) -> (String, String) {
        let package = text(&self.openstack.table("1", &["vnf", "package", "create"]), "ID");
        let csar = self.openstack.file("package.zip", sample::pack(sample));
        self.openstack.does("1", &["vnf", "package", "upload", "--path", &csar, &package]);
        let href = format!("/vnfpkgm/v1/vnf_packages/{package}");
        self.gybe.wait_until(&href, |package| package["onboardingState"] == "ONBOARDED").await;
        let shown = self.openstack.table("1", &["vnf", "package", "show", &package]);
        (package, text(&shown, "VNFD ID"))
    }

    /// The file of an instantiation for the version.
    fn instantiation(&self, version: &str, vim: &str, namespace: &TestNamespace) -> String {
        let connection = json!({ "id": "vim1", "vimId": vim, "vimType": "kubernetes" });
        let connections = match version {
            "1" => json!([connection]),
            _ => json!({ "vim1": { "vimId": vim, "vimType": "ETSINFV.KUBERNETES.V_1" } }),
        };
        let request = json!({
            "flavourId": "simple", "vimConnectionInfo": connections,
            "additionalParams": { "namespace": namespace.name.as_str() },
        });
        self.openstack.file(&format!("instantiate-{version}.json"), request.to_string())
    }

    /// Waits until no conductor has to work on the latest op occurrence, and returns it.
    async fn wait_ended(&mut self, version: &str, instance: &str) -> Value {
        let filter = format!("(eq,vnfInstanceId,{instance})");
        let listed = self.openstack.table(version, &["vnflcm", "op", "list", "--filter", &filter]);
        let op = column(&listed, "ID").pop().unwrap();
        self.gybe.wait_ended(&format!("/vnflcm/v{version}/vnf_lcm_op_occs/{op}")).await;
        self.openstack.table(version, &["vnflcm", "op", "show", &op])
    }

    async fn completed(&mut self, version: &str, instance: &str, operation: &str) -> Value {
        let op = self.wait_ended(version, instance).await;
        assert_eq!(
            (op["Operation"].as_str(), op["Operation State"].as_str()),
            (Some(operation), Some("COMPLETED")),
            "{op:#}\n{}",
            self.gybe.log()
        );
        op
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_are_created_uploaded_listed_shown_updated_downloaded_and_deleted() {
    let mut client = ClientFixture::of(Gybe::start_with(&["--page-size", "1"]));
    let os = &mut client.openstack;
    let created = os.table("1", &["vnf", "package", "create", "--user-data", "owner=lab", "--user-data", "a=b"]);
    assert_eq!(created["User Defined Data"], json!({ "owner": "lab", "a": "b" }), "{created:#}");
    assert_eq!(created["Onboarding State"], "CREATED");
    let first = text(&created, "ID");
    let csar = os.file("core5g.zip", sample::pack("core5g"));
    let said = os.does("1", &["vnf", "package", "upload", "--path", &csar, &first]);
    assert_eq!(said, format!("Upload request for VNF package {first} has been accepted.\n"));
    let href = format!("/vnfpkgm/v1/vnf_packages/{first}");
    client.gybe.wait_until(&href, |package| package["onboardingState"] == "ONBOARDED").await;
    let (second, _) = client.onboard("no-metadata").await;

    let os = &mut client.openstack;
    let shown = os.table("1", &["vnf", "package", "show", &first]);
    assert_eq!(shown["VNF Product Name"], "Core5g");
    assert_eq!((&shown["Operational State"], &shown["Usage State"]), (&json!("ENABLED"), &json!("NOT_IN_USE")));
    assert_eq!(shown["Checksum"]["algorithm"], "SHA-512");
    assert!(shown["Additional Artifacts"].as_array().unwrap().len() > 5, "{shown:#}");

    // Each of the two is on its own page.
    assert_eq!(column(&os.table("1", &["vnf", "package", "list"]), "Id"), [first.clone(), second.clone()]);
    for selector in [&["--all_fields"][..], &["--fields", "checksum"], &["--exclude_fields", "userDefinedData"]] {
        let listed = os.table("1", &[&["vnf", "package", "list"], selector].concat());
        for package in listed.as_array().unwrap() {
            assert_eq!(package["Checksum"]["algorithm"], "SHA-512", "{selector:?}: {package:#}");
        }
    }
    let excluded = os.table("1", &["vnf", "package", "list", "--exclude_default"]);
    assert_eq!(column(&excluded, "Id").len(), 2);
    let filtered = os.table("1", &["vnf", "package", "list", "--filter", "(eq,vnfProductName,Core5g)"]);
    assert_eq!(column(&filtered, "Id"), std::slice::from_ref(&first));

    let content = os.path("content.zip");
    os.does("1", &["vnf", "package", "download", "--file", &content, &first]);
    assert_eq!(std::fs::read(&content).unwrap(), sample::pack("core5g"));
    let vnfd = os.path("vnfd.zip");
    os.does("1", &["vnf", "package", "download", "--vnfd", "--type", "application/zip", "--file", &vnfd, &first]);
    assert!(std::fs::read(&vnfd).unwrap().starts_with(b"PK"));
    for kind in ["text/plain", "both"] {
        let vnfd = os.path("vnfd.yaml");
        os.does("1", &["vnf", "package", "download", "--vnfd", "--type", kind, "--file", &vnfd, &second]);
        assert!(std::fs::read_to_string(&vnfd).unwrap().contains("tosca_definitions_version"), "{kind}");
    }
    let refused = os.fails("1", &["vnf", "package", "download", "--vnfd", "--type", "text/plain", &first]);
    assert!(refused.contains("several files"), "{refused}");
    let artifact = os.path("artifact.yaml");
    let path = text(&shown["Additional Artifacts"][0], "artifactPath");
    os.does("1", &["vnf", "package", "artifact", "download", "--file", &artifact, &first, &path]);
    assert!(std::fs::read_to_string(&artifact).unwrap().contains("apiVersion"));

    let refused = os.fails("1", &["vnf", "package", "delete", &first]);
    assert!(refused.contains("DISABLED"), "{refused}");
    let updated =
        os.table("1", &["vnf", "package", "update", "--operational-state", "DISABLED", "--user-data", "a=c", &first]);
    assert_eq!(updated, json!({ "Operational State": "DISABLED", "User Defined Data": { "a": "c" } }));
    os.does("1", &["vnf", "package", "update", "--operational-state", "DISABLED", &second]);
    os.does("1", &["vnf", "package", "delete", &first, &second]);
    assert_eq!(os.table("1", &["vnf", "package", "list"]), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vims_are_registered_listed_shown_set_and_deleted_by_name_and_by_id() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let mut client = ClientFixture::of(Gybe::start());
    let os = &mut client.openstack;
    let (first, second) = (
        os.file("first.yaml", vim_file(&cluster, &namespace, "first", &[]).await),
        os.file("second.yaml", vim_file(&cluster, &namespace, "second", &[]).await),
    );
    let registered = os.table(
        "1",
        &["vim", "register", "--config-file", &first, "--description", "the first", "--is-default", "first"],
    );
    assert_eq!((&registered["status"], &registered["is_default"]), (&json!("ACTIVE"), &json!(true)));
    assert_eq!(registered["auth_cred"]["bearer_token"], "***", "{registered:#}");
    let id = text(&registered, "id");
    let other = text(&os.table("1", &["vim", "register", "--config-file", &second, "second"]), "id");

    assert_eq!(column(&os.table("1", &["vim", "list"]), "Name"), ["first", "second"]);
    assert_eq!(column(&os.table("1", &["vim", "list", "--long"]), "ID"), [id.clone(), other.clone()]);
    for (named, wanted) in [("first", &id), (id.as_str(), &id), ("second", &other), (other.as_str(), &other)] {
        assert_eq!(text(&os.table("1", &["vim", "show", named]), "id"), *wanted);
    }
    let refused = os.fails("1", &["vim", "show", "third"]);
    assert!(refused.contains("Unable to find vim with name 'third'"), "{refused}");

    let set =
        os.table("1", &["vim", "set", "--name", "renamed", "--description", "d", "--is-default", "False", "second"]);
    assert_eq!(
        (text(&set, "id"), text(&set, "name"), text(&set, "description")),
        (other.clone(), "renamed".into(), "d".into())
    );
    let set = os.table("1", &["vim", "set", "--config-file", &first, &other]);
    assert!(set["auth_cred"]["user_name"].as_str().unwrap().ends_with(":first"), "{set:#}");

    os.does("1", &["vim", "delete", &other]);
    assert_eq!(column(&os.table("1", &["vim", "list"]), "ID"), [id]);
    os.does("1", &["vim", "delete", "first"]);
    assert_eq!(os.table("1", &["vim", "list"]), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vnf_goes_through_its_whole_life_cycle_in_both_versions() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let mut client = ClientFixture::of(Gybe::start());
    let file = client.openstack.file("vim.yaml", vim_file(&cluster, &namespace, "gybe", &["*"]).await);
    let vim = text(&client.openstack.table("1", &["vim", "register", "--config-file", &file, "cluster"]), "id");
    let (_, vnfd) = client.onboard("core5g").await;
    for version in VERSIONS {
        check_life_cycle(&mut client, version, &vnfd, &vim, &namespace).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_package_of_a_vnf_is_changed() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let mut client = ClientFixture::of(Gybe::start());
    let file = client.openstack.file("vim.yaml", vim_file(&cluster, &namespace, "gybe", &["*"]).await);
    let vim = text(&client.openstack.table("1", &["vim", "register", "--config-file", &file, "cluster"]), "id");
    let ((_, before), (_, after)) = (client.onboard("core5g").await, client.onboard("core5g-2").await);
    let id = text(&client.openstack.table("2", &["vnflcm", "create", &before]), "ID");
    let request = client.instantiation("2", &vim, &namespace);
    client.openstack.does("2", &["vnflcm", "instantiate", &id, &request]);
    client.completed("2", &id, "INSTANTIATE").await;

    let request = std::fs::read_to_string("samples/requests/change-vnfpkg-core5g-2.json").unwrap();
    assert!(request.contains(&after), "the request is for the sample");
    let request = client.openstack.file("change.json", request);
    let said = client.openstack.does("2", &["vnflcm", "change-vnfpkg", &id, &request]);
    assert!(said.contains("has been accepted"), "{said}");
    client.completed("2", &id, "CHANGE_VNFPKG").await;
    let shown = client.openstack.table("2", &["vnflcm", "show", &id]);
    assert_eq!(shown["VNFD ID"], after.as_str(), "{shown:#}");
    client.openstack.does("2", &["vnflcm", "terminate", "--termination-type", "FORCEFUL", "--D", &id]);
    assert!(cluster.marked(&namespace.name).await.is_empty());
}

async fn check_life_cycle(client: &mut ClientFixture, version: &str, vnfd: &str, vim: &str, namespace: &TestNamespace) {
    let create = ["vnflcm", "create", "--name", "core", "--description", "a core", vnfd];
    let created = client.openstack.table(version, &create);
    assert_eq!(created["Instantiation State"], "NOT_INSTANTIATED");
    assert_eq!(created["VNF Instance Description"], "a core");
    assert_eq!(created.get("VNF Package ID").is_some(), version == "1", "{created:#}");
    let id = text(&created, "ID");

    let request = client.instantiation(version, vim, namespace);
    let said = client.openstack.does(version, &["vnflcm", "instantiate", &id, &request]);
    assert_eq!(said, format!("Instantiate request for VNF Instance {id} has been accepted.\n"));
    let op = client.completed(version, &id, "INSTANTIATE").await;
    assert_eq!(op["Operation Parameters"]["additionalParams"]["namespace"], namespace.name.as_str(), "{op:#}");
    assert!(!op["Resource Changes"]["affectedVnfcs"].as_array().unwrap().is_empty(), "{op:#}");

    let os = &mut client.openstack;
    let listed = os.table(version, &["vnflcm", "list"]);
    let ours = listed.as_array().unwrap().iter().find(|row| row["ID"] == id.as_str()).unwrap();
    assert_eq!((&ours["Instantiation State"], &ours["VNFD ID"]), (&json!("INSTANTIATED"), &json!(vnfd)));
    let shown = os.table(version, &["vnflcm", "show", &id]);
    let connections = &shown["VIM Connection Info"];
    assert_eq!(if version == "1" { &connections[0]["vimId"] } else { &connections["vim1"]["vimId"] }, vim, "{shown:#}");
    assert!(shown["Links"]["scale"]["href"].as_str().unwrap().starts_with("http://"), "{shown:#}");

    let update = os.file("update.json", json!({ "vnfInstanceName": "renamed", "metadata": { "a": "b" } }).to_string());
    os.does(version, &["vnflcm", "update", "--I", &update, &id]);
    let op = client.completed(version, &id, "MODIFY_INFO").await;
    assert_eq!(op["Changed Info"]["vnfInstanceName"], "renamed", "{op:#}");

    let level = async |client: &mut ClientFixture| {
        let info = client.openstack.table(version, &["vnflcm", "show", &id])["Instantiated Vnf Info"].clone();
        let levels = info["scaleStatus"].as_array().unwrap().clone();
        levels.iter().find(|level| level["aspectId"] == "amf").unwrap()["scaleLevel"].as_u64().unwrap()
    };
    let before = level(client).await;
    let scale = ["vnflcm", "scale", "--type", "SCALE_OUT", "--aspect-id", "amf", "--number-of-steps", "1", &id];
    let said = client.openstack.does(version, &scale);
    assert_eq!(said, format!("Scale request for VNF Instance {id} has been accepted.\n"));
    client.completed(version, &id, "SCALE").await;
    assert_eq!(level(client).await, before + 1);
    let extra = client.openstack.file("extra.json", json!({ "additionalParams": { "why": "test" } }).to_string());
    let scale = ["vnflcm", "scale", "--type", "SCALE_IN", "--aspect-id", "amf", "--additional-param-file", &extra, &id];
    client.openstack.does(version, &scale);
    let op = client.completed(version, &id, "SCALE").await;
    assert_eq!(op["Operation Parameters"]["additionalParams"], json!({ "why": "test" }));
    assert_eq!(level(client).await, before);

    let shown = client.openstack.table(version, &["vnflcm", "show", &id]);
    let vnfcs = if version == "1" { "vnfcResourceInfo" } else { "vnfcInfo" };
    let vnfc = text(&shown["Instantiated Vnf Info"][vnfcs][0], "id");
    let heal = ["vnflcm", "heal", "--cause", "test", "--vnfc-instance", &vnfc, "--", &id];
    let said = client.openstack.does(version, &heal);
    assert_eq!(said, format!("Heal request for VNF Instance {id} has been accepted.\n"));
    let op = client.completed(version, &id, "HEAL").await;
    assert_eq!(op["Operation Parameters"]["vnfcInstanceId"], json!([vnfc]));
    client.openstack.does(version, &["vnflcm", "heal", &id]);
    client.completed(version, &id, "HEAL").await;

    let refused = client.openstack.fails(version, &["vnflcm", "delete", &id]);
    assert!(refused.contains("terminate it first"), "{refused}");
    let nothing = client.openstack.file("change.json", json!({ "extVirtualLinks": [] }).to_string());
    let refused = client.openstack.fails(version, &["vnflcm", "change-ext-conn", &id, &nothing]);
    assert!(refused.contains("change_ext_conn is not supported"), "{refused}");

    let terminate =
        ["vnflcm", "terminate", "--termination-type", "GRACEFUL", "--graceful-termination-timeout", "1", &id];
    let said = client.openstack.does(version, &terminate);
    assert_eq!(said, format!("Terminate request for VNF Instance '{id}' has been accepted.\n"));
    client.completed(version, &id, "TERMINATE").await;
    let said = client.openstack.does(version, &["vnflcm", "delete", &id]);
    assert_eq!(said, format!("Vnf instance '{id}' is deleted successfully\n"));

    // Combined commands: create with instantiation, terminate with deletion.
    let created = client.openstack.does(version, &["vnflcm", "create", "--I", &request, vnfd, "-f", "json"]);
    let (said, table) = created.split_once('\n').unwrap();
    let id = text(&serde_json::from_str(table).unwrap(), "ID");
    assert_eq!(said, format!("VNF Instance {id} is created and instantiation request has been accepted."));
    client.completed(version, &id, "INSTANTIATE").await;
    let said = client.openstack.does(version, &["vnflcm", "terminate", "--termination-type", "FORCEFUL", "--D", &id]);
    assert!(said.ends_with(&format!("VNF Instance '{id}' is deleted successfully\n")), "{said}");
    client.gybe.get(&format!("/vnflcm/v{version}/vnf_instances/{id}")).await.problem(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_are_retried_rolled_back_failed_and_cancelled() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let mut client = ClientFixture::of(Gybe::start());
    let nobody = client.openstack.file("nobody.yaml", vim_file(&cluster, &namespace, "nobody", &[]).await);
    let allowed = client.openstack.file("allowed.yaml", vim_file(&cluster, &namespace, "allowed", &["*"]).await);
    let vim = text(&client.openstack.table("1", &["vim", "register", "--config-file", &nobody, "vim"]), "id");
    let (_, vnfd) = client.onboard("small").await;
    for version in VERSIONS {
        // With an account without permissions, operations fail.
        client.openstack.table("1", &["vim", "set", "--config-file", &nobody, "vim"]);
        let request = client.instantiation(version, &vim, &namespace);
        let id = text(&client.openstack.table(version, &["vnflcm", "create", &vnfd]), "ID");
        client.openstack.does(version, &["vnflcm", "instantiate", &id, &request]);
        let op = client.wait_ended(version, &id).await;
        assert_eq!(op["Operation State"], "FAILED_TEMP", "{op:#}");
        assert_eq!(op["Error"]["status"], 403, "{op:#}");
        let op = text(&op, "ID");
        let said = client.openstack.does(version, &["vnflcm", "op", "retry", &op]);
        assert_eq!(said, format!("Retry request for LCM operation {op} has been accepted\n"));
        assert_eq!(client.wait_ended(version, &id).await["Operation State"], "FAILED_TEMP");
        client.openstack.table("1", &["vim", "set", "--config-file", &allowed, "vim"]);
        let said = client.openstack.does(version, &["vnflcm", "op", "rollback", &op]);
        assert_eq!(said, format!("Rollback request for LCM operation {op} has been accepted\n"));
        let rolled_back = client.wait_ended(version, &id).await;
        assert_eq!(rolled_back["Operation State"], "ROLLED_BACK", "{rolled_back:#}");

        client.openstack.table("1", &["vim", "set", "--config-file", &nobody, "vim"]);
        client.openstack.does(version, &["vnflcm", "instantiate", &id, &request]);
        let op = text(&client.wait_ended(version, &id).await, "ID");
        let failed = client.openstack.table(version, &["vnflcm", "op", "fail", &op]);
        assert_eq!((text(&failed, "ID"), text(&failed, "Operation State")), (op.clone(), "FAILED".to_owned()));
        let refused = client.openstack.fails(version, &["vnflcm", "op", "retry", &op]);
        assert!(refused.contains("FAILED"), "{refused}");

        // Lists with selected attributes; the client has its own spelling for exclusions.
        let listed = client.openstack.table(version, &["vnflcm", "op", "list", "--fields", "operationParams"]);
        assert!(column(&listed, "Operation State").contains(&"ROLLED_BACK".to_owned()), "{listed:#}");
        client.openstack.table(version, &["vnflcm", "op", "list", "--exclude-fields", "operationParams"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_is_cancelled() {
    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let rules = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let account = cluster.account(&namespace.name, "gybe", rules).await;
    let proxy = FaultProxy::of(&cluster.admin).await;
    let mut client = ClientFixture::of(Gybe::start());
    let file = client.openstack.file("vim.yaml", vim_config(&proxy.access(&account)));
    let vim = text(&client.openstack.table("1", &["vim", "register", "--config-file", &file, "front"]), "id");
    let (_, vnfd) = client.onboard("small").await;
    let request = client.instantiation("1", &vim, &namespace);
    let id = text(&client.openstack.table("1", &["vnflcm", "create", &vnfd]), "ID");
    proxy.set(ProxyFault::Answers(StatusCode::SERVICE_UNAVAILABLE, 1));
    client.openstack.does("1", &["vnflcm", "instantiate", &id, &request]);
    let op = text(&client.openstack.table("1", &["vnflcm", "op", "list"])[0], "ID");
    let cancelled = client.openstack.run("1", &["vnflcm", "op", "cancel", "--cancel-mode", "FORCEFUL", &op]);
    // The command reports success and then fails to show a table of the 202, which has no body (also with Tacker).
    assert_eq!(cancelled.out, format!("Cancel request for LCM operation {op} has been accepted\n"), "{cancelled:?}");
    let settled = client.wait_ended("1", &id).await;
    assert_eq!(settled["Operation State"], "ROLLED_BACK", "{settled:#}");
    assert_eq!(settled["Error"]["cancelMode"], "FORCEFUL", "{settled:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_created_listed_shown_and_deleted_in_both_versions() {
    let subscriber = Subscriber::start().await;
    let mut client = ClientFixture::of(Gybe::start());
    let os = &mut client.openstack;
    for version in VERSIONS {
        let request = |name: &str| {
            json!({
                "filter": { "operationTypes": ["INSTANTIATE"] }, "callbackUri": format!("{}/{version}/{name}", subscriber.url),
                "authentication": { "authType": ["BASIC"], "paramsBasic": { "userName": "u", "password": "p" } },
            })
        };
        let (a, b) = (os.file("a.json", request("a").to_string()), os.file("b.json", request("b").to_string()));
        let first = os.table(version, &["vnflcm", "subsc", "create", &a]);
        assert_eq!(first["Filter"], json!({ "operationTypes": ["INSTANTIATE"] }), "{first:#}");
        let first = text(&first, "ID");
        // An equal subscription exists; the client follows the redirect with another POST and ends with an error.
        let refused = os.fails(version, &["vnflcm", "subsc", "create", &a]);
        assert!(refused.contains(&format!("/subscriptions/{first}")), "{refused}");
        let second = text(&os.table(version, &["vnflcm", "subsc", "create", &b]), "ID");
        assert_eq!(column(&os.table(version, &["vnflcm", "subsc", "list"]), "ID"), [first.clone(), second.clone()]);
        let filter = format!("(eq,callbackUri,{}/{version}/b)", subscriber.url);
        let listed = os.table(version, &["vnflcm", "subsc", "list", "--filter", &filter]);
        assert_eq!(column(&listed, "ID"), std::slice::from_ref(&second));
        let shown = os.table(version, &["vnflcm", "subsc", "show", &second]);
        assert_eq!(text(&shown, "Callback URI"), format!("{}/{version}/b", subscriber.url));
        os.does(version, &["vnflcm", "subsc", "delete", &first, &second]);
        assert_eq!(os.table(version, &["vnflcm", "subsc", "list"]), json!([]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_versions_are_shown() {
    let mut client = ClientFixture::of(Gybe::start());
    for version in VERSIONS {
        let all = client.openstack.does(version, &["vnflcm", "versions", "-f", "json"]);
        assert!(all.contains("1.3.0") && all.contains("2.0.0"), "{all}");
        for (major, shown, other) in [("1", "1.3.0", "2.0.0"), ("2", "2.0.0", "1.3.0")] {
            let one = client.openstack.does(version, &["vnflcm", "versions", "--major-version", major]);
            assert!(one.contains(shown) && !one.contains(other), "{one}");
        }
    }
}
