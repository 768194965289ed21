use serde_json::json;

use super::*;
use crate::domain::instance::{VirtualStorage, VnfState};
use crate::domain::plan::{PodRef, ReplicaChange, apply_all, operate, remove_all};
use crate::domain::resource::KindInfo;
use crate::domain::vdu_mapping::VduMapping;

fn row(kind: &str, name: &str, spec: Value, state: ResourceState) -> Resource {
    let manifest = json!({ "metadata": { "name": name }, "spec": spec });
    Resource {
        key: ObjectKey { api_version: "apps/v1".to_owned(), kind: kind.to_owned(), name: name.to_owned() },
        info: KindInfo { plural: String::new(), namespaced: true },
        vdu_id: (kind != "PersistentVolumeClaim").then(|| name.to_uppercase()),
        manifest: manifest.as_object().unwrap().clone(),
        state,
    }
}

fn present() -> ResourceState {
    ResourceState::Present { uid: "uid".to_owned(), owned: true }
}

fn vnfc(workload_kind: &str, workload_name: &str, pod_name: &str) -> Vnfc {
    Vnfc {
        vdu_id: workload_name.to_uppercase(),
        kept_id: None,
        pod_name: pod_name.to_owned(),
        pod_uid: String::new(),
        workload_kind: workload_kind.to_owned(),
        workload_name: workload_name.to_owned(),
    }
}

fn info() -> InstantiatedVnfInfo {
    InstantiatedVnfInfo {
        flavour_id: String::new(),
        vnf_state: VnfState::Started,
        scale_levels: BTreeMap::new(),
        max_scale_levels: BTreeMap::new(),
        definition_files: Vec::new(),
        vdu_mapping: VduMapping::new(),
        vnfcs: [2, 10, 1, 0].map(|n| vnfc("StatefulSet", "db", &format!("db-{n}"))).to_vec(),
        storages: vec![VirtualStorage { claim_name: "data-db-11".to_owned(), claim_uid: String::new() }],
    }
}

fn request(
    info: Option<&InstantiatedVnfInfo>,
    steps: &[Step],
    rows: &[Resource],
    planned: &[Resource],
) -> ResourceRequest {
    let mut counter = ResourceCounter {
        info,
        request: ResourceRequest::default(),
        numbers: BTreeMap::new(),
        changed: BTreeSet::new(),
    };
    let all = rows.iter().chain(planned).map(|row| (&row.key, row)).collect();
    steps.iter().for_each(|step| counter.step(step, &all, planned));
    counter.request
}

fn database(replicas: u32) -> Resource {
    let claims = json!([{ "metadata": { "name": "data" } }]);
    row("StatefulSet", "db", json!({ "replicas": replicas, "volumeClaimTemplates": claims }), present())
}

#[test]
fn adds_each_instance_that_is_made() {
    let selector =
        json!({ "labelSelector": { "matchLabels": { "app": "amf" } }, "topologyKey": "kubernetes.io/hostname" });
    let far = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [selector] } });
    let template = json!({ "metadata": { "labels": { "app": "amf" } }, "spec": { "affinity": far } });
    let planned = [
        row("Deployment", "amf", json!({ "replicas": 2, "template": template }), ResourceState::Planned),
        row("PersistentVolumeClaim", "logs", json!({}), ResourceState::Planned),
        row("DaemonSet", "upf", json!({}), ResourceState::Planned),
        Resource { state: ResourceState::Planned, ..database(2) },
    ];
    let request = request(None, &apply_all(&planned), &[], &planned);
    let mut asked = request.ids().add;
    asked.sort();
    assert_eq!(
        asked,
        [
            "add-compute-AMF-1",
            "add-compute-AMF-2",
            "add-compute-DB-1",
            "add-compute-DB-2",
            "add-compute-UPF-1",
            "add-storage-data-1",
            "add-storage-data-2",
            "add-storage-logs-1",
        ]
    );
    assert!(request.remove.is_empty());
    let added = ["add-compute-AMF-1", "add-compute-AMF-2"].map(str::to_owned).to_vec();
    assert_eq!(request.apart, [AntiAffinity { scope: PlacementScope::NfviNode, added, existing: Vec::new() }]);
}

#[test]
fn scaling_asks_for_the_difference_and_not_for_existing_claims() {
    let set = |replicas| [Step::SetReplicas { changes: vec![ReplicaChange { object: database(0).key, replicas }] }];
    let info = info();
    let out = request(Some(&info), &set(13), &[database(11)], &[]);
    assert_eq!(out.ids().add, ["add-compute-DB-1", "add-compute-DB-2", "add-storage-data-1"]);
    assert!(out.remove.is_empty());
    let scaled_in = request(Some(&info), &set(9), &[database(11)], &[]);
    assert_eq!(scaled_in.ids().remove, ["remove-compute-db-10", "remove-compute-db-2"]);
    assert!(scaled_in.add.is_empty());
}

#[test]
fn a_change_of_package_asks_for_added_and_removed_resources() {
    let key = |name: &str| ObjectKey { name: name.to_owned(), ..database(0).key };
    let named = |name: &str, replicas| Resource { key: key(name), ..database(replicas) };
    let before = [database(11), named("old", 1)];
    let rows = vec![database(13), named("new", 1)];
    let mut steps = vec![
        Step::Change { rows: rows.clone(), sets_replicas: false },
        Step::Change { rows: vec![database(13)], sets_replicas: false },
    ];
    steps.extend(remove_all(&[key("old")], None));
    let mut info = info();
    info.vnfcs.push(Vnfc { pod_name: "old-0".to_owned(), workload_name: "old".to_owned(), ..info.vnfcs[0].clone() });
    let request = request(Some(&info), &steps, &before, &[]);
    let computes =
        |definitions: &[GrantedResource]| definitions.iter().filter(|it| it.kind == ResourceType::Compute).count();
    assert_eq!(computes(&request.add), 3, "two more of the old set, and the new set: {:?}", request.add);
    assert_eq!(request.ids().remove, ["remove-compute-old-0"]);
}

#[test]
fn healing_asks_for_replaced_pods_only() {
    let pods = vec![PodRef { name: "db-1".to_owned(), uid: String::new() }];
    let mut steps = vec![Step::DeletePods { pods }];
    steps.extend(apply_all(&[database(0)]));
    let request = request(Some(&info()), &steps, &[database(11)], &[]);
    assert_eq!(request.ids().remove, ["remove-compute-db-1"]);
    assert_eq!(request.ids().add, ["add-compute-for-db-1"]);
    assert_eq!(request.add[0].vdu_id.as_deref(), Some("DB"));
}

#[test]
fn stopping_removes_pods_and_starting_adds_them() {
    let (keys, info) = ([database(0).key], info());
    let stop = request(Some(&info), &operate(&keys, &[], VnfState::Stopped, None), &[database(4)], &[]);
    assert_eq!((stop.add.len(), stop.remove.len()), (0, 4));
    let mut stopped = database(4);
    stopped.manifest = with_vnf_state(&stopped.manifest, VnfState::Stopped);
    let start = request(None, &operate(&keys, &[], VnfState::Started, None), &[stopped], &[]);
    assert_eq!((start.ids().add.len(), start.remove.len()), (4, 0));
    let again = request(Some(&info), &operate(&keys, &[], VnfState::Started, None), &[database(4)], &[]);
    assert_eq!(again, ResourceRequest::default());
}

#[test]
fn removing_a_workload_removes_its_pods_and_claims() {
    let mut info = info();
    info.storages.push(VirtualStorage { claim_name: "data-db-x-1".to_owned(), claim_uid: String::new() });
    let request = request(Some(&info), &remove_all(&[database(0).key], None), &[database(4)], &[]);
    assert_eq!(request.remove.len(), 5);
    assert_eq!(request.ids().remove.last().unwrap(), "remove-storage-data-db-11");
}
