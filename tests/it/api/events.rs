//! The stream of events: what it shows to whom, and that clients that come back miss nothing.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::auth::site::Site;
use crate::support::events::{EventStream, Message};
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;

fn is_completed(message: &Message) -> bool {
    message.event == "vnf_lcm_op_occ" && message.data["state"] == "COMPLETED"
}

/// What the messages tell, without what differs from run to run.
fn told(messages: &[Message]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    messages.iter().map(|it| format!("{} {} {}", it.event, text(&it.data["change"]), text(&it.data["state"]))).collect()
}

#[tokio::test]
async fn streams_show_the_changes_of_a_project_from_where_a_client_left_them() {
    let mut site = Site::start(&[]);
    site.act_as("a", "reader").get("/events/v1?all_projects=true").await.problem(403);
    site.act_as("a", "reader").get("/events/v1?lastEventId=x").await.problem(400);
    site.act_as("a", "reader").get("/events/v1?other=1").await.problem(400);
    let mut of_a = EventStream::open(site.act_as("a", "reader"), "").await;
    let mut of_b = EventStream::open(site.act_as("b", "reader"), "").await;
    let mut of_all = EventStream::open(site.act_as("c", "admin"), "?all_projects=true").await;

    let gybe = site.act_as("a", "member");
    let vnfd = gybe.onboard("small").await;
    let instance = gybe.create("v2", &vnfd).await;
    let op = gybe.patch(&instance, &json!({ "vnfInstanceName": "core" })).await.location.unwrap();
    let messages = of_a.until(is_completed).await;
    let expected = [
        "vnf_package created CREATED",
        "vnf_package updated UPLOADING",
        "vnf_package updated PROCESSING",
        "vnf_package updated ENABLED",
        "vnf_instance created -",
        "vnf_lcm_op_occ created PROCESSING",
        "vnf_instance updated -",
        "vnf_lcm_op_occ updated COMPLETED",
    ];
    assert_eq!(told(&messages), expected);
    let last = &messages[7];
    assert!(op.ends_with(last.data["id"].as_str().unwrap()) && last.data["time"].is_string(), "{last:?}");
    assert!(instance.ends_with(last.data["vnfInstanceId"].as_str().unwrap()), "{last:?}");
    assert_eq!((&last.data["type"], &last.data["projectId"]), (&json!("vnf_lcm_op_occ"), &json!("a")));
    assert_eq!(of_all.until(is_completed).await, messages);

    // The client is away while the instance is deleted.
    let left = EventStream::open(site.act_as("a", "reader"), &format!("?lastEventId={}", messages[5].id)).await;
    site.act_as("a", "member").delete(&instance).await.expect(StatusCode::NO_CONTENT);
    let mut back = left.reopen(site.act_as("a", "reader")).await;
    let is_deleted = |message: &Message| message.data["change"] == "deleted";
    let missed = back.until(is_deleted).await;
    let expected = [
        "vnf_instance updated -",
        "vnf_lcm_op_occ updated COMPLETED",
        "vnf_instance updated -",
        "vnf_instance deleted -",
    ];
    assert_eq!(told(&missed), expected);

    // Nothing of project a was for project b.
    let gybe = site.act_as("b", "member");
    let vnfd = gybe.onboard("small").await;
    gybe.create("v2", &vnfd).await;
    let messages = of_b.until(|message| message.event == "vnf_instance").await;
    assert_eq!(messages.len(), 5);
    assert!(messages.iter().all(|message| message.data["projectId"] == "b"), "{messages:?}");

    // Of a journal that has not been like that, nobody knows what the client has missed.
    let mut unknown = EventStream::open(site.act_as("a", "reader"), "?lastEventId=1000000").await;
    let reset = unknown.next().await.unwrap();
    assert_eq!((reset.event.as_str(), reset.id), ("reset", messages[4].id));
}

/// Changes instances through both processes. Returns the operations that were accepted.
async fn change(processes: [&Gybe; 2], instances: &[String], round: usize) -> Vec<String> {
    let mut ops = Vec::new();
    for (index, instance) in instances.iter().enumerate() {
        let changed = processes[index % 2].patch(instance, &json!({ "vnfInstanceName": format!("{round}") })).await;
        ops.push(changed.location.unwrap());
    }
    ops
}

#[tokio::test]
async fn no_event_is_lost_or_doubled_when_processes_are_killed() {
    let database = Database::create().await;
    let folder = tempfile::tempdir().unwrap();
    let start = || Gybe::start_beside(folder.path(), &database.url, &["--lease", "5"]);
    let (mut one, mut other) = (start(), start());
    let vnfd = one.onboard("small").await;
    let mut instances = Vec::new();
    for _ in 0..6 {
        instances.push(one.create("v2", &vnfd).await);
    }
    let mut stream = EventStream::open(&one, "").await;
    let (mut seen, mut ops) = (Vec::new(), Vec::new());
    for round in 0..2 {
        let accepted = change([&one, &other], &instances, round).await;
        // The process of the stream is killed while its conductor and the other one work.
        seen.push(stream.next().await.unwrap());
        if round % 2 == 0 {
            one.kill()
        } else {
            other.kill()
        }
        while let Some(message) = stream.next().await {
            seen.push(message);
        }
        let (dead, alive) = if round % 2 == 0 { (&mut one, &other) } else { (&mut other, &one) };
        stream = stream.reopen(alive).await;
        dead.restart();
        for op in &accepted {
            assert_eq!(alive.wait_ended(op).await["operationState"], "COMPLETED");
        }
        ops.extend(accepted);
    }
    let ended = one.patch(&instances[0], &json!({ "vnfInstanceName": "last" })).await.location.unwrap();
    let is_end = |message: &Message| is_completed(message) && ended.ends_with(message.data["id"].as_str().unwrap());
    seen.extend(stream.until(is_end).await);
    ops.push(ended.clone());

    assert!(seen.is_sorted_by(|one, next| one.id < next.id), "in order, and none twice");
    let mut states: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for message in seen.iter().filter(|message| message.event == "vnf_lcm_op_occ") {
        states.entry(message.data["id"].as_str().unwrap()).or_default().push(message.data["state"].as_str().unwrap());
    }
    assert_eq!(states.len(), ops.len());
    for op in &ops {
        let id = op.rsplit('/').next().unwrap();
        assert_eq!(states[id], ["PROCESSING", "COMPLETED"], "{op}");
    }
    assert!(seen.iter().all(|message| message.event != "reset"), "{seen:?}");
}
