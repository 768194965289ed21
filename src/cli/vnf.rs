//! `gybe vnf …`: VNF instances and their operations.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::contexts::ServerOptions;
use crate::cli::find::{self, VNFLCM};
use crate::cli::output::{OutputOptions, print, table, text_at};
use crate::cli::run::Run;
use crate::cli::server::Server;
use crate::cli::wait::{WaitOptions, finish};
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
    /// List the operations of a VNF, the oldest first
    History(Shown),
    /// Remove all objects of a VNF
    Terminate(Terminate),
    /// Delete a VNF that is not instantiated
    Delete(Named),
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    at: ServerOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Args)]
pub struct Named {
    /// Name or id
    name: String,
    #[command(flatten)]
    at: ServerOptions,
}

#[derive(Args)]
pub struct Shown {
    /// Name or id
    name: String,
    #[command(flatten)]
    at: ServerOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Args)]
#[command(group(ArgGroup::new("target").required(true).args(["out", "in_steps", "to", "level"])))]
pub struct Scale {
    /// Name or id
    name: String,
    /// The aspect. May be left out if there is one only
    #[arg(long, conflicts_with = "level")]
    aspect: Option<String>,
    /// Add so many steps
    #[arg(long, value_name = "STEPS")]
    out: Option<u32>,
    /// Remove so many steps
    #[arg(long = "in", value_name = "STEPS")]
    in_steps: Option<u32>,
    /// Go to this level of the aspect
    #[arg(long, value_name = "LEVEL")]
    to: Option<u32>,
    /// Go to this instantiation level of the VNFD
    #[arg(long, value_name = "NAME")]
    level: Option<String>,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    at: ServerOptions,
}

#[derive(Args)]
pub struct Heal {
    /// Name or id
    name: String,
    /// Only this VNFC, by its id as `gybe vnf get` shows it. Repeatable
    #[arg(long, value_name = "ID")]
    vnfc: Vec<String>,
    /// Why, for the record
    #[arg(long)]
    cause: Option<String>,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    at: ServerOptions,
}

#[derive(Args)]
pub struct Terminate {
    /// Name or id
    name: String,
    /// Kill pods at once
    #[arg(long)]
    force: bool,
    /// Kill pods that still run after so many seconds
    #[arg(long, value_name = "SECONDS", conflicts_with = "force")]
    grace: Option<u32>,
    /// Wait for the end, then delete the VNF
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    at: ServerOptions,
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
        VnfCommand::Scale(arguments) => scale(arguments).await,
        VnfCommand::Heal(arguments) => heal(arguments).await,
        VnfCommand::Diff(shown) => diff(shown).await,
        VnfCommand::History(shown) => history(shown).await,
        VnfCommand::Terminate(arguments) => terminate(arguments).await,
        VnfCommand::Delete(named) => {
            let server = named.at.connect()?;
            let id = find::vnf(&server, &named.name).await?;
            server.delete(&path(&id)).await?;
            print(&format!("{id} deleted\n"))?;
            Ok(Exit::Done)
        }
    }
}

fn path(id: &str) -> String {
    format!("{VNFLCM}/vnf_instances/{id}")
}

async fn show_all(list: &List) -> Result<Exit, CliError> {
    const FIELDS: &str = "vnfInstanceName,vnfProductName,vnfdVersion,instantiationState,metadata";
    let all = list.at.connect()?.list(&format!("{VNFLCM}/vnf_instances?fields={FIELDS}")).await?;
    list.output.show(&Value::Array(all), |all| {
        let columns = ["/vnfInstanceName", "/instantiationState", "/metadata/namespace", "/vnfProductName", "/id"];
        table(&["NAME", "STATE", "NAMESPACE", "PRODUCT", "ID"], &rows(all, &columns))
    })?;
    Ok(Exit::Done)
}

/// A row for each element, with the texts at these paths.
pub fn rows(all: &Value, columns: &[&str]) -> Vec<Vec<String>> {
    let row = |one: &Value| columns.iter().map(|column| text_at(one, column)).collect();
    all.as_array().into_iter().flatten().map(row).collect()
}

async fn instance(server: &Server, name: &str) -> Result<Value, CliError> {
    let id = find::vnf(server, name).await?;
    Ok(server.get(&path(&id)).await?.body)
}

async fn get(shown: &Shown) -> Result<Exit, CliError> {
    let vnf = instance(&shown.at.connect()?, &shown.name).await?;
    shown.output.show(&vnf, details)?;
    Ok(Exit::Done)
}

fn details(vnf: &Value) -> String {
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
    let lines: Vec<Vec<String>> = lines.iter().map(|(name, at)| vec![(*name).to_owned(), text_at(vnf, at)]).collect();
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
fn aspects(vnf: &Value) -> Vec<(String, String)> {
    let all = vnf.pointer("/instantiatedVnfInfo/scaleStatus").and_then(Value::as_array).into_iter().flatten();
    all.map(|one| (text_at(one, "/aspectId"), text_at(one, "/scaleLevel"))).collect()
}

/// Starts an operation and returns the id of its op occurrence.
///
/// # Errors
/// As the server answers.
pub async fn begin(server: &Server, id: &str, task: &str, body: &Value) -> Result<String, CliError> {
    let answer = server.post(&format!("{}/{task}", path(id)), body).await?;
    let op = answer.location_id().map(str::to_owned);
    op.ok_or_else(|| CliError::new(Exit::Unreachable, "the answer has no Location: is this a server of Gybe?"))
}

async fn scale(arguments: &Scale) -> Result<Exit, CliError> {
    let server = arguments.at.connect()?;
    let vnf = instance(&server, &arguments.name).await?;
    let id = text_at(&vnf, "/id");
    let (task, body) = match &arguments.level {
        Some(level) => ("scale_to_level", json!({ "instantiationLevelId": level })),
        None => {
            let aspect = aspect(arguments, &vnf)?;
            let steps = |direction: &str, steps: u32| {
                ("scale", json!({ "type": direction, "aspectId": aspect, "numberOfSteps": steps }))
            };
            match (arguments.out, arguments.in_steps, arguments.to) {
                (Some(number), _, _) => steps("SCALE_OUT", number),
                (_, Some(number), _) => steps("SCALE_IN", number),
                (_, _, level) => {
                    let level = level.unwrap_or_default();
                    ("scale_to_level", json!({ "scaleInfo": [{ "aspectId": aspect, "scaleLevel": level }] }))
                }
            }
        }
    };
    let op = begin(&server, &id, task, &body).await?;
    finish(&server, &op, arguments.wait, "COMPLETED").await
}

fn aspect(arguments: &Scale, vnf: &Value) -> Result<String, CliError> {
    if let Some(aspect) = &arguments.aspect {
        return Ok(aspect.clone());
    }
    let ids: Vec<String> = aspects(vnf).into_iter().map(|(id, _)| id).collect();
    match ids.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let text = format!(
                "the VNF '{}' has no scaling aspects, or is not instantiated; a package has those of 'gybe package init --aspect'",
                arguments.name
            );
            Err(CliError::new(Exit::Refused, text))
        }
        _ => Err(CliError::usage(format!("the VNF has several aspects; name one with --aspect: {}", ids.join(", ")))),
    }
}

async fn heal(arguments: &Heal) -> Result<Exit, CliError> {
    let server = arguments.at.connect()?;
    let id = find::vnf(&server, &arguments.name).await?;
    let mut body = Map::new();
    if !arguments.vnfc.is_empty() {
        body.insert("vnfcInstanceId".to_owned(), json!(arguments.vnfc));
    }
    if let Some(cause) = &arguments.cause {
        body.insert("cause".to_owned(), json!(cause));
    }
    let op = begin(&server, &id, "heal", &Value::Object(body)).await?;
    finish(&server, &op, arguments.wait, "COMPLETED").await
}

async fn terminate(arguments: &Terminate) -> Result<Exit, CliError> {
    let server = arguments.at.connect()?;
    let id = find::vnf(&server, &arguments.name).await?;
    let body = match (arguments.force, arguments.grace) {
        (true, _) => json!({ "terminationType": "FORCEFUL" }),
        (false, None) => json!({ "terminationType": "GRACEFUL" }),
        (false, Some(grace)) => json!({ "terminationType": "GRACEFUL", "gracefulTerminationTimeout": grace }),
    };
    let op = begin(&server, &id, "terminate", &body).await?;
    let wait = WaitOptions { wait: arguments.wait.wait || arguments.delete, ..arguments.wait };
    let exit = finish(&server, &op, wait, "COMPLETED").await?;
    if arguments.delete {
        server.delete(&path(&id)).await?;
        print(&format!("{id} deleted\n"))?;
    }
    Ok(exit)
}

async fn diff(shown: &Shown) -> Result<Exit, CliError> {
    let server = shown.at.connect()?;
    let id = find::vnf(&server, &shown.name).await?;
    let drift = server.get(&format!("{}/drift", path(&id))).await?.body;
    shown.output.show(&drift, differences)?;
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
        for one in object.get("differences").and_then(Value::as_array).into_iter().flatten() {
            let shown = |member: &str| one.get(member).map_or_else(|| "(none)".to_owned(), ToString::to_string);
            let author = text_at(one, "/manager");
            let author =
                if author.is_empty() { author } else { format!("   (by {author}, {})", text_at(one, "/time")) };
            text +=
                &format!("  {}{author}\n  - {}\n  + {}\n", text_at(one, "/path"), shown("intended"), shown("actual"));
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
