//! `gybe op …`: op occurrences. A name is that of a VNF, whose last operation is meant.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::arguments::{List, Shown};
use crate::cli::contexts::ServerOptions;
use crate::cli::find::{self, VNFLCM};
use crate::cli::output::{print, rows, table, text_at};
use crate::cli::server::equals;
use crate::cli::wait::{WaitOptions, ended, outcome};
use crate::cli::{CliError, Exit};

/// The commands for operations.
#[derive(Subcommand)]
pub enum OpCommand {
    /// List the operations, the oldest first
    List(OfState),
    /// Show an operation, by its id or the name of its VNF
    Get(Shown),
    /// Wait for the end of an operation, with its progress
    Watch(Watch),
    /// Try an operation in FAILED_TEMP again
    Retry(Task),
    /// Undo an operation in FAILED_TEMP
    Rollback(Task),
    /// Give up an operation in FAILED_TEMP, and leave all as it is
    Fail(Task),
    /// Stop a running operation
    Cancel(Cancel),
}

#[derive(Args)]
pub struct OfState {
    /// Only those in this state, such as FAILED_TEMP
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    list: List,
}

#[derive(Args)]
pub struct Watch {
    /// Id, or name of the VNF
    name: String,
    /// Wait at most so many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    at: ServerOptions,
}

#[derive(Args)]
pub struct Task {
    /// Id, or name of the VNF
    name: String,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    at: ServerOptions,
}

#[derive(Args)]
pub struct Cancel {
    /// Do not wait for requests to the cluster that are under way
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    task: Task,
}

/// Runs a command.
///
/// # Errors
/// As the server answers.
pub async fn run(command: &OpCommand) -> Result<Exit, CliError> {
    match command {
        OpCommand::List(selected) => show_all(selected).await,
        OpCommand::Get(shown) => {
            let server = shown.at.connect()?;
            let id = find::operation(&server, &shown.name).await?;
            let op = server.get(&path(&id)).await?.body;
            shown.output.show(&op, details)?;
            Ok(Exit::Done)
        }
        OpCommand::Watch(watch) => {
            let server = watch.at.connect()?;
            let id = find::operation(&server, &watch.name).await?;
            outcome(&ended(&server, &id, watch.timeout).await?, "COMPLETED")
        }
        OpCommand::Retry(task) => decide(task, "retry", "COMPLETED", &json!({})).await,
        OpCommand::Rollback(task) => decide(task, "rollback", "ROLLED_BACK", &json!({})).await,
        OpCommand::Fail(task) => decide(task, "fail", "FAILED", &json!({})).await,
        OpCommand::Cancel(Cancel { force, task }) => {
            let mode = if *force { "FORCEFUL" } else { "GRACEFUL" };
            decide(task, "cancel", "", &json!({ "cancelMode": mode })).await
        }
    }
}

fn path(id: &str) -> String {
    format!("{VNFLCM}/vnf_lcm_op_occs/{id}")
}

async fn show_all(selected: &OfState) -> Result<Exit, CliError> {
    let filter =
        selected.state.as_ref().map(|state| format!("?{}", equals("operationState", &state.to_ascii_uppercase())));
    let all =
        selected.list.at.connect()?.list(&format!("{VNFLCM}/vnf_lcm_op_occs{}", filter.unwrap_or_default())).await?;
    selected.list.output.show(&Value::Array(all), |all| {
        let columns = ["/startTime", "/operation", "/operationState", "/vnfInstanceId", "/id"];
        table(&["BEGAN", "OPERATION", "STATE", "VNF", "ID"], &rows(all, &columns))
    })?;
    Ok(Exit::Done)
}

/// The operations of one VNF.
pub fn rows_text(all: &Value) -> String {
    let row = |op: &Value| {
        let at = |pointer| text_at(op, pointer);
        vec![at("/startTime"), at("/operation"), at("/operationState"), change(op), at("/id"), at("/error/detail")]
    };
    let rows: Vec<Vec<String>> = all.as_array().into_iter().flatten().map(row).collect();
    table(&["BEGAN", "OPERATION", "STATE", "CHANGE", "ID", "ERROR"], &rows)
}

/// What an operation changed in the VNF: its package, its levels, whether it runs.
fn change(op: &Value) -> String {
    let at = |pointer: &str| text_at(op, pointer);
    if op.get("gybe:package").is_some() {
        let versions = ["before", "after"].map(|side| at(&format!("/gybe:package/{side}/vnfdVersion")));
        let ids = ["before", "after"].map(|side| at(&format!("/gybe:package/{side}/vnfdId")));
        return if versions[0] == versions[1] { ids.join(" → ") } else { versions.join(" → ") };
    }
    let levels = |pointer| {
        let all = op.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        all.map(|one| (text_at(one, "/aspectId"), text_at(one, "/scaleLevel"))).collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (levels("/gybe:levels/before"), levels("/gybe:levels/after"));
    let moved = after.iter().filter(|(aspect, level)| before.get(*aspect) != Some(level));
    let moved: Vec<String> = moved
        .map(|(aspect, level)| format!("{aspect} {} → {level}", before.get(aspect).map_or("", String::as_str)))
        .collect();
    if moved.is_empty() { at("/operationParams/changeStateTo") } else { moved.join(", ") }
}

fn details(op: &Value) -> String {
    let lines = [
        ("id", "/id"),
        ("vnf", "/vnfInstanceId"),
        ("operation", "/operation"),
        ("state", "/operationState"),
        ("began", "/startTime"),
        ("since", "/stateEnteredTime"),
        ("error", "/error/detail"),
    ];
    let mut lines: Vec<Vec<String>> =
        lines.iter().map(|(name, at)| vec![(*name).to_owned(), text_at(op, at)]).collect();
    let change = change(op);
    if !change.is_empty() {
        lines.push(vec!["change".to_owned(), change]);
    }
    let mut text = table(&[], &lines).trim_start().to_owned();
    let changed = rows(
        op.pointer("/resourceChanges/affectedVnfcs").unwrap_or(&Value::Null),
        &["/changeType", "/vduId", "/computeResource/resourceId"],
    );
    if !changed.is_empty() {
        text += &format!("\n{}", table(&["CHANGE", "VDU", "POD"], &changed));
    }
    let tasks = ["cancel", "retry", "rollback", "fail"];
    let possible = |task: &&&str| op.pointer(&format!("/_links/{task}")).is_some();
    let possible: Vec<String> = tasks.iter().filter(possible).map(|task| format!("gybe op {task}")).collect();
    if !possible.is_empty() {
        text += &format!("\npossible: {}\n", possible.join(", "));
    }
    text
}

/// Sends a task of an operation. `wanted` is the state that it leads to; empty: any.
async fn decide(task: &Task, name: &str, wanted: &str, body: &Value) -> Result<Exit, CliError> {
    let server = task.at.connect()?;
    let id = find::operation(&server, &task.name).await?;
    server.post(&format!("{}/{name}", path(&id)), body).await?;
    if !task.wait.wait {
        print(&format!("{id}\n"))?;
        return Ok(Exit::Done);
    }
    let op = ended(&server, &id, task.wait.timeout).await?;
    let state = text_at(&op, "/operationState");
    outcome(&op, if wanted.is_empty() { &state } else { wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_of_an_operation_is_its_package_its_levels_or_its_state() {
        let levels =
            |level: u32| json!([{ "aspectId": "a", "scaleLevel": 0 }, { "aspectId": "b", "scaleLevel": level }]);
        let version = |version: &str| json!({ "vnfdId": "x", "vnfdVersion": version });
        for (op, says) in [
            (json!({ "gybe:levels": { "before": levels(1), "after": levels(3) } }), "b 1 → 3"),
            (json!({ "gybe:package": { "before": version("1.0"), "after": version("2.0") } }), "1.0 → 2.0"),
            (json!({ "operationParams": { "changeStateTo": "STOPPED" } }), "STOPPED"),
            (json!({}), ""),
        ] {
            assert_eq!(change(&op), says, "{op}");
        }
    }
}
