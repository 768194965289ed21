//! `gybe run`: from a folder of manifests to a running VNF.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::build::sha512;
use crate::cli::contexts::ServerOptions;
use crate::cli::find::{self, VNFLCM, VNFPKGM};
use crate::cli::init::Aspect;
use crate::cli::output::text_at;
use crate::cli::package::{Prepared, prepare};
use crate::cli::plan::{PlanOptions, Task, path};
use crate::cli::server::Server;
use crate::cli::wait::{WaitOptions, finish};
use crate::cli::{CliError, Exit};

/// `gybe run`.
#[derive(Args)]
pub struct Run {
    /// A folder of plain manifests, the folder of a package, or a CSAR
    package: PathBuf,
    /// The namespace of the VNF
    #[arg(short, long)]
    namespace: String,
    /// Name of the VNF. Default: the name of the folder or file
    #[arg(long)]
    name: Option<String>,
    /// For plain manifests: a scaling aspect, as for `gybe package init`. Repeatable
    #[arg(long, value_name = "NAME[=WORKLOAD,…]:STEPS")]
    aspect: Vec<Aspect>,
    /// The VIM, by name or id. Default: the default VIM
    #[arg(long)]
    vim: Option<String>,
    /// Create the namespace if it does not exist
    #[arg(long)]
    create_namespace: bool,
    /// The deployment flavour. May be left out if there is one only
    #[arg(long)]
    flavour: Option<String>,
    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
    /// Wait at most so many seconds. The operation goes on; the exit code is 7
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    plan: PlanOptions,
    #[command(flatten)]
    at: ServerOptions,
}

impl Run {
    /// Checks the package, onboards it unless the server has it, creates a VNF unless it waits for its instantiation, and instantiates it.
    /// A preview leaves the VNF for the run of its plan.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let Some(prepared) = prepare(&self.package, &self.aspect)? else { return Ok(Exit::Failed) };
        let flavour = self.flavour(&prepared.flavours)?;
        let name = self.name.clone().unwrap_or_else(|| stem(&self.package));
        let server = self.at.connect()?;
        let known = waiting(&find::named_vnfs(&server, &name).await?, &name, &prepared.vnfd_id)?;
        let vim = match &self.vim {
            Some(vim) => Some(find::vim(&server, vim).await?),
            None => None,
        };
        self.plan.onboard(&server, &prepared).await?;
        let id = match &known {
            Some(id) => id.clone(),
            None => create(&server, &name, &prepared.vnfd_id).await?,
        };
        if known.is_none() {
            self.plan.output.note(&format!("VNF {name} ({id}) created\n"))?;
        }
        let task = self.task(&flavour, vim);
        let begun = if self.plan.preview {
            task.preview(&server, &id, self.plan.output).await.map(|exit| (None, exit))
        } else {
            task.begin(&server, &id, self.plan.plan.as_deref()).await.map(|op| (Some(op), Exit::Done))
        };
        match begun {
            Ok((Some(op), _)) => {
                let wait = WaitOptions { wait: !self.no_wait, timeout: self.timeout };
                finish(&server, &op, wait, "COMPLETED").await
            }
            Ok((None, exit)) => Ok(exit),
            Err(error) => {
                // Nothing was instantiated, so nothing of it is needed.
                if known.is_none() {
                    server.delete(&path(&id)).await?;
                    self.plan.output.note(&format!("VNF {name} ({id}) removed again\n"))?;
                }
                Err(error)
            }
        }
    }

    fn flavour(&self, known: &[String]) -> Result<String, CliError> {
        match (&self.flavour, known) {
            (Some(flavour), _) => Ok(flavour.clone()),
            (None, [only]) => Ok(only.clone()),
            _ => Err(CliError::usage(format!(
                "the package has several flavours; name one with --flavour: {}",
                known.join(", ")
            ))),
        }
    }

    fn task(&self, flavour: &str, vim: Option<String>) -> Task {
        let mut params = Map::from_iter([("namespace".to_owned(), json!(self.namespace))]);
        if self.create_namespace {
            params.insert("createNamespace".to_owned(), true.into());
        }
        let mut task = Task::new("instantiate", json!({ "flavourId": flavour, "additionalParams": params }));
        if let Some(vim) = vim {
            let connection = json!({ "vim": { "vimId": vim, "vimType": "ETSINFV.KUBERNETES.V_1" } });
            task.body.insert("vimConnectionInfo".to_owned(), connection);
        }
        task
    }
}

/// The id of the VNF of that name that waits for its instantiation with this package, as a preview leaves it; `None` if none has the name.
///
/// # Errors
/// The name is taken.
fn waiting(known: &[Value], name: &str, vnfd_id: &str) -> Result<Option<String>, CliError> {
    let Some(first) = known.first() else { return Ok(None) };
    let at = |pointer| text_at(first, pointer);
    if known.len() == 1 && at("/instantiationState") == "NOT_INSTANTIATED" && at("/vnfdId") == vnfd_id {
        return Ok(Some(at("/id")));
    }
    Err(CliError::new(
        Exit::Refused,
        format!(
            "there is a VNF '{name}' already ({}); give another --name, or: gybe vnf terminate {name} --delete",
            at("/id")
        ),
    ))
}

/// Creates a VNF instance and returns its id.
async fn create(server: &Server, name: &str, vnfd_id: &str) -> Result<String, CliError> {
    let body = json!({ "vnfdId": vnfd_id, "vnfInstanceName": name });
    let created = server.post(&format!("{VNFLCM}/vnf_instances"), &body).await?;
    Ok(text_at(&created.body, "/id"))
}

/// The name of a folder or file, without `.csar` or `.zip`.
fn stem(path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.trim_end_matches(".csar").trim_end_matches(".zip").to_owned()
}

/// Onboards the package, unless the server has it. Returns the id of the package, and whether it is new.
///
/// # Errors
/// The server has another package with this `vnfdId`; it refuses the content; as it answers.
pub async fn onboard(server: &Server, prepared: &Prepared) -> Result<(String, bool), CliError> {
    let known = format!("{VNFPKGM}/onboarded_vnf_packages/{}", crate::cli::server::encoded(&prepared.vnfd_id));
    if let Some(package) = server.find(&known).await? {
        let id = text_at(&package, "/id");
        let is_same = prepared.is_named_by_content
            || text_at(&package, "/checksum/hash").eq_ignore_ascii_case(&sha512(&prepared.csar));
        if is_same {
            return Ok((id, false));
        }
        let text = format!(
            "the server has another package with the vnfdId '{}': its files differ; give descriptor_id in the VNFD a new value, or delete that package: gybe package delete {id}",
            prepared.vnfd_id
        );
        return Err(CliError::new(Exit::Refused, text));
    }
    let created = server.post(&format!("{VNFPKGM}/vnf_packages"), &json!({})).await?;
    let id = text_at(&created.body, "/id");
    let path = format!("{VNFPKGM}/vnf_packages/{id}");
    let onboarded = async {
        match server.upload(&format!("{path}/package_content"), prepared.csar.clone()).await {
            // Only the answer may be lost.
            Err(error) if error.exit == Exit::Unreachable && !is_empty(server, &path).await? => {}
            uploaded => uploaded?,
        }
        checked(server, &path).await
    };
    match onboarded.await {
        Ok(()) => Ok((id, true)),
        Err(error) => {
            // Nobody can use a package without content.
            server.delete(&path).await?;
            Err(error)
        }
    }
}

/// Whether no content of the package has arrived.
async fn is_empty(server: &Server, path: &str) -> Result<bool, CliError> {
    Ok(text_at(&server.get(path).await?.body, "/onboardingState") == "CREATED")
}

/// Waits until the server has checked the content.
async fn checked(server: &Server, path: &str) -> Result<(), CliError> {
    let (mut delay, begun) = (super::wait::DELAYS.0, Instant::now());
    loop {
        let package = server.get(path).await?.body;
        match text_at(&package, "/onboardingState").as_str() {
            "ONBOARDED" => return Ok(()),
            "UPLOADING" | "PROCESSING" if begun.elapsed() < PATIENCE => sleep(delay).await,
            "UPLOADING" | "PROCESSING" => {
                let text = format!("the package is not checked after {PATIENCE:?}; upload it again");
                return Err(CliError::new(Exit::TimedOut, text));
            }
            _ => return Err(CliError::new(Exit::Refused, text_at(&package, "/onboardingFailureDetails/detail"))),
        }
        delay = (delay * 3 / 2).min(super::wait::DELAYS.1);
    }
}

/// The longest check of a package. One of 4 GiB takes minutes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(900);
