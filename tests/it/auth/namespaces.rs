//! Namespaces that administrators make for projects, in a real control plane.

use futures::future::join;
use gybe::domain::namespace::Namespace;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::site::Site;
use crate::support::cluster::Cluster;
use crate::support::gybe::{ApiResponse, Gybe, instantiate_request};

const NAMESPACES: &str = "/tenancy/v1/namespaces";
const ANNOTATION: &str = "openstack.org/kuryr-project";

type KubeNamespace = k8s_openapi::api::core::v1::Namespace;

/// A Gybe with namespaces that belong to projects, and the VIM of project `b`'s administrator.
struct Fixture {
    site: Site,
    cluster: Cluster,
    vim: String,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("gybe.toml");
        std::fs::write(&file, "[tenancy]\nverify_project = 'off'\n").unwrap();
        let mut site = Site::start(&["--config", file.to_str().unwrap()]);
        let cluster = Cluster::running().await;
        let vim = site.act_as("b", "admin").register_vim(&cluster.admin, "cluster", true).await;
        Self { site, cluster, vim, _folder: folder }
    }

    fn admin(&mut self) -> &Gybe {
        self.site.act_as("b", "admin")
    }

    /// A request for a namespace of project `a`.
    fn wanted(&self, name: &Namespace, more: &Value) -> Value {
        let mut wanted = json!({ "vimId": self.vim, "name": name, "projectId": "a" });
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wanted
    }

    async fn make(&mut self, wanted: &Value) -> ApiResponse {
        self.admin().post(NAMESPACES, wanted).await
    }

    async fn namespace(&self, name: &Namespace) -> Option<KubeNamespace> {
        Api::all(self.cluster.client.clone()).get_opt(name.as_str()).await.unwrap()
    }

    /// The project that the Namespace names.
    async fn annotation(&self, name: &Namespace) -> Option<String> {
        self.namespace(name).await.unwrap().metadata.annotations?.get(ANNOTATION).cloned()
    }

    async fn patch(&self, name: &Namespace, metadata: &Value) {
        let namespaces = Api::<KubeNamespace>::all(self.cluster.client.clone());
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        namespaces.patch(name.as_str(), &PatchParams::default(), &patch).await.unwrap();
    }

    /// The objects that Gybe made in the namespace: limit of pods, types of the policy, the ClusterRole.
    async fn objects(&self, name: &Namespace) -> (Option<String>, Option<usize>, Option<String>) {
        let client = &self.cluster.client;
        let quota: Option<ResourceQuota> =
            Api::namespaced(client.clone(), name.as_str()).get_opt("gybe-project").await.unwrap();
        let policy: Option<NetworkPolicy> =
            Api::namespaced(client.clone(), name.as_str()).get_opt("gybe-project").await.unwrap();
        let binding: Option<RoleBinding> =
            Api::namespaced(client.clone(), name.as_str()).get_opt("gybe-project").await.unwrap();
        let pods = quota.and_then(|quota| quota.spec?.hard?.get("pods").map(|pods| pods.0.clone()));
        let types = policy.and_then(|policy| policy.spec?.policy_types.map(|types| types.len()));
        (pods, types, binding.map(|binding| binding.role_ref.name))
    }
}

#[tokio::test]
async fn a_namespace_is_made_for_its_project_used_by_it_and_deleted() {
    let mut f = Fixture::start().await;
    let home = f.cluster.namespace().await;
    let made = home.sibling("made");
    let name = &made.name;
    let all = json!({
        "labels": { "team": "a" }, "resourceQuota": { "pods": "9" }, "isolate": true,
        "serviceAccount": { "name": "a", "namespace": home.name },
    });
    let wanted = f.wanted(name, &all);
    f.site.act_as("a", "manager").post(NAMESPACES, &wanted).await.problem(403);
    // It fails half-way, and the same request with a quantity that Kubernetes takes finishes it.
    let broken = f.wanted(name, &json!({ "resourceQuota": { "pods": "many" } }));
    f.make(&broken).await.problem(422);
    let pending = f.admin().get(NAMESPACES).await.expect(StatusCode::OK);
    assert_eq!((&pending[0]["state"], &pending[0]["projectId"]), (&json!("PENDING"), &json!("a")), "{pending:#}");
    let answer = f.make(&wanted).await;
    let shown = answer.expect(StatusCode::CREATED);
    assert_eq!((&shown["state"], &shown["isAdopted"]), (&json!("READY"), &json!(false)), "{shown:#}");
    assert_eq!(shown["id"], pending[0]["id"]);
    let path = format!("{NAMESPACES}/{}", shown["id"].as_str().unwrap());
    assert!(answer.location.unwrap().ends_with(&path));
    let found = f.namespace(name).await.unwrap().metadata;
    assert_eq!(found.annotations.unwrap()[ANNOTATION], "a");
    assert_eq!(found.labels.unwrap()["team"], "a");
    assert_eq!(f.objects(name).await, (Some("9".to_owned()), Some(2), Some("admin".to_owned())));
    // The same request with less takes away what it does not name.
    let less = f.wanted(name, &json!({}));
    assert_eq!(f.make(&less).await.expect(StatusCode::CREATED)["id"], shown["id"]);
    assert_eq!(f.objects(name).await, (None, None, None));
    others_neither_get_nor_see_it(&mut f, name, &path).await;

    let member = f.site.act_as("a", "member");
    member.register_vim(&f.cluster.admin, "mine", true).await;
    let instance = member.instantiate("v2", &member.onboard("small").await, name.as_str()).await;
    let usage = member.get("/tenancy/v1/projects/a/usage").await.expect(StatusCode::OK);
    assert_eq!(usage["namespaces"][0]["name"], name.as_str(), "{usage:#}");
    assert_eq!((&usage["namespaces"][0]["vnfInstances"], &usage["vnfcs"]), (&json!(1), &json!(1)), "{usage:#}");
    f.admin().delete(&path).await.problem(409);
    f.admin().post(&format!("{path}/resync"), &json!({})).await.problem(409);
    let member = f.site.act_as("a", "member");
    member.complete(&instance, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;

    // Somebody's finalizer holds it: no VNF comes any more, and the same request looks again.
    f.patch(name, &json!({ "finalizers": ["gybe.test/hold"] })).await;
    let going = f.admin().delete(&path).await.expect(StatusCode::ACCEPTED);
    assert_eq!(going["state"], "DELETING", "{going:#}");
    f.make(&less).await.problem(409);
    let member = f.site.act_as("a", "member");
    let refused = member.post(&format!("{instance}/instantiate"), &instantiate_request(name.as_str())).await;
    assert!(refused.problem(409).contains("is to be deleted"), "{}", refused.text);
    f.patch(name, &json!({ "finalizers": null })).await;
    while f.admin().delete(&path).await.status == StatusCode::ACCEPTED {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    f.admin().get(&path).await.problem(404);
    assert!(f.namespace(name).await.is_none());
}

async fn others_neither_get_nor_see_it(f: &mut Fixture, name: &Namespace, path: &str) {
    let mut stolen = f.wanted(name, &json!({}));
    stolen["projectId"] = json!("b");
    f.make(&stolen).await.problem(409);
    let of_a = f.site.act_as("a", "reader").get(NAMESPACES).await.expect(StatusCode::OK);
    assert_eq!(of_a[0]["name"], name.as_str(), "{of_a:#}");
    let reader = f.site.act_as("b", "reader");
    assert_eq!(reader.get(NAMESPACES).await.expect(StatusCode::OK), json!([]));
    reader.get(path).await.problem(404);
    reader.get(&format!("{NAMESPACES}?projectId=a")).await.problem(404);
    for (project, length) in [("a", 1), ("b", 0)] {
        let list = f.admin().get(&format!("{NAMESPACES}?projectId={project}")).await.expect(StatusCode::OK);
        assert_eq!(list.as_array().unwrap().len(), length, "{list:#}");
    }
    for (query, body) in [("?project=a", None), ("?nextpage_opaque_marker=x", None), ("", Some(json!({ "name": 1 })))] {
        match body {
            None => f.admin().get(&format!("{NAMESPACES}{query}")).await.problem(400),
            Some(body) => f.make(&body).await.problem(400),
        };
    }
    let system = f.wanted(&Namespace::try_from("kube-system".to_owned()).unwrap(), &json!({}));
    f.make(&system).await.problem(422);
}

#[tokio::test]
async fn an_adopted_namespace_stays_and_a_resync_follows_its_annotation() {
    let mut f = Fixture::start().await;
    let adopted = f.cluster.namespace().await;
    let name = &adopted.name;
    let wanted = f.wanted(name, &json!({ "isolate": true }));
    // It names another project: nothing is touched, whatever the value is.
    for value in ["b", "=HYPERLINK(\"http://x\")", &"x".repeat(100_000)] {
        f.patch(name, &json!({ "annotations": { ANNOTATION: value } })).await;
        let detail = f.make(&wanted).await.problem(409);
        assert!(detail.contains("names another project") && detail.len() < 1000, "{detail}");
        assert_eq!(f.annotation(name).await.as_deref(), Some(value));
    }
    f.patch(name, &json!({ "annotations": { ANNOTATION: "" } })).await;
    // Two projects want it at once: one gets it.
    let mut of_b = wanted.clone();
    of_b["projectId"] = json!("b");
    let admin = f.admin();
    let (one, other) = join(admin.post(NAMESPACES, &wanted), admin.post(NAMESPACES, &of_b)).await;
    let statuses = [one.status, other.status];
    assert!(statuses.contains(&StatusCode::CREATED) && statuses.contains(&StatusCode::CONFLICT), "{statuses:?}");
    let (shown, project) = if one.status == StatusCode::CREATED { (one, "a") } else { (other, "b") };
    let shown = shown.expect(StatusCode::CREATED);
    assert_eq!(shown["isAdopted"], true, "{shown:#}");
    assert_eq!(f.annotation(name).await.as_deref(), Some(project));
    assert_eq!(f.objects(name).await.1, Some(2));

    let path = format!("{NAMESPACES}/{}", shown["id"].as_str().unwrap());
    f.patch(name, &json!({ "annotations": { ANNOTATION: "c" } })).await;
    let moved = f.admin().post(&format!("{path}/resync"), &json!({})).await.expect(StatusCode::OK);
    assert_eq!(moved["projectId"], "c", "{moved:#}");
    f.site.act_as(project, "reader").get(&path).await.problem(404);

    f.admin().delete(&path).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(f.annotation(name).await, None);
    assert_eq!(f.objects(name).await, (None, None, None));
}
