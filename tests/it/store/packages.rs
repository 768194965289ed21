//! VNF packages in the store.

use std::time::Duration;

use gybe::domain::ids::{ProjectId, VnfLcmOpOccId};
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::package::{
    DefinitionFile, InterruptedOnboarding, Onboarding, OperationalState, PackageSource, VnfPackage,
};
use gybe::domain::secret::Secret;
use gybe::domain::transition::OpEvent;
use gybe::store::attributes::{self, parse_filter};
use gybe::store::{ClaimedOnboarding, OnboardingClaim, OnboardingLease, OperationOutcome, Page, StoreError};
use serde_json::json;

use crate::support::store::{outcome, record, whole};
use crate::support::store_fixture::{LONG, StoreFixture, at, content, elsewhere, object, problem};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    packages_are_stored_and_listed_oldest_first
    onboarding_follows_its_states
    onboarding_stores_vnfd_and_definition_files
    a_vnfd_is_onboarded_once_per_project
    an_onboarding_with_an_expired_lease_is_taken_over
    a_lost_onboarding_lease_rejects_every_write
    a_new_onboarding_wakes_every_process
    packages_are_updated
    packages_are_deleted_when_disabled_and_unused
    a_target_package_is_in_use_until_the_operation_ends
    no_instance_is_created_from_a_deleted_package
}

async fn packages_are_stored_and_listed_oldest_first(f: StoreFixture) {
    let project = ProjectId::default();
    let newer = VnfPackage { created_at: at(2), ..f.package() };
    let older = VnfPackage { created_at: at(1), ..f.package() };
    let same_age = VnfPackage { created_at: at(1), ..f.package() };
    for package in [&newer, &same_age, &older] {
        f.store.create_package(package).await.unwrap();
    }
    assert_eq!(f.store.package(&project, newer.id).await.unwrap(), newer);
    assert_eq!(f.store.packages(Some(&project), &whole()).await.unwrap(), [older, same_age, newer]);
}

async fn onboarding_follows_its_states(f: StoreFixture) {
    let project = ProjectId::default();
    let package = f.package();
    let id = package.id;
    f.store.create_package(&package).await.unwrap();
    let state = async || f.store.package(&project, id).await.unwrap().onboarding;

    let lease = f.uploading(id).await.unwrap();
    assert_eq!(state().await, Onboarding::Uploading);
    assert_fails!(f.uploading(id).await, StoreError::Stale);
    assert_fails!(f.store.finish_onboarding(&lease, &content("d"), &[]).await, StoreError::Stale);
    f.store.finish_upload(&lease, LONG).await.unwrap();
    assert_eq!(state().await, Onboarding::Processing);
    assert_eq!(f.store.package(&project, id).await.unwrap().content_epoch, lease.epoch);
    assert_fails!(f.store.finish_upload(&lease, LONG).await, StoreError::Stale);
    f.store.fail_onboarding(&lease, &problem("no good")).await.unwrap();
    assert_eq!(state().await, Onboarding::Error(problem("no good")));
    assert_fails!(f.store.finish_upload(&lease, LONG).await, StoreError::LeaseLost);
    assert_fails!(f.store.fail_onboarding(&lease, &problem("x")).await, StoreError::LeaseLost);
    // The client can upload the package again.
    f.onboard(id, "d").await.unwrap();
    let onboarded = f.store.package(&project, id).await.unwrap();
    assert_eq!(onboarded.onboarding, Onboarding::Onboarded(Box::new(content("d"))));
    assert_eq!(onboarded.operational_state, OperationalState::Enabled);
    assert_fails!(f.uploading(id).await, StoreError::Stale);
}

async fn onboarding_stores_vnfd_and_definition_files(f: StoreFixture) {
    let project = ProjectId::default();
    let package = f.package();
    f.store.create_package(&package).await.unwrap();
    let lease = f.uploading(package.id).await.unwrap();
    f.store.finish_upload(&lease, LONG).await.unwrap();
    let file = |path: String| DefinitionFile::new(path.as_str(), format!("# {path} ü\n"));
    let mut files: Vec<_> = (0..70).map(|n| file(format!("b/{n:02}.yaml"))).collect();
    files.extend(["a.yaml", "B.yaml", "é.yaml"].map(|path| file(path.to_owned())));
    f.store.finish_onboarding(&lease, &content("d"), &files).await.unwrap();

    let vnfd = f.store.vnfd(&project, "d").await.unwrap();
    assert_eq!((vnfd.package_id, vnfd.operational_state), (package.id, OperationalState::Enabled));
    assert_eq!(vnfd.vnfd, content("d").vnfd);
    // Ordered by path, bytewise.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // The second read is served from memory.
    for _ in 0..2 {
        assert_eq!(*f.store.definition_files(package.id).await.unwrap(), *files);
    }
    assert_fails!(f.store.vnfd(&project, "other").await, StoreError::NotFound);
}

async fn a_vnfd_is_onboarded_once_per_project(f: StoreFixture) {
    let project = ProjectId::default();
    let (first, second) = (f.package(), f.package());
    let foreign = VnfPackage { project_id: elsewhere(), ..f.package() };
    for package in [&first, &second, &foreign] {
        f.store.create_package(package).await.unwrap();
    }
    f.onboard(first.id, "d").await.unwrap();
    let lease = f.uploading(second.id).await.unwrap();
    f.store.finish_upload(&lease, LONG).await.unwrap();
    assert_fails!(f.store.finish_onboarding(&lease, &content("d"), &[]).await, StoreError::Duplicate(_));
    // Nothing of the duplicate is stored, and its failure can be recorded.
    f.store.fail_onboarding(&lease, &problem("taken")).await.unwrap();
    let lease = f.store.begin_upload(&elsewhere(), foreign.id, None, "test", LONG).await.unwrap();
    f.store.finish_upload(&lease, LONG).await.unwrap();
    f.store.finish_onboarding(&lease, &content("d"), &[]).await.unwrap();
    assert_eq!(f.store.vnfd(&project, "d").await.unwrap().package_id, first.id);
    assert_eq!(f.store.vnfd(&elsewhere(), "d").await.unwrap().package_id, foreign.id);
}

/// What a process finds when it takes over.
async fn claimed(f: &StoreFixture) -> ClaimedOnboarding {
    match f.store.claim_onboarding("other", LONG).await.unwrap() {
        OnboardingClaim::Work(claimed) => *claimed,
        OnboardingClaim::Idle(due) => panic!("nothing is due before {due:?}"),
    }
}

async fn an_onboarding_with_an_expired_lease_is_taken_over(f: StoreFixture) {
    let project = ProjectId::default();
    let [created, uploaded, fetched, checked] = [f.package(), f.package(), f.package(), f.package()];
    for package in [&created, &uploaded, &fetched, &checked] {
        f.store.create_package(package).await.unwrap();
    }
    let source = PackageSource {
        uri: Secret::new("https://repo.example/a.csar?token=t0k3n"),
        user_name: Some("nfvo".to_owned()),
        password: Some(Secret::new("s3cr3t")),
    };
    let begin = async |package: &VnfPackage, source: Option<&PackageSource>| {
        f.store.begin_upload(&project, package.id, source, "killed", Duration::ZERO).await.unwrap()
    };
    begin(&uploaded, None).await;
    let [upload, fetch] = [InterruptedOnboarding::Upload, InterruptedOnboarding::Fetch(source.clone())];
    assert_eq!(claimed(&f).await.interrupted, upload);
    begin(&fetched, Some(&source)).await;
    let claim = claimed(&f).await;
    assert_eq!((claim.lease.package, claim.lease.epoch, claim.interrupted), (fetched.id, 2, fetch));
    let lease = f.uploading(checked.id).await.unwrap();
    let due = f.store.claim_onboarding("other", LONG).await.unwrap();
    assert!(matches!(due, OnboardingClaim::Idle(Some(due)) if due <= LONG && due > LONG / 2), "{due:?}");
    f.store.finish_upload(&lease, Duration::ZERO).await.unwrap();
    let claim = claimed(&f).await;
    let content_epoch = lease.epoch;
    assert_eq!(claim.interrupted, InterruptedOnboarding::Check { content_epoch });
    assert_eq!((claim.lease.package, claim.lease.epoch), (checked.id, content_epoch + 1));
    f.store.finish_onboarding(&claim.lease, &content("d"), &[]).await.unwrap();
    let onboarded = f.store.package(&project, checked.id).await.unwrap();
    assert_eq!((onboarded.onboarding.as_str(), onboarded.content_epoch), ("ONBOARDED", content_epoch));
}

async fn a_lost_onboarding_lease_rejects_every_write(f: StoreFixture) {
    let package = f.package();
    f.store.create_package(&package).await.unwrap();
    let zombie = f.store.begin_upload(&package.project_id, package.id, None, "zombie", LONG).await.unwrap();
    f.store.finish_upload(&zombie, Duration::ZERO).await.unwrap();
    let fresh = claimed(&f).await.lease;
    let of_the_future = OnboardingLease { epoch: fresh.epoch + 1, project: fresh.project.clone(), ..fresh };
    for lease in [&zombie, &of_the_future] {
        assert_fails!(f.store.renew_onboarding(lease, LONG).await, StoreError::LeaseLost);
        assert_fails!(f.store.finish_upload(lease, LONG).await, StoreError::LeaseLost);
        assert_fails!(f.store.finish_onboarding(lease, &content("d"), &[]).await, StoreError::LeaseLost);
        assert_fails!(f.store.fail_onboarding(lease, &problem("x")).await, StoreError::LeaseLost);
    }
    assert_fails!(f.store.release_onboarding(zombie).await, StoreError::LeaseLost);
    f.store.renew_onboarding(&fresh, LONG).await.unwrap();
    f.store.release_onboarding(fresh).await.unwrap();
    let next = claimed(&f).await.lease;
    f.store.finish_onboarding(&next, &content("d"), &[]).await.unwrap();
    assert_fails!(f.store.fail_onboarding(&next, &problem("x")).await, StoreError::LeaseLost);
    let idle = f.store.claim_onboarding("other", LONG).await.unwrap();
    assert!(matches!(idle, OnboardingClaim::Idle(None)), "{idle:?}");
}

async fn a_new_onboarding_wakes_every_process(f: StoreFixture) {
    let package = f.package();
    f.store.create_package(&package).await.unwrap();
    let wake = f.store.onboardings();
    for begins in [true, false] {
        let mut woken = std::pin::pin!(wake.notified());
        woken.as_mut().enable();
        if begins {
            f.uploading(package.id).await.unwrap();
        } else {
            // Nobody else holds the epoch of the first lease.
            f.store
                .release_onboarding(OnboardingLease {
                    package: package.id,
                    project: package.project_id.clone(),
                    epoch: 1,
                })
                .await
                .unwrap();
        }
        woken.await;
    }
}

async fn packages_are_updated(f: StoreFixture) {
    use OperationalState::{Disabled, Enabled};
    let project = ProjectId::default();
    let fresh = f.package();
    f.store.create_package(&fresh).await.unwrap();
    let onboarded = f.onboarded().await;
    let (before, data) = (fresh.user_defined_data.clone(), object(json!({"new": null, "number": 1.50, "text": "ä"})));
    let set = Some([&before, &data]);
    // Before onboarding, only the user data can change.
    assert_fails!(f.store.update_package(&project, fresh.id, Some(Enabled), None).await, StoreError::Stale);
    assert_fails!(f.store.update_package(&project, fresh.id, Some(Disabled), set).await, StoreError::Stale);
    f.store.update_package(&project, fresh.id, None, set).await.unwrap();
    assert_eq!(f.store.package(&project, fresh.id).await.unwrap().user_defined_data, data);
    // A concurrent change is not lost.
    assert_fails!(f.store.update_package(&project, fresh.id, None, set).await, StoreError::Stale);
    f.store.update_package(&project, fresh.id, None, Some([&data, &before])).await.unwrap();

    assert_fails!(f.store.update_package(&project, onboarded, Some(Enabled), set).await, StoreError::Stale);
    f.store.update_package(&project, onboarded, Some(Disabled), set).await.unwrap();
    let updated = f.store.package(&project, onboarded).await.unwrap();
    assert_eq!((updated.operational_state, updated.user_defined_data), (Disabled, data));
    f.store.update_package(&project, onboarded, Some(Enabled), None).await.unwrap();
}

async fn packages_are_deleted_when_disabled_and_unused(f: StoreFixture) {
    let project = ProjectId::default();
    let package = f.package();
    let id = package.id;
    f.store.create_package(&package).await.unwrap();
    let lease = f.uploading(id).await.unwrap();
    f.store.finish_upload(&lease, LONG).await.unwrap();
    let file = DefinitionFile::new("a.yaml", "");
    f.store.finish_onboarding(&lease, &content("d"), &[file]).await.unwrap();
    let instance = f.instance_of(id);
    f.store.create_instance(&instance).await.unwrap();
    assert!(f.store.package(&project, id).await.unwrap().in_use);
    assert!(f.store.packages(Some(&project), &whole()).await.unwrap()[0].in_use);
    assert_fails!(f.store.delete_package(&project, id).await, StoreError::Stale);
    f.store.update_package(&project, id, Some(OperationalState::Disabled), None).await.unwrap();
    assert_fails!(f.store.delete_package(&project, id).await, StoreError::InUse);
    f.store.delete_instance(&project, instance.id, None).await.unwrap();
    assert!(!f.store.package(&project, id).await.unwrap().in_use);
    f.store.delete_package(&project, id).await.unwrap();
    assert!(f.store.definition_files(id).await.unwrap().is_empty());
    assert_fails!(f.store.package(&project, id).await, StoreError::NotFound);
    assert_fails!(f.store.delete_package(&project, id).await, StoreError::NotFound);

    let uploading = f.package();
    f.store.create_package(&uploading).await.unwrap();
    let lease = f.uploading(uploading.id).await.unwrap();
    assert_fails!(f.store.delete_package(&project, uploading.id).await, StoreError::Stale);
    f.store.fail_onboarding(&lease, &problem("x")).await.unwrap();
    f.store.delete_package(&project, uploading.id).await.unwrap();
}

async fn a_target_package_is_in_use_until_the_operation_ends(f: StoreFixture) {
    use OpState::{Completed, Failed, FailedTemp, Processing, RolledBack, RollingBack};
    let event = |to| if to == RollingBack { OpEvent::Rollback } else { OpEvent::Fail };
    let project = ProjectId::default();
    for way in [&[Completed][..], &[FailedTemp, Failed], &[FailedTemp, RollingBack, RolledBack], &[RolledBack]] {
        let (instance, target) = (f.instance().await, f.onboarded().await);
        let in_use = async || f.store.package(&project, target).await.unwrap().in_use;
        let usage = async |state: &str| {
            let filter = parse_filter(&format!("(eq,usageState,{state})"), &attributes::packages::V1).unwrap();
            let page = Page { filter: &filter, ..whole() };
            f.store.packages(Some(&project), &page).await.unwrap().iter().any(|package| package.id == target)
        };
        assert!(!in_use().await && usage("NOT_IN_USE").await);
        let op = VnfLcmOpOcc {
            operation: LcmOperation::ChangeVnfpkg,
            state: if way == [RolledBack] { OpState::Starting } else { Processing },
            changed_info: None,
            target_package: Some(target),
            ..f.op(&instance)
        };
        f.store.begin_operation(&op, &instance).await.unwrap();
        assert_eq!(f.op_occ(op.id).await.target_package, Some(target));
        f.store.update_package(&project, target, Some(OperationalState::Disabled), None).await.unwrap();
        let mut state = op.state;
        for &to in way {
            assert!(in_use().await && usage("IN_USE").await, "{state:?}");
            assert_fails!(f.store.delete_package(&project, target).await, StoreError::InUse);
            if state == FailedTemp {
                f.store.resume_operation(&project, op.id, event(to), at(30)).await.unwrap();
            } else {
                let claimed = f.claim(LONG).await;
                assert_eq!(claimed.op.target_package, Some(target));
                let changed_info = (to == Completed).then(|| json!({ "vnfdId": "new" }));
                let error = (to != Completed).then(|| problem("stopped"));
                let ending = OperationOutcome { changed_info, ..outcome(&record(state), to, error, at(20)) };
                f.store.end_operation(claimed.lease, &ending).await.unwrap();
            }
            state = to;
        }
        let ended = f.op_occ(op.id).await;
        assert_eq!((ended.state, ended.target_package), (state, None));
        assert_eq!(ended.changed_info, (state == Completed).then(|| json!({ "vnfdId": "new" })));
        assert!(!in_use().await && usage("NOT_IN_USE").await, "{state:?}");
        f.store.delete_package(&project, target).await.unwrap();
        let late = VnfLcmOpOcc { id: VnfLcmOpOccId(f.uuid()), ..op };
        assert_fails!(f.store.begin_operation(&late, &instance).await, StoreError::Stale);
    }
}

async fn no_instance_is_created_from_a_deleted_package(f: StoreFixture) {
    let project = ProjectId::default();
    for _ in 0..20 {
        let package = f.onboarded().await;
        let instance = f.instance_of(package);
        let remove = async {
            f.store.update_package(&project, package, Some(OperationalState::Disabled), None).await.unwrap();
            f.store.delete_package(&project, package).await
        };
        match tokio::join!(f.store.create_instance(&instance), remove) {
            (Ok(()), Err(StoreError::InUse)) | (Err(StoreError::Stale), Ok(())) => {}
            other => panic!("{other:?}"),
        }
    }
}
