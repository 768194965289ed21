//! Shares of VIMs and packages: who sees what, and what stays when a share ends.

use gybe::domain::ids::{ProjectId, VimId};
use gybe::domain::share::{Grantee, VimShare};
use gybe::domain::vim::Vim;
use gybe::domain::vim_policy::NamespacePattern;
use gybe::store::StoreError;

use crate::support::store::whole;
use crate::support::store_fixture::{StoreFixture, elsewhere, vim};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    a_vim_is_visible_to_the_projects_of_its_shares
    a_package_is_visible_to_the_projects_of_its_shares
}

fn namespaces(names: &[&str]) -> Vec<NamespacePattern> {
    names.iter().map(|name| NamespacePattern::try_from((*name).to_owned()).unwrap()).collect()
}

async fn a_vim_is_visible_to_the_projects_of_its_shares(f: StoreFixture) {
    let (owner, other, third) = (ProjectId::default(), elsewhere(), ProjectId("third".to_owned()));
    let one = vim(f.uuid(), "one");
    f.store.create_vim(&one).await.unwrap();
    assert_fails!(f.store.vim_shares(VimId(f.uuid())).await, StoreError::NotFound);
    assert_fails!(f.store.set_vim_shares(VimId(f.uuid()), &[]).await, StoreError::NotFound);
    let share = |grantee, names: &[&str]| VimShare { grantee, namespaces: namespaces(names) };
    let shares = [share(Grantee::AllProjects, &["sandbox"]), share(Grantee::Project(other.clone()), &["b", "b-*"])];
    f.store.set_vim_shares(one.id, &shares).await.unwrap();
    let shared = f.store.vim_shares(one.id).await.unwrap();
    assert_eq!((&shared.owner, shared.shares.as_slice()), (&owner, shares.as_slice()));

    let lent = |names: &[&str]| Vim { shared: true, lent: Some(namespaces(names)), ..one.clone() };
    let mut of_other = f.store.visible_vim(&other, one.id).await.unwrap();
    of_other.lent.as_mut().unwrap().sort_by_key(|pattern| pattern.as_str().to_owned());
    assert_eq!(of_other, lent(&["b", "b-*", "sandbox"]));
    assert_eq!(f.store.vims(Some(&third), None, 9).await.unwrap(), [lent(&["sandbox"])]);
    assert_eq!(f.store.vim_named(&third, "one").await.unwrap(), lent(&["sandbox"]));
    assert_eq!(f.store.vim(&owner, one.id).await.unwrap(), Vim { shared: true, ..one.clone() });
    assert_fails!(f.store.vim(&other, one.id).await, StoreError::NotFound);
    assert_fails!(f.store.default_vim(&other).await, StoreError::NotFound);

    f.store.set_vim_shares(one.id, &shares[1..]).await.unwrap();
    assert_fails!(f.store.visible_vim(&third, one.id).await, StoreError::NotFound);
    f.store.delete_vim(&owner, one.id).await.unwrap();
    assert_fails!(f.store.visible_vim(&other, one.id).await, StoreError::NotFound);
}

async fn a_package_is_visible_to_the_projects_of_its_shares(f: StoreFixture) {
    let other = elsewhere();
    let instance = f.instance().await;
    let (package, vnfd) = (instance.vnf_pkg_id, instance.vnfd_id.as_str());
    let grantees = [Grantee::Project(other.clone())];
    f.store.set_package_shares(package, &grantees).await.unwrap();
    assert_eq!(f.store.package_shares(package).await.unwrap().shares, grantees);
    assert_eq!(f.store.visible_package(&other, package).await.unwrap().id, package);
    assert_eq!(f.store.package_of_vnfd(&other, vnfd).await.unwrap().id, package);
    assert_eq!(f.store.vnfd(&other, vnfd).await.unwrap().project_id, instance.project_id);
    assert_eq!(f.store.packages(Some(&other), &whole()).await.unwrap()[0].id, package);
    assert_fails!(f.store.package(&other, package).await, StoreError::NotFound);
    assert_fails!(f.store.delete_package(&other, package).await, StoreError::NotFound);

    f.store.set_package_shares(package, &[]).await.unwrap();
    assert_fails!(f.store.visible_package(&other, package).await, StoreError::NotFound);
    assert_fails!(f.store.vnfd(&other, vnfd).await, StoreError::NotFound);
    assert!(f.store.packages(Some(&other), &whole()).await.unwrap().is_empty());
    assert_eq!(f.store.vnfd_of_package(package).await.unwrap().package_id, package);
}
