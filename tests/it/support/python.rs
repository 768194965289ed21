//! What tests run that is written in Python (tests/python), with what it needs from PyPI.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One of the scripts of tests/python, to be run.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(installed().join("bin/python"));
    command.arg(folder().join(name)).env("PYTHONUTF8", "1");
    command
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// The virtual environment; made where `scripts/test` has not.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let install = Command::new(folder().join("install")).output().unwrap();
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        PathBuf::from(String::from_utf8(install.stdout).unwrap().trim())
    })
}
