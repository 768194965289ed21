//! `gybe vnf …`: VNF instances. `tasks` and `undo` have the commands that begin operations.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::Value;

use crate::cli::arguments::{List, Named, Shown};
use crate::cli::find::{self, VNFLCM};
use crate::cli::output::{difference, rows, table, text_at};
use crate::cli::plan::path;
use crate::cli::run::Run;
use crate::cli::server::Server;
use crate::cli::tasks::{Change, Heal, Scale, Start, Stop, Sync, Terminate, delete};
use crate::cli::undo::UndoLast;
use crate::cli::{CliError, Exit};

/// The commands for VNF instances.
#[derive(Subcommand)]
pub enum VnfCommand {
    /// List the VNFs
    List(List),
    /// Show a VNF
    Get(Shown),
    /// The same as `gybe run`
    Run(Run),
    /// Add or remove instances of what a scaling aspect scales
    Scale(Scale),
    /// Repair what differs, and replace pods
    Heal(Heal),
    /// Show what differs between the intended objects and those of the cluster. Exits with 1 if anything does
    Diff(Shown),
    /// Bring back what differs, and restart no pod that is right
    Sync(Sync),
    /// Change to another package
    Change(Change),
    /// Stop a VNF: end its pods
    Stop(Stop),
    /// Start a VNF that is stopped
    Start(Start),
    /// Undo the last change, or roll back one that stopped
    Undo(UndoLast),
    /// List the operations of a VNF, the oldest first
    History(Shown),
    /// Remove all objects of a VNF
    Terminate(Terminate),
    /// Delete a VNF that is not instantiated
    Delete(Named),
}

/// Runs a command.
///
/// # Errors
/// As the server answers.
pub async fn run(command: &VnfCommand) -> Result<Exit, CliError> {
    match command {
        VnfCommand::List(list) => show_all(list).await,
        VnfCommand::Get(shown) => get(shown).await,
        VnfCommand::Run(run) => run.run().await,
        VnfCommand::Scale(arguments) => arguments.run().await,
        VnfCommand::Heal(arguments) => arguments.run().await,
        VnfCommand::Diff(shown) => diff(shown).await,
        VnfCommand::Sync(arguments) => arguments.run().await,
        VnfCommand::Change(arguments) => arguments.run().await,
        VnfCommand::Stop(arguments) => arguments.run().await,
        VnfCommand::Start(arguments) => arguments.run().await,
        VnfCommand::Undo(arguments) => arguments.run().await,
        VnfCommand::History(shown) => history(shown).await,
        VnfCommand::Terminate(arguments) => arguments.run().await,
        VnfCommand::Delete(named) => {
            let server = named.at.connect()?;
            let id = find::vnf(&server, &named.name).await?;
            delete(&server, &id).await?;
            Ok(Exit::Done)
        }
    }
}

async fn show_all(list: &List) -> Result<Exit, CliError> {
    const FIELDS: &str = "vnfInstanceName,vnfProductName,vnfdVersion,instantiationState,metadata";
    let server = list.at.connect()?;
    let all = server.list(&format!("{VNFLCM}/vnf_instances?fields={FIELDS}")).await?;
    let live = find::unfinished(&server, None).await?;
    let live: BTreeMap<String, String> =
        live.iter().map(|op| (text_at(op, "/vnfInstanceId"), what_is_live(op))).collect();
    list.output.show(&Value::Array(all), |all| {
        let row = |vnf: &Value| {
            let at = |pointer| text_at(vnf, pointer);
            let [name, state] = ["/vnfInstanceName", "/instantiationState"].map(at);
            let [namespace, product, id] = ["/metadata/namespace", "/vnfProductName", "/id"].map(at);
            let operation = live.get(&id).cloned().unwrap_or_default();
            vec![name, state, namespace, product, id, operation]
        };
        let rows: Vec<Vec<String>> = all.as_array().into_iter().flatten().map(row).collect();
        table(&["NAME", "STATE", "NAMESPACE", "PRODUCT", "ID", "OPERATION"], &rows)
    })?;
    Ok(Exit::Done)
}

/// An operation that has not ended, and its state.
fn what_is_live(op: &Value) -> String {
    format!("{} {}", text_at(op, "/operation"), text_at(op, "/operationState"))
}

/// The VNF instance of that name or id.
///
/// # Errors
/// There is none or several of that name.
pub async fn instance(server: &Server, name: &str) -> Result<Value, CliError> {
    let id = find::vnf(server, name).await?;
    Ok(server.get(&path(&id)).await?.body)
}

async fn get(shown: &Shown) -> Result<Exit, CliError> {
    let server = shown.at.connect()?;
    let vnf = instance(&server, &shown.name).await?;
    let live = find::unfinished(&server, Some(&text_at(&vnf, "/id"))).await?;
    shown.output.show(&vnf, |vnf| details(vnf, live.first()))?;
    Ok(Exit::Done)
}

fn details(vnf: &Value, live: Option<&Value>) -> String {
    let lines = [
        ("name", "/vnfInstanceName"),
        ("id", "/id"),
        ("state", "/instantiationState"),
        ("namespace", "/metadata/namespace"),
        ("product", "/vnfProductName"),
        ("vnfdId", "/vnfdId"),
        ("flavour", "/instantiatedVnfInfo/flavourId"),
        ("running", "/instantiatedVnfInfo/vnfState"),
    ];
    let mut lines: Vec<Vec<String>> =
        lines.iter().map(|(name, at)| vec![(*name).to_owned(), text_at(vnf, at)]).collect();
    if let Some(op) = live {
        let more = format!("{}; see: gybe op get {}", what_is_live(op), text_at(op, "/id"));
        lines.push(vec!["operation".to_owned(), more]);
    }
    let mut text = table(&[], &lines).trim_start().to_owned();
    let levels: Vec<Vec<String>> = aspects(vnf)
        .into_iter()
        .map(|(id, level)| {
            let max =
                vnf.pointer("/instantiatedVnfInfo/maxScaleLevels").and_then(Value::as_array).into_iter().flatten();
            let max = max.filter(|max| text_at(max, "/aspectId") == id).map(|max| text_at(max, "/scaleLevel")).next();
            vec![id, level, max.unwrap_or_default()]
        })
        .collect();
    if !levels.is_empty() {
        text += &format!("\n{}", table(&["ASPECT", "LEVEL", "HIGHEST"], &levels));
    }
    let vnfcs = vnf.pointer("/instantiatedVnfInfo/vnfcResourceInfo").unwrap_or(&Value::Null);
    let vnfcs = rows(vnfcs, &["/vduId", "/computeResource/resourceId", "/id"]);
    if !vnfcs.is_empty() {
        text += &format!("\n{}", table(&["VDU", "POD", "VNFC"], &vnfcs));
    }
    for warning in vnf.get("gybe:warnings").and_then(Value::as_array).into_iter().flatten() {
        text += &format!("\nwarning: {}\n", warning.as_str().unwrap_or_default());
    }
    text
}

/// The aspects with their levels.
pub fn aspects(vnf: &Value) -> Vec<(String, String)> {
    let all = vnf.pointer("/instantiatedVnfInfo/scaleStatus").and_then(Value::as_array).into_iter().flatten();
    all.map(|one| (text_at(one, "/aspectId"), text_at(one, "/scaleLevel"))).collect()
}

async fn diff(shown: &Shown) -> Result<Exit, CliError> {
    let server = shown.at.connect()?;
    let id = find::vnf(&server, &shown.name).await?;
    let drift = server.get(&format!("{}/drift", path(&id))).await?.body;
    shown.output.show(&drift, differences)?;
    if let Some(op) = find::unfinished(&server, Some(&id)).await?.first() {
        let op_id = text_at(op, "/id");
        eprintln!("gybe: compared with the intent before the operation {}; see: gybe op get {op_id}", what_is_live(op));
    }
    let in_sync = drift.get("inSync") == Some(&Value::Bool(true));
    Ok(if in_sync { Exit::Done } else { Exit::Failed })
}

/// The differences, like those of `diff`: `-` is intended, `+` is in the cluster.
fn differences(drift: &Value) -> String {
    let mut text = String::new();
    for object in drift.get("objects").and_then(Value::as_array).into_iter().flatten() {
        let at = |pointer| text_at(object, pointer);
        if at("/state") == "IN_SYNC" {
            continue;
        }
        text += &format!("{} {}: {}\n", at("/kind"), at("/name"), at("/state"));
        let detail = at("/detail");
        if !detail.is_empty() {
            text += &format!("  {detail}\n");
        }
        for one in object.get("differences").and_then(Value::as_array).into_iter().flatten() {
            let author = match text_at(one, "/manager") {
                author if author.is_empty() => author,
                author => format!("   (by {author}, {})", text_at(one, "/time")),
            };
            let path = text_at(one, "/path") + &author;
            text += &difference(&path, one.get("intended"), one.get("actual"));
        }
    }
    if text.is_empty() { "in sync\n".to_owned() } else { text }
}

async fn history(shown: &Shown) -> Result<Exit, CliError> {
    let server = shown.at.connect()?;
    let id = find::vnf(&server, &shown.name).await?;
    let all = find::operations(&server, &id).await?;
    shown.output.show(&Value::Array(all), crate::cli::op::rows_text)?;
    Ok(Exit::Done)
}
