//! Errors of clusters, and the problems that callers see of them.

use std::collections::BTreeMap;

use crate::domain::problem::{Problem, ProblemType};

/// Why a cluster is not in the state that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct InfraError {
    /// What the caller can do about it.
    pub kind: InfraErrorKind,
    /// For the caller: verb, kind, object, namespace and user in Kubernetes' own words, and no secret.
    pub detail: String,
    /// The values that `detail` quotes, by the name of the member that each becomes in a [`Problem`].
    pub quoted: BTreeMap<&'static str, String>,
}

/// What the caller of a [`super::Driver`] can do about an [`InfraError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfraErrorKind {
    /// A retry may succeed: no connection, a time-out, 429, 5xx. The request may have taken effect.
    Transient,
    /// The request succeeds once something else is ready: a webhook or an API server of a package that does not answer yet, a kind
    /// that is not served yet. Nothing was changed.
    Waiting,
    /// 403: the credential lacks the right. Nothing was changed.
    Denied,
    /// 401: the API server does not accept the credential, which may have expired and may be replaced. Nothing was changed.
    Unauthorized,
    /// The object belongs to somebody else. Nothing was changed.
    Conflict,
    /// The cluster rejects the object, or does not serve its kind. Nothing was changed.
    Invalid,
    /// The object with the uid in the inventory no longer exists. Nothing was changed.
    Gone,
    /// The object exists, and waiting will not make it ready, or did not in time.
    NotReady,
    /// The namespace does not exist, or is being deleted. Nothing was changed.
    NamespaceGone,
    /// A later claim or operation has written the object. Nothing was changed.
    Superseded,
}

impl InfraError {
    /// An error of that kind.
    pub fn new(kind: InfraErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), quoted: BTreeMap::new() }
    }

    /// An [`InfraErrorKind::Transient`] error.
    pub fn transient(detail: impl Into<String>) -> Self {
        Self::new(InfraErrorKind::Transient, detail)
    }

    /// An [`InfraErrorKind::Waiting`] error.
    pub fn waiting(detail: impl Into<String>) -> Self {
        Self::new(InfraErrorKind::Waiting, detail)
    }

    /// An [`InfraErrorKind::Denied`] error.
    pub fn denied(detail: impl Into<String>) -> Self {
        Self::new(InfraErrorKind::Denied, detail)
    }

    /// An [`InfraErrorKind::Conflict`] error.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(InfraErrorKind::Conflict, detail)
    }

    /// An [`InfraErrorKind::Invalid`] error.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(InfraErrorKind::Invalid, detail)
    }

    /// An [`InfraErrorKind::Gone`] error.
    pub fn gone(detail: impl Into<String>) -> Self {
        Self::new(InfraErrorKind::Gone, detail)
    }

    /// An [`InfraErrorKind::NotReady`] error.
    pub fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(InfraErrorKind::NotReady, detail)
    }

    /// The same error with a value that `detail` quotes.
    #[must_use]
    pub fn quoting(mut self, member: &'static str, value: impl ToString) -> Self {
        self.quoted.insert(member, value.to_string());
        self
    }

    /// Whether a retry may succeed.
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, InfraErrorKind::Transient)
    }
}

impl From<InfraError> for Problem {
    fn from(error: InfraError) -> Self {
        let kind = match error.kind {
            InfraErrorKind::Transient => ProblemType::VimUnreachable,
            InfraErrorKind::Gone => ProblemType::ObjectGone,
            InfraErrorKind::Denied | InfraErrorKind::Unauthorized => ProblemType::VimDenied,
            InfraErrorKind::Conflict | InfraErrorKind::Superseded => ProblemType::ObjectConflict,
            InfraErrorKind::Invalid => ProblemType::ObjectRefused,
            InfraErrorKind::NotReady | InfraErrorKind::Waiting => ProblemType::VnfNotReady,
            InfraErrorKind::NamespaceGone => ProblemType::NamespaceGone,
        };
        error
            .quoted
            .iter()
            .fold(Self::new(kind, error.detail), |problem, (member, value)| problem.quoting(member, value))
    }
}
