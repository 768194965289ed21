//! VNF instances in the store.

use std::collections::{BTreeMap, BTreeSet};

use gybe::domain::ids::{ProjectId, VnfInstanceId, VnfPkgId};
use gybe::domain::instance::{VnfInstance, VnfMetadata};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::OpState;
use gybe::domain::package::OperationalState;
use gybe::domain::vim::{Secrets, VimConnection};
use gybe::store::{Checkpoint, InstanceLocation, OperationOutcome, Page, StoreError};
use serde_json::{Value, json};

use crate::support::store::{progress, store_plan, whole};
use crate::support::store_fixture::{
    LONG, StoreFixture, assert_same, at, connection_to, elsewhere, ending, instantiated, key, object, plan,
};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    instances_are_stored_and_loaded
    pages_contain_each_instance_once_in_a_stable_order
    an_instance_needs_an_enabled_package
    an_instance_is_deleted_only_when_nothing_refers_to_it
    the_namespace_is_stored_in_vnf_metadata
    instantiated_instances_are_listed_with_their_location
    an_instance_is_refreshed_unless_it_changed_or_an_operation_is_live
}

async fn instances_are_stored_and_loaded(f: StoreFixture) {
    let project = ProjectId::default();
    let package = f.onboarded().await;
    let bare = VnfInstance { name: None, created_at: at(6), ..f.instance_of(package) };
    let full = VnfInstance {
        description: Some("…".to_owned()),
        metadata: VnfMetadata {
            namespace: Some("edge".to_owned().try_into().unwrap()),
            user: object(json!({"key": {"deep": [1, null]}})),
        },
        extensions: object(json!({"e": 1})),
        configurable_properties: object(json!({"isAutohealEnabled": true})),
        vim_connections: BTreeMap::from([
            ("with".to_owned(), connection_to(None)),
            ("without".to_owned(), VimConnection { secrets: Secrets::new(), ..connection_to(None) }),
        ]),
        instantiated: Some(instantiated()),
        version: 7,
        ..f.instance_of(package)
    };
    f.store.create_instance(&bare).await.unwrap();
    f.store.create_instance(&full).await.unwrap();
    assert_same(&f.store.instance(&project, bare.id).await.unwrap(), &bare);
    assert_same(&f.store.instance(&project, full.id).await.unwrap(), &full);
    assert_eq!(f.store.instance_version(&project, full.id).await.unwrap(), full.version);
    let mut both = f.store.instances(Some(&project), &[bare.id, full.id, VnfInstanceId(f.uuid())]).await.unwrap();
    both.sort_by_key(|instance| instance.created_at);
    assert_eq!(both.len(), 2);
    assert_same(&both[0], &full);
    assert_same(&both[1], &bare);
}

async fn pages_contain_each_instance_once_in_a_stable_order(f: StoreFixture) {
    let project = ProjectId::default();
    let package = f.onboarded().await;
    let mut made = Vec::new();
    // Several instances at each time: the ids decide the order.
    for number in 0..10 {
        let instance = VnfInstance { created_at: at(number / 4), ..f.instance_of(package) };
        f.store.create_instance(&instance).await.unwrap();
        made.push((instance.created_at, instance.id.to_string()));
    }
    made.sort();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = Page { after, limit: 3, ..whole() };
        let page = f.store.list_instances(Some(&project), &page).await.unwrap();
        let Some(last) = page.last() else { break };
        // The last element of a page may be deleted before the next page is read.
        after = Some(last.place);
        f.store.delete_instance(&project, last.id, None).await.unwrap();
        seen.extend(page.iter().map(|listed| listed.id.to_string()));
    }
    assert_eq!(seen, made.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}

async fn an_instance_needs_an_enabled_package(f: StoreFixture) {
    let project = ProjectId::default();
    let fresh = f.package();
    f.store.create_package(&fresh).await.unwrap();
    let disabled = f.onboarded().await;
    f.store.update_package(&project, disabled, Some(OperationalState::Disabled), None).await.unwrap();
    let enabled = f.onboarded().await;
    for instance in [
        f.instance_of(fresh.id),
        f.instance_of(disabled),
        f.instance_of(VnfPkgId(f.uuid())),
        VnfInstance { project_id: elsewhere(), ..f.instance_of(enabled) },
    ] {
        assert_fails!(f.store.create_instance(&instance).await, StoreError::Stale);
    }
    assert!(f.store.list_instances(Some(&project), &whole()).await.unwrap().is_empty());
}

async fn an_instance_is_deleted_only_when_nothing_refers_to_it(f: StoreFixture) {
    let project = ProjectId::default();
    let claimed = f.processing().await;
    let id = claimed.instance.id;
    assert_fails!(f.store.delete_instance(&project, id, None).await, StoreError::Busy(op) if op == claimed.op.id);
    let instance = VnfInstance { instantiated: Some(instantiated()), ..claimed.instance };
    let completed = OperationOutcome { instance: Some(instance), ..ending(OpState::Processing, OpState::Completed) };
    f.store.end_operation(claimed.lease, &completed).await.unwrap();
    assert_fails!(f.store.delete_instance(&project, id, None).await, StoreError::Stale);

    let instance = f.store.instance(&project, id).await.unwrap();
    f.store.begin_operation(&f.op(&instance), &instance).await.unwrap();
    let claimed = f.claim(LONG).await;
    store_plan(&*f.store, &claimed.lease, LONG, &plan(), &[], at(12)).await.unwrap();
    let instance = VnfInstance { instantiated: None, ..claimed.instance };
    let removed = Checkpoint { removed: vec![key("a")], ..progress(OpState::Processing, 1) };
    f.store.checkpoint(&claimed.lease, &removed).await.unwrap();
    let terminated = OperationOutcome { instance: Some(instance), ..ending(OpState::Processing, OpState::Completed) };
    f.store.end_operation(claimed.lease, &terminated).await.unwrap();
    let version = f.store.instance(&project, id).await.unwrap().version;
    assert_fails!(f.store.delete_instance(&project, id, Some(&[version - 1])).await, StoreError::OtherVersion);
    // An object is still in the inventory.
    assert_fails!(f.store.delete_instance(&project, id, None).await, StoreError::InUse);
    f.execute("DELETE FROM vnf_resources").await;
    f.store.delete_instance(&project, id, Some(&[version - 1, version])).await.unwrap();
    assert_fails!(f.store.instance(&project, id).await, StoreError::NotFound);
    assert_fails!(f.store.delete_instance(&project, id, None).await, StoreError::NotFound);
    assert_eq!(
        f.store.op_occs(Some(&project), &whole()).await.unwrap().len(),
        0,
        "op occurrences are deleted with their instance"
    );
}

async fn the_namespace_is_stored_in_vnf_metadata(f: StoreFixture) {
    let namespace = Some("edge".to_owned().try_into().unwrap());
    let metadata = VnfMetadata { namespace, user: object(json!({"key": "value"})) };
    let instance = VnfInstance { metadata, ..f.instance_of(f.onboarded().await) };
    f.store.create_instance(&instance).await.unwrap();
    let kept = f.text("SELECT CAST(vnf_metadata AS text) FROM vnf_instances").await;
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), json!({"namespace": "edge", "key": "value"}));
}

async fn instantiated_instances_are_listed_with_their_location(f: StoreFixture) {
    let claimed = f.processing().await;
    assert_eq!(f.store.instantiated(None).await.unwrap(), []);
    let id = f.instantiate(claimed).await;
    f.instance().await;
    let found = f.store.instantiated(None).await.unwrap();
    let whereabouts = InstanceLocation {
        id,
        project_id: ProjectId::default(),
        home: Some(VimConnection { home: true, ..connection_to(None) }),
        namespace: Namespace::try_from("edge".to_owned()).unwrap(),
        kinds: BTreeSet::from(["Deployment".to_owned()]),
    };
    assert_eq!(found, std::slice::from_ref(&whereabouts));
    assert_eq!(f.store.instantiated(Some(&[id])).await.unwrap(), [whereabouts]);
    assert_eq!(f.store.instantiated(Some(&[VnfInstanceId(f.uuid())])).await.unwrap(), []);
    assert_eq!(f.store.instantiated(Some(&[])).await.unwrap(), []);
}

async fn an_instance_is_refreshed_unless_it_changed_or_an_operation_is_live(f: StoreFixture) {
    let claimed = f.processing().await;
    let id = f.instantiate(claimed).await;
    let mut instance = f.store.instance(&ProjectId::default(), id).await.unwrap();
    instance.instantiated.as_mut().unwrap().vnfcs.clear();
    instance.name = Some("not to be written".to_owned());
    f.store.refresh_instance(&instance).await.unwrap();
    let after = f.store.instance(&ProjectId::default(), id).await.unwrap();
    assert_eq!((&after.instantiated, after.version), (&instance.instantiated, instance.version + 1));
    assert_eq!(after.name.as_deref(), Some("upf"));
    assert_fails!(f.store.refresh_instance(&instance).await, StoreError::Stale);

    let op = f.op(&after);
    f.store.begin_operation(&op, &after).await.unwrap();
    let now = f.store.instance(&ProjectId::default(), id).await.unwrap();
    assert_fails!(f.store.refresh_instance(&now).await, StoreError::Busy(live) if live == op.id);
    let claimed = f.claim(LONG).await;
    f.store.end_operation(claimed.lease, &ending(OpState::Starting, OpState::RolledBack)).await.unwrap();
    f.store.refresh_instance(&now).await.unwrap();
    let none = f.instance().await;
    assert_fails!(f.store.refresh_instance(&none).await, StoreError::Stale);
}
