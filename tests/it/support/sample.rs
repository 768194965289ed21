//! The sample packages, packed as `samples/pack` does it.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// The CSAR of a sample.
pub fn pack(sample: &str) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/pack");
    let packed = Command::new(pack).arg(sample).arg(folder.path()).output().unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::read(file).unwrap()
}
