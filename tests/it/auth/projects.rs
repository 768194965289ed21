//! Projects see nothing of each other: no ids, no lists, no notifications, no answers to repeated requests.

use gybe::domain::caller::Role;
use gybe::domain::policy::{Permission, permission};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::site::{Site, token};
use crate::support::cluster::Cluster;
use crate::support::documents::resources;
use crate::support::gybe::{ApiResponse, Gybe};
use crate::support::sample;
use crate::support::subscriber::Subscriber;

/// What project `a` has.
struct Property {
    vnfd: String,
    package: String,
    vim: String,
    instance: String,
    op_occ: String,
    lcm_subscription: String,
    package_subscription: String,
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap().to_owned()
}

async fn subscribe(gybe: &Gybe, api: &str, subscriber: &Subscriber) -> String {
    let request = json!({ "callbackUri": subscriber.url });
    let made = gybe.post(&format!("/{api}/v2/subscriptions"), &request).await.expect(StatusCode::CREATED);
    made["id"].as_str().unwrap().to_owned()
}

impl Property {
    /// Makes one of each resource. No operation touches the cluster.
    async fn of(gybe: &Gybe, cluster: &Cluster, subscriber: &Subscriber) -> Self {
        let namespace = cluster.namespace().await;
        let access = cluster.account(&namespace.name, "gybe", json!([])).await;
        let vim = gybe.register_vim(&access, "vim", true).await;
        let lcm_subscription = subscribe(gybe, "vnflcm", subscriber).await;
        let package_subscription = subscribe(gybe, "vnfpkgm", subscriber).await;
        let package = gybe.upload(&sample::pack("small")).await;
        let vnfd = package["vnfdId"].as_str().unwrap().to_owned();
        let instance = gybe.create("v2", &vnfd).await;
        let changed = gybe.patch(&instance, &json!({ "vnfInstanceName": "of a" })).await;
        changed.expect(StatusCode::ACCEPTED);
        let op = changed.location.unwrap();
        gybe.wait_ended(&op).await;
        Self {
            vnfd,
            package: package["id"].as_str().unwrap().to_owned(),
            vim,
            instance: last(&instance),
            op_occ: last(&op),
            lcm_subscription,
            package_subscription,
        }
    }

    /// The documented path with the identifiers of this property; `None` if it has no identifier in it.
    fn path(&self, documented: &str) -> Option<String> {
        let id = match documented {
            path if path.contains("/vnf_instances/") => &self.instance,
            path if path.contains("/vnf_lcm_op_occs/") => &self.op_occ,
            path if path.starts_with("/vnflcm") && path.contains("/subscriptions/") => &self.lcm_subscription,
            path if path.starts_with("/vnfpkgm") && path.contains("/subscriptions/") => &self.package_subscription,
            path if path.contains("/vnf_packages/{id}") => &self.package,
            path if path.contains("/vims/") => &self.vim,
            // There are no snapshots.
            path if path.contains("/vnf_snapshots/") => crate::support::documents::UNKNOWN,
            path if path.contains("{vnfdId}") => &self.vnfd,
            path if path.starts_with("/tenancy/v1/projects/") => "a",
            // Namespaces belong to nobody here: auth::namespaces has the cases.
            path if path.starts_with("/tenancy/v1/namespaces/") => crate::support::documents::UNKNOWN,
            path => {
                assert!(!path.contains('{'), "{path} has no case");
                return None;
            }
        };
        let path = documented.replace("{id}", id).replace("{vnfdId}", id);
        Some(path.replace("{path}", "Files/kubernetes/deployment.yaml"))
    }

    fn identifiers(&self) -> [&str; 6] {
        [&self.package, &self.vim, &self.instance, &self.op_occ, &self.lcm_subscription, &self.package_subscription]
    }
}

/// A valid body for a request.
fn body(method: &str, path: &str) -> Value {
    // A preview has the body of its task.
    let task = path.trim_end_matches("/preview");
    match (method, task.rsplit('/').next().unwrap()) {
        ("POST", "instantiate") => json!({ "flavourId": "simple" }),
        ("POST", "scale") => json!({ "type": "SCALE_OUT", "aspectId": "amf" }),
        ("POST", "scale_to_level") => json!({ "instantiationLevelId": "x" }),
        ("POST", "operate") => json!({ "changeStateTo": "STARTED" }),
        ("POST", "terminate") => json!({ "terminationType": "FORCEFUL" }),
        ("POST", "change_vnfpkg" | "change_current_vnfpkg") => json!({ "vnfdId": "x" }),
        ("POST", "cancel") => json!({ "cancelMode": "GRACEFUL" }),
        ("POST", "upload_from_uri") => json!({ "addressInformation": "http://packages.example/a.csar" }),
        ("PUT", _) if path.contains("/vims/") => json!({ "vim": { "name": "mine" } }),
        ("PATCH", _) if path.contains("/vnf_packages/") => json!({ "operationalState": "DISABLED" }),
        ("PATCH", _) => json!({ "vnfInstanceName": "mine" }),
        _ => json!({}),
    }
}

async fn send(gybe: &Gybe, method: &str, path: &str) -> ApiResponse {
    let request = gybe.client.request(method.parse::<Method>().unwrap(), gybe.uri(path));
    if method == "PUT" && path.ends_with("/package_content") {
        return gybe.send(request.header("Content-Type", "application/zip").body(sample::pack("small"))).await;
    }
    gybe.send(if method == "GET" { request } else { request.json(&body(method, path)) }).await
}

#[tokio::test]
async fn another_projects_ids_do_not_exist_and_lists_do_not_show_them() {
    let (cluster, subscriber) = (Cluster::running().await, Subscriber::start().await);
    let mut site = Site::start(&["--package-sources", "*", "--callback-test", "off"]);
    let property = Property::of(site.act_as("a", "member"), &cluster, &subscriber).await;
    for resource in resources() {
        let path = property.path(&resource.path);
        for operation in &resource.operations {
            let method = operation.method.as_str();
            match &path {
                Some(path) => {
                    let answer = send(site.act_as("b", "member"), method, path).await;
                    // Only admins may send it, and they may for all projects.
                    let is_for_admins = permission(method, &resource.path) == Some(Permission::Needs(Role::Admin));
                    let refusal = if is_for_admins { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
                    assert_eq!(answer.status, refusal, "{method} {path}: {}", answer.text);
                }
                // It has what the project sent itself, with the identifiers of others too.
                None if resource.path.starts_with("/audit/") => {
                    let records = site.act_as("b", "member").get(&resource.path).await.text;
                    assert!(records.contains("\"b-member\"") && !records.contains("\"a-member\""), "{records}");
                }
                None if operation.is_list => {
                    let own = site.act_as("a", "reader").get(&resource.path).await.text;
                    let others = site.act_as("b", "member").get(&resource.path).await.text;
                    let shown = |text: &str| property.identifiers().iter().any(|id| text.contains(*id));
                    assert!(!shown(&others), "{}: {others}", resource.path);
                    assert!(shown(&own) || resource.path.contains("snapshots"), "{}: {own}", resource.path);
                }
                None => {}
            }
        }
    }
    let admin = site.act_as("b", "admin");
    assert_eq!(admin.get(&format!("/vnflcm/v2/vnf_instances/{}", property.instance)).await.status, 404);
    let own = site.act_as("a", "reader");
    for path in resources().iter().filter(|one| one.has("GET")).filter_map(|one| property.path(&one.path)) {
        let is_absent = ["snapshot", "/drift", "/manifest", "/tenancy/v1/namespaces/", "/shares"]
            .iter()
            .any(|part| path.contains(part));
        if !is_absent {
            let answer = own.get(&path).await;
            assert!(answer.status.is_success(), "{path} is of this project: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn projects_share_names_keys_and_vnfds_without_noticing() {
    let mut site = Site::start(&[]);
    let mut made = Vec::new();
    for project in ["a", "b"] {
        let gybe = site.act_as(project, "member");
        let vnfd = gybe.onboard("small").await;
        let request = gybe.client.post(gybe.uri("/vnflcm/v1/vnf_instances")).header("Idempotency-Key", "the-same");
        let instance = gybe.send(request.json(&json!({ "vnfdId": vnfd }))).await.expect(StatusCode::CREATED);
        made.push((vnfd, instance["id"].clone()));
    }
    assert_eq!(made[0].0, made[1].0);
    assert_ne!(made[0].1, made[1].1);
}

#[tokio::test]
async fn subscribers_hear_of_their_own_project_only() {
    let (of_a, of_b) = (Subscriber::start().await, Subscriber::start().await);
    let mut site = Site::start(&["--callback-test", "off"]);
    subscribe(site.act_as("a", "member"), "vnflcm", &of_a).await;
    subscribe(site.act_as("b", "member"), "vnflcm", &of_b).await;
    let mut instances = Vec::new();
    for project in ["a", "b"] {
        let gybe = site.act_as(project, "member");
        let vnfd = gybe.onboard("small").await;
        instances.push(last(&gybe.create("v2", &vnfd).await));
    }
    for (subscriber, own) in [(&of_a, &instances[0]), (&of_b, &instances[1])] {
        let received = subscriber.wait_for_accepted(1).await;
        assert_eq!(received.len(), 1);
        assert!(received[0].body.to_string().contains(own.as_str()), "{:?}", received[0]);
    }
}

#[tokio::test]
async fn a_project_that_floods_leaves_requests_to_another() {
    let mut site = Site::start(&["--max-requests", "8"]);
    let address = site.gybe.url.trim_start_matches("http://").to_owned();
    // Requests whose bodies never end.
    let head = format!(
        "POST /vnflcm/v2/vnf_instances HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{",
        token("a", "member")
    );
    let mut slow = Vec::new();
    for _ in 0..7 {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        slow.push(connection);
    }
    let list = "/vnflcm/v2/vnf_instances";
    let refused = loop {
        let answer = site.act_as("a", "reader").get(list).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
    };
    assert_eq!(refused.problem(503), "too many requests are under way for project 'a': repeat the request later");
    site.act_as("b", "reader").get(list).await.expect(StatusCode::OK);
    drop(slow);
    while site.act_as("a", "reader").get(list).await.status != StatusCode::OK {}
}

/// The elements of all pages of a list of all projects.
async fn of_all_projects(gybe: &Gybe, path: &str) -> Vec<Value> {
    let (mut next, mut all) = (Some(format!("{path}?all_projects")), Vec::new());
    while let Some(path) = next {
        let answer = gybe.get(&path).await;
        let page = answer.expect(StatusCode::OK);
        all.extend(page.as_array().or_else(|| page["vims"].as_array()).unwrap().iter().cloned());
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link.trim_start_matches('<').trim_end_matches(">; rel=\"next\"").to_owned());
    }
    all
}

#[tokio::test]
async fn admins_list_what_all_projects_have_with_the_project_of_each() {
    let (cluster, subscriber) = (Cluster::running().await, Subscriber::start().await);
    let mut site = Site::start(&["--callback-test", "off", "--page-size", "1"]);
    for project in ["a", "b"] {
        Property::of(site.act_as(project, "member"), &cluster, &subscriber).await;
    }
    let lists = resources().into_iter().filter(|one| one.operations.iter().any(|operation| operation.is_list));
    let lists = lists.map(|one| one.path).filter(|path| !path.contains("snapshots"));
    for path in lists.chain(["/v1.0/vims".to_owned()]) {
        for role in ["reader", "member", "manager"] {
            let refused = site.act_as("a", role).get(&format!("{path}?all_projects=true")).await;
            let detail = refused.problem(403);
            assert!(detail.contains("all_projects needs the role admin"), "{detail}");
        }
        let admin = site.act_as("b", "admin");
        let projects = |elements: &[Value]| {
            let project = |one: &Value| {
                let own = [&one["gybe:projectId"], &one["tenant_id"], &one["projectId"]];
                own.into_iter().find_map(Value::as_str).unwrap_or("none").to_owned()
            };
            elements.iter().map(project).collect::<Vec<_>>()
        };
        let shown = projects(&of_all_projects(admin, &path).await);
        if path.starts_with("/audit/") {
            assert!(["a", "b"].iter().all(|project| shown.iter().any(|it| it == project)), "{shown:?}");
            continue;
        }
        assert_eq!(shown, ["a", "b"], "{path}");
        let own = admin.get(&format!("{path}?all_projects=false")).await.text;
        assert!(!own.contains("gybe:projectId"), "{path}: {own}");
        admin.get(&format!("{path}?all_projects=x")).await.problem(400);
    }
    let filtered = "/vnflcm/v2/vnf_instances?all_projects&filter=(eq,vnfInstanceName,of+a)&fields=metadata";
    let filtered = site.gybe.get(filtered).await.expect(StatusCode::OK);
    assert_eq!(filtered[0]["gybe:projectId"], "a", "{filtered}");
}
