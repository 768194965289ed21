//! Watches when the credentials of registered VIMs expire, as far as they say so: for the metric of the alarm, and with a warning in
//! the log when the end is near. Each process with a conductor runs it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::ids::VimId;
use crate::domain::vim::Vim;
use crate::metrics::VimCredentialMetrics;
use crate::store::{PageCursor, Store, StoreError};

/// From one look at the credentials to the next.
const PAUSE: Duration = Duration::from_secs(60);
/// VIMs that are read at a time.
const BATCH: usize = 64;

/// A warning that was given: of which VIM, about which end, and whether that was over.
type Warned = HashSet<(VimId, OffsetDateTime, bool)>;

/// Looks at the credentials until `stop`.
pub async fn run(store: Arc<dyn Store>, clock: Arc<dyn Clock>, metrics: VimCredentialMetrics, stop: CancellationToken) {
    let mut warned = Warned::new();
    loop {
        if let Err(error) = look(&*store, &*clock, &metrics, &mut warned).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "when the credentials of VIMs expire can't be read"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn look(
    store: &dyn Store,
    clock: &dyn Clock,
    metrics: &VimCredentialMetrics,
    warned: &mut Warned,
) -> Result<(), StoreError> {
    let (mut ends, mut warnings, mut after) = (Vec::new(), Warned::new(), None);
    let now = clock.now();
    loop {
        let vims = store.vims(None, after, BATCH).await?;
        for vim in &vims {
            let Some(validity) = vim.credential_validity() else { continue };
            ends.push((vim.id, validity.ends));
            if validity.is_near_end(now) {
                let warning = (vim.id, validity.ends, validity.ends <= now);
                if !warned.contains(&warning) {
                    warn(vim, validity.ends, now);
                }
                warnings.insert(warning);
            }
        }
        after = vims.last().map(|vim| PageCursor::of(vim.created_at, vim.id.0));
        if vims.len() < BATCH {
            break;
        }
    }
    metrics.show(ends);
    *warned = warnings;
    Ok(())
}

fn warn(vim: &Vim, ends: OffsetDateTime, now: OffsetDateTime) {
    let verb = if ends <= now { "expired" } else { "expires" };
    let (id, name) = (vim.id, &vim.name);
    tracing::warn!(vim.id = %id, "the credential of VIM {name} {verb} at {ends}: renew it with PUT /v1.0/vims/{id}");
}
