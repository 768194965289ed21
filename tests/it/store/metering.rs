//! Metering: the transaction that ends an operation opens and closes the records.

use gybe::domain::ids::ProjectId;
use gybe::domain::metering::{Quantities, TimeRange};
use gybe::domain::namespace::Namespace;
use gybe::domain::op_occ::OpState;
use gybe::domain::tenancy::NamespaceProject;
use gybe::store::{OperationOutcome, PageCursor, StoreError};

use crate::support::store::store_plan;
use crate::support::store_fixture::{LONG, StoreFixture, at, ending, instantiated, plan};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    records_follow_operations_and_add_up
}

/// Runs an operation that ends at that time, with the instance and these quantities.
async fn run(f: &StoreFixture, end: i64, quantities: [u64; 4]) {
    let project = ProjectId::default();
    let mut instance = f.store.list_instances(Some(&project), &crate::support::store::whole()).await.unwrap();
    let id = instance.pop().unwrap().id;
    let mut instance = f.store.instance(&ProjectId::default(), id).await.unwrap();
    let begins = instance.metadata.namespace.is_none();
    instance.metadata.namespace = Some(Namespace::try_from("edge".to_owned()).unwrap());
    if begins {
        let namespace = NamespaceProject { namespace_uid: "uid".to_owned(), project: ProjectId("a".to_owned()) };
        f.store.begin_in_namespace(&f.op(&instance), &instance, &namespace).await.unwrap();
    } else {
        f.store.begin_operation(&f.op(&instance), &instance).await.unwrap();
    }
    let claimed = f.claim(LONG).await;
    store_plan(&*f.store, &claimed.lease, LONG, &plan(), &[], at(0)).await.unwrap();
    let mut instance = claimed.instance.clone();
    instance.instantiated = (quantities[0] > 0).then(instantiated);
    if quantities[0] == 0 {
        instance.metadata.namespace = None;
    }
    let outcome = OperationOutcome {
        instance: Some(instance),
        metered: Some(Quantities(quantities)),
        now: at(end),
        ..ending(OpState::Processing, OpState::Completed)
    };
    let lost = gybe::store::Lease { op: claimed.lease.op, epoch: claimed.lease.epoch + 1 };
    assert_fails!(f.store.end_operation(lost, &outcome).await, StoreError::LeaseLost);
    f.store.end_operation(claimed.lease, &outcome).await.unwrap();
}

/// The sums of quantity and seconds of project `a` in a range, in the order of the quantities, read in pages of two.
async fn sums(f: &StoreFixture, from: i64, to: i64) -> [u64; 4] {
    let range = TimeRange::new(Some(at(from)), Some(at(to)), at(to)).unwrap();
    let (mut sums, mut after) = ([0; 4], None);
    loop {
        let page = f.store.metering_records(&ProjectId("a".to_owned()), range, after, 2).await.unwrap();
        for record in &page {
            assert_eq!(record.namespace, "edge");
            let cut = range.cut(record, at(1000)).unwrap();
            sums[record.resource as usize] += cut.product(record.quantity) / 1000;
        }
        match page.last() {
            Some(last) => after = Some(PageCursor::of(last.from, last.id)),
            None => return sums,
        }
    }
}

async fn records_follow_operations_and_add_up(f: StoreFixture) {
    f.instance().await;
    // Instantiated with 1 VNFC at 100, with 3 at 200, with 1 at 300; healed at 350; terminated at 400.
    run(&f, 100, [1, 1, 10, 16]).await;
    run(&f, 200, [1, 3, 30, 48]).await;
    assert_eq!(sums(&f, 0, 250).await, [150, 100 + 150, 1000 + 1500, 1600 + 2400]);
    run(&f, 300, [1, 1, 10, 16]).await;
    run(&f, 350, [1, 1, 10, 16]).await;
    run(&f, 400, [0; 4]).await;
    assert_eq!(sums(&f, 0, 1000).await, [300, 500, 5000, 8000]);
    // Parts of the time add up to all of it.
    let (first, second) = (sums(&f, 0, 222).await, sums(&f, 222, 1000).await);
    assert_eq!([0, 1, 2, 3].map(|index| first[index] + second[index]), [300, 500, 5000, 8000]);
    assert_eq!(sums(&f, 400, 1000).await, [0; 4]);
    // It is all booked to the project of the namespace.
    let range = TimeRange::new(Some(at(0)), Some(at(1000)), at(1000)).unwrap();
    assert_eq!(f.store.metering_records(&ProjectId::default(), range, None, 9).await.unwrap(), []);
    // Ended records go when they are old enough, the oldest first.
    assert_eq!(f.store.delete_metering_records(at(250), 2).await.unwrap(), 2);
    assert_eq!(f.store.delete_metering_records(at(250), 9).await.unwrap(), 1);
    assert_eq!(sums(&f, 0, 1000).await, [300, 400, 4000, 6400]);
}
