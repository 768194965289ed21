//! What the calls of this process to the API servers of VIMs showed last, for [`crate::view::vim_status`], which records it. No
//! VIM is polled: a VIM that nothing calls keeps the status that it has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::vim::{VimAccess, VimStatus};

/// A status that does not change is reported again after this time: another process may have recorded another one.
const REPORTED_AGAIN: Duration = Duration::from_secs(60);

/// The contacts of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct VimContacts {
    contacts: Arc<Mutex<Vec<Arc<Contact>>>>,
    reported: Arc<Notify>,
}

/// What the calls with one access showed.
#[derive(Debug)]
pub struct Contact {
    access: VimAccess,
    latest: Mutex<Latest>,
    reported: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Latest {
    /// The status, and when it was reported.
    known: Option<(VimStatus, Instant)>,
    /// Whether nobody has taken the report yet.
    is_new: bool,
}

impl VimContacts {
    /// The contact with this access, shared by all clients that have it.
    pub fn with(&self, access: &VimAccess) -> Arc<Contact> {
        let mut contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        // As many remain as there are clients, whose number is limited.
        contacts.retain(|contact| Arc::strong_count(contact) > 1);
        if let Some(contact) = contacts.iter().find(|contact| contact.access == *access) {
            return Arc::clone(contact);
        }
        let reported = Arc::clone(&self.reported);
        let contact = Arc::new(Contact { access: access.clone(), latest: Mutex::default(), reported });
        contacts.push(Arc::clone(&contact));
        contact
    }

    /// Waits for reports, and takes them.
    pub async fn reports(&self) -> Vec<(VimAccess, VimStatus)> {
        loop {
            let reported = self.reported.notified();
            let reports = self.take();
            if !reports.is_empty() {
                return reports;
            }
            reported.await;
        }
    }

    fn take(&self) -> Vec<(VimAccess, VimStatus)> {
        let contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = contacts.iter().filter_map(|contact| Some((contact.access.clone(), contact.take()?)));
        taken.collect()
    }
}

impl Contact {
    /// A call has shown `status`.
    pub fn showed(&self, status: VimStatus) {
        self.showed_at(status, Instant::now());
    }

    fn showed_at(&self, status: VimStatus, now: Instant) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = latest.known.is_some_and(|(known, reported)| known == status && now - reported < REPORTED_AGAIN);
        if !is_known {
            *latest = Latest { known: Some((status, now)), is_new: true };
            self.reported.notify_one();
        }
    }

    fn take(&self) -> Option<VimStatus> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut latest.is_new).then_some(latest.known?.0)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::domain::secret::Secret;
    use crate::domain::vim::VimCredential;

    fn access(token: &str) -> VimAccess {
        let credential = VimCredential::BearerToken(Secret::new(token));
        VimAccess { endpoint: "https://a.test".to_owned(), ca: None, insecure: false, credential, impersonate: None }
    }

    #[tokio::test]
    async fn a_status_is_reported_when_it_changes_and_from_time_to_time() {
        let contacts = VimContacts::default();
        let (one, same) = (contacts.with(&access("a")), contacts.with(&access("a")));
        assert!(contacts.reports().now_or_never().is_none());
        one.showed(VimStatus::Active);
        same.showed(VimStatus::Active);
        assert_eq!(contacts.reports().await, [(access("a"), VimStatus::Active)]);
        same.showed(VimStatus::Active);
        assert!(contacts.reports().now_or_never().is_none(), "nothing new");
        same.showed(VimStatus::Unreachable);
        contacts.with(&access("b")).showed(VimStatus::Error);
        assert_eq!(contacts.reports().await[0], (access("a"), VimStatus::Unreachable));
        one.showed_at(VimStatus::Unreachable, Instant::now() + REPORTED_AGAIN);
        assert_eq!(contacts.reports().await, [(access("a"), VimStatus::Unreachable)]);
    }
}
