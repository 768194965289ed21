//! Filters of many op occurrences by attributes in JSON: they find the right rows, page after page. A slow filter is stopped and
//! delays only other filters. `filters.rs` tests each attribute.

use std::time::{Duration, Instant};

use gybe::domain::ids::ProjectId;
use gybe::store::attributes::{op_occs, parse_filter};
use gybe::store::{Page, PageCursor, StoreError};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::store::whole;
use crate::support::store_fixture::StoreFixture;

on_both_engines! {
    StoreFixture::sqlite(), StoreFixture::postgres();
    finds_the_right_operations
    returns_page_after_page
    agrees_with_a_simple_evaluation_on_random_json
    stops_a_slow_filter_at_its_deadline
}

const OPERATIONS: u64 = 2500;

/// Ended op occurrences, two per start time. Their levels repeat 0, 1, 2; one in a hundred is `rare`, the last one is `last`; none
/// has both `odd` and `even`.
async fn many(f: &StoreFixture) {
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

/// The numbers of the op occurrences that a filter finds on a page.
async fn found(f: &StoreFixture, text: &str, after: Option<PageCursor>, limit: usize) -> Vec<u64> {
    let filter = parse_filter(text, &op_occs::V2).unwrap();
    let page = Page { filter: &filter, after, limit };
    let ops = f.store.op_occs(Some(&ProjectId::default()), &page).await.unwrap();
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

/// Filters, and the numbers of the op occurrences that they find.
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

async fn finds_the_right_operations(f: StoreFixture) {
    many(&f).await;
    for (text, expected) in cases() {
        assert_eq!(found(&f, &text, None, 5000).await, expected, "{text}");
        assert_eq!(found(&f, &text, None, 2).await, expected.get(..2).unwrap_or(&expected), "the first two of {text}");
    }
}

async fn returns_page_after_page(f: StoreFixture) {
    many(&f).await;
    for (text, expected) in [
        (format!("(eq,{PARAMS}/odd,yes)"), numbers(|number| number % 2 == 1)),
        (format!("(eq,{PARAMS}/rare,true)"), numbers(|number| number % 100 == 7)),
    ] {
        let filter = parse_filter(&text, &op_occs::V2).unwrap();
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = Page { filter: &filter, after, limit: 301 };
            let ops = f.store.op_occs(Some(&ProjectId::default()), &page).await.unwrap();
            let Some(last) = ops.last() else { break };
            after = Some(PageCursor::of(last.start_time, last.id.0));
            all.extend(ops.iter().map(|op| number(op.id.0)));
        }
        assert_eq!(all, expected, "{text}");
    }
}

/// JSON with few different names and values, so that random filters find some.
///
/// It has no number of more than 19 digits: SQLite reads those inexactly.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        prop::sample::select(vec![json!(1.5), json!(1.0), json!(-0.0), json!(1e20), json!(9_007_199_254_740_993_i64)]),
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

/// An operator, the names that lead to the attribute, and a value.
type Condition = (&'static str, Vec<String>, &'static str);

const KEYS: &str = "@key of a map";

fn any_condition() -> impl Strategy<Value = Condition> {
    let name = prop_oneof![5 => any_name(), 1 => Just(KEYS.to_owned())];
    let operator = prop::sample::select(vec!["eq", "neq", "in", "nin", "gt", "gte", "lt", "lte", "cont", "ncont"]);
    let value = prop::sample::select(vec![
        "",
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
        "é\n@key",
    ]);
    (operator, prop::collection::vec(name, 1..3), value)
}

fn in_filter((operator, path, value): &Condition) -> String {
    let name =
        |name: &String| if name == KEYS { "@key".to_owned() } else { name.replace('/', "~1").replace('@', "~b") };
    let path = path.iter().map(name).collect::<Vec<_>>().join("/");
    format!("({operator},operationParams/{path},'{value}')")
}

/// Whether the condition holds for the JSON value: an evaluation that is simple rather than fast.
fn holds((operator, path, value): &Condition, json: &Value) -> bool {
    let mut values = vec![json.clone()];
    for name in path {
        values = values.iter().flat_map(elements).flat_map(|value| member(&value, name)).collect();
    }
    values.iter().flat_map(elements).any(|found| compare(operator, &found, value))
}

/// The elements of an array; any other value is its own element.
fn elements(value: &Value) -> Vec<Value> {
    if let Value::Array(elements) = value { elements.clone() } else { vec![value.clone()] }
}

fn member(value: &Value, name: &str) -> Vec<Value> {
    let Value::Object(members) = value else { return Vec::new() };
    if name == KEYS {
        return members.keys().map(|key| json!(key)).collect();
    }
    members.get(name).cloned().into_iter().collect()
}

/// Compares a value as the JSON type that it has.
fn compare(operator: &str, found: &Value, value: &str) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let text = match found {
        Value::String(text) => text.clone(),
        Value::Bool(_) if matches!(operator, "eq" | "in" | "neq" | "nin") => found.to_string(),
        _ => String::new(),
    };
    let order = match found {
        Value::String(_) => text.as_str().cmp(value),
        Value::Bool(_) if text.is_empty() => return false,
        Value::Bool(_) => text.as_str().cmp(value),
        Value::Number(number) => match value.parse::<f64>() {
            Ok(value) => number.as_f64().unwrap().partial_cmp(&value).unwrap(),
            Err(_) => return matches!(operator, "neq" | "nin"),
        },
        _ => return false,
    };
    match operator {
        "eq" | "in" => order == Equal,
        "neq" | "nin" => order != Equal,
        "gt" => order == Greater,
        "gte" => order != Less,
        "lt" => order == Less,
        "lte" => order != Greater,
        "cont" => found.is_string() && text.contains(value),
        "ncont" => found.is_string() && !text.contains(value),
        other => panic!("{other}"),
    }
}

async fn agrees_with_a_simple_evaluation_on_random_json(f: StoreFixture) {
    let mut runner = TestRunner::deterministic();
    let members = prop::collection::btree_map(any_name(), any_json(), 2..5);
    let params = members.prop_map(|members| Value::Object(members.into_iter().collect())).boxed();
    let params: Vec<_> = (0..300).map(|_| params.new_tree(&mut runner).unwrap().current()).collect();
    let rows = params.iter().enumerate().map(|(number, params)| {
        format!(
            "('{number:08x}-0000-4000-9000-000000000000', 'default', '00000000-0000-4000-8000-000000000000', 'HEAL', \
             'COMPLETED', 1, {number}, false, '{params}', 0)"
        )
    });
    f.execute(&format!(
        "INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
         is_automatic_invocation, params, not_before) VALUES {}",
        rows.collect::<Vec<_>>().join(", ")
    ))
    .await;
    let conditions = prop::collection::vec(any_condition(), 1..3);
    let mut filters_that_find = 0;
    for _ in 0..500 {
        let conditions = conditions.new_tree(&mut runner).unwrap().current();
        let text = conditions.iter().map(in_filter).collect::<Vec<_>>().join(";");
        let holds = |params: &Value| conditions.iter().all(|condition| holds(condition, params));
        let expected: Vec<_> =
            (0..).zip(&params).filter(|(_, params)| holds(params)).map(|(number, _)| number).collect();
        assert_eq!(found(&f, &text, None, 1000).await, expected, "{text}");
        filters_that_find += u32::from(!expected.is_empty());
    }
    assert!(filters_that_find > 100, "of 500 filters only {filters_that_find} find something");
}

/// Rows that take a filter by JSON a minute: each has an array of 500,000 objects.
async fn slow_rows(f: &StoreFixture) {
    let array = if f.is_postgres() {
        "(SELECT jsonb_agg(jsonb_build_object('a', n)) FROM generate_series(1, 500000) AS n)"
    } else {
        "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500000) \
         SELECT json_group_array(json_object('a', n)) FROM numbers)"
    };
    let object = if f.is_postgres() { "jsonb_build_object" } else { "json_object" };
    f.execute(&format!(
        "INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
         is_automatic_invocation, params, not_before) \
         SELECT '0000000' || column1 || '-0000-4000-9000-000000000000', 'default', '00000000-0000-4000-8000-000000000000', \
                'HEAL', 'COMPLETED', 1, column1, false, {object}('list', {array}), 0 \
         FROM (VALUES (1), (2), (3), (4)) AS rows"
    ))
    .await;
}

async fn stops_a_slow_filter_at_its_deadline(f: StoreFixture) {
    slow_rows(&f).await;
    // Each condition but the last holds for the last element of the array only.
    let text = format!("{}(eq,operationParams/list/a,0)", "(eq,operationParams/list/a,500000);".repeat(15));
    let filter = parse_filter(&text, &op_occs::V2).unwrap();
    let page = Page { filter: &filter, after: None, limit: 10 };
    let project = ProjectId::default();
    let begun = Instant::now();
    let slow = async || f.store.op_occs(Some(&project), &page).await;
    let others = async {
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            f.store.instances(Some(&project), &[]).await.unwrap();
            f.store.list_instances(Some(&project), &whole()).await.unwrap();
            longest = longest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        longest
    };
    let (first, second, third, longest) = tokio::join!(slow(), slow(), slow(), others);
    for result in [first, second] {
        assert!(matches!(result, Err(StoreError::FilterDeadline)), "{result:?}");
    }
    // The third request waits for a connection until the first two are stopped.
    assert!(third.is_err(), "{third:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(longest < Duration::from_secs(2), "a list without a filter took {longest:?}");
}
