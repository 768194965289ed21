//! Records the status of registered VIMs as the calls of this process show it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::vim::{VimAccess, VimStatus};
use crate::infra::VimContacts;
use crate::store::{PageCursor, Store, StoreError};

/// From one record to the next: an API server that answers now and then does not make a write for every call.
const PAUSE: Duration = Duration::from_secs(1);

/// VIMs that are read at a time.
const BATCH: usize = 64;

/// Records what the calls show until `stop`.
pub async fn run(store: Arc<dyn Store>, contacts: VimContacts, stop: CancellationToken) {
    loop {
        let reports = tokio::select! {
            () = stop.cancelled() => return,
            reports = contacts.reports() => reports,
        };
        for (access, status) in reports {
            if let Err(error) = record(&*store, &access, status).await {
                // It is reported again.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the status of the VIM at {} is not recorded",
                    access.endpoint
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Records the status of the VIMs that have this access now.
async fn record(store: &dyn Store, access: &VimAccess, status: VimStatus) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let vims = store.vims_at(&access.endpoint, after, BATCH).await?;
        for vim in &vims {
            if vim.status != status && vim.access().as_ref() == Ok(access) {
                let (name, now) = (&vim.name, status.as_str());
                tracing::info!(vim.id = %vim.id, "VIM {name} at {} is {now}, and was {}", vim.endpoint, vim.status.as_str());
                store.record_vim_status(vim, status).await?;
            }
        }
        after = vims.last().map(|vim| PageCursor::of(vim.created_at, vim.id.0));
        if vims.len() < BATCH {
            return Ok(());
        }
    }
}
