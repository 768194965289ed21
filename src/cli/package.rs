//! `gybe package …`: `init`, `lint` and `build` work on files, `push`, `list` and `delete` with a server.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::arguments::{List, Named};
use crate::cli::build::{self, TOSCA_META};
use crate::cli::contexts::ServerOptions;
use crate::cli::find::{self, VNFPKGM};
use crate::cli::folder::{self, Files};
use crate::cli::init::{self, Aspect, MANIFESTS, is_manifest};
use crate::cli::lint::{self, Report};
use crate::cli::needs::Needs;
use crate::cli::output::{print, rows, table, text_at};
use crate::cli::run::onboard;
use crate::cli::scratch::ScratchFile;
use crate::cli::server::Server;
use crate::cli::{CliError, Exit, ask};

/// The commands for packages.
#[derive(Subcommand)]
pub enum PackageCommand {
    /// Make a package from a folder of plain manifests
    Init(Init),
    /// Say what is wrong with a package, and what it needs. Exits with 1 if it can't be used
    Lint(Lint),
    /// Write the hashes of its files into the folder of a package, and pack it
    Build(Build),
    /// Onboard a package, unless the server has it
    Push(Push),
    /// List the packages of the server
    List(List),
    /// Delete a package that no VNF uses, by its id, vnfdId or name of the product
    Delete(Named),
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people
    Text,
    /// JSON
    Json,
}

#[derive(Args)]
pub struct Init {
    /// The folder with the manifests (.yaml, .yml, .json)
    folder: PathBuf,
    /// Where to write: a file .csar or .zip, or else a folder for the unpacked package, which is made. Default: NAME.csar
    #[arg(long, value_name = "FILE|DIR")]
    out: Option<PathBuf>,
    /// Name of the product. Default: the name of the folder
    #[arg(long)]
    name: Option<String>,
    /// A scaling aspect, such as web=nginx:4: each of 4 steps adds an instance of the workload nginx. Repeatable. Without any,
    /// the command asks, if it runs in a terminal
    #[arg(long, value_name = "NAME[=WORKLOAD,…]:STEPS")]
    aspect: Vec<Aspect>,
}

#[derive(Args)]
pub struct Lint {
    /// A CSAR, the folder of one, or a folder of plain manifests
    package: PathBuf,
    /// Output
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Args)]
pub struct Build {
    /// The folder of the package
    folder: PathBuf,
    /// The file to write. Default: the name of the folder with .csar
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub struct Push {
    /// A CSAR, the folder of one, or a folder of plain manifests
    package: PathBuf,
    #[command(flatten)]
    at: ServerOptions,
}

/// Runs a command.
///
/// # Errors
/// What can't be read or written; as the server answers.
pub async fn run(command: &PackageCommand) -> Result<Exit, CliError> {
    match command {
        PackageCommand::Init(init) => make(init),
        PackageCommand::Lint(lint) => check(lint),
        PackageCommand::Build(build) => pack(build),
        PackageCommand::Push(push) => {
            let Some(prepared) = prepare(&push.package, &[])? else { return Ok(Exit::Failed) };
            let (id, is_new) = onboard(&push.at.connect()?, &prepared).await?;
            print(&if is_new {
                format!("package {id} onboarded\n")
            } else {
                format!("the server has the package already: {id}\n")
            })?;
            Ok(Exit::Done)
        }
        PackageCommand::List(list) => {
            let all = list.at.connect()?.list(&format!("{VNFPKGM}/vnf_packages")).await?;
            list.output.show(&Value::Array(all), |all| {
                let columns = ["/vnfProductName", "/vnfdVersion", "/onboardingState", "/usageState", "/vnfdId", "/id"];
                table(&["PRODUCT", "VERSION", "STATE", "USE", "VNFD", "ID"], &rows(all, &columns))
            })?;
            Ok(Exit::Done)
        }
        PackageCommand::Delete(delete) => {
            let server = delete.at.connect()?;
            let id = find::package(&server, &delete.name).await?;
            let path = format!("{VNFPKGM}/vnf_packages/{id}");
            disable(&server, &path).await?;
            server.delete(&path).await?;
            print(&format!("{id} deleted\n"))?;
            Ok(Exit::Done)
        }
    }
}

/// Disables the package: only then can it be deleted.
async fn disable(server: &Server, path: &str) -> Result<(), CliError> {
    let is_enabled = async || -> Result<bool, CliError> {
        Ok(text_at(&server.get(path).await?.body, "/operationalState") == "ENABLED")
    };
    if !is_enabled().await? {
        return Ok(());
    }
    match server.patch(path, &json!({ "operationalState": "DISABLED" })).await {
        // A request whose answer was lost has disabled it, and the repetition is refused.
        Err(error) if error.exit == Exit::Refused && !is_enabled().await? => Ok(()),
        patched => patched.map(drop),
    }
}

/// A package that has no errors.
pub struct Prepared {
    pub csar: Vec<u8>,
    pub vnfd_id: String,
    /// Whether `vnfd_id` is made of the content, so that other content has another one.
    pub is_named_by_content: bool,
    pub flavours: Vec<String>,
}

/// Makes, builds or reads the package at `path`, and checks it. Prints the findings and returns `None` if it has errors.
///
/// # Errors
/// It can't be read, or made with these aspects.
pub fn prepare(path: &Path, aspects: &[Aspect]) -> Result<Option<Prepared>, CliError> {
    let mut is_named_by_content = false;
    let csar = if path.is_dir() {
        let mut files = folder::read(path, |_| true)?;
        is_named_by_content = !is_package(&files);
        if !is_named_by_content {
            build::hash(&mut files)?;
        } else {
            let workloads = init::workloads(&init::objects(&files)?);
            files = init::package(&folder_name(path)?, &files, &workloads, aspects)?;
        }
        build::zip(&files)?
    } else {
        std::fs::read(path).map_err(|error| CliError::file(path, "read", &error))?
    };
    let scratch = ScratchFile::new(&std::env::temp_dir(), &csar)?;
    let report = lint::package(scratch.path(), &path.display().to_string());
    match (report.errors(), &report.vnfd_id) {
        (0, Some(id)) => {
            Ok(Some(Prepared { csar, vnfd_id: id.clone(), is_named_by_content, flavours: report.flavours }))
        }
        _ => {
            let errors = report.findings.iter().filter(|finding| finding.error);
            errors.for_each(|finding| eprintln!("{finding}"));
            Ok(None)
        }
    }
}

fn make(init: &Init) -> Result<Exit, CliError> {
    let name = match &init.name {
        Some(name) => name.clone(),
        None => folder_name(&init.folder)?,
    };
    let files = folder::read(&init.folder, is_manifest)?;
    let workloads = init::workloads(&init::objects(&files)?);
    let aspects = if init.aspect.is_empty() { ask::aspects(&workloads)? } else { init.aspect.clone() };
    let package = init::package(&name, &files, &workloads, &aspects)?;
    let out = init.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.csar")));
    let is_file = out.extension().is_some_and(|it| it == "csar" || it == "zip") && !out.is_dir();
    if is_file {
        packed(&build::zip(&package)?, &out)?;
    } else {
        unpacked(&package, &out)?;
    }
    let aspects: Vec<String> = aspects.iter().map(|aspect| aspect.name.clone()).collect();
    print(&format!(
        "{}: {} manifests, {} workloads, scaling aspects: {}\n",
        out.display(),
        files.len(),
        workloads.len(),
        if aspects.is_empty() { "none".to_owned() } else { aspects.join(", ") }
    ))?;
    Ok(Exit::Done)
}

fn folder_name(folder: &Path) -> Result<String, CliError> {
    let full = std::fs::canonicalize(folder).map_err(|error| CliError::file(folder, "read", &error))?;
    Ok(full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

/// Writes the files below `folder`. A file that exists is not overwritten.
fn unpacked(files: &Files, folder: &Path) -> Result<(), CliError> {
    for (path, content) in files {
        let file = folder.join(path);
        let parent = file.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|error| CliError::file(parent, "made", &error))?;
        let made = OpenOptions::new().write(true).create_new(true).open(&file);
        let written = made.and_then(|mut made| made.write_all(content));
        written.map_err(|error| CliError::file(&file, "written", &error))?;
    }
    Ok(())
}

/// Writes a package, all or nothing.
fn packed(csar: &[u8], out: &Path) -> Result<(), CliError> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = ScratchFile::new(folder, csar)?;
    std::fs::rename(scratch.path(), out).map_err(|error| CliError::file(out, "written", &error))
}

fn check(lint: &Lint) -> Result<Exit, CliError> {
    let report = report(&lint.package)?;
    let errors = report.errors();
    match lint.output {
        Format::Json => {
            let json = serde_json::to_string_pretty(&report);
            print(&(json.map_err(|error| CliError::new(Exit::Failed, error.to_string()))? + "\n"))?;
        }
        Format::Text => print(&text_of(&report))?,
    }
    Ok(if errors == 0 { Exit::Done } else { Exit::Failed })
}

/// The report about a CSAR, the folder of one, or a folder of plain manifests.
///
/// # Errors
/// It can't be read.
pub fn report(package: &Path) -> Result<Report, CliError> {
    let shown = package.display().to_string();
    if !package.is_dir() {
        // So that a missing file is no finding.
        std::fs::metadata(package).map_err(|error| CliError::file(package, "read", &error))?;
        return Ok(lint::package(package, &shown));
    }
    let mut files = folder::read(package, |_| true)?;
    let is_plain = !is_package(&files);
    if is_plain {
        let workloads = match init::objects(&files) {
            Ok(manifests) => init::workloads(&manifests),
            Err(error) if error.exit == Exit::Usage => return Err(error),
            // The report has this error, and those of the other files.
            Err(_) => Vec::new(),
        };
        files = init::package("manifests", &files, &workloads, &[])?;
    }
    let scratch = ScratchFile::new(&std::env::temp_dir(), &build::zip(&files)?)?;
    let mut report = lint::package(scratch.path(), &shown);
    for finding in report.findings.iter_mut().filter(|finding| finding.file != shown) {
        let path = finding.file.strip_prefix(MANIFESTS).filter(|_| is_plain).unwrap_or(&finding.file);
        finding.file = package.join(path).display().to_string();
    }
    Ok(report)
}

/// Whether the files are those of a package, and not plain manifests.
fn is_package(files: &Files) -> bool {
    let is_vnfd = |(path, content): (&String, &Vec<u8>)| {
        !path.contains('/') && String::from_utf8_lossy(content).contains("tosca_definitions_version")
    };
    files.contains_key(TOSCA_META) || files.keys().any(|path| path.ends_with(".mf")) || files.iter().any(is_vnfd)
}

fn text_of(report: &Report) -> String {
    let mut lines: Vec<String> = report.findings.iter().map(|finding| finding.to_string()).collect();
    let (errors, all) = (report.errors(), report.findings.len());
    lines.push(format!("{errors} errors, {} warnings", all - errors));
    let needs = report.needs.as_ref().map(Needs::text).unwrap_or_default();
    lines.join("\n") + "\n" + &needs
}

fn pack(arguments: &Build) -> Result<Exit, CliError> {
    let folder = &arguments.folder;
    let mut files = folder::read(folder, |_| true)?;
    if !is_package(&files) {
        return Err(CliError::usage(format!(
            "{} has no {TOSCA_META} and no VNFD at its root, so it is not the folder of a package; for plain manifests: gybe package init {}",
            folder.display(),
            folder.display()
        )));
    }
    build::hash(&mut files)?;
    let csar = build::zip(&files)?;
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => PathBuf::from(format!("{}.csar", folder_name(folder)?)),
    };
    let scratch = ScratchFile::new(&std::env::temp_dir(), &csar)?;
    let report = lint::package(scratch.path(), &out.display().to_string());
    if report.errors() > 0 {
        print(&text_of(&report))?;
        return Ok(Exit::Failed);
    }
    if let Some(list) = files.get(TOSCA_META) {
        // So that the folder has no findings that the package does not have.
        let file = folder.join(TOSCA_META);
        std::fs::write(&file, list).map_err(|error| CliError::file(&file, "written", &error))?;
    }
    packed(&csar, &out)?;
    print(&format!("{}: {} files\n{}", out.display(), files.len(), text_of(&report)))?;
    Ok(Exit::Done)
}
