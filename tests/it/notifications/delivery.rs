//! How the notifier delivers the outbox: order, retries, parking, leases.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gybe::notify::Notifier;
use gybe::notify::callback::{Callbacks, OutboundConfig};
use gybe::store::{OutboxClaim, StoreError};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{CREATED, OPERATION, OutboxFixture, PATIENT, Running, by_instance, claim, subscription, summaries};
use crate::support::store::{instance, open};
use crate::support::subscriber::{Received, Reply, Subscriber};

on_both_engines! {
    OutboxFixture::sqlite(), OutboxFixture::postgres();
    delivers_in_order_under_the_first_id_after_an_outage
    an_unreachable_subscriber_does_not_delay_others
    rejected_notifications_are_parked_and_resent_on_request
    undeliverable_notifications_expire
    a_subscription_with_an_expired_lease_is_taken_over
    shutdown_waits_briefly_for_pending_responses
}

async fn delivers_in_order_under_the_first_id_after_an_outage(outbox: OutboxFixture) {
    let subscriber = Subscriber::start().await;
    // One outage of each kind in turn.
    let turn = AtomicUsize::new(0);
    subscriber.answer(move |_| match turn.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Reply::Status(503, String::new()),
        1 => Reply::Closes,
        _ => Reply::Status(429, String::new()),
    });
    let _notifier = outbox.notifier();
    let subscription = subscription(&subscriber.url, json!({}));
    outbox.subscribe(&subscription).await;
    for _ in 0..5 {
        let instance = outbox.instance().await;
        outbox.complete(&instance).await;
        outbox.complete(&instance).await;
    }
    // More than one attempt at the first notification.
    let before = subscriber.wait_until(|received| received.len() >= 6).await;
    let undelivered = outbox.store.undelivered(&subscription.project_id, subscription.id, 100).await.unwrap();
    assert_eq!(undelivered.len(), 35);
    subscriber.answer_status(204);
    let after = subscriber.wait_for_accepted(35).await;
    let states = ["STARTING", "PROCESSING", "COMPLETED"];
    let wanted = [&[CREATED][..], &states, &states].concat();
    let summaries = by_instance(&after);
    assert_eq!(summaries.len(), 5);
    summaries.values().for_each(|summaries| assert_eq!(*summaries, wanted));
    let ids: BTreeSet<String> = after.iter().map(Received::id).collect();
    let first: BTreeSet<String> = undelivered.iter().map(|one| one.notification.id.to_string()).collect();
    assert_eq!(ids, first, "repeated notifications have the ids of the failed deliveries");
    assert!(before.iter().all(|one| ids.contains(&one.id())));
}

async fn an_unreachable_subscriber_does_not_delay_others(outbox: OutboxFixture) {
    let (dead, living) = (Subscriber::start().await, Subscriber::start().await);
    dead.answer(|_| Reply::Hangs);
    let _notifier = outbox.notifier();
    for subscriber in [&dead, &living] {
        outbox.subscribe(&subscription(&subscriber.url, json!({}))).await;
    }
    let instance = outbox.instance().await;
    dead.wait_until(|received| !received.is_empty()).await;
    let begun = Instant::now();
    outbox.complete(&instance).await;
    let summaries = summaries(&living.wait_for_accepted(4).await);
    assert_eq!(summaries, [CREATED, "STARTING", "PROCESSING", "COMPLETED"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "before the dead one is given up: {:?}", begun.elapsed());
    assert_eq!(dead.received().len(), 1, "the next notification waits for this one");
}

async fn rejected_notifications_are_parked_and_resent_on_request(outbox: OutboxFixture) {
    let (subscriber, elsewhere) = (Subscriber::start().await, Subscriber::start().await);
    let trap = elsewhere.url.clone();
    subscriber.answer(move |received| match received.summary().as_str() {
        "STARTING" => Reply::Status(404, "s3cr3t".to_owned()),
        "PROCESSING" => Reply::Redirect(trap.clone()),
        _ => Reply::Status(204, String::new()),
    });
    let _notifier = outbox.notifier();
    let subscription = subscription(&subscriber.url, json!({}));
    outbox.subscribe(&subscription).await;
    outbox.complete(&outbox.instance().await).await;
    // Later notifications are not delayed.
    assert_eq!(summaries(&subscriber.wait_for_accepted(2).await), [CREATED, "COMPLETED"]);
    let parked = outbox.wait_until(&subscription, |left| left.len() == 2).await;
    let reasons: Vec<_> = parked.iter().map(|one| (one.is_parked, one.reason.as_deref().unwrap())).collect();
    let wanted = [
        (true, "the subscriber answered 404 Not Found"),
        (true, "the subscriber answered 302 Found: redirects are not followed"),
    ];
    assert_eq!(reasons, wanted);
    assert!(elsewhere.received().is_empty());
    assert_eq!(outbox.store.outbox_depth().await.unwrap().parked, 2);

    subscriber.answer_status(204);
    assert_eq!(outbox.store.resend(&subscription.project_id, subscription.id).await.unwrap(), 2);
    let received = subscriber.wait_for_accepted(4).await;
    assert_eq!(summaries(&received)[2..], ["STARTING", "PROCESSING"]);
    let ids: Vec<String> = parked.iter().map(|one| one.notification.id.to_string()).collect();
    assert_eq!(received[2..].iter().map(Received::id).collect::<Vec<_>>(), ids);
}

async fn undeliverable_notifications_expire(outbox: OutboxFixture) {
    let subscription = subscription("http://127.0.0.1:1/", json!({ "notificationTypes": [OPERATION] }));
    outbox.subscribe(&subscription).await;
    outbox.complete(&outbox.instance().await).await;
    let addressee = claim(&outbox).await;
    let (store, minute) = (&outbox.store, Duration::from_secs(60));
    store.put_off_subscription(addressee.lease, Duration::ZERO, 1, "nobody there", minute).await.unwrap();
    assert_eq!(store.outbox_depth().await.unwrap().parked, 0);
    let addressee = claim(&outbox).await;
    store.put_off_subscription(addressee.lease, Duration::ZERO, 2, "nobody there", Duration::ZERO).await.unwrap();
    let parked = store.undelivered(&subscription.project_id, subscription.id, 10).await.unwrap();
    assert_eq!(parked.len(), 3);
    assert!(parked.iter().all(|one| one.is_parked && one.reason.as_deref() == Some("given up: nobody there")));
}

async fn a_subscription_with_an_expired_lease_is_taken_over(outbox: OutboxFixture) {
    outbox.subscribe(&subscription("http://127.0.0.1:1/", json!({ "notificationTypes": [OPERATION] }))).await;
    outbox.complete(&outbox.instance().await).await;
    let first = claim(&outbox).await;
    assert!(matches!(
        outbox.store.claim_subscription("other", PATIENT, &[]).await.unwrap(),
        OutboxClaim::Idle(Some(_))
    ));
    outbox.store.renew_subscription(&first.lease, Duration::ZERO).await.unwrap();
    let second = claim(&outbox).await;
    assert_eq!(second.lease.epoch, first.lease.epoch + 1);
    let sent = gybe::store::Sent { delivered: vec![1, 2, 3], refused: Vec::new() };
    let lost = outbox.store.record_sent(&first.lease, PATIENT, &sent).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost)), "{lost:?}");
    assert_eq!(outbox.store.outbox_depth().await.unwrap().waiting, 3);
}

async fn shutdown_waits_briefly_for_pending_responses(outbox: OutboxFixture) {
    let subscriber = Subscriber::start().await;
    let answer = Arc::new(Notify::new());
    let when = Arc::clone(&answer);
    subscriber.answer(move |_| Reply::When(Arc::clone(&when)));
    let subscription = subscription(&subscriber.url, json!({}));
    outbox.subscribe(&subscription).await;
    let (callbacks, stop) = (Arc::new(Callbacks::new(&OutboundConfig::default()).unwrap()), CancellationToken::new());
    let notifier = Notifier::new(outbox.store.clone(), callbacks, "stops".to_owned(), PATIENT);
    let running = tokio::spawn(notifier.run(stop.clone()));
    outbox.complete(&outbox.instance().await).await;
    subscriber.wait_until(|received| !received.is_empty()).await;
    stop.cancel();
    answer.notify_one();
    running.await.unwrap();
    assert_eq!(subscriber.received().len(), 1, "nothing more is sent");
    assert_eq!(outbox.waiting(subscription.id).await, ["STARTING", "PROCESSING", "COMPLETED"]);
    // The killed delivery does not block the subscription for the next process.
    subscriber.answer_status(204);
    let _notifier = outbox.notifier();
    assert_eq!(summaries(&subscriber.wait_for_accepted(4).await), [CREATED, "STARTING", "PROCESSING", "COMPLETED"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_notification_is_delivered_by_one_of_several_processes() {
    let subscriber = Subscriber::start().await;
    let outbox = OutboxFixture::postgres().await;
    let _notifier = outbox.notifier();
    let beside = open(&outbox.url).await;
    let _other = Running::new(Arc::clone(&beside), &OutboundConfig::default());
    outbox.subscribe(&subscription(&subscriber.url, json!({}))).await;
    for _ in 0..20 {
        let first = outbox.instance().await;
        let second = instance(&*beside, &outbox.onboarded).await;
        outbox.complete(&first).await;
        outbox.complete(&second).await;
    }
    let received = subscriber.wait_for_accepted(160).await;
    let ids: BTreeSet<String> = received.iter().map(Received::id).collect();
    assert_eq!((received.len(), ids.len()), (160, 160), "none twice");
    let wanted = [CREATED, "STARTING", "PROCESSING", "COMPLETED"];
    by_instance(&received).values().for_each(|summaries| assert_eq!(*summaries, wanted));
}
