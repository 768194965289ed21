//! The dashboard for Grafana and the alert rules for Prometheus, in `samples`: every metric that they name is one that a running Gybe exports.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gybe::package::yaml::{Budget, manifests};
use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::gybe::Gybe;

const DASHBOARD: &str = include_str!("../../../samples/grafana/gybe.json");
const RULES: &str = include_str!("../../../samples/prometheus/gybe-alerts.yaml");

/// All texts of members named `expr`.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("expr").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| expressions(member, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| expressions(element, found)),
        _ => {}
    }
}

/// The metrics that these expressions name.
fn named(expressions: &[String]) -> BTreeSet<String> {
    let words = expressions.iter().flat_map(|it| it.split(|it: char| !it.is_ascii_alphanumeric() && it != '_'));
    words.filter(|word| word.starts_with("gybe_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// The series that a process exports, by name.
async fn exported(gybe: &Gybe) -> BTreeSet<String> {
    let text = gybe.get("/metrics").await.text;
    let series = text.lines().filter(|line| !line.starts_with('#'));
    series.filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned)).collect()
}

#[tokio::test]
async fn dashboard_and_alert_rules_name_metrics_that_a_running_gybe_exports() {
    let mut expected = Vec::new();
    expressions(&serde_json::from_str(DASHBOARD).unwrap(), &mut expected);
    let panels = expected.len();
    let rules = manifests("gybe-alerts.yaml", RULES, &mut Budget::default()).unwrap();
    rules.into_iter().for_each(|rules| expressions(&Value::from(rules), &mut expected));
    assert!(panels >= 20 && expected.len() >= panels + 10, "{expected:#?}");
    let expected = named(&expected);

    let cluster = Cluster::running().await;
    let namespace = cluster.namespace().await;
    let mut gybe = Gybe::start();
    let access = cluster.account_for(&namespace.name, "gybe", &namespace.name).await;
    gybe.register_vim(&access, "cluster", true).await;
    let vnfd = gybe.onboard("small").await;
    let path = gybe.instantiate("v2", &vnfd, namespace.name.as_str()).await;
    let before = exported(&gybe).await;
    let text = gybe.get("/metrics").await.text;
    for line in [
        "gybe_vnf_instances{state=\"INSTANTIATED\"} 1",
        "gybe_vnf_instances{state=\"NOT_INSTANTIATED\"} 0",
        "gybe_vims{status=\"ACTIVE\"} 1",
        "gybe_vims{status=\"UNREACHABLE\"} 0",
        concat!("gybe_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "gybe_store_errors_total{kind=\"unreadable\"} 0",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    // When credentials expire is looked up at the start, and every minute.
    gybe.kill();
    gybe.restart();
    let credential = "gybe_vim_credential_expires_timestamp_seconds";
    let begun = Instant::now();
    while !exported(&gybe).await.contains(credential) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", gybe.log());
        tokio::task::yield_now().await;
    }
    let exported = before.union(&exported(&gybe).await).cloned().collect();
    assert_eq!(expected.difference(&exported).collect::<Vec<_>>(), Vec::<&String>::new(), "{exported:#?}");
    gybe.complete(&path, "terminate", &serde_json::json!({ "terminationType": "FORCEFUL" })).await;
}
