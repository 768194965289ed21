//! Requests accepted while the view refreshes the VNF instance: invisible to a caller, unless the caller sent If-Match.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gybe::clock::{Clock, System};
use gybe::domain::ids::ProjectId;
use gybe::domain::instance::{InstantiatedVnfInfo, VnfInstance, VnfMetadata, VnfState};
use gybe::domain::namespace::Namespace;
use gybe::domain::package::DefinitionFile;
use gybe::domain::secret::Secret;
use gybe::domain::vim::VimConnection;
use gybe::lcm::accept::Acceptor;
use gybe::store::Store;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::runtime::Handle;

use crate::support::store::{content_of, onboarded, vnfd};
use crate::support::store_fixture::{StoreFixture, connection_to};

const VNFD: &str = "b1bb0ce7-ebca-4fa7-95ed-4840d70a1177";

/// A clock that refreshes the instance before it returns the time, a given number of times: between a request's read of
/// the instance and its write.
struct InterruptingClock {
    store: Arc<dyn Store>,
    instance: VnfInstance,
    times: AtomicU32,
}

impl Clock for InterruptingClock {
    fn now(&self) -> OffsetDateTime {
        if self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1)).is_ok() {
            let (runtime, store) = (Handle::current(), Arc::clone(&self.store));
            let (project, id) = (self.instance.project_id.clone(), self.instance.id);
            let refresh = async move {
                let seen = store.instance(&project, id).await.unwrap();
                store.refresh_instance(&seen).await.unwrap();
            };
            std::thread::spawn(move || runtime.block_on(refresh)).join().unwrap();
        }
        System.now()
    }
}

/// An instantiated VNF instance, and a clock that interrupts.
async fn instantiated(f: &StoreFixture) -> InterruptingClock {
    let content = content_of(vnfd(VNFD));
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n";
    let file = DefinitionFile::new("Files/app.yaml", manifest);
    let package = onboarded(&*f.store, &content, &[file]).await.package_id;
    let object = |value: Value| value.as_object().unwrap().clone();
    let home = VimConnection {
        vim_type: "ETSINFV.KUBERNETES.V_1".to_owned(),
        interface_info: object(json!({ "endpoint": "https://192.0.2.1:6443" })),
        secrets: BTreeMap::from([("bearer_token".to_owned(), Secret::new("s3cret"))]),
        home: true,
        ..connection_to(None)
    };
    let info = InstantiatedVnfInfo {
        flavour_id: "simple".to_owned(),
        vnf_state: VnfState::Started,
        scale_levels: BTreeMap::new(),
        max_scale_levels: BTreeMap::new(),
        definition_files: vec!["Files/app.yaml".to_owned()],
        vdu_mapping: BTreeMap::new(),
        vnfcs: Vec::new(),
        storages: Vec::new(),
    };
    let namespace = Some(Namespace::try_from("edge".to_owned()).unwrap());
    let instance = VnfInstance {
        vnfd_id: VNFD.to_owned(),
        metadata: VnfMetadata { namespace, user: Map::new() },
        vim_connections: BTreeMap::from([("vim".to_owned(), home)]),
        instantiated: Some(info),
        ..f.instance_of(package)
    };
    f.store.create_instance(&instance).await.unwrap();
    InterruptingClock { store: Arc::clone(&f.store), instance, times: AtomicU32::new(0) }
}

/// Sends a request that is interrupted `times` times; returns the status of the refusal, if there is one.
async fn accepted(f: &StoreFixture, clock: &InterruptingClock, times: u32, task: &str, body: Value) -> Result<(), u16> {
    clock.times.store(times, Ordering::SeqCst);
    let project = ProjectId::default();
    let acceptor = Acceptor {
        store: &*f.store,
        clock,
        ids: &System,
        project: &project,
        granting: false,
        unattended: None,
        vims_by_name: false,
        require_namespace: false,
        tenancy: None,
        rehearsal: None,
    };
    let id = clock.instance.id;
    let patch = |body: Value| body.as_object().unwrap().clone();
    let accepted = match task {
        "modify" => acceptor.modify(id, patch(body), None).await,
        "modify that version" => acceptor.modify(id, patch(body), Some(&[clock.instance.version])).await,
        "terminate" => acceptor.terminate(id, &serde_json::from_value(body).unwrap()).await,
        "change_vnfpkg" => acceptor.change_vnfpkg(id, serde_json::from_value(body).unwrap()).await,
        other => panic!("no task is called {other}"),
    };
    accepted.map(drop).map_err(|error| error.0.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_accepted_despite_a_concurrent_refresh() {
    for (task, body) in [
        ("modify", json!({ "vnfInstanceDescription": "new" })),
        ("modify", json!({ "vimConnectionInfo": { "vim": { "extra": { "rack": 1 } } } })),
        ("terminate", json!({ "terminationType": "FORCEFUL" })),
        ("change_vnfpkg", json!({ "vnfdId": VNFD })),
        ("change_vnfpkg", json!({ "vnfdId": VNFD, "vimConnectionInfo": { "vim": { "extra": { "rack": 1 } } } })),
    ] {
        let f = StoreFixture::sqlite().await;
        let clock = instantiated(&f).await;
        // A request that does not change the instance is written at the first attempt.
        let times = if task == "terminate" { 1 } else { 3 };
        assert_eq!(accepted(&f, &clock, times, task, body.clone()).await, Ok(()), "{task} {body}");
        assert_eq!(clock.times.load(Ordering::SeqCst), 0, "the request was interrupted");
        let now = f.store.instance(&ProjectId::default(), clock.instance.id).await.unwrap();
        if body.get("vimConnectionInfo").is_some() {
            assert_eq!(now.vim_connections["vim"].extra["rack"], 1, "{task}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constantly_changing_instance_is_a_conflict() {
    let f = StoreFixture::sqlite().await;
    let clock = instantiated(&f).await;
    let body = json!({ "terminationType": "FORCEFUL" });
    assert_eq!(accepted(&f, &clock, 0, "terminate", json!({ "terminationType": "GRACEFUL" })).await, Ok(()));
    assert_eq!(accepted(&f, &clock, 0, "terminate", body).await, Err(409), "the first request is not finished");
    let f = StoreFixture::sqlite().await;
    let clock = instantiated(&f).await;
    assert_eq!(accepted(&f, &clock, 100, "modify", json!({ "vnfInstanceName": "n" })).await, Err(409));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_match_is_checked_again_after_a_concurrent_refresh() {
    let f = StoreFixture::sqlite().await;
    let clock = instantiated(&f).await;
    let patch = json!({ "vnfInstanceDescription": "new" });
    assert_eq!(accepted(&f, &clock, 1, "modify that version", patch).await, Err(412));
}
