//! How stopping and starting change an intent (`gybe::domain::operate`).

use gybe::domain::instance::VnfState::{Started, Stopped};
use gybe::domain::operate::{StopMethod, stop_method};
use gybe::domain::replicas::with_vnf_state;
use gybe::domain::resource::{ObjectKey, Resource};
use serde_json::{Map, Value, json};

use crate::support::op_occ_fixture::resource;

fn manifest(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn starting_restores_a_stopped_workload_exactly() {
    for before in [
        json!({ "metadata": { "name": "a" }, "spec": { "replicas": 3, "template": {} } }),
        json!({ "metadata": { "name": "a", "annotations": { "mine": "1" } }, "spec": { "replicas": 0 } }),
        json!({ "metadata": { "name": "autoscaled" }, "spec": { "template": {} } }),
    ] {
        let before = manifest(before);
        let stopped = with_vnf_state(&before, Stopped);
        assert_eq!(stopped["spec"]["replicas"], 0);
        assert_eq!(with_vnf_state(&stopped, Stopped), stopped, "stopping twice forgets nothing");
        assert_eq!(with_vnf_state(&stopped, Started), before);
        assert_eq!(with_vnf_state(&before, Started), before);
    }
}

#[test]
fn a_stopped_workload_reports_the_replicas_it_will_start_with() {
    let with = |manifest| Resource { manifest, ..resource("a") };
    let started = manifest(json!({ "metadata": { "name": "a" }, "spec": { "replicas": 3 } }));
    let stopped = with(with_vnf_state(&started, Stopped));
    assert_eq!(stopped.replicas(), Some(3));
    let scaled = with(stopped.manifest_with_replicas(5));
    assert_eq!(scaled.replicas(), Some(5));
    assert_eq!(with_vnf_state(&scaled.manifest, Started), scaled.manifest, "no trace of the stop is left");
}

#[test]
fn kinds_with_pods_but_no_replicas_are_removed_and_others_are_kept() {
    let how = |api_version: &str, kind: &str| {
        stop_method(&ObjectKey { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "a".to_owned() })
    };
    for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
        assert_eq!(how("apps/v1", kind), StopMethod::ScaleToZero, "{kind}");
    }
    assert_eq!(how("v1", "ReplicationController"), StopMethod::ScaleToZero);
    for (api_version, kind) in [("apps/v1", "DaemonSet"), ("batch/v1", "CronJob"), ("v1", "Pod")] {
        assert_eq!(how(api_version, kind), StopMethod::Delete, "{kind}");
    }
    for (api_version, kind) in [("batch/v1", "Job"), ("v1", "Service"), ("example.org/v1", "Deployment")] {
        assert_eq!(how(api_version, kind), StopMethod::LeaveAlone, "{kind}");
    }
}
