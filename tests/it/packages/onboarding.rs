//! Onboarding that another process takes over, on both engines. Fetching is in `sources.rs`, the leases are in
//! `store/packages.rs`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use gybe::domain::ids::{ProjectId, VnfPkgId};
use gybe::domain::package::{Onboarding, VnfPackage};
use gybe::fetch::PackageSources;
use gybe::lcm::onboarding::Onboarder;
use gybe::package::files::{PackageFiles, StorageLimits};
use gybe::store::seal::KeyRing;
use gybe::store::{OnboardingLease, Store, StoreError, connect};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::sample;
use crate::support::store_fixture::{KEY, LONG, StoreFixture};

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    another_process_checks_a_package_whose_process_was_killed
    an_upload_whose_process_was_killed_fails_at_once
    a_package_that_kills_every_process_fails
    a_process_that_takes_over_refuses_bad_content_and_stops_on_request
}

/// How long the leases of killed processes run. A process that takes over sleeps as long.
const TTL: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that takes over: on PostgreSQL with a store of its own.
struct Process {
    store: Arc<dyn Store>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Process {
    async fn start(f: &StoreFixture, data_dir: &Path) -> Self {
        let store = match f.is_postgres() {
            true => connect(&f.url, KeyRing::parse(KEY).unwrap()).await.unwrap(),
            false => Arc::clone(&f.store),
        };
        let sources = PackageSources::new(Vec::new(), None).unwrap();
        let files = Arc::new(files(data_dir));
        let onboarder = Onboarder::new(Arc::clone(&store), files, Arc::new(sources), "survivor".to_owned(), LONG);
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(onboarder.run(stop.clone())));
        Self { store, stop, task }
    }

    /// The package once it is neither UPLOADING nor PROCESSING.
    async fn ended(&self, id: VnfPkgId) -> VnfPackage {
        let ended = async {
            loop {
                let package = self.store.package(&ProjectId::default(), id).await.unwrap();
                if !matches!(package.onboarding, Onboarding::Uploading | Onboarding::Processing) {
                    return package;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, ended).await.unwrap()
    }
}

fn files(data_dir: &Path) -> PackageFiles {
    PackageFiles::open(data_dir, StorageLimits { package: 1 << 30, all_packages: None, min_free: 0 }).unwrap()
}

fn names(data_dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data_dir.join("packages")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A package that a process, which does nothing more, has received and begun to check.
async fn abandoned(f: &StoreFixture, data_dir: &Path, content: Vec<u8>, ttl: Duration) -> OnboardingLease {
    let package = f.package();
    f.store.create_package(&package).await.unwrap();
    let lease = f.store.begin_upload(&package.project_id, package.id, None, "killed", TTL).await.unwrap();
    let chunks = stream::iter([Ok::<_, ()>(content)]);
    files(data_dir).receive(package.id, lease.epoch, chunks).await.unwrap();
    f.store.finish_upload(&lease, ttl).await.unwrap();
    lease
}

async fn another_process_checks_a_package_whose_process_was_killed(f: StoreFixture) {
    let data_dir = tempfile::tempdir().unwrap();
    // Nothing is due when the process starts, so it sleeps until it is notified of the onboarding.
    let survivor = Process::start(&f, data_dir.path()).await;
    let zombie = abandoned(&f, data_dir.path(), sample::pack("small"), TTL).await;
    let id = zombie.package;
    let package = survivor.ended(id).await;
    let Onboarding::Onboarded(content) = &package.onboarding else { panic!("{:?}", package.onboarding) };
    assert_eq!(content.vnfd.id, "73931552-9c18-4c34-b436-5587710fb0b6");
    assert_eq!(names(data_dir.path()), [format!("{id}.{}.csar", package.content_epoch)]);
    // The first process was not dead, only slow.
    assert!(matches!(f.store.finish_onboarding(&zombie, content, &[]).await, Err(StoreError::LeaseLost)));
    assert_eq!(f.store.package(&ProjectId::default(), id).await.unwrap(), package);
}

async fn an_upload_whose_process_was_killed_fails_at_once(f: StoreFixture) {
    let data_dir = tempfile::tempdir().unwrap();
    let survivor = Process::start(&f, data_dir.path()).await;
    let package = f.package();
    f.store.create_package(&package).await.unwrap();
    let upload = async || f.store.begin_upload(&package.project_id, package.id, None, "killed", TTL).await.unwrap();
    std::fs::write(data_dir.path().join(format!("packages/{}.1.upload", package.id)), "PK").unwrap();
    let lease = upload().await;
    assert_eq!(lease.epoch, 1);
    let Onboarding::Error(problem) = survivor.ended(package.id).await.onboarding else { panic!("no failure") };
    assert!(problem.detail.contains("upload it again"), "{}", problem.detail);
    assert_eq!(names(data_dir.path()), [] as [String; 0]);
    // The client can upload again.
    assert!(upload().await.epoch > lease.epoch);
}

async fn a_package_that_kills_every_process_fails(f: StoreFixture) {
    let data_dir = tempfile::tempdir().unwrap();
    let lease = abandoned(&f, data_dir.path(), sample::pack("small"), Duration::ZERO).await;
    for _ in 1..5 {
        f.store.claim_onboarding("killed", Duration::ZERO).await.unwrap();
    }
    let survivor = Process::start(&f, data_dir.path()).await;
    let Onboarding::Error(problem) = survivor.ended(lease.package).await.onboarding else { panic!("no failure") };
    assert!(problem.detail.contains("stopped 5 times"), "{}", problem.detail);
    assert_eq!(names(data_dir.path()), [] as [String; 0]);
}

async fn a_process_that_takes_over_refuses_bad_content_and_stops_on_request(f: StoreFixture) {
    let data_dir = tempfile::tempdir().unwrap();
    let lease = abandoned(&f, data_dir.path(), b"no ZIP".to_vec(), Duration::ZERO).await;
    let process = Process::start(&f, data_dir.path()).await;
    let package = process.ended(lease.package).await;
    assert_eq!(package.onboarding.as_str(), "ERROR");
    process.stop.cancel();
    timeout(PATIENCE, process.task).await.unwrap().unwrap();
}
