//! Puts into the binary what is not Rust: tells cargo that the migrations are in it, and lists the files of the dashboard
//! (`ui/dist`) for `src/api/ui.rs`.

use std::io::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Error> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=ui/dist");
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).ok_or_else(|| Error::other(name.to_owned()));
    let built = variable("CARGO_MANIFEST_DIR")?.join("ui/dist");
    std::fs::write(variable("OUT_DIR")?.join("ui_files.rs"), files(&built)?)
}

/// The Rust source of the page and the list of its assets, each with its compressed form.
fn files(built: &Path) -> Result<String, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(built.join("assets"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".gz") {
            names.push(name);
        }
    }
    names.sort();
    let mut source =
        format!("const PAGE: &str = include_str!({:?});\nconst ASSETS: &[Asset] = &[\n", built.join("index.html"));
    for name in names {
        let (content, compressed) = (built.join("assets").join(&name), built.join("assets").join(format!("{name}.gz")));
        source += &format!(
            "Asset {{ name: {name:?}, content: include_bytes!({content:?}), compressed: include_bytes!({compressed:?}) }},\n"
        );
    }
    source += "];\n";
    Ok(source)
}
