//! VNF packages in the store.

use gybe::domain::ids::{ProjectId, VnfLcmOpOccId};
use gybe::domain::op_occ::{LcmOperation, OpState, VnfLcmOpOcc};
use gybe::domain::package::{DefinitionFile, Onboarding, OperationalState, VnfPackage};
use gybe::store::attributes::{self, filter};
use gybe::store::{OperationOutcome, Page, StoreError};
use serde_json::json;

use crate::support::store::whole;
use crate::support::store_fixture::{Fixture, LONG, at, content, elsewhere, ending, object, problem};

on_both_engines! {
    Fixture::sqlite(), Fixture::postgres();
    packages_are_kept_and_listed_oldest_first
    onboarding_goes_through_its_states
    onboarding_keeps_what_it_found
    a_vnfd_is_onboarded_once_per_project
    abandoned_onboardings_fail
    packages_are_updated
    packages_are_deleted_when_disabled_and_unused
    a_package_that_an_operation_brings_is_in_use_until_that_is_over
    no_instance_is_made_of_a_package_that_goes
}

async fn packages_are_kept_and_listed_oldest_first(f: Fixture) {
    let project = ProjectId::default();
    let newer = VnfPackage { created_at: at(2), ..f.package() };
    let older = VnfPackage { created_at: at(1), ..f.package() };
    let same_age = VnfPackage { created_at: at(1), ..f.package() };
    for package in [&newer, &same_age, &older] {
        f.store.create_package(package).await.unwrap();
    }
    assert_eq!(f.store.package(&project, newer.id).await.unwrap(), newer);
    assert_eq!(f.store.packages(&project, &whole()).await.unwrap(), [older, same_age, newer]);
}

async fn onboarding_goes_through_its_states(f: Fixture) {
    let project = ProjectId::default();
    let package = f.package();
    let id = package.id;
    f.store.create_package(&package).await.unwrap();
    let state = async || f.store.package(&project, id).await.unwrap().onboarding;

    assert_fails!(f.store.begin_processing(id, at(1)).await, StoreError::Stale);
    assert_fails!(f.store.finish_onboarding(id, &content("d"), &[], at(1)).await, StoreError::Stale);
    assert_fails!(f.store.fail_onboarding(id, &problem("x"), at(1)).await, StoreError::Stale);
    f.store.begin_upload(&project, id, at(1)).await.unwrap();
    assert_eq!(state().await, Onboarding::Uploading);
    assert_fails!(f.store.begin_upload(&project, id, at(1)).await, StoreError::Stale);
    f.store.begin_processing(id, at(2)).await.unwrap();
    assert_eq!(state().await, Onboarding::Processing);
    f.store.fail_onboarding(id, &problem("no good"), at(3)).await.unwrap();
    assert_eq!(state().await, Onboarding::Error(problem("no good")));
    // It may be uploaded again.
    f.onboard(id, "d").await.unwrap();
    let onboarded = f.store.package(&project, id).await.unwrap();
    assert_eq!(onboarded.onboarding, Onboarding::Onboarded(Box::new(content("d"))));
    assert_eq!(onboarded.operational_state, OperationalState::Enabled);
    assert_fails!(f.store.begin_upload(&project, id, at(4)).await, StoreError::Stale);
}

async fn onboarding_keeps_what_it_found(f: Fixture) {
    let project = ProjectId::default();
    let package = f.package();
    f.store.create_package(&package).await.unwrap();
    f.store.begin_upload(&project, package.id, at(1)).await.unwrap();
    f.store.begin_processing(package.id, at(2)).await.unwrap();
    let file = |path: String| DefinitionFile { text: format!("# {path} ü\n"), path };
    let mut files: Vec<_> = (0..70).map(|n| file(format!("b/{n:02}.yaml"))).collect();
    files.extend(["a.yaml", "B.yaml", "é.yaml"].map(|path| file(path.to_owned())));
    f.store.finish_onboarding(package.id, &content("d"), &files, at(3)).await.unwrap();

    let vnfd = f.store.vnfd(&project, "d").await.unwrap();
    assert_eq!((vnfd.package_id, vnfd.operational_state), (package.id, OperationalState::Enabled));
    assert_eq!(vnfd.vnfd, content("d").vnfd);
    // By path, as bytes.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    // The second time, they are kept.
    for _ in 0..2 {
        assert_eq!(*f.store.definition_files(package.id).await.unwrap(), *files);
    }
    assert_fails!(f.store.vnfd(&project, "other").await, StoreError::NotFound);
}

async fn a_vnfd_is_onboarded_once_per_project(f: Fixture) {
    let project = ProjectId::default();
    let (first, second) = (f.package(), f.package());
    let foreign = VnfPackage { project_id: elsewhere(), ..f.package() };
    for package in [&first, &second, &foreign] {
        f.store.create_package(package).await.unwrap();
    }
    f.onboard(first.id, "d").await.unwrap();
    assert_fails!(f.onboard(second.id, "d").await, StoreError::Duplicate(_));
    // Nothing of it was kept, and it can be told.
    f.store.fail_onboarding(second.id, &problem("taken"), at(4)).await.unwrap();
    f.store.begin_upload(&elsewhere(), foreign.id, at(1)).await.unwrap();
    f.store.begin_processing(foreign.id, at(2)).await.unwrap();
    f.store.finish_onboarding(foreign.id, &content("d"), &[], at(3)).await.unwrap();
    assert_eq!(f.store.vnfd(&project, "d").await.unwrap().package_id, first.id);
    assert_eq!(f.store.vnfd(&elsewhere(), "d").await.unwrap().package_id, foreign.id);
}

async fn abandoned_onboardings_fail(f: Fixture) {
    let project = ProjectId::default();
    let [created, old, recent] = [f.package(), f.package(), f.package()];
    for package in [&created, &old, &recent] {
        f.store.create_package(package).await.unwrap();
    }
    f.store.begin_upload(&project, old.id, at(1)).await.unwrap();
    f.store.begin_upload(&project, recent.id, at(1)).await.unwrap();
    f.store.begin_processing(recent.id, at(5)).await.unwrap();
    let failed = f.store.fail_abandoned_onboardings(at(5), &problem("abandoned"), at(9)).await.unwrap();
    assert_eq!(failed, [old.id]);
    let state = async |id| f.store.package(&project, id).await.unwrap().onboarding;
    assert_eq!(state(old.id).await, Onboarding::Error(problem("abandoned")));
    assert_eq!(state(recent.id).await, Onboarding::Processing);
    assert_eq!(state(created.id).await, Onboarding::Created);
}

async fn packages_are_updated(f: Fixture) {
    use OperationalState::{Disabled, Enabled};
    let project = ProjectId::default();
    let fresh = f.package();
    f.store.create_package(&fresh).await.unwrap();
    let onboarded = f.onboarded().await;
    let (before, data) = (fresh.user_defined_data.clone(), object(json!({"new": null, "number": 1.50, "text": "ä"})));
    let set = Some([&before, &data]);
    // Before onboarding, only the data.
    assert_fails!(f.store.update_package(&project, fresh.id, Some(Enabled), None).await, StoreError::Stale);
    assert_fails!(f.store.update_package(&project, fresh.id, Some(Disabled), set).await, StoreError::Stale);
    f.store.update_package(&project, fresh.id, None, set).await.unwrap();
    assert_eq!(f.store.package(&project, fresh.id).await.unwrap().user_defined_data, data);
    // Somebody else's change is not lost.
    assert_fails!(f.store.update_package(&project, fresh.id, None, set).await, StoreError::Stale);
    f.store.update_package(&project, fresh.id, None, Some([&data, &before])).await.unwrap();

    assert_fails!(f.store.update_package(&project, onboarded, Some(Enabled), set).await, StoreError::Stale);
    f.store.update_package(&project, onboarded, Some(Disabled), set).await.unwrap();
    let updated = f.store.package(&project, onboarded).await.unwrap();
    assert_eq!((updated.operational_state, updated.user_defined_data), (Disabled, data));
    f.store.update_package(&project, onboarded, Some(Enabled), None).await.unwrap();
}

async fn packages_are_deleted_when_disabled_and_unused(f: Fixture) {
    let project = ProjectId::default();
    let package = f.package();
    let id = package.id;
    f.store.create_package(&package).await.unwrap();
    f.store.begin_upload(&project, id, at(1)).await.unwrap();
    f.store.begin_processing(id, at(2)).await.unwrap();
    let file = DefinitionFile { path: "a.yaml".to_owned(), text: String::new() };
    f.store.finish_onboarding(id, &content("d"), &[file], at(3)).await.unwrap();
    let instance = f.instance_of(id);
    f.store.create_instance(&instance).await.unwrap();
    assert!(f.store.package(&project, id).await.unwrap().in_use);
    assert!(f.store.packages(&project, &whole()).await.unwrap()[0].in_use);
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
    f.store.begin_upload(&project, uploading.id, at(1)).await.unwrap();
    assert_fails!(f.store.delete_package(&project, uploading.id).await, StoreError::Stale);
    f.store.fail_onboarding(uploading.id, &problem("x"), at(2)).await.unwrap();
    f.store.delete_package(&project, uploading.id).await.unwrap();
}

async fn a_package_that_an_operation_brings_is_in_use_until_that_is_over(f: Fixture) {
    use OpState::{Completed, Failed, FailedTemp, Processing, RolledBack, RollingBack};
    let project = ProjectId::default();
    for way in [&[Completed][..], &[FailedTemp, Failed], &[FailedTemp, RollingBack, RolledBack], &[RolledBack]] {
        let (instance, target) = (f.instance().await, f.onboarded().await);
        let in_use = async || f.store.package(&project, target).await.unwrap().in_use;
        let usage = async |state: &str| {
            let filter = filter(&format!("(eq,usageState,{state})"), &attributes::packages::V1).unwrap();
            let page = Page { filter: &filter, ..whole() };
            f.store.packages(&project, &page).await.unwrap().iter().any(|package| package.id == target)
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
                f.store.resume_operation(&project, op.id, to, at(30)).await.unwrap();
            } else {
                let claimed = f.claim(LONG).await;
                assert_eq!(claimed.op.target_package, Some(target));
                let changed_info = (to == Completed).then(|| json!({ "vnfdId": "new" }));
                let error = (to != Completed).then(|| problem("stopped"));
                let ending = OperationOutcome { error, changed_info, ..ending(state, to) };
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

async fn no_instance_is_made_of_a_package_that_goes(f: Fixture) {
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
