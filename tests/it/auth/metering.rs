//! Usage and metering of a project over two namespaces, in a real control plane.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use super::site::Site;
use crate::support::cluster::Cluster;
use crate::support::gybe::{ApiResponse, Gybe};

const METERING: &str = "/tenancy/v1/projects/a/metering";

async fn csv(gybe: &Gybe, query: &str) -> ApiResponse {
    let request = gybe.client.get(gybe.uri(&format!("{METERING}?{query}")));
    gybe.send(request.header(ACCEPT, "text/csv")).await
}

/// The sums of quantity and time by resource.
fn sums<'a>(rows: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<&'a str, u64> {
    rows.fold(BTreeMap::new(), |mut sums, (resource, product)| {
        *sums.entry(resource).or_default() += product;
        sums
    })
}

fn sums_of_json(intervals: &Value) -> BTreeMap<&str, u64> {
    sums(
        intervals
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["resourceType"].as_str().unwrap(), one["quantityMilliseconds"].as_u64().unwrap())),
    )
}

fn sums_of_csv(text: &str) -> BTreeMap<&str, u64> {
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|other| *other == name).unwrap();
    let (resource, product) = (column("resourceType"), column("quantityMilliseconds"));
    sums(lines.map(|line| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[resource], fields[product].parse().unwrap())
    }))
}

#[tokio::test]
async fn what_a_project_has_and_had_adds_up_over_its_namespaces() {
    let cluster = Cluster::running().await;
    let (one, other) = (cluster.namespace().await, cluster.namespace().await);
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("gybe.toml");
    std::fs::write(&file, "[tenancy]\nverify_project = 'off'\n").unwrap();
    let mut site = Site::start(&["--config", file.to_str().unwrap()]);
    let vim = site.act_as("b", "admin").register_vim(&cluster.admin, "cluster", true).await;
    for namespace in [&one, &other] {
        let wanted = json!({ "vimId": vim, "name": namespace.name, "projectId": "a" });
        site.act_as("b", "admin").post("/tenancy/v1/namespaces", &wanted).await.expect(StatusCode::CREATED);
    }
    let gybe = site.act_as("a", "member");
    gybe.register_vim(&cluster.admin, "mine", true).await;
    gybe.instantiate("v2", &gybe.onboard("small").await, one.name.as_str()).await;
    let scaled = gybe.instantiate("v2", &gybe.onboard("core5g").await, other.name.as_str()).await;
    let scale = |kind: &str| json!({ "type": kind, "aspectId": "amf", "numberOfSteps": 2 });
    gybe.complete(&scaled, "scale", &scale("SCALE_OUT")).await;

    let usage = gybe.get("/tenancy/v1/projects/a/usage").await.expect(StatusCode::OK);
    let namespaces = usage["namespaces"].as_array().unwrap();
    let vnfcs: Vec<u64> = namespaces.iter().map(|namespace| namespace["vnfcs"].as_u64().unwrap()).collect();
    assert!(namespaces.len() == 2 && vnfcs.iter().all(|number| *number > 0), "{usage:#}");
    assert_eq!(usage["vnfcs"], vnfcs.iter().sum::<u64>(), "{usage:#}");
    assert_eq!((&usage["vnfInstances"], &usage["operations"]), (&json!(2), &json!(0)), "{usage:#}");
    // The VNFC of `small` requests 10m and 16Mi.
    assert!(usage["requests"]["cpuMilli"].as_u64().unwrap() >= 20, "{usage:#}");

    gybe.complete(&scaled, "scale", &scale("SCALE_IN")).await;
    gybe.complete(&scaled, "terminate", &json!({ "terminationType": "FORCEFUL" })).await;
    let range = "to=9999-12-31T23:59:59Z&from=0000-01-01T00:00:00Z";
    let intervals = gybe.get(&format!("{METERING}?{range}")).await.expect(StatusCode::OK);
    follow_each_other(&intervals, scaled.rsplit('/').next().unwrap());
    // What is open lasts until now, so that only a range that has ended has the same sums twice.
    let now = intervals.as_array().unwrap().iter().map(|one| one["to"].as_str().unwrap()).max().unwrap();
    let closed = format!("from=2000-01-01T01:00:00%2B01:00&to={now}");
    let intervals = gybe.get(&format!("{METERING}?{closed}")).await.expect(StatusCode::OK);
    let table = csv(gybe, &closed).await;
    assert_eq!(table.status, StatusCode::OK, "{}", table.text);
    assert_eq!(table.content_type.as_deref(), Some("text/csv; charset=utf-8"));
    assert_eq!(sums_of_csv(&table.text), sums_of_json(&intervals), "{}", table.text);
    assert_eq!(sums_of_json(&intervals).len(), 4, "{intervals:#}");

    for (query, expected) in [
        ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "is after to"),
        ("from=yesterday", "RFC 3339"),
        ("from=2026-01-01T00:00:00+01:00", "RFC 3339"),
        ("until=2026-01-01T00:00:00Z", "supported"),
        ("nextpage_opaque_marker=x", "marker"),
    ] {
        let detail = gybe.get(&format!("{METERING}?{query}")).await.problem(400);
        assert!(detail.contains(expected), "{detail}");
    }
    let request = gybe.client.get(gybe.uri(METERING)).header(ACCEPT, "text/html");
    gybe.send(request).await.problem(406);
    let empty = gybe.get(&format!("{METERING}?from=2020-01-01T00:00:00Z&to=2020-01-01T00:00:00Z")).await;
    assert_eq!(empty.expect(StatusCode::OK), json!([]));
    site.act_as("b", "manager").get(METERING).await.problem(404);
    site.act_as("b", "admin").get(METERING).await.expect(StatusCode::OK);
}

/// The VNFCs of the scaled VNF instance: each interval begins where the one before ended, from its instantiation to its end.
fn follow_each_other(intervals: &Value, instance: &str) {
    let of = |resource: &str| -> Vec<&Value> {
        let is_of = |one: &&Value| one["vnfInstanceId"] == instance && one["resourceType"] == resource;
        intervals.as_array().unwrap().iter().filter(is_of).collect()
    };
    let (vnf, vnfcs) = (of("vnf"), of("vnfc"));
    assert_eq!((vnf.len(), vnfcs.len()), (1, 3), "{intervals:#}");
    let quantity = |index: usize| vnfcs[index]["quantity"].as_u64().unwrap();
    assert_eq!([quantity(1), quantity(2)], [quantity(0) + 2, quantity(0)], "{intervals:#}");
    let ends = [&vnf[0]["from"], &vnfcs[0]["to"], &vnfcs[1]["to"], &vnf[0]["to"]];
    let begins = [&vnfcs[0]["from"], &vnfcs[1]["from"], &vnfcs[2]["from"], &vnfcs[2]["to"]];
    assert_eq!(ends, begins, "{intervals:#}");
    assert_eq!(vnf[0]["isOpen"], false, "{intervals:#}");
}
