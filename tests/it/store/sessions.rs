//! Sessions of browsers: how many somebody may have, and when they end.

use std::time::Duration;

use gybe::domain::ids::ProjectId;
use gybe::store::BrowserSession;

use crate::support::store_fixture::{StoreFixture, at};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    sessions_end_by_time_by_logout_and_by_their_number
}

fn session(id: &str, subject: &str, ends: i64) -> BrowserSession {
    let project = ProjectId("edge".to_owned());
    BrowserSession { id: id.to_owned(), project, subject: subject.to_owned(), credential: id.into(), ends: at(ends) }
}

async fn sessions_end_by_time_by_logout_and_by_their_number(f: StoreFixture) {
    let store = &f.store;
    for (id, subject, ends) in [("a1", "a", 10), ("a2", "a", 20), ("b1", "b", 5), ("a3", "a", 30)] {
        store.begin_session(&session(id, subject, ends), 1).await.unwrap();
    }
    let credential = async |id: &str, now: i64| store.session_credential(id, at(now)).await.unwrap();
    assert_eq!(credential("a1", 0).await, None, "one besides the newest");
    assert_eq!(credential("a2", 19).await, Some(b"a2".to_vec()));
    assert_eq!(credential("a2", 20).await, None, "its time is over");
    assert_eq!(credential("b1", 0).await, Some(b"b1".to_vec()), "others do not count");
    store.end_session("a2").await.unwrap();
    store.end_session("a2").await.unwrap();
    assert_eq!(credential("a2", 0).await, None);
    let before = at(30) + Duration::from_millis(1);
    assert_eq!(store.delete_sessions(before, 1).await.unwrap(), 1);
    assert_eq!(store.delete_sessions(before, 9).await.unwrap(), 1);
    assert_eq!(credential("a3", 0).await, None);
}
