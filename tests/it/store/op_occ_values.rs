//! Filters of many op occurrences by what is in their JSON: found by their listed values, in windows of times, and the same is
//! found of those whose values nobody has listed. That each attribute can be filtered by is in `filters.rs`.

use std::sync::Arc;
use std::time::Duration;

use gybe::domain::ids::ProjectId;
use gybe::domain::op_occ::{OpState, VnfLcmOpOcc};
use gybe::store::attributes::{filter, op_occs};
use gybe::store::{Claim, OperationOutcome, Page, PageCursor};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::store_fixture::{Fixture, KEY};

on_both_engines! {
    Fixture::sqlite(), Fixture::postgres();
    what_is_found_does_not_depend_on_what_is_listed
    pages_go_on_where_the_last_one_ended
    what_is_over_is_listed_when_a_release_that_lists_begins
    what_is_too_much_to_list_is_found
    any_filter_finds_the_same_in_any_json
    what_ends_while_it_is_sought_is_found
}

/// More than a window of times has.
const OPERATIONS: u64 = 2500;

/// Op occurrences that are over, two at each time. Their levels go around in threes; one in a hundred is `rare`, the very last is
/// `last`; none has both `odd` and `even`.
async fn many(f: &Fixture) {
    let rows = (0..OPERATIONS).map(|number| {
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        let additional = json!({ "level": number % 3, parity: "yes", "rare": number % 100 == 7, "last": number == OPERATIONS - 1 });
        let params = json!({ "flavourId": "simple", "additionalParams": additional });
        let changes = json!({ "vim_connection_id": "vim", "affected_storages": [], "affected_vnfcs": [{ "change": "ADDED", "vnfc": {
            "vdu_id": "VDU1", "pod_name": format!("upf-{number}"), "pod_uid": "u", "workload_kind": "Deployment",
            "workload_name": "upf" } }] });
        let state = if number % 500 == 3 { "FAILED" } else { "COMPLETED" };
        let error = if state == "FAILED" { format!("'{}'", json!({ "type": "about:blank", "title": "Late", "status": 504, "detail": "x".repeat(300) })) } else { "NULL".to_owned() };
        format!(
            "('{number:08x}-0000-4000-9000-000000000000', 'default', '00000000-0000-4000-8000-000000000000', 'HEAL', '{state}', 1, {}, false, '{params}', {error}, '{changes}', 0)",
            1_760_000_000_000 + number / 2
        )
    });
    f.execute(&format!(
        "INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
         is_automatic_invocation, params, error, resource_changes, not_before) VALUES {}",
        rows.collect::<Vec<_>>().join(", ")
    ))
    .await;
}

/// Has the values listed as an upgrade does.
async fn listed(f: Fixture) -> Fixture {
    if f.is_postgres() {
        gybe::store::migrate(f.url()).await.unwrap();
        return f;
    }
    f.reopen(KEY).await
}

/// The numbers of what a filter finds on a page.
async fn found(f: &Fixture, text: &str, after: Option<PageCursor>, limit: usize) -> Vec<u64> {
    let filter = filter(text, &op_occs::V2).unwrap();
    let page = Page { filter: &filter, after, limit };
    let ops = f.store.op_occs(&ProjectId::default(), &page).await.unwrap();
    ops.iter().map(|op| number(op.id.0)).collect()
}

fn number(id: uuid::Uuid) -> u64 {
    u64::from_str_radix(&id.to_string()[..8], 16).unwrap()
}

fn numbers(holds: impl Fn(&u64) -> bool) -> Vec<u64> {
    (0..OPERATIONS).filter(holds).collect()
}

const LAST: u64 = OPERATIONS - 1;
const PARAMS: &str = "operationParams/additionalParams";
const VNFCS: &str = "resourceChanges/affectedVnfcs";

/// Filters, and what they find.
fn cases() -> Vec<(String, Vec<u64>)> {
    vec![
        (format!("(eq,{PARAMS}/level,1)"), numbers(|number| number % 3 == 1)),
        (format!("(gte,{PARAMS}/level,1.5)"), numbers(|number| number % 3 == 2)),
        (format!("(neq,{PARAMS}/level,0)"), numbers(|number| number % 3 != 0)),
        (format!("(gt,{PARAMS}/level,2)"), Vec::new()),
        (format!("(eq,{PARAMS}/last,true)"), vec![LAST]),
        (format!("(neq,{PARAMS}/last,false)"), vec![LAST]),
        (format!("(neq,{PARAMS}/@key,even);(eq,{PARAMS}/@key,odd)"), numbers(|number| number % 2 == 1)),
        (format!("(eq,{PARAMS}/odd,yes);(eq,{PARAMS}/even,yes)"), Vec::new()),
        (format!("(eq,{PARAMS}/odd,yes);(eq,{PARAMS}/rare,true)"), numbers(|number| number % 100 == 7)),
        (format!("(neq,operationParams/flavourId,none);(eq,{PARAMS}/last,true)"), vec![LAST]),
        (format!("(gte,{VNFCS}/id,upf-5);(lt,{VNFCS}/id,upf-5);(neq,operationParams/flavourId,none)"), Vec::new()),
        (
            format!(
                "(neq,operationParams/flavourId,none);(gte,{PARAMS}/level,1);(lt,{PARAMS}/level,2);(eq,{PARAMS}/odd,yes)"
            ),
            numbers(|number| number % 3 == 1 && number % 2 == 1),
        ),
        ("(neq,operationParams/flavourId,simple)".to_owned(), Vec::new()),
        ("(eq,operationParams/flavourId,simple);(eq,operationState,FAILED)".to_owned(), numbers(|n| n % 500 == 3)),
        ("(cont,error/detail,xxx)".to_owned(), numbers(|number| number % 500 == 3)),
        ("(cont,error/detail,y)".to_owned(), Vec::new()),
        ("(gte,error/status,500);(neq,operationState,FAILED)".to_owned(), Vec::new()),
        (format!("(eq,{VNFCS}/id,upf-{LAST})"), vec![LAST]),
        (format!("(cont,{VNFCS}/id,-249)"), numbers(|number| number.to_string().starts_with("249"))),
        (format!("(neq,{VNFCS}/changeType,ADDED)"), Vec::new()),
        (format!("(eq,{VNFCS}/computeResource/vimConnectionId,vim);(eq,{VNFCS}/id,upf-0)"), vec![0]),
        (
            "(eq,resourceChanges/affectedVirtualStorages/storageResource/vimLevelResourceType,PersistentVolumeClaim)"
                .to_owned(),
            Vec::new(),
        ),
        ("(neq,changedInfo/vnfInstanceName,x)".to_owned(), Vec::new()),
    ]
}

async fn what_is_found_does_not_depend_on_what_is_listed(f: Fixture) {
    many(&f).await;
    for (text, expected) in cases() {
        assert_eq!(found(&f, &text, None, 5000).await, expected, "nothing is listed: {text}");
    }
    let f = listed(f).await;
    assert_eq!(f.text("SELECT CAST(COUNT(*) AS TEXT) FROM vnf_lcm_op_occs WHERE NOT listed").await, "0");
    for (text, expected) in cases() {
        assert_eq!(found(&f, &text, None, 5000).await, expected, "{text}");
        assert_eq!(found(&f, &text, None, 2).await, expected.get(..2).unwrap_or(&expected), "the first two of {text}");
    }
    f.execute("UPDATE vnf_lcm_op_occs SET listed = false WHERE start_time % 7 = 0").await;
    for (text, expected) in cases() {
        assert_eq!(found(&f, &text, None, 5000).await, expected, "some are not listed: {text}");
    }
}

async fn pages_go_on_where_the_last_one_ended(f: Fixture) {
    many(&f).await;
    let f = listed(f).await;
    for (text, expected) in [
        (format!("(eq,{PARAMS}/odd,yes)"), numbers(|number| number % 2 == 1)),
        (format!("(eq,{PARAMS}/rare,true)"), numbers(|number| number % 100 == 7)),
    ] {
        let filter = filter(&text, &op_occs::V2).unwrap();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = Page { filter: &filter, after, limit: 301 };
            let ops = f.store.op_occs(&ProjectId::default(), &page).await.unwrap();
            let Some(last) = ops.last() else { break };
            after = Some(PageCursor::of(last.start_time, last.id.0));
            seen.extend(ops.iter().map(|op| number(op.id.0)));
        }
        assert_eq!(seen, expected, "{text}");
    }
}

async fn what_is_over_is_listed_when_a_release_that_lists_begins(f: Fixture) {
    const VALUES: &str = "SELECT CAST(COUNT(*) AS TEXT) FROM vnf_lcm_op_occ_values";
    many(&f).await;
    f.execute("UPDATE vnf_lcm_op_occs SET state = 'FAILED_TEMP', vnf_instance_id = id WHERE start_time % 2 = 0").await;
    let f = listed(f).await;
    let (first, unlisted) =
        (f.text(VALUES).await, "SELECT CAST(COUNT(*) AS TEXT) FROM vnf_lcm_op_occs WHERE NOT listed");
    assert_ne!(first, "0");
    assert_eq!(f.text(unlisted).await, (OPERATIONS / 2).to_string(), "what is not over may change");
    let f = listed(f).await;
    assert_eq!(f.text(VALUES).await, first, "once");
}

async fn what_is_too_much_to_list_is_found(f: Fixture) {
    many(&f).await;
    let wide: serde_json::Map<_, _> = (0..300).map(|n| (format!("k{n}"), json!(n))).collect();
    let long = json!({ "additionalParams": { "text": "y".repeat(1000) + "z", "nul": "a\u{0}b" } });
    // PostgreSQL's JSON can't have the character.
    let long = if f.is_postgres() { json!({ "additionalParams": { "text": "y".repeat(1000) + "z" } }) } else { long };
    let many_values = json!({ "additionalParams": { "list": (0..300).collect::<Vec<_>>() } });
    for (number, params) in [(1000, &json!({ "additionalParams": wide })), (1500, &long), (2000, &many_values)] {
        f.execute(&format!("UPDATE vnf_lcm_op_occs SET params = '{params}' WHERE id LIKE '{number:08x}-%'")).await;
    }
    let f = listed(f).await;
    assert_eq!(f.text("SELECT CAST(COUNT(*) AS TEXT) FROM vnf_lcm_op_occs WHERE NOT listed").await, "1");
    for (text, expected) in [
        (format!("(eq,{PARAMS}/k299,299)"), vec![1000]),
        (format!("(cont,{PARAMS}/text,yz)"), vec![1500]),
        (format!("(eq,{PARAMS}/list,299)"), vec![2000]),
        (format!("(eq,{PARAMS}/list,300)"), Vec::new()),
    ] {
        assert_eq!(found(&f, &text, None, 10).await, expected, "{text}");
    }
}

/// JSON of few names and few values, so that filters meet some.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        prop::sample::select(vec![
            json!(1.5),
            json!(1.0),
            json!(-0.0),
            json!(1e20),
            json!(u64::MAX),
            json!(9_007_199_254_740_993_i64)
        ]),
        prop::sample::select(vec!["", "1", "true", "ab", "b", "é\n@key"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let object = prop::collection::btree_map(any_name(), inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "a/b", "@key", "1"]).prop_map(str::to_owned)
}

fn any_filter() -> impl Strategy<Value = String> {
    let name =
        prop_oneof![any_name().prop_map(|name| name.replace('/', "~1").replace('@', "~b")), Just("@key".to_owned())];
    let path = prop::collection::vec(name, 1..3).prop_map(|names| names.join("/"));
    let operator = prop::sample::select(vec!["eq", "neq", "in", "nin", "gt", "gte", "lt", "lte", "cont", "ncont"]);
    let value = prop::sample::select(vec![
        "''",
        "1",
        "1.0",
        "1e0",
        "0",
        "-2",
        "1.5",
        "100000000000000000000",
        "18446744073709551615",
        "9007199254740993",
        "true",
        "ab",
        "b",
        "a",
        "'é\n~bkey'",
    ]);
    let condition = (operator, path, value)
        .prop_map(|(operator, path, value)| format!("({operator},operationParams/{path},{value})"));
    prop::collection::vec(condition, 1..3).prop_map(|conditions| conditions.join(";"))
}

async fn any_filter_finds_the_same_in_any_json(f: Fixture) {
    let mut runner = TestRunner::deterministic();
    let mut draw = |strategy: &BoxedStrategy<Value>| strategy.new_tree(&mut runner).unwrap().current();
    let members = prop::collection::btree_map(any_name(), any_json(), 2..5);
    let params = members.prop_map(|members| Value::Object(members.into_iter().collect())).boxed();
    let rows: Vec<_> = (0..300).map(|number| {
        format!(
            "('{number:08x}-0000-4000-9000-000000000000', 'default', '00000000-0000-4000-8000-000000000000', 'HEAL', \
             'COMPLETED', 1, {number}, false, '{}', 0)",
            draw(&params)
        )
    }).collect();
    f.execute(&format!(
        "INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
         is_automatic_invocation, params, not_before) VALUES {}",
        rows.join(", ")
    ))
    .await;
    let filters: Vec<_> = (0..500).map(|_| any_filter().new_tree(&mut runner).unwrap().current()).collect();
    let mut before = Vec::new();
    for text in &filters {
        before.push(found(&f, text, None, 1000).await);
    }
    let met = before.iter().filter(|found| !found.is_empty()).count();
    assert!(met > 100, "of 500 filters only {met} find something");
    let f = listed(f).await;
    for (text, before) in filters.iter().zip(before) {
        assert_eq!(found(&f, text, None, 1000).await, before, "{text}");
    }
}

async fn what_ends_while_it_is_sought_is_found(f: Fixture) {
    const RUNNING: u32 = 60;
    let package = f.onboarded().await;
    for number in 0..RUNNING {
        let instance = f.instance_of(package);
        f.store.create_instance(&instance).await.unwrap();
        let plain = f.op(&instance);
        let start_time = plain.start_time + Duration::from_millis(number.into());
        let op = VnfLcmOpOcc { state: OpState::Processing, start_time, ..plain };
        f.store.begin_operation(&op, &instance).await.unwrap();
    }
    let Claim::Work(claimed) = f.store.claim("worker", Duration::from_secs(600), RUNNING).await.unwrap() else {
        panic!()
    };
    let store = Arc::clone(&f.store);
    let ending = tokio::spawn(async move {
        for claimed in claimed {
            let ending = OperationOutcome::bare(OpState::Processing, OpState::Completed, None, claimed.op.start_time);
            store.end_operation(claimed.lease, &ending).await.unwrap();
        }
    });
    let filter = filter("(eq,operationParams/flavourId,default)", &op_occs::V2).unwrap();
    while !ending.is_finished() {
        let page = Page { filter: &filter, after: None, limit: 1000 };
        assert_eq!(f.store.op_occs(&ProjectId::default(), &page).await.unwrap().len(), 60);
    }
    ending.await.unwrap();
}
