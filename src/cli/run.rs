//! `gybe run`: from a folder of manifests to a running VNF.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use crate::cli::contexts::ServerOptions;
use crate::cli::find::{self, VNFLCM, VNFPKGM};
use crate::cli::init::Aspect;
use crate::cli::output::{print, text_at};
use crate::cli::package::{Prepared, prepare};
use crate::cli::server::Server;
use crate::cli::vnf::begin;
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
    at: ServerOptions,
}

impl Run {
    /// Checks the package, onboards it unless the server has it, creates a VNF and instantiates it.
    ///
    /// # Errors
    /// As the server answers.
    pub async fn run(&self) -> Result<Exit, CliError> {
        let Some(prepared) = prepare(&self.package, &self.aspect)? else { return Ok(Exit::Failed) };
        let flavour = self.flavour(&prepared.flavours)?;
        let name = self.name.clone().unwrap_or_else(|| stem(&self.package));
        let server = self.at.connect()?;
        if let Some(known) = find::named_vnfs(&server, &name).await?.first() {
            return Err(CliError::new(
                Exit::Refused,
                format!(
                    "there is a VNF '{name}' already ({}); give another --name, or: gybe vnf terminate {name} --delete",
                    text_at(known, "/id")
                ),
            ));
        }
        let vim = match &self.vim {
            Some(vim) => Some(find::vim(&server, vim).await?),
            None => None,
        };
        onboard(&server, &prepared).await?;
        let body = json!({ "vnfdId": prepared.vnfd_id, "vnfInstanceName": name });
        let created = server.post(&format!("{VNFLCM}/vnf_instances"), &body).await?;
        let id = text_at(&created.body, "/id");
        print(&format!("VNF {name} ({id}) created\n"))?;
        let begun = begin(&server, &id, "instantiate", &self.request(&flavour, vim)).await;
        let op = match begun {
            Ok(op) => op,
            Err(error) => {
                // Nothing was instantiated, so nothing of it is needed.
                server.delete(&format!("{VNFLCM}/vnf_instances/{id}")).await?;
                return Err(error);
            }
        };
        finish(&server, &op, WaitOptions { wait: !self.no_wait, timeout: self.timeout }, "COMPLETED").await
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

    fn request(&self, flavour: &str, vim: Option<String>) -> Value {
        let mut params = Map::from_iter([("namespace".to_owned(), json!(self.namespace))]);
        if self.create_namespace {
            params.insert("createNamespace".to_owned(), true.into());
        }
        let mut request = json!({ "flavourId": flavour, "additionalParams": params });
        if let (Some(vim), Value::Object(members)) = (vim, &mut request) {
            let connection = json!({ "vim": { "vimId": vim, "vimType": "ETSINFV.KUBERNETES.V_1" } });
            members.insert("vimConnectionInfo".to_owned(), connection);
        }
        request
    }
}

/// The name of a folder or file, without `.csar` or `.zip`.
fn stem(path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.trim_end_matches(".csar").trim_end_matches(".zip").to_owned()
}

/// Onboards the package, unless the server has one with its `vnfdId`. Returns the id of the package, and whether it is new.
///
/// # Errors
/// As the server answers; the server refuses the content.
pub async fn onboard(server: &Server, prepared: &Prepared) -> Result<(String, bool), CliError> {
    let known = format!("{VNFPKGM}/onboarded_vnf_packages/{}", crate::cli::server::encoded(&prepared.vnfd_id));
    if let Some(package) = server.find(&known).await? {
        return Ok((text_at(&package, "/id"), false));
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
        Ok(()) => {
            print(&format!("package {id} onboarded\n"))?;
            Ok((id, true))
        }
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
