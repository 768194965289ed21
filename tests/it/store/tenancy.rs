//! Namespaces that belong to projects: the database holds that instances of two projects never share one.

use futures::future::join_all;
use gybe::domain::ids::ProjectId;
use gybe::domain::op_occ::OpState;
use gybe::domain::tenancy::NamespaceProject;
use gybe::store::{OperationOutcome, StoreError};

use crate::support::store::{store_plan, whole};
use crate::support::store_fixture::{LONG, StoreFixture, at, ending, plan};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    instances_of_two_projects_never_share_a_namespace
    one_project_gets_a_namespace_that_two_want_at_once
}

fn namespace_of(project: &str) -> NamespaceProject {
    NamespaceProject { namespace_uid: "uid-of-edge".to_owned(), project: ProjectId(project.to_owned()) }
}

async fn instances_of_two_projects_never_share_a_namespace(f: StoreFixture) {
    let (first, second, other) = (f.instance().await, f.instance().await, f.instance().await);
    f.store.begin_in_namespace(&f.op(&first), &first, &namespace_of("a")).await.unwrap();
    assert_eq!(f.store.namespace_project(first.id).await.unwrap(), Some(namespace_of("a")));
    let begun = f.store.begin_in_namespace(&f.op(&other), &other, &namespace_of("b")).await;
    assert_fails!(begun, StoreError::NamespaceTaken);
    assert_eq!(f.store.op_occs(Some(&ProjectId::default()), &whole()).await.unwrap().len(), 1);
    assert_eq!(f.store.namespace_project(other.id).await.unwrap(), None);
    // An instance of the same project may come, and keeps the others out when the first one has left.
    f.store.begin_in_namespace(&f.op(&second), &second, &namespace_of("a")).await.unwrap();
    for left in 1..=2 {
        let claimed = f.claim(LONG).await;
        store_plan(&*f.store, &claimed.lease, LONG, &plan(), &[], at(11)).await.unwrap();
        // The instance of the outcome is in no namespace.
        let ending = ending(OpState::Processing, OpState::Completed);
        let outcome = OperationOutcome { instance: Some(claimed.instance.clone()), ..ending };
        f.store.end_operation(claimed.lease, &outcome).await.unwrap();
        assert_eq!(f.store.namespace_project(claimed.instance.id).await.unwrap(), None);
        let begun = f.store.begin_in_namespace(&f.op(&other), &other, &namespace_of("b")).await;
        assert_eq!(begun.is_ok(), left == 2, "{begun:?}");
    }
    assert_eq!(f.store.namespace_project(other.id).await.unwrap(), Some(namespace_of("b")));
}

async fn one_project_gets_a_namespace_that_two_want_at_once(f: StoreFixture) {
    let instances = [f.instance().await, f.instance().await, f.instance().await, f.instance().await];
    let begun = join_all(instances.iter().zip(["a", "b", "a", "b"]).map(async |(instance, project)| {
        let begun = f.store.begin_in_namespace(&f.op(instance), instance, &namespace_of(project)).await;
        (project, begun)
    }))
    .await;
    let (entered, refused): (Vec<_>, Vec<_>) = begun.into_iter().partition(|(_, begun)| begun.is_ok());
    assert_eq!((entered.len(), refused.len()), (2, 2), "{entered:?} {refused:?}");
    assert_eq!(entered[0].0, entered[1].0, "{entered:?}");
    for (_, refused) in refused {
        assert_fails!(refused, StoreError::NamespaceTaken);
    }
}
