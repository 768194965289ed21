//! Quotas: whatever adds something that is limited counts in its transaction, so that of two that come at once one passes.

use futures::future::join_all;
use gybe::domain::ids::ProjectId;
use gybe::domain::namespace::Namespace;
use gybe::domain::quota::{Limit, OwnQuotas, QuotaExceeded, QuotaResource, Quotas};
use gybe::domain::tenancy::NamespaceProject;
use gybe::domain::transition::OpEvent;
use gybe::store::StoreError;

use crate::support::store_fixture::{LONG, StoreFixture, at, content, vim};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    of_two_that_want_the_last_place_one_gets_it
    operations_at_once_are_limited_and_a_retry_counts
    usage_sums_over_all_namespaces_of_a_project
}

/// Limits one resource of the default project.
async fn limit(f: &StoreFixture, resource: QuotaResource, most: u64) {
    let mut own = OwnQuotas::default();
    own.0[resource as usize] = Some(Limit::AtMost(most));
    f.store.set_quotas(&ProjectId::default(), &own).await.unwrap();
}

/// One of the two passed; the other one met the quota, which has `used` of `limit`.
#[track_caller]
fn one_passed(results: Vec<Result<(), StoreError>>, resource: QuotaResource, [limit, used, needed]: [u64; 3]) {
    let (passed, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((passed.len(), refused.len()), (1, 1), "{passed:?} {refused:?}");
    let expected = QuotaExceeded { resource, limit, used, needed };
    for refused in refused {
        assert_fails!(refused, StoreError::QuotaExceeded(exceeded) if exceeded == expected);
    }
}

async fn of_two_that_want_the_last_place_one_gets_it(f: StoreFixture) {
    let package = f.onboarded().await;
    limit(&f, QuotaResource::VnfInstances, 1).await;
    let instances = [f.instance_of(package), f.instance_of(package)];
    let made = join_all(instances.iter().map(|one| f.store.create_instance(one))).await;
    one_passed(made, QuotaResource::VnfInstances, [1, 1, 1]);

    limit(&f, QuotaResource::Vims, 1).await;
    let vims = [vim(f.uuid(), "one"), vim(f.uuid(), "other")];
    let made = join_all(vims.iter().map(|one| f.store.create_vim(one))).await;
    one_passed(made, QuotaResource::Vims, [1, 1, 1]);

    limit(&f, QuotaResource::Packages, 2).await;
    let packages = [f.package(), f.package()];
    let made = join_all(packages.iter().map(|one| f.store.create_package(one))).await;
    one_passed(made, QuotaResource::Packages, [2, 2, 1]);
    // A quota below what is there: nothing is deleted, and nothing more is made.
    limit(&f, QuotaResource::Packages, 0).await;
    let refused = f.store.create_package(&f.package()).await;
    assert_fails!(refused, StoreError::QuotaExceeded(QuotaExceeded { limit: 0, used: 2, .. }));
    limit(&f, QuotaResource::Vims, 1).await;

    // Each has 5,000,000,000 bytes, as has the one that is onboarded.
    let mut leases = Vec::new();
    for package in [f.package(), f.package()] {
        f.store.create_package(&package).await.unwrap();
        let lease = f.uploading(package.id).await.unwrap();
        f.store.finish_upload(&lease, LONG).await.unwrap();
        leases.push((lease, content(&package.id.to_string())));
    }
    limit(&f, QuotaResource::PackageBytes, 10_000_000_000).await;
    let ended = join_all(leases.iter().map(|(lease, content)| f.store.finish_onboarding(lease, content, &[]))).await;
    one_passed(ended, QuotaResource::PackageBytes, [10_000_000_000, 10_000_000_000, 5_000_000_000]);
    // Refused before a byte arrives.
    let package = f.package();
    f.store.create_package(&package).await.unwrap();
    assert_fails!(f.uploading(package.id).await, StoreError::QuotaExceeded(QuotaExceeded { needed: 1, .. }));
    f.store.set_quotas(&ProjectId::default(), &OwnQuotas::default()).await.unwrap();
    f.uploading(package.id).await.unwrap();
}

async fn operations_at_once_are_limited_and_a_retry_counts(f: StoreFixture) {
    let failed = f.failed().await;
    let instances = [f.instance().await, f.instance().await];
    // Without limits of its own, a project has the configured ones.
    let mut configured = Quotas::default();
    configured.0[QuotaResource::Operations as usize] = Limit::AtMost(1);
    f.store.configure_quotas(configured);
    let ops = instances.each_ref().map(|instance| f.op(instance));
    let begun = join_all(ops.iter().zip(&instances).map(|(op, instance)| f.store.begin_operation(op, instance))).await;
    one_passed(begun, QuotaResource::Operations, [1, 1, 1]);
    // What waits in FAILED_TEMP does not count, and counts when it works again.
    let project = ProjectId::default();
    let retried = f.store.resume_operation(&project, failed.id, OpEvent::Retry, at(30)).await;
    assert_fails!(retried, StoreError::QuotaExceeded(QuotaExceeded { resource: QuotaResource::Operations, .. }));
    f.store.resume_operation(&project, failed.id, OpEvent::Fail, at(30)).await.unwrap();
    let mut own = OwnQuotas::default();
    own.0[QuotaResource::Operations as usize] = Some(Limit::Unlimited);
    f.store.set_quotas(&project, &own).await.unwrap();
    for (op, instance) in ops.iter().zip(&instances) {
        match f.store.begin_operation(op, instance).await {
            Ok(()) | Err(StoreError::Busy(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(f.store.project_usage(&project).await.unwrap().counted.of(QuotaResource::Operations), 2);
}

async fn usage_sums_over_all_namespaces_of_a_project(f: StoreFixture) {
    let project = ProjectId("a".to_owned());
    for (name, uid) in [("edge", "uid-1"), ("edge", "uid-1"), ("core", "uid-2")] {
        let mut instance = f.instance().await;
        instance.metadata.namespace = Some(Namespace::try_from(name.to_owned()).unwrap());
        let namespace = NamespaceProject { namespace_uid: uid.to_owned(), project: project.clone() };
        f.store.begin_in_namespace(&f.op(&instance), &instance, &namespace).await.unwrap();
    }
    f.instance().await;
    let usage = f.store.project_usage(&project).await.unwrap();
    let namespaces: Vec<_> =
        usage.namespaces.iter().map(|one| (one.name.as_str(), one.uid.as_deref(), one.vnf_instances)).collect();
    assert_eq!(namespaces, [("core", Some("uid-2"), 1), ("edge", Some("uid-1"), 2)]);
    // The VNF instances are of the project whose caller made them.
    assert_eq!(usage.counted.of(QuotaResource::VnfInstances), 0);
    let usage = f.store.project_usage(&ProjectId::default()).await.unwrap();
    assert_eq!(usage.counted.0, [4, 4, 20_000_000_000, 3, 0, 0]);
    assert_eq!((usage.namespaces, [usage.cpu_milli, usage.memory_mib]), (Vec::new(), [0, 0]));
}
