//! VIMs in the store, and how secrets are encrypted.

use std::collections::BTreeMap;

use gybe::domain::ids::ProjectId;
use gybe::domain::impersonation::Impersonation;
use gybe::domain::instance::VnfInstance;
use gybe::domain::secret::Secret;
use gybe::domain::vim::{Secrets, Vim, VimStatus};
use gybe::store::{PageCursor, StoreError};
use serde_json::json;

use crate::support::store_fixture::{KEY, StoreFixture, at, connection_to, elsewhere, vim};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    vims_are_stored_with_their_secrets
    vims_are_updated
    vim_name_and_default_vim_are_unique
    a_vim_in_use_cannot_be_deleted
    secrets_are_encrypted
    a_secret_decrypts_only_in_its_row_with_its_key
    the_number_of_vims_is_bounded
    the_status_of_a_vim_is_recorded_for_the_access_it_was_seen_with
}

const OTHER_KEY: &str = "AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn vims_are_stored_with_their_secrets(f: StoreFixture) {
    let project = ProjectId::default();
    let newer = Vim { created_at: at(1), impersonate: Some(Impersonation::default()), ..vim(f.uuid(), "newer") };
    let older = Vim { is_default: true, secrets: Secrets::new(), user_name: None, ..vim(f.uuid(), "older") };
    assert_fails!(f.store.default_vim(&project).await, StoreError::NotFound);
    f.store.create_vim(&newer).await.unwrap();
    f.store.create_vim(&older).await.unwrap();
    assert_eq!(f.store.vim(&project, newer.id).await.unwrap(), newer);
    assert_eq!(f.store.default_vim(&project).await.unwrap(), older);
    assert_eq!(f.store.vims(Some(&project), None, 9).await.unwrap(), [older.clone(), newer.clone()]);
    assert_eq!(f.store.vims(Some(&project), None, 1).await.unwrap(), std::slice::from_ref(&older));
    let after = Some(PageCursor::of(older.created_at, older.id.0));
    assert_eq!(f.store.vims(Some(&project), after, 9).await.unwrap(), [newer]);
}

async fn vims_are_updated(f: StoreFixture) {
    let project = ProjectId::default();
    let before = vim(f.uuid(), "before");
    f.store.create_vim(&before).await.unwrap();
    let after = Vim {
        name: "after".to_owned(),
        endpoint: "https://other".to_owned(),
        secrets: Secrets::from([("bearer_token".to_owned(), Secret::new("rotated"))]),
        is_default: true,
        cluster_uid: None,
        impersonate: Impersonation::parse(json!({ "a": { "service_account": "x/gybe" } }).as_object().unwrap()).ok(),
        updated_at: Some(at(9)),
        ..before.clone()
    };
    f.store.update_vim(&Vim { created_at: at(9), ..after.clone() }, None).await.unwrap();
    assert_eq!(f.store.vim(&project, before.id).await.unwrap(), after);
    assert_fails!(f.store.update_vim(&before, None).await, StoreError::Stale);
    assert_fails!(f.store.update_vim(&before, Some(at(8))).await, StoreError::Stale);
    f.store.update_vim(&Vim { updated_at: Some(at(10)), ..after }, Some(at(9))).await.unwrap();
    assert_fails!(f.store.update_vim(&vim(f.uuid(), "none"), None).await, StoreError::NotFound);
    f.store.delete_vim(&project, before.id).await.unwrap();
    assert_fails!(f.store.delete_vim(&project, before.id).await, StoreError::NotFound);
}

async fn vim_name_and_default_vim_are_unique(f: StoreFixture) {
    let first = Vim { is_default: true, ..vim(f.uuid(), "a") };
    let second = vim(f.uuid(), "b");
    f.store.create_vim(&first).await.unwrap();
    f.store.create_vim(&second).await.unwrap();
    assert_fails!(f.store.create_vim(&vim(f.uuid(), "a")).await, StoreError::Duplicate("name"));
    let another_default = Vim { is_default: true, ..vim(f.uuid(), "c") };
    assert_fails!(f.store.create_vim(&another_default).await, StoreError::Duplicate("default VIM"));
    let renamed = Vim { name: "a".to_owned(), ..second.clone() };
    assert_fails!(f.store.update_vim(&renamed, None).await, StoreError::Duplicate("name"));
    let promoted = Vim { is_default: true, ..second };
    assert_fails!(f.store.update_vim(&promoted, None).await, StoreError::Duplicate("default VIM"));
    // Each project has its own names and default.
    f.store.create_vim(&Vim { project_id: elsewhere(), is_default: true, ..vim(f.uuid(), "a") }).await.unwrap();
}

async fn a_vim_in_use_cannot_be_deleted(f: StoreFixture) {
    let project = ProjectId::default();
    let (used, unused) = (vim(f.uuid(), "used"), vim(f.uuid(), "unused"));
    f.store.create_vim(&used).await.unwrap();
    f.store.create_vim(&unused).await.unwrap();
    let connections = [("one".to_owned(), connection_to(None)), ("two".to_owned(), connection_to(Some(&used)))];
    let instance = VnfInstance { vim_connections: BTreeMap::from(connections), ..f.instance_of(f.onboarded().await) };
    f.store.create_instance(&instance).await.unwrap();
    assert_fails!(f.store.delete_vim(&project, used.id).await, StoreError::InUse);
    f.store.delete_vim(&project, unused.id).await.unwrap();
    f.store.delete_instance(&project, instance.id, None).await.unwrap();
    f.store.delete_vim(&project, used.id).await.unwrap();
}

async fn secrets_are_encrypted(f: StoreFixture) {
    f.store.create_vim(&vim(f.uuid(), "a")).await.unwrap();
    let connections = BTreeMap::from([("one".to_owned(), connection_to(None))]);
    let instance = VnfInstance { vim_connections: connections, ..f.instance_of(f.onboarded().await) };
    f.store.create_instance(&instance).await.unwrap();
    let everything = if let Some(path) = f.url.strip_prefix("sqlite://") {
        ["", "-wal"].iter().flat_map(|side| std::fs::read(format!("{path}{side}")).unwrap()).collect()
    } else {
        let rows = "SELECT (SELECT string_agg(v::text || encode(v.secrets, 'escape'), '') FROM vims v) \
                    || (SELECT string_agg(i::text || encode(i.vim_secrets, 'escape'), '') FROM vnf_instances i)";
        f.text(rows).await.into_bytes()
    };
    let has = |text: &str| everything.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("https://cluster:6443"), "the rows are there");
    for secret in ["t0ken-of-the-vim", "k3y-of-the-connection", "bearer_token", "client_key"] {
        assert!(!has(secret), "{secret}");
    }
}

async fn the_number_of_vims_is_bounded(f: StoreFixture) {
    f.store.create_vim(&vim(f.uuid(), "one")).await.unwrap();
    f.execute(
        "INSERT INTO vims (id, project_id, name, description, vim_type, endpoint, access_info, vim_project, extra, is_default, created_at) \
         WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 999) \
         SELECT 'vim-' || i, 'default', 'vim-' || i, '', 'kubernetes', 'https://c', '{}', '', '{}', false, 0 FROM n",
    )
    .await;
    f.store.create_vim(&vim(f.uuid(), "last")).await.unwrap();
    assert_fails!(f.store.create_vim(&vim(f.uuid(), "beyond")).await, StoreError::Full { most: 1000, .. });
}

async fn a_secret_decrypts_only_in_its_row_with_its_key(f: StoreFixture) {
    let project = ProjectId::default();
    let (one, other) = (vim(f.uuid(), "one"), vim(f.uuid(), "other"));
    f.store.create_vim(&one).await.unwrap();
    f.store.create_vim(&other).await.unwrap();
    let copy =
        format!("UPDATE vims SET secrets = (SELECT secrets FROM vims WHERE name = 'one') WHERE id = '{}'", other.id);
    f.execute(&copy).await;
    match f.store.vim(&project, other.id).await {
        Err(StoreError::Corrupt { table: "vims", id, .. }) => assert_eq!(id, other.id.to_string()),
        result => panic!("{result:?}"),
    }
    // A key ring that contains the key decrypts; one without it does not.
    let f = f.reopen(&format!("{OTHER_KEY},{KEY}")).await;
    assert_eq!(f.store.vim(&project, one.id).await.unwrap(), one);
    let f = f.reopen(KEY).await;
    assert_eq!(f.store.vim(&project, one.id).await.unwrap(), one);
}

async fn the_status_of_a_vim_is_recorded_for_the_access_it_was_seen_with(f: StoreFixture) {
    let project = ProjectId::default();
    let (one, other) = (vim(f.uuid(), "one"), Vim { endpoint: "https://other".to_owned(), ..vim(f.uuid(), "other") });
    f.store.create_vim(&one).await.unwrap();
    f.store.create_vim(&other).await.unwrap();
    assert_eq!(f.store.vims_at(&one.endpoint, None, 9).await.unwrap(), std::slice::from_ref(&one));
    f.store.record_vim_status(&one, VimStatus::Unreachable).await.unwrap();
    let seen = Vim { status: VimStatus::Unreachable, ..one.clone() };
    assert_eq!(f.store.vims(Some(&project), None, 9).await.unwrap(), [seen, other]);
    let updated = Vim { updated_at: Some(at(9)), ..one.clone() };
    f.store.update_vim(&updated, None).await.unwrap();
    f.store.record_vim_status(&one, VimStatus::Error).await.unwrap();
    assert_eq!(f.store.vim(&project, one.id).await.unwrap(), updated, "the error was that of the former credential");
}
