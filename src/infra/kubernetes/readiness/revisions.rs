//! Which pods are of an older revision of their workload than the one that its controller is to roll out.

use kube::ResourceExt as _;
use kube::api::DynamicObject;

use super::super::fields::{number, text};
use crate::domain::resource::ObjectKey;

/// Whether the pod is of another revision than its workload is to have, of a kind whose controller may keep such a pod for ever: a
/// StatefulSet waits in order until each pod is ready, and with the strategy `OnDelete` only others delete pods.
pub(super) fn is_superseded(key: &ObjectKey, workload: &DynamicObject, pod: &DynamicObject) -> bool {
    let is_observed = number(workload, "/status/observedGeneration") >= workload.metadata.generation.unwrap_or(0);
    if key.group() != "apps" || !is_observed {
        return false;
    }
    match key.kind.as_str() {
        "StatefulSet" => {
            let (revision, of_pod) = (text(workload, "/status/updateRevision"), pod.labels().get(REVISION));
            !revision.is_empty() && of_pod.is_some_and(|of_pod| of_pod != revision) && !is_held_back(workload, pod)
        }
        "DaemonSet" if text(workload, "/spec/updateStrategy/type") == "OnDelete" => {
            let generation = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
            let (of_set, of_pod) =
                (generation(workload.annotations().get(TEMPLATE)), generation(pod.labels().get(TEMPLATE_OF_POD)));
            of_set.zip(of_pod).is_some_and(|(of_set, of_pod)| of_pod < of_set)
        }
        _ => false,
    }
}

/// The label of the pods of StatefulSets.
const REVISION: &str = "controller-revision-hash";
/// The annotation of DaemonSets and the label of their pods that count the changes of the template.
const TEMPLATE: &str = "deprecated.daemonset.template.generation";
const TEMPLATE_OF_POD: &str = "pod-template-generation";

/// Whether the partition of the StatefulSet leaves the pod at the older revision: it would be made again as it is.
fn is_held_back(workload: &DynamicObject, pod: &DynamicObject) -> bool {
    let partition = number(workload, "/spec/updateStrategy/rollingUpdate/partition");
    let ordinal = pod.name_any().rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse::<i64>().ok());
    let start = number(workload, "/spec/ordinals/start");
    ordinal.is_some_and(|ordinal| ordinal < start + partition)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn key(kind: &str) -> ObjectKey {
        ObjectKey { api_version: "apps/v1".to_owned(), kind: kind.to_owned(), name: "db".to_owned() }
    }

    #[test]
    fn a_pod_of_another_revision_of_a_stateful_set_is_superseded() {
        let set = |partition: i64, observed: i64| {
            object(json!({
                "metadata": { "name": "db", "generation": 3 },
                "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": partition } } },
                "status": { "observedGeneration": observed, "updateRevision": "db-3" },
            }))
        };
        let pod = |revision: &str| object(json!({ "metadata": { "name": "db-1", "labels": { REVISION: revision } } }));
        assert!(is_superseded(&key("StatefulSet"), &set(0, 3), &pod("db-2")));
        assert!(!is_superseded(&key("StatefulSet"), &set(0, 3), &pod("db-3")));
        assert!(!is_superseded(&key("StatefulSet"), &set(0, 2), &pod("db-2")), "the revision is not of this spec yet");
        assert!(is_superseded(&key("StatefulSet"), &set(1, 3), &pod("db-2")));
        assert!(!is_superseded(&key("StatefulSet"), &set(2, 3), &pod("db-2")), "the partition keeps it");
        assert!(!is_superseded(&key("Deployment"), &set(0, 3), &pod("db-2")));
    }

    #[test]
    fn a_pod_of_an_older_template_of_a_daemon_set_is_superseded_if_only_others_delete_it() {
        let set = |strategy: &str| {
            object(json!({
                "metadata": { "name": "db", "generation": 4, "annotations": { TEMPLATE: "3" } },
                "spec": { "updateStrategy": { "type": strategy } },
                "status": { "observedGeneration": 4 },
            }))
        };
        let pod = |of: &str| object(json!({ "metadata": { "name": "db-x", "labels": { TEMPLATE_OF_POD: of } } }));
        assert!(is_superseded(&key("DaemonSet"), &set("OnDelete"), &pod("2")));
        assert!(!is_superseded(&key("DaemonSet"), &set("OnDelete"), &pod("3")));
        assert!(!is_superseded(&key("DaemonSet"), &set("RollingUpdate"), &pod("2")));
    }
}
