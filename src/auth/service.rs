//! Requests to a service that checks credentials: a token issuer, for instance. The operator names it, so that it may be anywhere.

use std::path::PathBuf;
use std::sync::Arc;

use http::{Request, StatusCode};
use tokio::runtime::Handle;

use crate::auth::{AuthConfigError, AuthError};
use crate::outbound::{Outbound, OutboundConfig};

/// A client of the service.
pub struct Service {
    /// As errors name it.
    name: &'static str,
    outbound: Arc<Outbound>,
    /// The runtime of the process, which the connections belong to: that of an HTTP worker ends with the worker.
    runtime: Handle,
}

impl Service {
    /// Reads at most `max_response` bytes of a response. `ca_file` replaces the certificate authorities of `outbound`.
    ///
    /// # Errors
    /// [`AuthConfigError`], for `table`: a file can't be used.
    pub fn new(
        name: &'static str,
        table: &str,
        outbound: &OutboundConfig,
        ca_file: Option<&PathBuf>,
        max_response: usize,
    ) -> Result<Self, AuthConfigError> {
        let ca_file = ca_file.cloned().or_else(|| outbound.ca_file.clone());
        let outbound = Outbound::new(&OutboundConfig { ca_file, ..outbound.clone() }, max_response)
            .map_err(|error| AuthConfigError(format!("[{table}]: {error}")))?;
        Ok(Self { name, outbound: Arc::new(outbound), runtime: Handle::current() })
    }

    /// The body of a response with status 200.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`]: everything else. The log has the reason.
    pub async fn ask(&self, request: Request<String>) -> Result<Vec<u8>, AuthError> {
        let outbound = Arc::clone(&self.outbound);
        let exchange = self.runtime.spawn(async move { outbound.exchange(request, true).await });
        let reason = match exchange.await {
            Ok(Ok(response)) if response.status == StatusCode::OK => match response.body {
                Some(body) => return Ok(body),
                None => "its answer is cut off or too long".to_owned(),
            },
            Ok(Ok(response)) => format!("it answered {}", response.status),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the process stops".to_owned(),
        };
        Err(self.unusable(&reason))
    }

    /// Runs `work` to its end, also if nobody waits for it any more.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn complete<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, AuthError>> + Send + 'static,
    ) -> Result<T, AuthError> {
        self.runtime.spawn(work).await.unwrap_or_else(|_| Err(self.unavailable()))
    }

    /// Runs `work` without anybody waiting for it.
    pub fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(work);
    }

    /// The error for an answer that can't be used. The reason is logged.
    pub fn unusable(&self, reason: &str) -> AuthError {
        tracing::warn!(reason, "{} gave no usable answer", self.name);
        self.unavailable()
    }

    /// The error for a service that is not asked again so soon.
    pub const fn unavailable(&self) -> AuthError {
        AuthError::Unavailable(self.name)
    }
}

/// The URL of a service of the configuration.
///
/// # Errors
/// [`AuthConfigError`], for `option`: it is not one.
pub fn service_url(option: &str, url: &str) -> Result<String, AuthConfigError> {
    let is_url = |uri: http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
    if url.parse().is_ok_and(is_url) && !url.contains('@') {
        return Ok(url.to_owned());
    }
    Err(AuthConfigError(format!("{option} must be an http:// or https:// URL without user and password")))
}
