//! The commands that begin an operation of a VNF: scale, heal, sync, start, stop, change, terminate. `gybe run` begins the first one.

use std::path::Path;
use std::str::FromStr;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use crate::cli::contexts::ServerOptions;
use crate::cli::find::{self, VNFPKGM};
use crate::cli::init::Aspect;
use crate::cli::output::{print, text_at};
use crate::cli::package::prepare;
use crate::cli::plan::{PlanOptions, Task, path};
use crate::cli::server::Server;
use crate::cli::vnf::{aspects, instance};
use crate::cli::wait::{WaitOptions, finish};
use crate::cli::{CliError, Exit};

/// What all of them have.
#[derive(Args)]
pub struct TaskOptions {
    /// Name or id
    pub name: String,
    #[command(flatten)]
    pub plan: PlanOptions,
    #[command(flatten)]
    pub wait: WaitOptions,
    #[command(flatten)]
    pub at: ServerOptions,
}

impl TaskOptions {
    async fn run(&self, task: Task) -> Result<Exit, CliError> {
        let server = self.at.connect()?;
        let id = find::vnf(&server, &self.name).await?;
        task.run(&server, &id, &self.plan, self.wait).await
    }
}

#[derive(Args)]
#[command(group(ArgGroup::new("target").required(true).args(["out", "in_steps", "to", "level"])))]
pub struct Scale {
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
    task: TaskOptions,
}

impl Scale {
    /// # Errors
    /// As the server answers; which aspect is meant is unknown.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let server = self.task.at.connect()?;
        let vnf = instance(&server, &self.task.name).await?;
        let task = match &self.level {
            Some(level) => Task::new("scale_to_level", json!({ "instantiationLevelId": level })),
            None => self.of_aspect(&self.aspect(&vnf)?),
        };
        task.run(&server, &text_at(&vnf, "/id"), &self.task.plan, self.task.wait).await
    }

    fn of_aspect(&self, aspect: &str) -> Task {
        let steps = |direction: &str, steps: u32| {
            Task::new("scale", json!({ "type": direction, "aspectId": aspect, "numberOfSteps": steps }))
        };
        match (self.out, self.in_steps) {
            (Some(number), _) => steps("SCALE_OUT", number),
            (_, Some(number)) => steps("SCALE_IN", number),
            _ => {
                let level = self.to.unwrap_or_default();
                Task::new("scale_to_level", json!({ "scaleInfo": [{ "aspectId": aspect, "scaleLevel": level }] }))
            }
        }
    }

    fn aspect(&self, vnf: &Value) -> Result<String, CliError> {
        if let Some(aspect) = &self.aspect {
            return Ok(aspect.clone());
        }
        let ids: Vec<String> = aspects(vnf).into_iter().map(|(id, _)| id).collect();
        match ids.as_slice() {
            [only] => Ok(only.clone()),
            [] => {
                let text = format!(
                    "the VNF '{}' has no scaling aspects, or is not instantiated; a package has those of 'gybe package init --aspect'",
                    self.task.name
                );
                Err(CliError::new(Exit::Refused, text))
            }
            _ => {
                Err(CliError::usage(format!("the VNF has several aspects; name one with --aspect: {}", ids.join(", "))))
            }
        }
    }
}

#[derive(Args)]
pub struct Heal {
    /// Only this VNFC, by its id as `gybe vnf get` shows it. Repeatable
    #[arg(long, value_name = "ID")]
    vnfc: Vec<String>,
    /// Why, for the record
    #[arg(long)]
    cause: Option<String>,
    #[command(flatten)]
    task: TaskOptions,
}

impl Heal {
    /// # Errors
    /// As the server answers.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let mut task = Task::new("heal", json!({}));
        if !self.vnfc.is_empty() {
            task.body.insert("vnfcInstanceId".to_owned(), json!(self.vnfc));
        }
        if let Some(cause) = &self.cause {
            task.body.insert("cause".to_owned(), json!(cause));
        }
        self.task.run(task).await
    }
}

/// Fields that somebody else owns: `KIND[/NAME]:POINTER` on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    kind: String,
    name: Option<String>,
    path: String,
}

impl FromStr for Ignored {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text:.100}' is not like KIND[/NAME]:POINTER, such as Deployment/web:/spec/replicas");
        let (object, path) = text.split_once(':').filter(|(_, path)| path.starts_with('/')).ok_or_else(wrong)?;
        let (kind, name) = object.split_once('/').map_or((object, None), |(kind, name)| (kind, Some(name)));
        if kind.is_empty() || name == Some("") {
            return Err(wrong());
        }
        Ok(Self { kind: kind.to_owned(), name: name.map(str::to_owned), path: path.to_owned() })
    }
}

#[derive(Args)]
pub struct Sync {
    /// Leave these fields as they are: kind, name if not all of the kind, and a JSON pointer, such as Deployment/web:/spec/replicas.
    /// Repeatable
    #[arg(long, value_name = "KIND[/NAME]:POINTER")]
    ignore: Vec<Ignored>,
    /// Name or id
    name: String,
    #[command(flatten)]
    wait: WaitOptions,
    #[command(flatten)]
    at: ServerOptions,
}

impl Sync {
    /// # Errors
    /// As the server answers.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let server = self.at.connect()?;
        let id = find::vnf(&server, &self.name).await?;
        let rule = |one: &Ignored| json!({ "kind": one.kind, "name": one.name, "paths": [one.path] });
        let rules: Vec<Value> = self.ignore.iter().map(rule).collect();
        let op = Task::new("sync", json!({ "ignore": rules })).begin(&server, &id, None).await?;
        finish(&server, &op, self.wait, "COMPLETED").await
    }
}

#[derive(Args)]
pub struct Start {
    #[command(flatten)]
    task: TaskOptions,
}

impl Start {
    /// # Errors
    /// As the server answers.
    pub async fn run(&self) -> Result<Exit, CliError> {
        self.task.run(Task::new("operate", json!({ "changeStateTo": "STARTED" }))).await
    }
}

/// How pods end.
#[derive(Args)]
pub struct Ending {
    /// Kill pods at once
    #[arg(long)]
    force: bool,
    /// Kill pods that still run after so many seconds
    #[arg(long, value_name = "SECONDS", conflicts_with = "force")]
    grace: Option<u32>,
}

#[derive(Args)]
pub struct Stop {
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    task: TaskOptions,
}

impl Stop {
    /// # Errors
    /// As the server answers.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let mut task = Task::new("operate", json!({ "changeStateTo": "STOPPED" }));
        task.body.insert("stopType".to_owned(), if self.ending.force { "FORCEFUL" } else { "GRACEFUL" }.into());
        if let Some(grace) = self.ending.grace {
            task.body.insert("gracefulStopTimeout".to_owned(), grace.into());
        }
        self.task.run(task).await
    }
}

#[derive(Args)]
pub struct Change {
    #[command(flatten)]
    task: TaskOptions,
    /// A package of the server by id, vnfdId or name of the product; or a folder of plain manifests, the folder of a package, or a CSAR
    package: String,
    /// For plain manifests: a scaling aspect, as for `gybe package init`. Repeatable
    #[arg(long, value_name = "NAME[=WORKLOAD,…]:STEPS")]
    aspect: Vec<Aspect>,
}

impl Change {
    /// # Errors
    /// As the server answers; the package can't be read.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let server = self.task.at.connect()?;
        let file = Path::new(&self.package);
        let vnfd = if file.exists() {
            let Some(prepared) = prepare(file, &self.aspect)? else { return Ok(Exit::Failed) };
            self.task.plan.onboard(&server, &prepared).await?;
            prepared.vnfd_id
        } else {
            let id = find::package(&server, &self.package).await?;
            text_at(&server.get(&format!("{VNFPKGM}/vnf_packages/{id}")).await?.body, "/vnfdId")
        };
        self.task.run(Task::new("change_vnfpkg", json!({ "vnfdId": vnfd }))).await
    }
}

#[derive(Args)]
pub struct Terminate {
    #[command(flatten)]
    ending: Ending,
    /// Wait for the end, then delete the VNF
    #[arg(long, conflicts_with = "preview")]
    delete: bool,
    #[command(flatten)]
    task: TaskOptions,
}

impl Terminate {
    /// # Errors
    /// As the server answers.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let server = self.task.at.connect()?;
        let id = find::vnf(&server, &self.task.name).await?;
        let kind = if self.ending.force { "FORCEFUL" } else { "GRACEFUL" };
        let mut task = Task::new("terminate", json!({ "terminationType": kind }));
        if let Some(grace) = self.ending.grace {
            task.body.insert("gracefulTerminationTimeout".to_owned(), grace.into());
        }
        let wait = WaitOptions { wait: self.task.wait.wait || self.delete, ..self.task.wait };
        let exit = task.run(&server, &id, &self.task.plan, wait).await?;
        if self.delete {
            delete(&server, &id).await?;
        }
        Ok(exit)
    }
}

/// Deletes a VNF that is not instantiated.
///
/// # Errors
/// As the server answers.
pub async fn delete(server: &Server, id: &str) -> Result<(), CliError> {
    server.delete(&path(id)).await?;
    print(&format!("{id} deleted\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_to_ignore_are_named_by_kind_name_and_pointer() {
        let read = |text: &str| text.parse::<Ignored>().map(|one| (one.kind, one.name, one.path));
        let all = ("Deployment".to_owned(), None, "/spec/replicas".to_owned());
        assert_eq!(read("Deployment:/spec/replicas"), Ok(all.clone()));
        assert_eq!(read("Deployment/web:/spec/replicas"), Ok((all.0, Some("web".to_owned()), all.2)));
        for wrong in ["", "Deployment", "Deployment:spec", ":/spec", "Deployment/:/spec", "/web:/spec"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
