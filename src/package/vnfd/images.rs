//! The software images that a VNFD describes (SOL001 clause 6.5): `sw_image_data` of a VDU or a storage, and the artifact beside
//! it that is the image.
//!
//! The lifecycle of a CNF does not depend on them. So an image that is not described as the standard requires is no error: it
//! is listed as any other artifact.

use super::imports;
use super::model::Model;
use crate::domain::package::SoftwareImage;
use crate::domain::vnfd::Vnfd;
use crate::package::yaml::{At, Data};

const ARTIFACT: &str = "tosca.artifacts.nfv.SwImage";
const CONTAINER_FORMATS: [&str; 7] = ["AKI", "AMI", "ARI", "BARE", "DOCKER", "OVA", "OVF"];
const DISK_FORMATS: [&str; 10] = ["AKI", "AMI", "ARI", "ISO", "QCOW2", "RAW", "VDI", "VHD", "VHDX", "VMDK"];

/// A software image, and the paths that its file may have in the CSAR.
#[derive(Debug)]
pub struct DescribedImage {
    /// Relative to the file of the VNFD, as the standard says, and relative to the root.
    pub paths: Vec<String>,
    /// Its description.
    pub image: SoftwareImage,
}

/// The software images of a VNFD.
pub(super) fn of<'a>(model: &Model<'a>, vnfd: &Vnfd) -> Vec<DescribedImage> {
    let nodes = model.files.iter().filter_map(|file| model.nodes(*file).ok()).flatten();
    nodes.filter_map(|node| image(model, node, vnfd)).collect()
}

fn image<'a>(model: &Model<'a>, node: At<'a>, vnfd: &Vnfd) -> Option<DescribedImage> {
    let data = model.property(node, "sw_image_data")?;
    let text = |name| data.member(name)?.node().as_text().filter(|text| !text.is_empty()).map(str::to_owned);
    let one_of = |name, known: &[&str]| {
        text(name).map(|text| text.to_ascii_uppercase()).filter(|text| known.contains(&text.as_str()))
    };
    let image = SoftwareImage {
        id: node.key().to_owned(),
        name: text("name")?,
        provider: text("provider").unwrap_or_else(|| vnfd.provider.clone()),
        version: text("version")?,
        container_format: one_of("container_format", &CONTAINER_FORMATS)?,
        disk_format: one_of("disk_format", &DISK_FORMATS)?,
        min_disk: bytes(data.member("min_disk")?)?,
        min_ram: data.member("min_ram").map_or(Some(0), bytes)?,
        size: bytes(data.member("size")?)?,
    };
    let artifacts = node.member("artifacts")?.entries().ok()?;
    let file = artifacts.into_iter().find_map(|artifact| {
        let is_image = model.is_a(artifact, &[ARTIFACT]);
        artifact.member("file").filter(|_| is_image)
    })?;
    let path = file.node().as_text()?;
    let paths = [imports::resolve(file, path).ok(), Some(path.to_owned())].into_iter().flatten().collect();
    Some(DescribedImage { paths, image })
}

/// A `scalar-unit.size` of TOSCA, such as `2 GB`, in bytes.
fn bytes(size: At<'_>) -> Option<u64> {
    let text = match &size.node().data {
        Data::Number(number) => return number.as_u64(),
        Data::Text(text) => text.trim(),
        _ => return None,
    };
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|bytes| i64::try_from(*bytes).is_ok())
}
