//! Clients of clusters: one per [`VimAccess`], cached and shared, built from the access alone.
//!
//! The kubeconfig and the proxy variables of the process have no effect. Nothing is retried here: kube's own retry would repeat a
//! request that may have taken effect. [`Cluster::call`] sets a deadline on every call. A conductor that loses its lease drops its
//! calls before that deadline, so that no change is under way when the next owner may begin.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, ObjectList, Request};
use kube::core::PartialObjectMeta;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

use super::breaker::Breaker;
use super::call_error::CallError;
use super::connection::{CONNECT_DEADLINE, connect, simulated};
use super::discovery_cache::DiscoveryCache;
use super::response_limit::{DISCOVERY_BYTES, LIST_BYTES, OBJECT_BYTES, within};
use super::token_source::TokenSource;
use crate::domain::fair_share::Sharer;
use crate::domain::ids::ProjectId;
use crate::domain::namespace::Namespace;
use crate::domain::resource::KindInfo;
use crate::domain::vim::{VimAccess, VimCredential, VimStatus};
use crate::infra::simulated::SimulatedCluster;
use crate::infra::{Contact, InfraError, InfraErrorKind, VimContacts};
use crate::metrics::VimMetrics;
use crate::outbound::OutboundConfig;
use crate::places::{Place, Places};

/// A busy API server may take seconds. A conductor that loses its lease drops the call earlier.
const CALL_DEADLINE: Duration = Duration::from_secs(8);
/// The most requests that one task sends at a time: the API server queues more than a few anyway.
pub(super) const MAX_CONCURRENT_CALLS: usize = 16;
/// The most calls under way to one API server, of all operations: operations that wait for removals have no place, and together they
/// must not flood it. Watches do not count.
const MAX_CALLS: usize = 64;
/// The most lists under way to one API server, and of the whole process: lists are the dearest requests, for both sides.
const MAX_LISTS: usize = 8;
const MAX_LISTS_OF_PROCESS: usize = 32;
static LISTS: Semaphore = Semaphore::const_new(MAX_LISTS_OF_PROCESS);
/// Objects per page of a list.
pub(super) const PAGE: u32 = 500;
/// The most pages of a list: an API server may send one after the other without end.
pub(super) const MAX_PAGES: usize = 200;
/// The most watches of one API server: of operations, and of those that last. Projects share them: one alone gets seven eighths. A
/// connection takes some 50 KiB.
const MAX_WATCHES: [usize; 2] = [1024, 4096];
/// A longer list is parsed on a thread of its own: it takes some milliseconds per MiB.
const LONG_TEXT: usize = 256 << 10;
/// A client that is unused for this long is dropped, with its connections and its copy of the credential.
const MAX_IDLE: Duration = Duration::from_secs(600);
/// The most clients that are kept. Beyond that, the least recently used one is dropped.
const MAX_CLIENTS: usize = 64;

/// The cached clients.
#[derive(Default)]
pub(super) struct Clients {
    cached: Mutex<Vec<CachedCluster>>,
    metrics: VimMetrics,
    contacts: VimContacts,
    token_endpoints: OutboundConfig,
    /// The cluster of VIMs that are simulated, if this process has one.
    pub simulated: Option<SimulatedCluster>,
}

struct CachedCluster {
    access: VimAccess,
    cluster: Arc<Cluster>,
    last_used: Instant,
}

impl Clients {
    pub fn new(metrics: VimMetrics, contacts: VimContacts, token_endpoints: OutboundConfig) -> Self {
        Self { cached: Mutex::default(), metrics, contacts, token_endpoints, simulated: None }
    }

    /// The client for `access`, from the cache or new.
    ///
    /// # Errors
    /// [`InfraErrorKind::Invalid`] if the access cannot be used: a malformed URL or PEM.
    pub fn get(&self, access: &VimAccess) -> Result<Arc<Cluster>, InfraError> {
        let now = Instant::now();
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.retain(|entry| now - entry.last_used < MAX_IDLE);
        if let Some(entry) = cached.iter_mut().find(|entry| entry.access == *access) {
            entry.last_used = now;
            return Ok(entry.cluster.clone());
        }
        let cluster = Arc::new(self.open(access, server_of(&cached, access))?);
        let oldest = cached.iter().enumerate().min_by_key(|(_, entry)| entry.last_used).map(|(at, _)| at);
        if let Some(at) = oldest.filter(|_| cached.len() >= MAX_CLIENTS) {
            cached.swap_remove(at);
        }
        cached.push(CachedCluster { access: access.clone(), cluster: cluster.clone(), last_used: now });
        Ok(cluster)
    }

    /// A client for `access` that is not kept: for a single question, so that many of them do not displace the others.
    ///
    /// # Errors
    /// As [`Clients::get`].
    pub fn passing(&self, access: &VimAccess) -> Result<Cluster, InfraError> {
        let server = server_of(&self.cached.lock().unwrap_or_else(PoisonError::into_inner), access);
        self.open(access, server)
    }

    fn open(&self, access: &VimAccess, server: Arc<ApiServer>) -> Result<Cluster, InfraError> {
        let connected = match &access.credential {
            VimCredential::Simulated => simulated(access, &self.metrics, self.simulated.as_ref()),
            _ => connect(access, &self.metrics, &self.token_endpoints),
        };
        let (client, tokens) = connected.map_err(|reason| {
            let detail = format!("the access to {} cannot be used: {reason}", access.endpoint);
            InfraError::invalid(detail).quoting("endpoint", &access.endpoint).quoting("reason", reason)
        })?;
        // The status of a VIM is that of its credential, not of an account that is impersonated.
        let contact = self.contacts.with(&access.without_impersonation());
        let (discovery, endpoint) = (DiscoveryCache::default(), access.endpoint.clone());
        Ok(Cluster { client, discovery, tokens, endpoint, contact, server })
    }
}

/// The API server of `access`, which all clients of it share.
fn server_of(cached: &[CachedCluster], access: &VimAccess) -> Arc<ApiServer> {
    let same = cached.iter().find(|entry| entry.access.endpoint == access.endpoint);
    same.map_or_else(Arc::default, |entry| Arc::clone(&entry.cluster.server))
}

/// A cluster, reached with one credential.
pub(super) struct Cluster {
    /// Every request of this client goes through [`Cluster::call`].
    pub client: Client,
    /// What discovery said lately.
    pub discovery: DiscoveryCache,
    /// Where its tokens come from, if they come from a token endpoint.
    tokens: Option<Arc<TokenSource>>,
    endpoint: String,
    contact: Arc<Contact>,
    server: Arc<ApiServer>,
}

/// An API server, for all clients of it.
struct ApiServer {
    breaker: Breaker,
    /// The calls that it may have under way: each takes a connection.
    calls: Semaphore,
    /// Those of them that list objects.
    lists: Semaphore,
    /// The watches that operations may have, and the lasting ones: each has a connection of its own.
    watches: [Arc<Places>; 2],
}

impl Default for ApiServer {
    fn default() -> Self {
        let (calls, lists) = (Semaphore::new(MAX_CALLS), Semaphore::new(MAX_LISTS));
        Self { breaker: Breaker::default(), calls, lists, watches: MAX_WATCHES.map(Places::new) }
    }
}

impl Cluster {
    /// Sends a request when fewer than [`MAX_CALLS`] are under way, and waits for the answer, at most [`CALL_DEADLINE`]. Fails at once
    /// while the API server is silent ([`Breaker`]).
    pub async fn call<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        within(OBJECT_BYTES, self.admitted(request)).await.0
    }

    /// As [`Cluster::call`], for a list of kinds.
    pub async fn call_discovery<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        within(DISCOVERY_BYTES, self.admitted(request)).await.0
    }

    /// Lists objects, one page of them if `params` has a limit.
    pub async fn list(
        &self,
        api: &Api<DynamicObject>,
        params: &ListParams,
    ) -> Result<ObjectList<DynamicObject>, CallError> {
        let request = async {
            let request = Request::new(api.resource_url()).list(params).map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        // These semaphores are never closed, and each list has a deadline.
        let _turns = (self.server.lists.acquire().await, LISTS.acquire().await);
        let (text, share) = within(LIST_BYTES, self.admitted(request)).await;
        let text = text?;
        let is_long = text.len() > LONG_TEXT;
        let parse = move || {
            let list = serde_json::from_str(&text).map_err(kube::Error::SerdeError);
            // The text is no longer needed.
            drop(share);
            list
        };
        let list = if is_long { spawn_blocking(parse).await.unwrap_or_else(panicked) } else { parse() };
        list.map_err(|error| CallError::from_kube(&error, &self.endpoint))
    }

    /// The right to one more watch, if the API server may have one more of its sort, and the project one more of these.
    pub fn watch_place(&self, lasting: bool, project: &ProjectId) -> Option<Place> {
        self.server.watches[usize::from(lasting)].try_take(&Sharer::of(project))
    }

    /// Lists all objects, page by page, and keeps of each what `keep` returns. Returns them with the version of the list.
    pub async fn list_as<T>(
        &self,
        api: &Api<DynamicObject>,
        params: &ListParams,
        keep: impl Fn(DynamicObject) -> T,
    ) -> Result<(Vec<T>, String), CallError> {
        let mut params = params.clone().limit(PAGE);
        let mut objects = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.list(api, &params).await?;
            objects.extend(page.items.into_iter().map(&keep));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok((objects, page.metadata.resource_version.unwrap_or_default()));
            }
        }
        Err(CallError::too_many_objects(&self.endpoint, MAX_PAGES * PAGE as usize))
    }

    /// All objects, page by page.
    pub async fn list_all(
        &self,
        api: &Api<DynamicObject>,
        params: &ListParams,
    ) -> Result<Vec<DynamicObject>, CallError> {
        Ok(self.list_as(api, params, |object| object).await?.0)
    }

    /// Sends a request when it may be sent.
    async fn admitted<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        if let Some(tokens) = &self.tokens {
            tokens.ready().await.map_err(|error| self.without_token(error))?;
        }
        let deadline = Instant::now() + CALL_DEADLINE;
        let no_answer = || CallError::no_answer(&self.endpoint, CALL_DEADLINE);
        let Ok(Ok(_call)) = timeout_at(deadline, self.server.calls.acquire()).await else { return Err(no_answer()) };
        let sent = Instant::now();
        if !self.server.breaker.admits(sent) {
            return Err(no_answer());
        }
        let answer = match timeout(CALL_DEADLINE, request).await {
            Ok(answer) => answer.map_err(|error| CallError::from_kube(&error, &self.endpoint)),
            Err(_) => Err(no_answer()),
        };
        self.note(&answer, sent);
        answer
    }

    /// The failure of a call that was not sent, because there is no token for it.
    fn without_token(&self, error: InfraError) -> CallError {
        if error.kind == InfraErrorKind::Unauthorized {
            self.contact.showed(VimStatus::Error);
        }
        CallError { code: None, answered: false, error }
    }

    /// Notes what a call showed of the API server.
    fn note<T>(&self, answer: &Result<T, CallError>, sent: Instant) {
        let now = Instant::now();
        match answer {
            Err(CallError { code: None, answered: false, error }) if error.is_transient() => {
                self.contact.showed(VimStatus::Unreachable);
                // A connection that is refused costs nothing.
                if now - sent >= CONNECT_DEADLINE {
                    self.server.breaker.unanswered(sent, now);
                }
                return;
            }
            // The request was not sent.
            Err(CallError { code: None, answered: false, .. }) => return,
            Err(failed) if failed.error.kind == InfraErrorKind::Unauthorized => self.contact.showed(VimStatus::Error),
            _ => self.contact.showed(VimStatus::Active),
        }
        self.server.breaker.answered(now);
    }

    /// The object of that name; `None` if it does not exist, or its kind is not served.
    pub async fn find(&self, api: &Api<DynamicObject>, name: &str) -> Result<Option<DynamicObject>, InfraError> {
        none_if_404(self.call(api.get(name)).await)
    }

    /// As [`Cluster::find`], but reads only the metadata: the object may be large.
    pub async fn find_metadata(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
    ) -> Result<Option<PartialObjectMeta<DynamicObject>>, InfraError> {
        none_if_404(self.call(api.get_metadata(name)).await)
    }

    /// The API of a kind: in `namespace`, or of the cluster if the kind is not namespaced.
    pub fn api(&self, api_version: &str, kind: &str, info: &KindInfo, namespace: &Namespace) -> Api<DynamicObject> {
        let resource = api_resource(api_version, kind.to_owned(), info.plural.clone());
        if info.namespaced {
            Api::namespaced_with(self.client.clone(), namespace.as_str(), &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }

    /// The API of a namespaced kind that every cluster serves.
    pub fn builtin(&self, api_version: &str, kind: &str, plural: &str, namespace: &Namespace) -> Api<DynamicObject> {
        self.api(api_version, kind, &KindInfo { plural: plural.to_owned(), namespaced: true }, namespace)
    }

    /// The API of the pods of `namespace`.
    pub fn pods(&self, namespace: &Namespace) -> Api<DynamicObject> {
        self.builtin("v1", "Pod", "pods", namespace)
    }

    /// The API of the volume claims of `namespace`.
    pub fn claims(&self, namespace: &Namespace) -> Api<DynamicObject> {
        self.builtin("v1", "PersistentVolumeClaim", "persistentvolumeclaims", namespace)
    }
}

impl Cluster {
    /// Whether the namespace exists.
    ///
    /// # Errors
    /// [`InfraErrorKind::Denied`] to most credentials of a single namespace.
    async fn has_namespace(&self, namespace: &Namespace) -> Result<bool, InfraError> {
        Ok(self.namespace(namespace).await?.is_some())
    }

    /// The metadata of the Namespace; `None` if it does not exist.
    ///
    /// # Errors
    /// [`InfraErrorKind::Denied`] to most credentials of a single namespace.
    pub async fn namespace(
        &self,
        namespace: &Namespace,
    ) -> Result<Option<PartialObjectMeta<DynamicObject>>, InfraError> {
        let info = KindInfo { plural: "namespaces".to_owned(), namespaced: false };
        self.find_metadata(&self.api("v1", "Namespace", &info, namespace), namespace.as_str()).await
    }

    /// `result`; but a credential that was denied because its rights ended with the namespace gets
    /// [`InfraErrorKind::NamespaceGone`]. An API server denies in the same words, whether the rights or the namespace are missing.
    pub async fn with_missing_namespace<T>(
        &self,
        namespace: &Namespace,
        result: Result<T, InfraError>,
    ) -> Result<T, InfraError> {
        let error = match result {
            Err(error) if is_denied_in(&error, namespace) => error,
            result => return result,
        };
        Err(match self.has_namespace(namespace).await {
            Ok(false) => {
                let detail = format!("namespace {namespace} does not exist: {}", error.detail);
                InfraError { kind: InfraErrorKind::NamespaceGone, detail, ..error }
            }
            Err(denied) if denied.kind == InfraErrorKind::Denied => {
                let hint = format!("the user may not read whether namespace {namespace} still exists, either");
                InfraError { detail: format!("{}; {hint}", error.detail), ..error }
            }
            _ => error,
        })
    }
}

fn is_denied_in(error: &InfraError, namespace: &Namespace) -> bool {
    error.kind == InfraErrorKind::Denied && error.quoted.get("namespace").is_some_and(|it| it == namespace.as_str())
}

/// The failure of a task: it has panicked, or the process stops.
fn panicked<T>(error: JoinError) -> kube::Result<T> {
    Err(kube::Error::Service(error.into()))
}

fn none_if_404<T>(answer: Result<T, CallError>) -> Result<Option<T>, InfraError> {
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

#[cfg(test)]
mod tests {
    use futures::stream::StreamExt as _;
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
            impersonate: None,
        }
    }

    #[tokio::test]
    async fn a_project_leaves_watches_to_others() {
        let clients = Clients::default();
        let cluster = clients.get(&access("https://a.test")).unwrap();
        let [stuck, other] = ["stuck", "other"].map(|project| ProjectId(project.to_owned()));
        for (lasting, most) in [(false, 896), (true, 3584)] {
            let taken: Vec<_> = std::iter::from_fn(|| cluster.watch_place(lasting, &stuck)).collect();
            assert_eq!(taken.len(), most);
            assert!(cluster.watch_place(lasting, &other).is_some());
            drop(taken);
            assert!(cluster.watch_place(lasting, &stuck).is_some(), "watches that end are free again");
        }
    }

    #[tokio::test]
    async fn keeps_a_limited_number_of_clients() {
        let clients = Clients::default();
        let first = clients.get(&access("https://a.test")).unwrap();
        assert!(Arc::ptr_eq(&first, &clients.get(&access("https://a.test")).unwrap()));
        let other =
            VimAccess { credential: VimCredential::BearerToken(Secret::new("rotated")), ..access("https://a.test") };
        assert!(!Arc::ptr_eq(&first, &clients.get(&other).unwrap()));
        let account = |account: &str| VimAccess { impersonate: account.parse().ok(), ..access("https://a.test") };
        let impersonating = clients.get(&account("a/gybe")).unwrap();
        assert!(
            !Arc::ptr_eq(&first, &impersonating)
                && !Arc::ptr_eq(&impersonating, &clients.get(&account("b/gybe")).unwrap())
        );
        assert!(Arc::ptr_eq(&impersonating, &clients.get(&account("a/gybe")).unwrap()));
        let kept = clients.cached.lock().unwrap().len();
        assert!(Arc::ptr_eq(&clients.passing(&account("c/gybe")).unwrap().server, &first.server));
        assert_eq!(clients.cached.lock().unwrap().len(), kept);
        for number in 0..MAX_CLIENTS {
            clients.get(&access(&format!("https://{number}.test"))).unwrap();
        }
        assert_eq!(clients.cached.lock().unwrap().len(), MAX_CLIENTS);
        assert!(!Arc::ptr_eq(&first, &clients.get(&access("https://a.test")).unwrap()));
    }

    #[tokio::test]
    async fn names_what_is_wrong_with_an_access() {
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
            assert!(error.ends_with("its bearer token has characters that no HTTP header may have"), "{error}");
        }
        let broken = VimAccess { ca: Some("no PEM".to_owned()), ..access("https://a.test") };
        let error = clients.get(&broken).err().unwrap().to_string();
        assert_eq!(error, "the access to https://a.test cannot be used: its CA is not PEM: it holds no certificate");
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
    async fn does_not_connect_to_a_name_of_a_metadata_service() {
        // 169.254.169.254 in decimal: a name to us, an address to the system's resolver.
        let cluster = Clients::default().get(&access("http://2852039166")).unwrap();
        let pods = cluster.pods(&Namespace::try_from("a".to_owned()).unwrap());
        let error = cluster.find(&pods, "p").await.unwrap_err();
        assert_eq!(error.kind, InfraErrorKind::Transient);
        let text = error.detail;
        assert!(text.contains("169.254.169.254 is link-local or a metadata service"), "{text}");
    }

    /// A server that answers every request with `head` and then `piece` without end.
    async fn endless_server(head: &'static str, piece: &'static str) -> String {
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
    async fn gives_up_an_endless_answer() {
        for head in ["200 OK", "403 Forbidden"] {
            let endpoint = endless_server(head, "word ").await;
            let cluster = Clients::default().get(&access(&endpoint)).unwrap();
            let pods = cluster.pods(&Namespace::try_from("a".to_owned()).unwrap());
            let error = cluster.find(&pods, "p").await.unwrap_err();
            let text = format!("the API server {endpoint} answers with more than 8 MiB");
            assert_eq!((error.kind, error.detail), (InfraErrorKind::Transient, text), "{head}");
        }
    }

    #[tokio::test]
    async fn limits_a_watch_by_its_lines() {
        let event =
            r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"1"}}}"#;
        let lines: &'static str = Box::leak(format!("{event}{}\n", " ".repeat(32 << 10)).into_boxed_str());
        let namespace = Namespace::try_from("a".to_owned()).unwrap();
        let watch = async |endpoint: &str| {
            let cluster = Clients::default().get(&access(endpoint)).unwrap();
            cluster.call(cluster.pods(&namespace).watch(&WatchParams::default(), "0")).await.map(|watch| watch.boxed())
        };
        let mut events = watch(&endless_server("200 OK", lines).await).await.unwrap();
        for _ in 0..(70 << 20) / lines.len() {
            events.next().await.unwrap().unwrap();
        }
        let mut events = watch(&endless_server("200 OK", "word ").await).await.unwrap();
        let error = events.next().await.unwrap().unwrap_err();
        assert!(crate::domain::problem::chain(&error).contains("8 MiB"), "{error:?}");
        // The refusal of a watch has the limit of an answer.
        let error = watch(&endless_server("403 Forbidden", "word\n").await).await.err().unwrap();
        assert!(error.error.to_string().contains("answers with more than 8 MiB"), "{error:?}");
    }

    /// 200 calls to a server that never answers take as long as one.
    #[tokio::test]
    async fn the_first_call_without_an_answer_ends_the_others() {
        let cluster = Clients::default().get(&access("https://a.test")).unwrap();
        let sent = std::sync::atomic::AtomicUsize::new(0);
        let slow = Instant::now().checked_sub(CALL_DEADLINE).unwrap();
        let calls = (0..200).map(async |_| {
            let call = async {
                sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err::<(), _>(kube::Error::Service("silence".into()))
            };
            // As after the deadline of a call.
            let answer = cluster.call(call).await;
            cluster.note(&answer, slow);
            answer
        });
        let calls: Vec<_> = calls.collect();
        let answers: Vec<_> = futures::stream::iter(calls).buffer_unordered(MAX_CONCURRENT_CALLS).collect().await;
        assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|failed| failed.error.is_transient())));
        assert!(sent.into_inner() <= MAX_CONCURRENT_CALLS);
    }
}
