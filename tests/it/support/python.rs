//! Python scripts of the tests (tests/python) and their virtual environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A command that runs a script of tests/python.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(installed().join("bin/python"));
    command.arg(folder().join(name)).env("PYTHONUTF8", "1");
    command
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// The virtual environment; created here unless `scripts/test` has done so.
fn installed() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let install = Command::new(folder().join("install")).output().unwrap();
        assert!(install.status.success(), "{}", String::from_utf8_lossy(&install.stderr));
        PathBuf::from(String::from_utf8(install.stdout).unwrap().trim())
    })
}
