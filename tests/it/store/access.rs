//! Rules that hold for the whole store: projects do not see each other, a dropped call leaves no transaction, bad rows and URLs are named.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use gybe::domain::fair_share::Crowded;
use gybe::domain::ids::ProjectId;
use gybe::domain::transition::OpEvent;
use gybe::domain::vim::Vim;
use gybe::store::seal::KeyRing;
use gybe::store::{Claim, StoreError, connect};
use serde_json::Map;

use crate::support::store::whole;
use crate::support::store_fixture::{KEY, LONG, StoreFixture, at, elsewhere, vim};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    rows_of_another_project_are_not_found
    an_unreadable_row_is_named
    a_dropped_call_leaves_no_open_transaction
    ping_succeeds
}

async fn rows_of_another_project_are_not_found(f: StoreFixture) {
    let (mine, other) = (ProjectId::default(), elsewhere());
    let vim = Vim { is_default: true, ..vim(f.uuid(), "a") };
    f.store.create_vim(&vim).await.unwrap();
    let op = f.failed().await;
    let instance = f.store.instance(&mine, op.vnf_instance_id).await.unwrap();
    let package = instance.vnf_pkg_id;
    assert_fails!(f.store.package(&other, package).await, StoreError::NotFound);
    assert_fails!(f.store.begin_upload(&other, package, None, "test", LONG).await, StoreError::NotFound);
    assert_fails!(
        f.store.update_package(&other, package, None, Some([&Map::new(), &Map::new()])).await,
        StoreError::NotFound
    );
    assert_fails!(f.store.delete_package(&other, package).await, StoreError::NotFound);
    assert_fails!(f.store.vnfd(&other, &instance.vnfd_id).await, StoreError::NotFound);
    assert_fails!(f.store.vim(&other, vim.id).await, StoreError::NotFound);
    assert_fails!(f.store.default_vim(&other).await, StoreError::NotFound);
    let foreign = Vim { project_id: other.clone(), ..vim.clone() };
    assert_fails!(f.store.update_vim(&foreign, None).await, StoreError::NotFound);
    assert_fails!(f.store.delete_vim(&other, vim.id).await, StoreError::NotFound);
    assert_fails!(f.store.instance(&other, instance.id).await, StoreError::NotFound);
    assert_fails!(f.store.delete_instance(&other, instance.id, None).await, StoreError::NotFound);
    assert_fails!(f.store.op_occ(&other, op.id).await, StoreError::NotFound);
    assert_fails!(f.store.resume_operation(&other, op.id, OpEvent::Fail, at(1)).await, StoreError::NotFound);
    assert!(f.store.packages(Some(&other), &whole()).await.unwrap().is_empty());
    assert!(f.store.vims(Some(&other), None, 9).await.unwrap().is_empty());
    assert_fails!(f.store.instance_version(&other, instance.id).await, StoreError::NotFound);
    assert!(f.store.instances(Some(&other), &[instance.id]).await.unwrap().is_empty());
    assert!(f.store.list_instances(Some(&other), &whole()).await.unwrap().is_empty());
    assert!(f.store.op_occs(Some(&other), &whole()).await.unwrap().is_empty());
}

async fn an_unreadable_row_is_named(f: StoreFixture) {
    let op = f.operation().await;
    f.execute(r#"UPDATE vnf_lcm_op_occs SET plan = '{"forward": 1}'"#).await;
    let assert_named = |error: StoreError| match error {
        StoreError::Corrupt { table: "vnf_lcm_op_occs", id, reason } => {
            assert_eq!(id, op.id.to_string());
            assert!(reason.contains("plan"), "{reason}");
        }
        other => panic!("{other:?}"),
    };
    assert_named(f.store.plan(op.id).await.unwrap_err());
    assert_named(f.store.claim("worker", LONG, 1, &Crowded::default()).await.unwrap_err());
    // An unreadable operation does not block claims of other operations.
    let other = f.operation().await;
    assert_eq!(f.claim(LONG).await.op.id, other.id);
    // The same holds if one claim takes all of them.
    f.execute("UPDATE vnf_lcm_op_occs SET lease_until = 0").await;
    let Claim::Work(claimed) = f.store.claim("worker", LONG, 8, &Crowded::default()).await.unwrap() else {
        panic!("nothing to claim")
    };
    assert_eq!(claimed.iter().map(|claimed| claimed.op.id).collect::<Vec<_>>(), [other.id]);
}

/// Polls `call` up to `polls` times, each time after a wake-up, and drops it: before the next wake-up, or after it if
/// `while_waiting` is false. Returns whether the call completed.
async fn abandon<F: Future + Unpin>(mut call: F, polls: usize, while_waiting: bool) -> bool {
    let mut polled = 0;
    poll_fn(|context| {
        if polled == polls {
            return Poll::Ready(false);
        }
        polled += 1;
        match Pin::new(&mut call).poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polled == polls && while_waiting => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn a_dropped_call_leaves_no_open_transaction(f: StoreFixture) {
    let (mut done, mut tries) = (0, 0);
    // With a growing number of polls, until the call completed a few times.
    while done < 10 {
        let instance = f.instance().await;
        let op = f.op(&instance);
        done += usize::from(abandon(f.store.begin_operation(&op, &instance), tries / 2, tries % 2 == 0).await);
        tries += 1;
        // The abandoned write took full effect or none.
        let version = f.store.instance(&instance.project_id, instance.id).await.unwrap().version;
        if let Err(error) = f.store.op_occ(&instance.project_id, op.id).await {
            assert!(matches!(error, StoreError::NotFound), "{error:?}");
            assert_eq!(version, 1);
        }
    }
    let count = async |table| -> usize {
        f.text(&format!("SELECT CAST(count(*) AS text) FROM {table}")).await.parse().unwrap()
    };

    assert!(tries > 12, "some calls were dropped halfway");
    assert_eq!(count("vnf_instances").await, tries, "every acknowledged write is in the database");
    assert!(count("vnf_lcm_op_occs").await >= done);
}

async fn ping_succeeds(f: StoreFixture) {
    f.store.ping().await.unwrap();
}

#[tokio::test]
async fn rejects_an_unsupported_url_without_quoting_it() {
    for url in ["mysql://user:s3cr3t@host/db", "gybe.db", "sqlite://", "sqlite://:memory:", "sqlite::memory:"] {
        let refused = connect(url, KeyRing::parse(KEY).unwrap()).await.err().unwrap();
        assert!(matches!(refused, StoreError::InvalidUrl), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("s3cr3t"));
    }
}
