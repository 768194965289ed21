//! Retry, rollback, fail and cancel through the API of both editions: in every state, for every operation, and
//! concurrently. No conductor runs, so states change by requests only.

use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Service as _;
use actix_web::test::{self, TestRequest};
use actix_web::{App, web};
use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, join_all};
use gybe::api::event_hub::EventHub;
use gybe::api::instance_cache::InstanceCache;
use gybe::api::load::Load;
use gybe::api::{self, Api};
use gybe::auth::Authenticator;
use gybe::clock::{Ids as _, System};
use gybe::config::CallbackTest;
use gybe::config::clients::Profile;
use gybe::domain::caller;
use gybe::domain::op_occ::LcmOperation::{
    self, ChangeVnfpkg, Heal, Instantiate, ModifyInfo, Operate, Scale, ScaleToLevel, Terminate,
};
use gybe::domain::op_occ::OpState::{
    self, Completed, Failed, FailedTemp, Processing, RolledBack, RollingBack, Starting,
};
use gybe::fetch::PackageSources;
use gybe::infra::kubernetes::KubernetesDriver;
use gybe::lcm::onboarding::Onboarder;
use gybe::metrics::HttpMetrics;
use gybe::notify::callback::{self, Callbacks};
use gybe::package::files::{PackageFiles, StorageLimits};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::op_occ_fixture::OpOccFixture;

const ACTIONS: [&str; 4] = ["retry", "rollback", "fail", "cancel"];
const ROOTS: [&str; 2] = ["/vnflcm/v1", "/vnflcm/v2"];
const OPERATIONS: [LcmOperation; 8] =
    [Instantiate, Scale, ScaleToLevel, Heal, Operate, ChangeVnfpkg, Terminate, ModifyInfo];

/// The status of each of [`ACTIONS`] in each state, for an operation that can be rolled back.
const ANSWERS: [(OpState, [u16; 4]); 7] = [
    (Starting, [409, 409, 409, 202]),
    (Processing, [409, 409, 409, 202]),
    (Completed, [409, 409, 409, 409]),
    (FailedTemp, [202, 202, 200, 409]),
    (Failed, [409, 409, 409, 409]),
    (RollingBack, [409, 409, 409, 202]),
    (RolledBack, [409, 409, 409, 409]),
];

fn answer(operation: LcmOperation, state: OpState, action: usize) -> u16 {
    let has_way_back = matches!(operation, Instantiate | Scale | ScaleToLevel | Operate | ChangeVnfpkg);
    if ACTIONS[action] == "rollback" && !has_way_back {
        return 404;
    }
    ANSWERS.iter().find(|(of, _)| *of == state).unwrap().1[action]
}

/// The state after an accepted action.
fn next(state: OpState, action: usize) -> OpState {
    match ACTIONS[action] {
        "retry" => Processing,
        "rollback" => RollingBack,
        "fail" => Failed,
        _ => state,
    }
}

/// Sends a request; returns status and body.
type Caller = Box<dyn Fn(TestRequest) -> LocalBoxFuture<'static, (u16, Value)>>;

/// The API on a store, without a conductor.
async fn serve(ops: &OpOccFixture) -> Caller {
    let folder = tempfile::tempdir().unwrap();
    let packages = Arc::new(
        PackageFiles::open(folder.path(), StorageLimits { package: 1, all_packages: None, min_free: 0 }).unwrap(),
    );
    let sources = PackageSources::new(Vec::new(), None).unwrap().into();
    let lease = Duration::from_secs(30);
    let api = web::Data::new(Api {
        onboarder: Onboarder::new(Arc::clone(&ops.store), Arc::clone(&packages), sources, "test".to_owned(), lease),
        store: Arc::clone(&ops.store),
        driver: Arc::new(KubernetesDriver::new()),
        observer: Arc::new(KubernetesDriver::new()),
        previewer: Arc::new(KubernetesDriver::new()),
        namespace_keeper: Arc::new(KubernetesDriver::new()),
        clock: Arc::new(System),
        ids: Arc::new(System),
        public_url: "http://gybe".to_owned(),
        page_size: 100,
        require_namespace: false,
        tenancy: None,
        instance_cache: InstanceCache::new("http://gybe".to_owned()).into(),
        callbacks: Arc::new(Callbacks::new(&callback::OutboundConfig::default()).unwrap()),
        callback_test: CallbackTest::Strict,
        granting: false,
        packages,
        runtime: tokio::runtime::Handle::current(),
        caller: caller::Caller::local(),
        refusal_limit: Arc::default(),
        profile: Profile::default(),
        events: EventHub::new(Arc::clone(&ops.store)),
    });
    let load = web::Data::new(Load::new(1024, HttpMetrics::default()));
    let nobody = web::Data::new(Authenticator::default());
    let app = App::new().app_data(api).app_data(load).app_data(nobody).configure(api::routes);
    let service = Rc::new(test::init_service(app).await);
    Box::new(move |request| {
        let service = Rc::clone(&service);
        let answer = async move {
            let answer = service.call(request.to_request()).await.unwrap();
            let status = answer.status().as_u16();
            let body = test::read_body(answer).await;
            (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
        };
        answer.boxed_local()
    })
}

fn act(root: &str, id: impl Display, action: usize) -> TestRequest {
    let action = ACTIONS[action];
    let request = TestRequest::post().uri(&format!("{root}/vnf_lcm_op_occs/{id}/{action}"));
    if action == "cancel" { request.set_json(json!({ "cancelMode": "GRACEFUL" })) } else { request }
}

fn show(root: &str, id: impl Display) -> TestRequest {
    TestRequest::get().uri(&format!("{root}/vnf_lcm_op_occs/{id}"))
}

#[tokio::test]
async fn every_task_in_every_state_answers_as_the_standard_says() {
    let ops = OpOccFixture::on_sqlite().await;
    let call = serve(&ops).await;
    for (root, operation, state, action) in cases() {
        let case = format!("{} of {} in {} at {root}", ACTIONS[action], operation.as_str(), state.as_str());
        let id = ops.begin(operation, state).await.id;
        let wanted = answer(operation, state, action);
        let (_, before) = call(show(root, id)).await;
        assert_eq!(before["_links"].get(ACTIONS[action]).is_some(), wanted < 300, "the link to {case}");
        assert_eq!((&before["isCancelPending"], before.get("cancelMode")), (&json!(false), None), "{case}");

        let (status, body) = call(act(root, id, action)).await;
        assert_eq!(status, wanted, "{case}: {body}");
        let (_, after) = call(show(root, id)).await;
        match status {
            200 => assert_eq!(body, after, "{case}"),
            202 => assert_eq!(body, Value::Null, "{case}"),
            _ => {
                assert_eq!(body["status"], status, "{case}");
                assert_eq!(after, before, "{case} changes nothing");
                continue;
            }
        }
        assert_eq!(after["operationState"], next(state, action).as_str(), "{case}");
        let mode = if ACTIONS[action] == "cancel" { json!("GRACEFUL") } else { Value::Null };
        assert_eq!((&after["isCancelPending"], &after["cancelMode"]), (&json!(!mode.is_null()), &mode), "{case}");
    }
}

/// All combinations of root, operation, state and action.
fn cases() -> impl Iterator<Item = (&'static str, LcmOperation, OpState, usize)> {
    ROOTS.iter().flat_map(|root| {
        OPERATIONS.iter().flat_map(move |operation| {
            OpState::ALL.iter().flat_map(move |state| (0..4).map(move |action| (*root, *operation, *state, action)))
        })
    })
}

#[tokio::test]
async fn tasks_on_an_unknown_operation_are_404() {
    let ops = OpOccFixture::on_sqlite().await;
    let call = serve(&ops).await;
    for root in ROOTS {
        for (action, name) in ACTIONS.iter().enumerate() {
            let (status, body) = call(act(root, System.uuid(), action)).await;
            assert_eq!((status, &body["status"]), (404, &json!(404)), "{name} at {root}");
        }
    }
}

#[tokio::test]
async fn cancel_requires_a_mode_and_forceful_is_not_downgraded() {
    let ops = OpOccFixture::on_sqlite().await;
    let call = serve(&ops).await;
    let id = ops.begin(Instantiate, Processing).await.id;
    let cancel =
        |body: Value| TestRequest::post().uri(&format!("{}/vnf_lcm_op_occs/{id}/cancel", ROOTS[1])).set_json(body);
    for body in [json!({}), json!({ "cancelMode": "gently" }), json!({ "cancelMode": null }), json!([])] {
        assert_eq!(call(cancel(body.clone())).await.0, 400, "{body}");
    }
    for (mode, pending) in [("GRACEFUL", "GRACEFUL"), ("FORCEFUL", "FORCEFUL"), ("GRACEFUL", "FORCEFUL")] {
        assert_eq!(call(cancel(json!({ "cancelMode": mode }))).await.0, 202);
        assert_eq!(call(show(ROOTS[1], id)).await.1["cancelMode"], pending, "after {mode}");
    }
}

/// Whether some sequential order of the actions gives the same `answers` as the concurrent actions and leads from `state`
/// to `end`.
fn is_some_order(answers: &[(usize, u16)], state: OpState, end: OpState) -> bool {
    if answers.is_empty() {
        return state == end;
    }
    (0..answers.len()).any(|first| {
        let (action, status) = answers[first];
        let rest: Vec<_> = answers.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, it)| *it).collect();
        let after = if status < 300 { next(state, action) } else { state };
        answer(Instantiate, state, action) == status && is_some_order(&rest, after, end)
    })
}

/// Concurrent callers get the answers of some sequential order, for any actions and any state.
fn callers_at_once(runtime: &Runtime, ops: &OpOccFixture) {
    let call = runtime.block_on(serve(ops));
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let cases = (proptest::sample::select(&OpState::ALL[..]), proptest::collection::vec(0..4_usize, 2..6));
    let outcome = runner.run(&cases, |(state, actions)| {
        runtime.block_on(async {
            let id = ops.begin(Instantiate, state).await.id;
            let answers = actions.iter().map(async |action| (*action, call(act(ROOTS[1], id, *action)).await.0));
            let answers = join_all(answers).await;
            let (_, op) = call(show(ROOTS[1], id)).await;
            let end = OpState::ALL.into_iter().find(|state| op["operationState"] == state.as_str()).unwrap();
            prop_assert!(is_some_order(&answers, state, end), "{answers:?} from {state:?} to {end:?}");
            Ok(())
        })
    });
    outcome.unwrap();
}

#[test]
fn concurrent_tasks_are_serialised_on_sqlite() {
    let runtime = Runtime::new().unwrap();
    let ops = runtime.block_on(OpOccFixture::on_sqlite());
    callers_at_once(&runtime, &ops);
}

#[test]
fn concurrent_tasks_are_serialised_on_postgresql() {
    let runtime = Runtime::new().unwrap();
    let ops = runtime.block_on(OpOccFixture::on_postgres());
    callers_at_once(&runtime, &ops);
}
