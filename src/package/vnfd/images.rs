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
    /// Algorithm and hexadecimal digits of the checksum that the VNFD states.
    pub checksum: Option<(String, String)>,
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
    Some(DescribedImage { paths, image, checksum: checksum(data) })
}

/// `checksum` of `sw_image_data`.
fn checksum(data: At<'_>) -> Option<(String, String)> {
    let checksum = data.member("checksum")?;
    let text = |name| checksum.member(name)?.node().as_text().filter(|text| !text.is_empty()).map(str::to_owned);
    Some((text("algorithm")?, text("hash")?))
}

/// A `scalar-unit.size` of TOSCA, such as `1.5 GB`, in bytes; parts of a byte count as one.
fn bytes(size: At<'_>) -> Option<u64> {
    let text = match &size.node().data {
        Data::Number(number) => number.to_string(),
        Data::Text(text) => text.trim().to_owned(),
        _ => return None,
    };
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u128 = match unit.trim().to_ascii_lowercase().as_str() {
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
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let value: u128 = format!("{whole}{fraction}").parse().ok()?;
    let bytes = value.checked_mul(factor)?.div_ceil(scale);
    u64::try_from(bytes).ok().filter(|bytes| i64::try_from(*bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::yaml::{Budget, documents};

    #[test]
    fn sizes_have_decimals_and_units() {
        for (text, expected) in [
            ("2 GiB", Some(2 << 30)),
            ("1.5 GB", Some(1_500_000_000)),
            ("0.5 GiB", Some(1 << 29)),
            ("1.5GB", Some(1_500_000_000)),
            (".5 kB", Some(500)),
            ("0.0001 kB", Some(1)),
            ("100", Some(100)),
            ("1.5", Some(2)),
            ("'100 MB'", Some(100_000_000)),
            ("1.5.5 GB", None),
            ("much", None),
            ("-1 GB", None),
            ("9999999 TiB", None),
            ("0.00000000000000000000000000000000000000000001 GB", None),
        ] {
            let document = documents("f", &format!("size: {text}\n"), &mut Budget::default()).unwrap();
            let found = bytes(At::root("f", "data", &document[0]).member("size").unwrap());
            assert_eq!(found, expected, "{text}");
        }
    }
}
