//! Clients: one per access, kept and shared, built from the access alone.
//!
//! Neither the process's kubeconfig nor its proxy environment has a say. Nothing is retried here: kube's own retry would
//! send a request twice that may have taken effect. [`Cluster::call`] bounds every call; a conductor that lost its lease
//! drops those that change something before that, so that none is under way when the next owner may begin.
//!
//! HTTP/1.1 on purpose: an API server takes only so many streams on one HTTP/2 connection, and watches of many operations
//! would keep out the calls of all. Connections of calls are pooled; each watch has one of its own, that ends with it: taken
//! from the pool, it would leave none to the call that comes next, which waits for a handshake then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream::StreamExt as _;
use http::Response;
use http::header::{AUTHORIZATION, HeaderValue};
use http_body_util::{BodyStream, StreamBody};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client as HttpClient, Error as HttpError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::core::PartialObjectMeta;
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::{Instant, timeout};
use tower::BoxError;
use tower::util::service_fn;

use super::bound::Bound;
use super::count::{counted, is_watch};
use super::discovery::Known;
use super::errors::CallError;
use crate::domain::namespace::Namespace;
use crate::domain::resource::KindInfo;
use crate::domain::vim::{VimAccess, VimCredential};
use crate::infra::InfraError;
use crate::metrics::VimMetrics;
use crate::outbound::address;

const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
/// A connection that is silent for so long is probed.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// An API server that is busy may take seconds. Who waits and loses the right to, drops the call before that.
const CALL_DEADLINE: Duration = Duration::from_secs(8);
/// Requests that one task has under way, where it has many to make: beyond the first few the API server only queues them.
pub(super) const AT_ONCE: usize = 16;
/// After this without use a client is dropped, and with it its connections and its copy of the credential.
const IDLE: Duration = Duration::from_secs(600);
/// More accesses than this at a time: the one that was not used for the longest is dropped.
const MOST: usize = 64;

/// The clients in use.
#[derive(Default)]
pub(super) struct Clients {
    entries: Mutex<Vec<Entry>>,
    metrics: VimMetrics,
}

struct Entry {
    access: VimAccess,
    cluster: Arc<Cluster>,
    used: Instant,
}

impl Clients {
    pub fn new(metrics: VimMetrics) -> Self {
        Self { entries: Mutex::default(), metrics }
    }

    /// The client for `access`.
    ///
    /// # Errors
    /// [`InfraErrorKind::Invalid`] if the access is unusable as it is: no URL, no PEM.
    pub fn get(&self, access: &VimAccess) -> Result<Arc<Cluster>, InfraError> {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| now - entry.used < IDLE);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.access == *access) {
            entry.used = now;
            return Ok(entry.cluster.clone());
        }
        let cluster = Arc::new(Cluster::new(access, &self.metrics)?);
        let oldest = entries.iter().enumerate().min_by_key(|(_, entry)| entry.used).map(|(at, _)| at);
        if let Some(at) = oldest.filter(|_| entries.len() >= MOST) {
            entries.swap_remove(at);
        }
        entries.push(Entry { access: access.clone(), cluster: cluster.clone(), used: now });
        Ok(cluster)
    }
}

/// A cluster, reached with one credential.
pub(super) struct Cluster {
    /// For requests; each goes through [`Cluster::call`].
    pub client: Client,
    /// What discovery said lately.
    pub known: Known,
    endpoint: String,
}

impl Cluster {
    fn new(access: &VimAccess, metrics: &VimMetrics) -> Result<Self, InfraError> {
        let client = client(access, metrics)
            .map_err(|why| InfraError::invalid(format!("the access to {} cannot be used: {why}", access.endpoint)))?;
        Ok(Self { client, known: Known::default(), endpoint: access.endpoint.clone() })
    }

    /// Waits for the answer to a request, no longer than the deadline of calls.
    pub async fn call<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        match timeout(CALL_DEADLINE, request).await {
            Ok(answer) => answer.map_err(|error| CallError::of(&error, &self.endpoint)),
            Err(_) => Err(CallError::silence(&self.endpoint, CALL_DEADLINE)),
        }
    }

    /// The object of that name, if there is one, and if its kind is served at all.
    pub async fn find(&self, api: &Api<DynamicObject>, name: &str) -> Result<Option<DynamicObject>, InfraError> {
        if_there(self.call(api.get(name)).await)
    }

    /// As [`Cluster::find`], of a possibly large object only its metadata.
    pub async fn find_metadata(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
    ) -> Result<Option<PartialObjectMeta<DynamicObject>>, InfraError> {
        if_there(self.call(api.get_metadata(name)).await)
    }

    /// The objects of a kind: those of `namespace`, or the cluster's if the kind is not namespaced.
    pub fn api(&self, api_version: &str, kind: &str, info: &KindInfo, namespace: &Namespace) -> Api<DynamicObject> {
        let resource = api_resource(api_version, kind.to_owned(), info.plural.clone());
        if info.namespaced {
            Api::namespaced_with(self.client.clone(), namespace.as_str(), &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }

    /// The objects of a namespaced kind that every cluster has.
    pub fn builtin(&self, api_version: &str, kind: &str, plural: &str, namespace: &Namespace) -> Api<DynamicObject> {
        self.api(api_version, kind, &KindInfo { plural: plural.to_owned(), namespaced: true }, namespace)
    }

    /// The pods of `namespace`.
    pub fn pods(&self, namespace: &Namespace) -> Api<DynamicObject> {
        self.builtin("v1", "Pod", "pods", namespace)
    }

    /// The volume claims of `namespace`.
    pub fn claims(&self, namespace: &Namespace) -> Api<DynamicObject> {
        self.builtin("v1", "PersistentVolumeClaim", "persistentvolumeclaims", namespace)
    }
}

fn if_there<T>(answer: Result<T, CallError>) -> Result<Option<T>, InfraError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failed) if failed.code == Some(404) => Ok(None),
        Err(failed) => Err(failed.into()),
    }
}

/// A kind as kube wants it.
pub(super) fn api_resource(api_version: &str, kind: String, plural: String) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (group, version, api_version) = (group.to_owned(), version.to_owned(), api_version.to_owned());
    ApiResource { group, version, api_version, kind, plural }
}

fn client(access: &VimAccess, metrics: &VimMetrics) -> Result<Client, String> {
    let config = config(access)?;
    let mut tcp = HttpConnector::new_with_resolver(address::resolver(false));
    // The scheme is the TLS connector's matter.
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_DEADLINE));
    // A PATCH goes out in two writes. Without this, the second would wait for the first one's delayed ACK, 40 ms.
    tcp.set_nodelay(true);
    // A watch may have nothing to say for long: that its connection died without a word is found out within a minute.
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE / 4));
    tcp.set_keepalive_retries(Some(4));
    let tls = config.rustls_https_connector_with_connector(tcp).map_err(|error| error.to_string())?;
    let mut pool = HttpClient::builder(TokioExecutor::new());
    let calls = pool.pool_timer(TokioTimer::new()).build::<_, Body>(tls.clone());
    let watches = pool.pool_max_idle_per_host(0).build::<_, Body>(tls);
    let http = service_fn(move |request| {
        let lasts = is_watch(&request);
        let answer = if lasts { &watches } else { &calls }.request(request);
        async move {
            let (head, body) = answer.await?.into_parts();
            // What a watch is refused with is read to its end, as the answer to a call is.
            let mut bound = if lasts && head.status.is_success() { Bound::of_lines() } else { Bound::of_all() };
            let frames = BodyStream::new(body).map(move |frame| {
                let frame = frame?;
                bound.take(frame.data_ref().map_or(&[], |data| data))?;
                Ok::<_, BoxError>(frame)
            });
            Ok::<_, HttpError>(Response::from_parts(head, StreamBody::new(frames)))
        }
    });
    let headers = config.extra_headers_layer().map_err(|error| error.to_string())?;
    let client = ClientBuilder::new(counted(http, &config.cluster_url, metrics), config.default_namespace.as_str());
    Ok(client.with_layer(&headers).with_layer(&config.base_uri_layer()).build())
}

fn config(access: &VimAccess) -> Result<Config, String> {
    let url = access.endpoint.parse().map_err(|error| format!("its URL is bad_request: {error}"))?;
    let mut config = Config::new(url);
    if config.cluster_url.host().is_none_or(str::is_empty) || config.cluster_url.query().is_some() {
        return Err("its URL must have a host and no query".to_owned());
    }
    address::check(&config.cluster_url, false)?;
    config.accept_invalid_certs = access.insecure;
    config.root_cert = match &access.ca {
        Some(pem) => Some(certificates(pem).map_err(|error| format!("its CA is no PEM: {error}"))?),
        // Where nothing is verified, it must not matter whether the system has roots.
        None if access.insecure || access.endpoint.starts_with("http://") => Some(Vec::new()),
        None => None,
    };
    match &access.credential {
        VimCredential::BearerToken(token) => {
            // Tokens are often read from files, with the end of the line.
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose().trim()))
                .map_err(|_| "its bearer token has characters that no token has".to_owned())?;
            bearer.set_sensitive(true);
            config.headers.push((AUTHORIZATION, bearer));
        }
        VimCredential::ClientCertificate { certificate, key } => {
            config.auth_info.client_certificate_data = Some(BASE64.encode(certificate));
            config.auth_info.client_key_data = Some(BASE64.encode(key.expose()).into());
        }
    }
    Ok(config)
}

fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|der| der.map(|der| der.to_vec()).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    if certificates.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use crate::infra::InfraErrorKind;
    use kube::api::WatchParams;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::domain::secret::Secret;

    fn access(endpoint: &str) -> VimAccess {
        VimAccess {
            endpoint: endpoint.to_owned(),
            ca: None,
            insecure: true,
            credential: VimCredential::BearerToken(Secret::new("t0ken\n")),
        }
    }

    #[tokio::test]
    async fn a_client_is_kept_until_it_is_idle_or_one_too_many() {
        let clients = Clients::default();
        let first = clients.get(&access("https://a.test")).unwrap();
        assert!(Arc::ptr_eq(&first, &clients.get(&access("https://a.test")).unwrap()));
        let other =
            VimAccess { credential: VimCredential::BearerToken(Secret::new("rotated")), ..access("https://a.test") };
        assert!(!Arc::ptr_eq(&first, &clients.get(&other).unwrap()));
        for number in 0..MOST {
            clients.get(&access(&format!("https://{number}.test"))).unwrap();
        }
        assert_eq!(clients.entries.lock().unwrap().len(), MOST);
        assert!(!Arc::ptr_eq(&first, &clients.get(&access("https://a.test")).unwrap()));
    }

    #[tokio::test]
    async fn an_access_that_can_not_work_says_why() {
        let clients = Clients::default();
        for endpoint in ["https://", "https:///x", "https://a b.test", "https://a.test/?x=y", "/x", ""] {
            let error = clients.get(&access(endpoint)).err().unwrap().to_string();
            assert!(error.contains("its URL "), "{endpoint}: {error}");
        }
        for endpoint in ["https://169.254.169.254", "http://[fd00:ec2::23]:80/v1", "https://[::ffff:a9fe:a9fe]"] {
            let error = clients.get(&access(endpoint)).err().unwrap().to_string();
            assert!(error.contains("is link-local or a metadata service"), "{endpoint}: {error}");
        }
        for token in ["two\nlines", "nul\0"] {
            let credential = VimCredential::BearerToken(Secret::new(token));
            let error = clients.get(&VimAccess { credential, ..access("https://a.test") }).err().unwrap().to_string();
            assert!(error.ends_with("its bearer token has characters that no token has"), "{error}");
        }
        let broken = VimAccess { ca: Some("no PEM".to_owned()), ..access("https://a.test") };
        let error = clients.get(&broken).err().unwrap().to_string();
        assert_eq!(
            error,
            "the access to https://a.test cannot be used: its CA is no PEM: there is no certificate in it"
        );
        let broken = VimAccess {
            credential: VimCredential::ClientCertificate {
                certificate: "c3rtificate".to_owned(),
                key: Secret::new("k3y"),
            },
            ..access("https://a.test")
        };
        let error = clients.get(&broken).err().unwrap().to_string();
        assert!(
            error.starts_with("the access to https://a.test cannot be used: ") && !error.contains("k3y"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_metadata_service_is_not_connected_to() {
        // 169.254.169.254 in decimal, which the system's resolver takes for a name.
        let cluster = Clients::default().get(&access("http://2852039166")).unwrap();
        let pods = cluster.pods(&Namespace::try_from("a".to_owned()).unwrap());
        let error = cluster.find(&pods, "p").await.unwrap_err();
        assert_eq!(error.kind, InfraErrorKind::Transient);
        let text = error.detail;
        assert!(text.contains("169.254.169.254 is link-local or a metadata service"), "{text}");
    }

    /// Where every request is answered with `head` and then `piece`, again and again for as long as somebody listens.
    async fn endless(head: &'static str, piece: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = caller.read(&mut [0; 4096]).await;
                    let _ = caller.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes()).await;
                    let pieces = piece.repeat((64 << 10) / piece.len());
                    while caller.write_all(pieces.as_bytes()).await.is_ok() {}
                });
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_given_up() {
        for head in ["200 OK", "403 Forbidden"] {
            let endpoint = endless(head, "word ").await;
            let cluster = Clients::default().get(&access(&endpoint)).unwrap();
            let pods = cluster.pods(&Namespace::try_from("a".to_owned()).unwrap());
            let error = cluster.find(&pods, "p").await.unwrap_err();
            let text = format!("the API server {endpoint} answers with more than 64 MiB");
            assert_eq!(error, InfraError::transient(text), "{head}");
        }
    }

    #[tokio::test]
    async fn a_watch_may_go_on_for_ever_but_not_a_line_of_it() {
        let event =
            r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"1"}}}"#;
        let lines: &'static str = Box::leak(format!("{event}{}\n", " ".repeat(32 << 10)).into_boxed_str());
        let namespace = Namespace::try_from("a".to_owned()).unwrap();
        let watch = async |endpoint: &str| {
            let cluster = Clients::default().get(&access(endpoint)).unwrap();
            cluster.call(cluster.pods(&namespace).watch(&WatchParams::default(), "0")).await.map(|watch| watch.boxed())
        };
        let mut events = watch(&endless("200 OK", lines).await).await.unwrap();
        for _ in 0..(70 << 20) / lines.len() {
            events.next().await.unwrap().unwrap();
        }
        let mut events = watch(&endless("200 OK", "word ").await).await.unwrap();
        let error = events.next().await.unwrap().unwrap_err();
        assert!(crate::domain::problem::chain(&error).contains("16 MiB"), "{error:?}");
        // The refusal of a watch is no watch.
        let error = watch(&endless("403 Forbidden", "word\n").await).await.err().unwrap();
        assert!(error.error.to_string().contains("answers with more than 64 MiB"), "{error:?}");
    }
}
