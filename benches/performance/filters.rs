//! Response times of filtered lists over a large database, on SQLite and on PostgreSQL.

use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::api::address;
use crate::load::{self, Load};
use crate::process::Process;
use crate::report::{Section, figure, millis};
use crate::support::gybe::Gybe;
use crate::support::postgres::Database;

const INSTANCES: usize = 1_000;
const OPERATIONS: usize = 100_000;
/// Rows per INSERT.
const BATCH: usize = 500;
/// Requests per list.
const REQUESTS: usize = 50;
/// Start time of the first operation, in milliseconds since the epoch. Each further one starts a second later.
const EPOCH: usize = 1_760_000_000_000;

/// Filters of instances, with a name.
const OF_INSTANCES: [(&str, &str); 11] = [
    ("no filter", ""),
    ("name, finds one", "(eq,vnfInstanceName,upf-777)"),
    ("part of a name", "(cont,vnfInstanceName,-99)"),
    ("state and provider", "(eq,instantiationState,INSTANTIATED);(neq,vnfProvider,Nobody)"),
    ("metadata", "(eq,metadata/namespace,edge-7)"),
    ("extensions, finds none", "(eq,extensions/site/row,none)"),
    ("extensions, none is greater", "(gt,extensions/site/rack,9999)"),
    ("part of metadata, finds none", "(cont,metadata/owner,nobody)"),
    ("metadata, none is other", "(neq,metadata/owner,operations)"),
    ("pod, finds one", "(eq,instantiatedVnfInfo/vnfcResourceInfo/id,upf-500-0)"),
    ("VIM and scale level", "(eq,vimConnectionInfo/vim/vimId,v-3);(gte,instantiatedVnfInfo/scaleStatus/scaleLevel,1)"),
];

/// Filters of op occurrences, with a name.
const OF_OPERATIONS: [(&str, &str); 28] = [
    ("no filter", ""),
    ("state, finds all but few", "(eq,operationState,COMPLETED)"),
    ("state, finds few", "(eq,operationState,ROLLED_BACK)"),
    ("state, finds none", "(eq,operationState,FAILED_TEMP)"),
    ("operation and state", "(eq,operation,HEAL);(eq,operationState,FAILED)"),
    ("instance", "(eq,vnfInstanceId,00000007-0000-4000-8000-000000000000)"),
    ("instance, finds none", "(eq,vnfInstanceId,nobody)"),
    ("two instances", "(in,vnfInstanceId,00000007-0000-4000-8000-000000000000,00000009-0000-4000-8000-000000000000)"),
    ("part of an instance's id, finds none", "(cont,vnfInstanceId,nobody)"),
    ("last ten minutes", "(gt,startTime,2025-10-10T12:30:00Z)"),
    (
        "state entered within a minute",
        "(gte,stateEnteredTime,2025-10-09T20:00:00Z);(lt,stateEnteredTime,2025-10-09T20:01:00Z)",
    ),
    ("parameter, finds few", "(eq,operationParams/additionalParams/namespace,edge-7)"),
    ("parameter, finds none", "(eq,operationParams/additionalParams/namespace,none)"),
    ("parameter, none is other", "(neq,operationParams/flavourId,simple)"),
    ("parameter, none is greater", "(gt,operationParams/additionalParams/stage,99)"),
    ("part of a parameter, finds none", "(cont,operationParams/additionalParams/namespace,nobody)"),
    ("parameter that none has", "(neq,operationParams/aspectId,x)"),
    ("key of parameters, finds none", "(eq,operationParams/@key,none)"),
    (
        "two parameters, never together",
        "(eq,operationParams/additionalParams/stage,3);(eq,operationParams/additionalParams/round,2)",
    ),
    ("operation and parameter, never together", "(eq,operation,HEAL);(eq,operationParams/additionalParams/stage,3)"),
    (
        "halves and all, never together",
        "(gte,resourceChanges/affectedVnfcs/id,upf-5);(lt,resourceChanges/affectedVnfcs/id,upf-5);(neq,operationParams/flavourId,none)",
    ),
    ("changed VNFC, finds one", "(eq,resourceChanges/affectedVnfcs/id,upf-77777)"),
    ("changed VNFC, finds none", "(eq,resourceChanges/affectedVnfcs/id,none)"),
    ("part of a changed VNFC, finds none", "(cont,resourceChanges/affectedVnfcs/id,nobody)"),
    ("change, none is other", "(neq,resourceChanges/affectedVnfcs/changeType,ADDED)"),
    ("status of an error, none is greater", "(gt,error/status,599)"),
    ("part of an error, finds none", "(cont,error/detail,none)"),
    ("grant, finds none", "(eq,grantId,none)"),
];

pub async fn measure() -> Section {
    let mut section = Section::new(
        "filters",
        "Filtered lists",
        "Real: the binary, HTTP/1.1 on loopback, both databases, with 1,000 instances and 100,000 op occurrences whose rows \
         were written into the database, with plans of 1.5 kB. Pages of 100, one connection. A filter that finds nothing takes \
         longest: it reads everything. PostgreSQL was vacuumed once, as it does by itself after so many rows.",
        &["list", "filter", "database", "answers", "median ms", "p99 ms", "CPU µs"],
    );
    let mut gybe = Gybe::start_with(&["--page-size", "100"]);
    measure_on("SQLite", &mut gybe, &mut section).await;
    drop(gybe);
    let database = Database::create().await;
    let mut gybe = Gybe::start_on_with(&database.url, &["--role", "api", "--page-size", "100"]);
    measure_on("PostgreSQL", &mut gybe, &mut section).await;
    section
}

async fn measure_on(database: &'static str, gybe: &mut Gybe, section: &mut Section) {
    let package = gybe.upload(&crate::support::sample::pack("small")).await;
    gybe.kill();
    fill(&gybe.database_url, package["id"].as_str().unwrap()).await;
    gybe.restart();
    let lists = [("vnf_instances", &OF_INSTANCES[..]), ("vnf_lcm_op_occs", &OF_OPERATIONS[..])];
    for (list, filters) in lists {
        for (name, filter) in filters {
            let query = if filter.is_empty() { String::new() } else { format!("?filter={filter}") };
            let request = load::get(&format!("/vnflcm/v2/{list}{query}"));
            let (process, load) = (
                Process(gybe.child.id()),
                Load { address: address(gybe), connections: 1, requests: REQUESTS, wanted: 200 },
            );
            let before = process.cpu();
            let outcome = load.run(move |_| request.clone()).await;
            let cpu = (process.cpu() - before).as_secs_f64() * 1e6 / outcome.answers as f64;
            section.row(vec![
                json!(list),
                json!(name),
                json!(database),
                json!(outcome.answers),
                millis(outcome.median),
                millis(outcome.p99),
                figure(cpu),
            ]);
        }
    }
}

fn instance_id(number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

/// Inserts the rows, by SQL that both engines accept.
async fn fill(url: &str, package: &str) {
    let instances: Vec<String> = (0..INSTANCES).map(|number| instance(number, package)).collect();
    let operations: Vec<String> = (0..OPERATIONS).map(operation).collect();
    let mut statements = vec!["BEGIN".to_owned()];
    for rows in instances.chunks(BATCH) {
        statements.push(format!(
            "INSERT INTO vnf_instances (id, project_id, vnf_instance_name, vnfd_id, vnf_pkg_id, vnf_provider, \
             vnf_product_name, vnf_software_version, vnfd_version, vnf_metadata, extensions, vnf_configurable_properties, \
             vim_connections, instantiated_vnf_info, version, created_at) VALUES {}",
            rows.join(", ")
        ));
    }
    for rows in operations.chunks(BATCH) {
        statements.push(format!(
            "INSERT INTO vnf_lcm_op_occs (id, project_id, vnf_instance_id, operation, state, state_entered_time, start_time, \
             is_automatic_invocation, params, error, resource_changes, plan, not_before) VALUES {}",
            rows.join(", ")
        ));
    }
    statements.push("COMMIT".to_owned());
    if let Some(path) = url.strip_prefix("sqlite://") {
        let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        for statement in statements {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        return;
    }
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await.unwrap();
}

fn instance(number: usize, package: &str) -> String {
    let pods = (0..2).map(|pod| {
        json!({ "vdu_id": "VDU1", "pod_name": format!("upf-{number}-{pod}"), "pod_uid": format!("{number}-{pod}"),
            "workload_kind": "Deployment", "workload_name": format!("upf-{number}") })
    });
    let info = json!({ "flavour_id": "simple", "vnf_state": "STARTED", "scale_levels": { "aspect": number % 3 },
        "max_scale_levels": { "aspect": 3 }, "definition_files": ["Files/kubernetes/app.yaml"], "vnfcs": pods.collect::<Vec<_>>(),
        "storages": [] });
    let info = if number.is_multiple_of(4) { "NULL".to_owned() } else { format!("'{info}'") };
    let metadata = json!({ "namespace": format!("edge-{}", number % 50), "owner": "operations" });
    let extensions = json!({ "site": { "row": format!("row {}", number % 10), "rack": number } });
    let vims = json!({ "vim": { "vim_id": format!("v-{}", number % 5), "vim_type": "ETSINFV.KUBERNETES.V_1",
        "interface_info": {}, "access_info": {}, "extra": {}, "home": true } });
    let id = instance_id(number);
    let created = EPOCH + number;
    format!(
        "('{id}', 'default', 'upf-{number}', 'vnfd', '{package}', 'Company', 'Sample', '1.0', '1.0', '{metadata}', \
         '{extensions}', '{{}}', '{vims}', {info}, 1, {created})"
    )
}

fn operation(number: usize) -> String {
    let instance = number % INSTANCES;
    let operation = ["INSTANTIATE", "SCALE", "HEAL", "MODIFY_INFO", "TERMINATE"][number / INSTANCES % 5];
    let state = match number % 100 {
        0 => "ROLLED_BACK",
        1..4 => "FAILED",
        _ => "COMPLETED",
    };
    let stage = number / INSTANCES % 5;
    let params = json!({ "flavourId": "simple", "additionalParams": { "namespace": format!("edge-{}", instance % 50),
        "stage": stage, "round": stage,
        "lcm-kubernetes-def-files": ["Files/kubernetes/app.yaml"] } });
    let error =
        json!({ "type": "urn:gybe:problem:not-ready", "title": "Not ready", "status": 504, "detail": "x".repeat(300) });
    let error = if state == "COMPLETED" { "NULL".to_owned() } else { format!("'{error}'") };
    let changes = json!({ "vim_connection_id": "vim", "affected_vnfcs": [{ "change": "ADDED", "vnfc": {
        "vdu_id": "VDU1", "pod_name": format!("upf-{number}"), "pod_uid": number.to_string(), "workload_kind": "Deployment",
        "workload_name": "upf" } }] });
    let plan = json!({ "steps": ["x".repeat(1500)] });
    let begun = EPOCH + number * 1000;
    let id = format!("{number:08x}-0000-4000-9000-000000000000");
    format!(
        "('{id}', 'default', '{}', '{operation}', '{state}', {}, {begun}, false, '{params}', {error}, '{changes}', '{plan}', 0)",
        instance_id(instance),
        begun + 500
    )
}
