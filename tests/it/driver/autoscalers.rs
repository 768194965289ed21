//! Workloads whose replicas somebody else sets.

use gybe::domain::instance::VnfState;
use gybe::domain::replicas::with_vnf_state;
use gybe::domain::resource::Resource;
use gybe::infra::{Driver as _, Observer as _};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{GOOD, Vnf, deployment, stateful_set, with_replicas};
use gybe::domain::drift::DriftState;

impl Vnf {
    /// Sets the replicas through the scale subresource, as an autoscaler does.
    async fn scaled(&self, row: &Resource, replicas: u32) {
        let api = self.cluster.api_of(row, &self.scope.namespace);
        let change = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        api.patch_scale(&row.key.name, &PatchParams::default(), &change).await.unwrap();
    }

    async fn replicas(&self, row: &Resource) -> Value {
        self.get(row).await.unwrap().data["spec"]["replicas"].clone()
    }

    async fn autoscaler(&self, target: &Resource) {
        let autoscaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "theirs" },
            "spec": { "minReplicas": 1, "maxReplicas": 9,
                "scaleTargetRef": { "apiVersion": target.key.api_version, "kind": target.key.kind, "name": target.key.name } },
        });
        self.cluster.create("horizontalpodautoscalers", Some(&self.scope.namespace), autoscaler).await;
    }
}

#[tokio::test]
async fn a_workload_that_others_scaled_keeps_its_replicas() {
    for yaml in [deployment(GOOD), stateful_set(GOOD)] {
        let vnf = Vnf::new().await;
        let mut rows = vnf.render(&[], &yaml).await;
        vnf.ensure(&mut rows).await;
        assert_eq!(vnf.replicas(&rows[0]).await, 2, "at creation those of the manifest");
        vnf.scaled(&rows[0], 5).await;
        vnf.ensure(&mut rows).await;
        assert_eq!(vnf.replicas(&rows[0]).await, 5);
        assert_eq!(vnf.driver.drift(&vnf.scope, &rows).await.unwrap()[0].state, DriftState::InSync);
        let three = with_replicas(&rows[0], 3);
        vnf.driver.scale(&vnf.scope, &three).await.unwrap();
        assert_eq!(vnf.replicas(&rows[0]).await, 3, "a scale operation sets them");
    }
}

#[tokio::test]
async fn a_workload_that_an_autoscaler_targets_keeps_its_replicas() {
    let vnf = Vnf::new().await;
    let mut rows = vnf.render(&[], &deployment(GOOD)).await;
    vnf.ensure(&mut rows).await;
    vnf.autoscaler(&rows[0]).await;
    // Only our manager owns the replicas: the autoscaler has not scaled yet.
    let mut changed = vec![with_replicas(&rows[0], 1)];
    vnf.ensure(&mut changed).await;
    assert_eq!(vnf.replicas(&rows[0]).await, 2);
}

#[tokio::test]
async fn a_number_that_no_scaler_set_is_drift() {
    let vnf = Vnf::new().await;
    let mut rows = vnf.render(&[], &deployment(GOOD)).await;
    vnf.ensure(&mut rows).await;
    vnf.patch(&rows[0], json!({ "spec": { "replicas": 4 } })).await;
    assert_eq!(vnf.driver.drift(&vnf.scope, &rows).await.unwrap()[0].state, DriftState::Changed);
    vnf.ensure(&mut rows).await;
    assert_eq!(vnf.replicas(&rows[0]).await, 2);
}

#[tokio::test]
async fn a_scaled_workload_gets_its_replicas_back_after_a_stop() {
    let vnf = Vnf::new().await;
    let mut rows = vnf.render(&[], &deployment(GOOD)).await;
    vnf.ensure(&mut rows).await;
    vnf.scaled(&rows[0], 5).await;
    let in_state = |state| vec![Resource { manifest: with_vnf_state(&rows[0].manifest, state), ..rows[0].clone() }];
    // Each twice: a step may run again.
    for (state, replicas) in
        [(VnfState::Stopped, 0), (VnfState::Started, 5), (VnfState::Stopped, 0), (VnfState::Started, 5)]
    {
        let mut rows = in_state(state);
        for _ in 0..2 {
            vnf.ensure(&mut rows).await;
            assert_eq!(vnf.replicas(&rows[0]).await, replicas, "{state:?}");
            assert_eq!(vnf.driver.drift(&vnf.scope, &rows).await.unwrap()[0].state, DriftState::InSync);
        }
    }
}
