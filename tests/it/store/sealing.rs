//! The keys that seal secrets, and what is sealed besides credentials: manifests of Secrets.

use gybe::domain::ids::ProjectId;
use gybe::domain::op_occ::OpState;
use gybe::domain::plan::{Plan, Step};
use gybe::domain::resource::{KindInfo, ObjectKey, Resource, ResourceState};
use gybe::store::seal::KeyRing;
use gybe::store::{StoreError, connect, is_sealed, rekey};
use serde_json::json;

use crate::support::gybe::binary;
use crate::support::store::store_plan;
use crate::support::store_fixture::{KEY, LONG, StoreFixture, at, ending, object, plan, resource, vim};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    a_lost_key_is_not_replaced
    a_key_that_sealed_nothing_may_be_lost
    secrets_of_earlier_releases_count_before_the_first_canary
    rekeyed_secrets_need_the_first_key_only
    manifests_of_secrets_are_sealed_and_plans_end_with_their_operation
    clear_manifests_of_earlier_releases_are_sealed
}

const OTHER_KEY: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn ring(text: &str) -> KeyRing {
    KeyRing::parse(text).unwrap()
}

/// Closes the store. Returns its URL, and the fixture's guard of the database.
fn closed(f: StoreFixture) -> (String, Box<dyn std::any::Any + Send + Sync>) {
    let StoreFixture { store, url, _database, .. } = f;
    drop(store);
    (url, _database)
}

async fn refused(url: &str, keys: &str) -> String {
    let error = connect(url, ring(keys)).await.err().expect("the keys do not suffice");
    assert!(matches!(error, StoreError::MissingKeys(_)), "{error:?}");
    error.to_string()
}

async fn a_lost_key_is_not_replaced(f: StoreFixture) {
    let one = vim(f.uuid(), "one");
    f.store.create_vim(&one).await.unwrap();
    let (url, _guard) = closed(f);
    assert!(is_sealed(&url).await.unwrap());
    for _ in 0..2 {
        assert!(refused(&url, OTHER_KEY).await.contains("put the key file back"));
    }
    let store = connect(&url, ring(KEY)).await.unwrap();
    assert_eq!(store.vim(&ProjectId::default(), one.id).await.unwrap(), one);
}

async fn a_key_that_sealed_nothing_may_be_lost(f: StoreFixture) {
    let (url, _guard) = closed(f);
    assert!(!is_sealed(&url).await.unwrap());
    connect(&url, ring(OTHER_KEY)).await.unwrap();
}

async fn secrets_of_earlier_releases_count_before_the_first_canary(f: StoreFixture) {
    f.store.create_vim(&vim(f.uuid(), "one")).await.unwrap();
    f.execute("DELETE FROM sealing_keys").await;
    let (url, _guard) = closed(f);
    refused(&url, OTHER_KEY).await;
    connect(&url, ring(KEY)).await.unwrap();
}

async fn rekeyed_secrets_need_the_first_key_only(f: StoreFixture) {
    let one = vim(f.uuid(), "one");
    f.store.create_vim(&one).await.unwrap();
    let claimed = with_secrets(&f).await;
    let instance = claimed.instance.id;
    let planned = f.store.plan(claimed.op.id).await.unwrap();
    let (url, _guard) = closed(f);
    let both = format!("{OTHER_KEY},{KEY}");
    // Without the new key nothing changes, and the old one stays necessary.
    assert_eq!(rekey(&url, &ring(KEY)).await.unwrap(), 0);
    drop(connect(&url, ring(&both)).await.unwrap());
    refused(&url, OTHER_KEY).await;
    assert_eq!(rekey(&url, &ring(&both)).await.unwrap(), 3, "a VIM, a plan and an object");
    assert_eq!(rekey(&url, &ring(&both)).await.unwrap(), 0);
    refused(&url, KEY).await;
    let store = connect(&url, ring(OTHER_KEY)).await.unwrap();
    assert_eq!(store.vim(&ProjectId::default(), one.id).await.unwrap(), one);
    assert_eq!(store.resources(instance).await.unwrap()[0], secret("db"));
    assert_eq!(store.plan(claimed.op.id).await.unwrap(), planned);
}

fn secret(name: &str) -> Resource {
    Resource {
        key: ObjectKey { api_version: "v1".to_owned(), kind: "Secret".to_owned(), name: name.to_owned() },
        info: KindInfo { plural: "secrets".to_owned(), namespaced: true },
        vdu_id: None,
        manifest: object(json!({ "kind": "Secret", "stringData": { "password": "s3cr3t-of-the-package" } })),
        state: ResourceState::Planned,
    }
}

/// An operation in PROCESSING. Its plan and its inventory have a Secret.
async fn with_secrets(f: &StoreFixture) -> gybe::store::Claimed {
    f.operation().await;
    let claimed = f.claim(LONG).await;
    let rows = vec![secret("new"), resource("a")];
    let planned = Plan { forward: vec![Step::Change { rows, sets_replicas: false }], ..plan() };
    store_plan(&*f.store, &claimed.lease, LONG, &planned, &[secret("db"), resource("b")], at(11)).await.unwrap();
    assert_eq!(f.store.plan(claimed.op.id).await.unwrap(), Some(planned));
    claimed
}

/// The texts of all columns that may have a Secret.
async fn dump(f: &StoreFixture) -> String {
    let plans = "SELECT COALESCE(CAST(plan AS text), 'none') FROM vnf_lcm_op_occs";
    let objects = "SELECT CAST(manifest AS text) FROM vnf_resources WHERE kind = 'Secret'";
    format!("{} {}", f.text(plans).await, f.text(objects).await)
}

async fn manifests_of_secrets_are_sealed_and_plans_end_with_their_operation(f: StoreFixture) {
    let claimed = with_secrets(&f).await;
    let shown = dump(&f).await;
    assert!(shown.contains("sealed") && !shown.contains("s3cr3t"), "{shown}");
    // `gybe debug` has no key.
    let live = gybe::store::live_operations(&f.url).await.unwrap();
    assert_eq!(live[0].steps, Some(1));
    let (op, instance) = (claimed.op.id, claimed.instance.id);
    f.store.end_operation(claimed.lease, &ending(OpState::Processing, OpState::Completed)).await.unwrap();
    assert!(dump(&f).await.starts_with("none"), "nobody needs the plan any more");
    assert_eq!(f.store.plan(op).await.unwrap(), None);
    assert_eq!(f.store.resources(instance).await.unwrap(), [secret("db"), resource("b")]);
}

async fn clear_manifests_of_earlier_releases_are_sealed(f: StoreFixture) {
    let claimed = with_secrets(&f).await;
    let planned = f.store.plan(claimed.op.id).await.unwrap();
    let manifest = serde_json::to_string(&secret("db").manifest).unwrap();
    f.execute(&format!(
        "UPDATE vnf_resources SET manifest = '{manifest}', sealed_manifest = NULL WHERE kind = 'Secret'; \
         UPDATE vnf_lcm_op_occs SET plan = '{}', sealed_plan = NULL",
        serde_json::to_string(&planned).unwrap()
    ))
    .await;
    assert!(dump(&f).await.contains("s3cr3t"));
    assert_eq!(f.store.plan(claimed.op.id).await.unwrap(), planned, "readable all the same");
    assert_eq!(f.store.seal_clear_manifests(100).await.unwrap(), 2);
    assert_eq!(f.store.seal_clear_manifests(100).await.unwrap(), 0);
    assert!(!dump(&f).await.contains("s3cr3t"));
    assert_eq!(f.store.plan(claimed.op.id).await.unwrap(), planned);
    assert_eq!(f.store.resources(claimed.instance.id).await.unwrap(), [secret("db"), resource("b")]);
}

#[tokio::test]
async fn a_start_without_the_key_file_creates_no_key() {
    let f = StoreFixture::sqlite().await;
    f.store.create_vim(&vim(f.uuid(), "one")).await.unwrap();
    let (url, _guard) = closed(f);
    let data = tempfile::tempdir().unwrap();
    let mut serve = std::process::Command::new(binary());
    serve.args(["serve", "--listen", "127.0.0.1:0", "--database-url", &url, "--data-dir"]).arg(data.path());
    let output = serve.env_remove("GYBE_KEY").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("gybe.key is missing: put the file back"), "{text}");
    assert!(!data.path().join("gybe.key").exists());
}
