//! Updates that `kubectl replace` makes and server-side apply alone cannot.

use gybe::domain::drift::DriftState;
use gybe::domain::resource::{Resource, ResourceState};
use gybe::infra::{Driver as _, Observer as _};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{GOOD, PATIENT, Vnf, deployment, stateful_set};

impl Vnf {
    /// Makes the object of `before`, changes it to that of `after`, and returns the `spec` that came of it. It must be in sync then,
    /// and a second update must change nothing.
    async fn changed(&self, before: &str, after: &str) -> Value {
        let mut rows = self.render(&[], before).await;
        self.ensure(&mut rows).await;
        let mut changed = self.render(&[], after).await;
        changed[0].state = rows[0].state.clone();
        self.ensure(&mut changed).await;
        self.check_in_sync(&changed).await;
        let object = self.get(&changed[0]).await.unwrap();
        self.ensure(&mut changed).await;
        let again = self.get(&changed[0]).await.unwrap();
        assert_eq!(again.metadata.generation, object.metadata.generation);
        again.data["spec"].clone()
    }

    async fn check_in_sync(&self, rows: &[Resource]) {
        for drift in self.driver.drift(&self.scope, rows).await.unwrap() {
            assert_eq!((drift.state, &drift.detail), (DriftState::InSync, &None), "{:?}", drift.differences);
        }
    }
}

/// The Deployment, with more in its pod's spec.
fn with_pod_spec(yaml: &str, more: &str) -> String {
    yaml.replace("spec: {containers: ", &format!("spec: {{{more}, containers: "))
}

#[tokio::test]
async fn a_deployment_changes_to_the_strategy_recreate_and_back() {
    let vnf = Vnf::new().await;
    let (rolling, recreate) = (deployment(GOOD), deployment(GOOD) + "  strategy: {type: Recreate}\n");
    assert_eq!(vnf.changed(&rolling, &recreate).await["strategy"], json!({ "type": "Recreate" }));
    let vnf = Vnf::new().await;
    assert_eq!(vnf.changed(&recreate, &rolling).await["strategy"]["type"], "RollingUpdate");
}

#[tokio::test]
async fn a_volume_gets_another_source() {
    let volume = |source: &str| with_pod_spec(&deployment(GOOD), &format!("volumes: [{{name: v{source}}}]"));
    let (config, secret) = (", configMap: {name: c}", ", secret: {secretName: c}");
    let projected = ", projected: {sources: [{configMap: {name: c}}, {secret: {name: c}}]}";
    for (before, after, source) in [
        (config, projected, "projected"),
        (config, secret, "secret"),
        ("", ", persistentVolumeClaim: {claimName: c}", "persistentVolumeClaim"),
        (", hostPath: {path: /x}", ", emptyDir: {}", "emptyDir"),
    ] {
        let vnf = Vnf::new().await;
        let spec = vnf.changed(&volume(before), &volume(after)).await;
        let volumes = spec.pointer("/template/spec/volumes").unwrap().as_array().unwrap();
        let mut members: Vec<&str> = volumes[0].as_object().unwrap().keys().map(String::as_str).collect();
        members.retain(|name| *name != "name");
        assert_eq!((volumes.len(), members), (1, vec![source]));
    }
    let vnf = Vnf::new().await;
    let set = |source: &str| with_pod_spec(&stateful_set(GOOD), &format!("volumes: [{{name: v{source}}}]"));
    let spec = vnf.changed(&set(config), &set(projected)).await;
    assert_eq!(spec.pointer("/template/spec/volumes/0/configMap"), None);
}

#[tokio::test]
async fn a_probe_changes_its_handler() {
    let probe = |handler: &str| deployment(GOOD).replace("image:", &format!("readinessProbe: {{{handler}}}, image:"));
    let vnf = Vnf::new().await;
    let spec = vnf.changed(&probe("httpGet: {port: 80}"), &probe("tcpSocket: {port: 80}")).await;
    let handler = spec.pointer("/template/spec/containers/0/readinessProbe").unwrap();
    assert_eq!((handler.get("httpGet"), &handler["tcpSocket"]), (None, &json!({ "port": 80 })));
}

#[tokio::test]
async fn a_replacement_keeps_the_fields_of_others_and_leaves_none_of_its_own() {
    let vnf = Vnf::new().await;
    let mut rows = vnf.render(&[], &deployment(GOOD)).await;
    vnf.ensure(&mut rows).await;
    let api = vnf.cluster.api_of(&rows[0], &vnf.scope.namespace);
    let theirs = json!({ "metadata": { "annotations": { "theirs": "1" } }, "spec": { "minReadySeconds": 3 } });
    let params = PatchParams { field_manager: Some("them".to_owned()), ..PatchParams::default() };
    api.patch("web", &params, &Patch::Merge(theirs)).await.unwrap();
    let recreate = deployment(GOOD) + "  strategy: {type: Recreate}\n  progressDeadlineSeconds: 99\n";
    for (yaml, deadline) in [(recreate, 99), (deployment(GOOD), 600)] {
        let mut changed = vnf.render(&[], &yaml).await;
        changed[0].state = rows[0].state.clone();
        vnf.ensure(&mut changed).await;
        let object = vnf.get(&changed[0]).await.unwrap();
        assert_eq!(
            (&object.data["spec"]["minReadySeconds"], &object.annotations()["theirs"]),
            (&json!(3), &"1".to_owned())
        );
        assert_eq!(object.data["spec"]["progressDeadlineSeconds"], deadline);
        let managers = object.managed_fields().iter().filter_map(|it| it.manager.as_deref());
        assert!(managers.clone().all(|it| !it.ends_with("-replacement")), "{:?}", managers.collect::<Vec<_>>());
        vnf.check_in_sync(&changed).await;
    }
}

#[tokio::test]
async fn list_elements_with_the_same_key_are_accepted_as_on_create() {
    let env = |value: &str| {
        let env = format!(
            "env: [{{name: LOG, value: info}}, {{name: PEER, value: nrf}}, {{name: LOG, value: {value}}}], image:"
        );
        deployment(GOOD).replace("image:", &env)
    };
    let vnf = Vnf::new().await;
    let spec = vnf.changed(&env("debug"), &env("trace")).await;
    let values: Vec<&str> = spec
        .pointer("/template/spec/containers/0/env")
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["value"].as_str().unwrap())
        .collect();
    assert_eq!(values, ["info", "nrf", "trace"]);
    for more in [
        "ports: [{name: sbi, containerPort: 8080}, {name: metrics, containerPort: 8080}], image:",
        "ports: [{name: a, containerPort: 53}, {name: b, containerPort: 53, protocol: UDP}], image:",
    ] {
        let vnf = Vnf::new().await;
        let yaml = deployment(GOOD).replace("image:", more);
        let spec = vnf.changed(&yaml, &yaml).await;
        assert_eq!(spec.pointer("/template/spec/containers/0/ports").unwrap().as_array().unwrap().len(), 2);
    }
    for more in [
        "hostAliases: [{ip: 10.0.0.1, hostnames: [a]}, {ip: 10.0.0.1, hostnames: [b]}]",
        "imagePullSecrets: [{name: reg}, {name: reg}]",
    ] {
        let vnf = Vnf::new().await;
        let yaml = with_pod_spec(&deployment(GOOD), more);
        vnf.changed(&yaml, &yaml).await;
    }
    // Of these, nothing can be removed: neither the defaults nor what the control plane added.
    let twins = "env: [{name: LOG, value: info}, {name: LOG, value: debug}], ports: [{containerPort: 80}, {name: b, containerPort: 80}], image:";
    for yaml in [super::pod(GOOD, ""), super::job(GOOD)] {
        let yaml = yaml.replace("image:", twins);
        let labelled = yaml.replacen("metadata: {", "metadata: {labels: {a: b}, ", 1);
        for (before, after) in [(&yaml, &labelled), (&labelled, &yaml)] {
            let vnf = Vnf::new().await;
            vnf.changed(before, after).await;
            let object = vnf.get(&vnf.render(&[], after).await[0]).await.unwrap();
            assert_eq!(object.labels().contains_key("a"), after == &labelled, "{:?}", object.labels());
        }
    }
    // Once the twins are gone, all is as if they had never been.
    let vnf = Vnf::new().await;
    let spec = vnf.changed(&env("debug"), &deployment(GOOD)).await;
    assert_eq!(spec.pointer("/template/spec/containers/0/env"), None);
}

#[tokio::test]
async fn a_key_that_a_secret_loses_is_deleted() {
    let secret =
        |keys: &str| format!("{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, stringData: {{{keys}}}}}");
    let vnf = Vnf::new().await;
    let mut rows = vnf.render(&[], &secret("kept: a, withdrawn: b")).await;
    vnf.ensure(&mut rows).await;
    let mut changed = vnf.render(&[], &secret("kept: a, fresh: c")).await;
    changed[0].state = rows[0].state.clone();
    vnf.ensure(&mut changed).await;
    let object = vnf.get(&changed[0]).await.unwrap();
    assert_eq!(object.data["data"], json!({ "kept": "YQ==", "fresh": "Yw==" }));
    vnf.check_in_sync(&changed).await;
}

#[tokio::test]
async fn the_rules_of_an_aggregated_role_are_left_to_the_control_plane() {
    let vnf = Vnf::new().await;
    let name = vnf.scope.namespace.as_str();
    let yaml = format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}}}
aggregationRule: {{clusterRoleSelectors: [{{matchLabels: {{aggregate-to: {name}}}}}]}}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}-part, labels: {{aggregate-to: {name}}}}}
rules: [{{apiGroups: [''], resources: [pods], verbs: [get]}}]
"
    );
    let mut rows = vnf.render(&[], &yaml).await;
    vnf.ensure(&mut rows).await;
    let filled = loop {
        let role = vnf.get(&rows[0]).await.unwrap();
        if role.data["rules"].as_array().is_some_and(|rules| !rules.is_empty()) {
            break role;
        }
        tokio::task::yield_now().await;
    };
    vnf.check_in_sync(&rows).await;
    vnf.ensure(&mut rows).await;
    assert_eq!(vnf.get(&rows[0]).await.unwrap().data["rules"], filled.data["rules"]);
    for row in &rows {
        vnf.remove(row).await;
    }
}

#[tokio::test]
async fn a_job_that_deletes_itself_is_not_missing() {
    let vnf = Vnf::new().await;
    let job = super::job(GOOD).replace("backoffLimit: 0", "ttlSecondsAfterFinished: 0");
    let mut rows = vnf.render(&[], &job).await;
    vnf.ensure(&mut rows).await;
    vnf.driver.await_ready(&vnf.scope, &rows, PATIENT).await.unwrap();
    while vnf.get(&rows[0]).await.is_some() {
        tokio::task::yield_now().await;
    }
    vnf.check_in_sync(&rows).await;
    rows[0].state = ResourceState::Planned;
    assert_eq!(vnf.driver.drift(&vnf.scope, &rows).await.unwrap()[0].state, DriftState::Missing, "it was never made");
}

#[tokio::test]
async fn the_managed_by_label_of_the_package_stays() {
    let vnf = Vnf::new().await;
    let labels = "labels: {app.kubernetes.io/managed-by: Helm}";
    let yaml = super::CONFIG_MAP.replace("{name: settings}", &format!("{{name: settings, {labels}}}"));
    let mut rows = vnf.render(&[], &(yaml + "---" + &super::pod(GOOD, ""))).await;
    vnf.ensure(&mut rows).await;
    let label = async |row| vnf.get(row).await.unwrap().labels()["app.kubernetes.io/managed-by"].clone();
    assert_eq!((label(&rows[0]).await.as_str(), label(&rows[1]).await.as_str()), ("Helm", "gybe"));
}
