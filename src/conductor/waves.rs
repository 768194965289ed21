//! Sends the requests of a step to the cluster: many at a time, under a lease that is renewed between waves, until a cancel request.
//! [`super::steps`] says which requests.

use std::pin::pin;

use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt as _};

use crate::conductor::steps::{StepError, Steps};
use crate::domain::resource::Resource;
use crate::infra::{InfraError, InfraErrorKind, Scope};

/// The most concurrent requests to a cluster for one operation.
const CONCURRENCY: usize = 16;

/// Objects that are written under one renewal of the lease.
const WAVE: usize = 64;

/// The answers to requests for rows; `None`: the request was not sent, or not answered in time.
pub(super) type Answers<T> = Vec<(Resource, Option<Result<T, InfraError>>)>;

/// Whether a request is refused for an object that a later writer has written.
#[derive(Clone, Copy)]
pub(super) enum Fence {
    Kept,
    Ignored,
}

/// The scope of the operation, with its writer and without.
pub(super) struct Scopes {
    fenced: Scope,
    unfenced: Scope,
}

impl Scopes {
    pub const fn of(&self, fence: Fence) -> &Scope {
        match fence {
            Fence::Kept => &self.fenced,
            Fence::Ignored => &self.unfenced,
        }
    }
}

impl Steps<'_> {
    /// Sends a request for each row, [`WAVE`] rows at a time, and renews the lease before each further wave.
    ///
    /// If an object has a later writer, the lease in the database decides: it is lost, or the object's annotation is wrong, as after
    /// a restore of the database. Then the request is repeated without a writer.
    pub(super) async fn in_waves<'r, T>(
        &self,
        rows: Vec<Resource>,
        request: impl Fn(Fence, Resource) -> BoxFuture<'r, (Resource, Result<T, InfraError>)>,
    ) -> Result<Answers<T>, StepError> {
        let mut answers: Answers<T> = Vec::new();
        let mut rows = rows.into_iter();
        loop {
            let wave: Vec<Resource> = rows.by_ref().take(WAVE).collect();
            if wave.is_empty() {
                return Ok(answers);
            }
            if !answers.is_empty() {
                self.renew_lease_unless_cancelled().await?;
            }
            let answered = self.send(wave.into_iter().map(|row| (row, Fence::Kept)), &request).await?;
            let is_superseded = |(_, answer): &(Resource, Option<Result<T, InfraError>>)| matches!(answer, Some(Err(error)) if error.kind == InfraErrorKind::Superseded);
            let (superseded, answered): (Vec<_>, Vec<_>) = answered.into_iter().partition(is_superseded);
            answers.extend(answered);
            if !superseded.is_empty() {
                self.renew_lease_unless_cancelled().await?;
                tracing::warn!(
                    objects = superseded.len(),
                    "objects name a later writer, but the lease is held: their annotation gybe.dev/written-by is wrong"
                );
                let again = superseded.into_iter().map(|(row, _)| (row, Fence::Ignored));
                answers.extend(self.send(again, &request).await?);
            }
        }
    }

    /// Sends a request for each row, unless the operation is cancelled.
    async fn send<'r, T>(
        &self,
        rows: impl Iterator<Item = (Resource, Fence)>,
        request: &impl Fn(Fence, Resource) -> BoxFuture<'r, (Resource, Result<T, InfraError>)>,
    ) -> Result<Answers<T>, StepError> {
        let cancel = self.cancel;
        let requests: Vec<_> = rows
            .map(|(row, fence)| {
                // The request is made here and sent when it is polled.
                let unsent = row.clone();
                let sent = request(fence, row);
                async move {
                    match cancel.pending() {
                        None => {
                            let (row, answer) = sent.await;
                            (row, Some(answer))
                        }
                        Some(_) => (unsent, None),
                    }
                }
            })
            .collect();
        self.answers(stream::iter(requests).buffer_unordered(CONCURRENCY)).await
    }

    pub(super) fn scopes(&self) -> Scopes {
        Scopes { fenced: self.scope.clone(), unfenced: Scope { writer: None, ..self.scope.clone() } }
    }

    /// Renews the lease between requests. After a cancel request no further request is sent.
    async fn renew_lease_unless_cancelled(&self) -> Result<(), StepError> {
        match self.renew_lease().await {
            Err(StepError::Cancelled) => Ok(()),
            renewed => renewed,
        }
    }

    /// The answers to requests: all, or those that arrived before a forceful cancel request ended the others.
    pub(super) async fn answers<T>(&self, requests: impl Stream<Item = T>) -> Result<Vec<T>, StepError> {
        let mut requests = pin!(requests);
        let mut grace_over = pin!(self.cancel.forceful_grace_over());
        let mut answers = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = self.interrupted.cancelled() => return Err(StepError::Interrupted),
                answer = requests.next() => match answer {
                    Some(answer) => answers.push(answer),
                    None => return Ok(answers),
                },
                () = &mut grace_over => return Ok(answers),
            }
        }
    }
}
