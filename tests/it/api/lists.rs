//! Lists over HTTP: filters, selectors, pages, and that a read is never older than the last change. `store/filters.rs` tests the
//! filter of each attribute.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gybe::Gybe;
use crate::support::postgres::Database;

const OPERATIONS: &str = "/vnflcm/v2/vnf_lcm_op_occs";
const PACKAGES: &str = "/vnfpkgm/v1/vnf_packages";

/// The identifiers on each page of a list, found by its links.
async fn pages(gybe: &Gybe, path: &str) -> Vec<Vec<String>> {
    let mut next = Some(path.to_owned());
    let mut pages = Vec::new();
    while let Some(path) = next {
        let answer = gybe.get(&path).await;
        let page = answer.expect(StatusCode::OK);
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned());
        pages.push(ids(&page));
    }
    pages
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Five completed changes of one instance. Returns its identifier.
async fn five_operations(gybe: &Gybe) -> String {
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    for number in 0..5 {
        let change = json!({ "vnfInstanceDescription": number.to_string(), "metadata": { "number": number } });
        let op = gybe.patch(&path, &change).await;
        op.expect(StatusCode::ACCEPTED);
        gybe.wait_ended(&op.location.unwrap()).await;
    }
    path.rsplit_once('/').unwrap().1.to_owned()
}

async fn pages_filtered_lists(gybe: &Gybe) {
    let instance = five_operations(gybe).await;
    for _ in 0..4 {
        gybe.post(PACKAGES, &json!({ "userDefinedData": { "owner": "me, (too)" } })).await.expect(StatusCode::CREATED);
    }
    let of_instance =
        format!("{OPERATIONS}?filter=(eq,vnfInstanceId,{instance});(eq,operationState,COMPLETED)&all_fields");
    for list in [OPERATIONS, &of_instance, PACKAGES] {
        let pages = pages(gybe, list).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1], "{list}");
        let mut all = pages.concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 5, "{list}: each is there once");
    }
    // In the encoding of Tacker's client.
    let mine =
        pages(gybe, &format!("{PACKAGES}?filter=%28eq%2CuserDefinedData%2Fowner%2C%27me%2C+%28too%29%27%29")).await;
    assert_eq!(mine.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    let fourth = format!("{OPERATIONS}?filter=(eq,operationParams/metadata/number,3)");
    assert_eq!(pages(gybe, &fourth).await, [[pages(gybe, OPERATIONS).await.concat()[3].clone()]]);
    let none = gybe.get(&format!("{OPERATIONS}?filter=(eq,operation,HEAL)")).await;
    assert_eq!(none.expect(StatusCode::OK), json!([]));
}

#[tokio::test]
async fn pages_filtered_lists_on_sqlite() {
    pages_filtered_lists(&Gybe::start_with(&["--page-size", "2"])).await;
}

#[tokio::test]
async fn pages_filtered_lists_on_postgres() {
    let database = Database::create().await;
    pages_filtered_lists(&Gybe::start_on_with(&database.url, &["--page-size", "2"])).await;
}

#[tokio::test]
async fn lists_apply_default_exclusions_and_selectors() {
    let gybe = Gybe::start();
    five_operations(&gybe).await;
    let first = async |path: &str| gybe.get(path).await.expect(StatusCode::OK)[0].clone();
    for edition in ["v1", "v2"] {
        let list = format!("/vnflcm/{edition}/vnf_instances");
        let simple = ["_links", "id", "instantiationState", "vnfInstanceDescription"];
        let default = first(&list).await;
        assert!(simple.iter().all(|name| names(&default).contains(name)), "{default}");
        for left_out in ["vnfConfigurableProperties", "vimConnectionInfo", "metadata", "extensions"] {
            assert!(!names(&default).contains(&left_out), "{left_out}");
            assert!(names(&first(&format!("{list}?fields={left_out}")).await).contains(&left_out), "{left_out}");
        }
        let whole = first(&format!("{list}?all_fields")).await;
        assert_eq!(whole, gybe.get(whole["_links"]["self"]["href"].as_str().unwrap()).await.expect(StatusCode::OK));
        let without = first(&format!("{list}?exclude_fields=metadata")).await;
        assert_eq!(names(&without).len() + 1, names(&whole).len());
    }
    assert!(first(OPERATIONS).await.get("operationParams").is_none());
    let with = first(&format!("{OPERATIONS}?fields=operationParams")).await;
    assert_eq!(with["operationParams"]["metadata"], json!({ "number": 0 }));
    assert!(with.get("changedInfo").is_none());
    let package = first(PACKAGES).await;
    assert!(package.get("checksum").is_none() && package.get("additionalArtifacts").is_none(), "{package}");
    let package = first(&format!("{PACKAGES}?fields=checksum&exclude_default")).await;
    assert!(package.get("checksum").is_some() && package.get("additionalArtifacts").is_none(), "{package}");
}

#[tokio::test]
async fn rejects_invalid_queries_with_the_reason() {
    let gybe = Gybe::start();
    for list in ["/vnflcm/v1/vnf_instances", "/vnflcm/v2/vnf_instances", OPERATIONS, PACKAGES] {
        for (query, why) in [
            ("filter=(eq,nothing,1)", "unknown attribute 'nothing'"),
            ("filter=(eq,_links/self/href,1)", "unknown attribute '_links/self/href'"),
            ("filter=(is,id,1)", "unknown operator 'is'"),
            ("filter=(eq,id,1", "at character 9"),
            ("filter=", "at character 1"),
            ("filter=(eq,id,%00)", "U+0000"),
            ("id.eq=1", "unknown query parameter 'id.eq'"),
            ("attribute_not_exist=some_value", "unknown query parameter 'attribute_not_exist'"),
            ("fields=nothing", "unknown attribute 'nothing'"),
            ("all_fields&exclude_default", "only fields and exclude_default go together"),
            ("nextpage_opaque_marker=mine", "not a marker of this server"),
        ] {
            let detail = gybe.get(&format!("{list}?{query}")).await.problem(400);
            assert!(detail.contains(why), "{list}?{query}: {detail}");
        }
    }
    let fields = |number: usize| (0..number).map(|n| format!("metadata/key{n}")).collect::<Vec<_>>().join(",");
    gybe.get(&format!("/vnflcm/v2/vnf_instances?fields={}", fields(128))).await.expect(StatusCode::OK);
    let many = gybe.get(&format!("/vnflcm/v2/vnf_instances?fields={}", fields(129))).await.problem(400);
    assert!(many.contains("more than 128"), "{many}");
    let wrong_type = gybe.get(&format!("{OPERATIONS}?filter=(eq,isCancelPending,maybe)")).await.problem(400);
    assert!(wrong_type.contains("'isCancelPending' must be true or false, not 'maybe'"), "{wrong_type}");
}

#[tokio::test]
async fn links_each_page_to_the_next_except_the_last() {
    let gybe = Gybe::start_with(&["--page-size", "2"]);
    let vnfd = gybe.onboard("small").await;
    let mut made = Vec::new();
    for edition in ["v1", "v2", "v1", "v2", "v1"] {
        made.push(gybe.create(edition, &vnfd).await.rsplit_once('/').unwrap().1.to_owned());
    }
    for edition in ["v1", "v2"] {
        let list = format!("/vnflcm/{edition}/vnf_instances");
        let whole = gybe.get(&list).await.expect(StatusCode::OK);
        assert!(whole[0]["_links"]["self"]["href"].as_str().unwrap().contains(edition));
        let pages = pages(&gybe, &list).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        let mut listed = pages.concat();
        listed.sort();
        made.sort();
        assert_eq!(listed, made, "the list contains each element once");
    }
    let foreign = gybe.get("/vnflcm/v1/vnf_instances?nextpage_opaque_marker=mine").await;
    assert_eq!(foreign.expect(StatusCode::BAD_REQUEST)["status"], 400);
}

#[tokio::test]
async fn a_read_after_a_change_shows_the_change() {
    let gybe = Gybe::start();
    let vnfd = gybe.onboard("small").await;
    let path = gybe.create("v2", &vnfd).await;
    let list = "/vnflcm/v2/vnf_instances";
    for name in ["first", "second"] {
        let op = gybe.patch(&path, &json!({ "vnfInstanceName": name })).await;
        op.expect(StatusCode::ACCEPTED);
        for _ in 0..2 {
            assert_eq!(gybe.get(&path).await.expect(StatusCode::OK)["vnfInstanceName"], name);
            assert_eq!(gybe.get(list).await.expect(StatusCode::OK)[0]["vnfInstanceName"], name);
        }
        gybe.wait_ended(&op.location.unwrap()).await;
    }
    gybe.delete(&path).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(gybe.get(list).await.expect(StatusCode::OK), json!([]));
    gybe.get(&path).await.expect(StatusCode::NOT_FOUND);
}

/// 200 op occurrences of 200 kB and 40 instances of 900.
async fn large_ones(gybe: &Gybe) {
    let vnfd = gybe.onboard("small").await;
    for _ in 0..40 {
        gybe.create("v2", &vnfd).await;
    }
    let pool = sqlx::SqlitePool::connect(&gybe.database_url).await.unwrap();
    let operations = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 199) \
        INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
                                     is_automatic_invocation, params, not_before) \
        SELECT printf('%08x-0000-4000-9000-000000000000', n), 'default', '00000000-0000-4000-9000-000000000000', 'HEAL', \
               'COMPLETED', 1, n, 0, json_object('cause', printf('%.*c', 200000, 'x')), 0 FROM numbers";
    let instances = "UPDATE vnf_instances \
        SET extensions = json_object('text', printf('%.*c', 900000, 'x')), version = version + 1";
    for statement in [operations, instances] {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn ends_a_page_before_it_gets_too_large() {
    let gybe = Gybe::start();
    large_ones(&gybe).await;
    let instances = "/vnflcm/v2/vnf_instances";
    for (list, whole, parts) in [(OPERATIONS, 200, [168, 32]), (instances, 40, [38, 2])] {
        let lengths = async |path: &str| pages(&gybe, path).await.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(list).await, [whole], "{list}: large attributes are not in the list");
        assert_eq!(lengths(&format!("{list}?all_fields")).await, parts, "{list}");
        let mut all = pages(&gybe, &format!("{list}?all_fields")).await.concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), whole, "{list}: each is there once");
    }
}
