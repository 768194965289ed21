//! What a caller should know about how the workloads of a package roll out: warnings for `gybe:warnings`.

use serde_json::{Map, Value};

use crate::domain::resource::Resource;

/// What the readiness of these objects does not tell, or what never happens by itself. No text contains values of the manifests
/// other than names.
pub fn warnings(rows: &[Resource]) -> Vec<String> {
    let named = |text: &str, holds: fn(&Resource) -> bool| {
        let names: Vec<String> = rows.iter().filter(|row| holds(row)).map(|row| row.key.to_string()).collect();
        (!names.is_empty()).then(|| format!("{text}: {}", names.join(", ")))
    };
    let unprobed: Vec<String> = rows.iter().flat_map(unprobed_containers).collect();
    let unprobed = (!unprobed.is_empty()).then(|| {
        format!(
            "without a readiness or startup probe, a container counts as ready once it has run for --settle-time seconds: {}",
            unprobed.join(", ")
        )
    });
    let others = [
        named("paused, so that nothing rolls out until somebody resumes it (spec.paused)", is_paused),
        named("suspended, so that it does not run until somebody resumes it (spec.suspend)", is_suspended),
        named("with the strategy OnDelete, pods keep their former template until somebody deletes them", is_on_delete),
    ];
    unprobed.into_iter().chain(others.into_iter().flatten()).collect()
}

fn spec(row: &Resource) -> Option<&Value> {
    row.manifest.get("spec")
}

fn is_set(row: &Resource, member: &str) -> bool {
    spec(row).and_then(|spec| spec.get(member)) == Some(&Value::Bool(true))
}

fn is_paused(row: &Resource) -> bool {
    row.key.kind == "Deployment" && row.key.group() == "apps" && is_set(row, "paused")
}

fn is_suspended(row: &Resource) -> bool {
    row.key.group() == "batch" && is_set(row, "suspend")
}

fn is_on_delete(row: &Resource) -> bool {
    let strategy = spec(row).and_then(|spec| spec.pointer("/updateStrategy/type")?.as_str());
    row.key.group() == "apps" && strategy == Some("OnDelete")
}

/// The containers, sidecars included, of a workload that runs until it is deleted, if no probe says when they are ready.
fn unprobed_containers(row: &Resource) -> Vec<String> {
    let pod = match (row.key.group(), row.key.kind.as_str()) {
        ("", "Pod") => spec(row),
        ("apps", _) | ("", "ReplicationController") => spec(row).and_then(|spec| spec.pointer("/template/spec")),
        _ => None,
    };
    let containers = |member| pod.and_then(|pod| pod.get(member)?.as_array()).into_iter().flatten();
    let text = |container: &Map<String, Value>, member: &str| container.get(member)?.as_str().map(str::to_owned);
    let sidecars = containers("initContainers").filter(|it| it.get("restartPolicy").is_some_and(|it| it == "Always"));
    containers("containers")
        .chain(sidecars)
        .filter_map(Value::as_object)
        .filter(|it| !it.contains_key("readinessProbe") && !it.contains_key("startupProbe"))
        .filter_map(|it| Some(format!("{} of {}", text(it, "name")?, row.key)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(api_version: &str, kind: &str, spec: Value) -> Resource {
        Resource::planned(api_version, kind, "x", &json!({ "spec": spec }))
    }

    #[test]
    fn names_containers_that_no_probe_declares_ready() {
        let pod = json!({
            "initContainers": [{ "name": "once" }, { "name": "proxy", "restartPolicy": "Always" }],
            "containers": [{ "name": "a" }, { "name": "b", "readinessProbe": {} }, { "name": "c", "startupProbe": {} }],
        });
        let template = json!({ "template": { "spec": pod } });
        let rows = [
            row("apps/v1", "StatefulSet", template.clone()),
            row("v1", "Pod", json!({ "containers": [{ "name": "d" }] })),
            row("batch/v1", "Job", template),
        ];
        let warnings = warnings(&rows);
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.ends_with(": a of StatefulSet x, proxy of StatefulSet x, d of Pod x"), "{warning}");
    }

    #[test]
    fn names_what_does_not_roll_out_by_itself() {
        let rows = [
            row("apps/v1", "Deployment", json!({ "paused": true })),
            row("batch/v1", "CronJob", json!({ "suspend": true })),
            row("apps/v1", "DaemonSet", json!({ "updateStrategy": { "type": "OnDelete" } })),
            row("apps/v1", "StatefulSet", json!({ "updateStrategy": { "type": "RollingUpdate" } })),
        ];
        let warnings = warnings(&rows);
        let names: Vec<&str> = warnings.iter().filter_map(|it| Some(it.rsplit_once(": ")?.1)).collect();
        assert_eq!(names, ["Deployment x", "CronJob x", "DaemonSet x"]);
        assert!(super::warnings(&[row("v1", "ConfigMap", json!({}))]).is_empty());
    }
}
