//! The VNF package (SOL005 clause 9.5.2.5, `VnfPkgInfo`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::domain::ids::{ProjectId, VnfPkgId};
use crate::domain::problem::Problem;
use crate::domain::secret::Secret;
use crate::domain::vnfd::Vnfd;
use crate::domain::warning::Warnings;

/// A VNF package.
#[derive(Clone, Debug, PartialEq)]
pub struct VnfPackage {
    /// Its identifier.
    pub id: VnfPkgId,
    /// The tenant.
    pub project_id: ProjectId,
    /// The state of onboarding.
    pub onboarding: Onboarding,
    /// Whether instances may be created from it. DISABLED until onboarded.
    pub operational_state: OperationalState,
    /// Whether a VNF instance or a live operation refers to it.
    pub in_use: bool,
    /// The lease under which its content arrived; the name of the CSAR has it. 0 before the first upload.
    pub content_epoch: i64,
    /// `userDefinedData`.
    pub user_defined_data: Map<String, Value>,
    /// When the row was made; lists are in this order.
    pub created_at: OffsetDateTime,
}

impl VnfPackage {
    /// Whether its operational state may change to `state` (SOL005 clause 9.5.2.3): it is onboarded, and in the other state.
    pub fn can_become(&self, state: OperationalState) -> bool {
        matches!(self.onboarding, Onboarding::Onboarded(_)) && self.operational_state != state
    }
}

/// `onboardingState` (SOL005 clause 9.5.4.3) with the data of each state.
#[derive(Clone, Debug, PartialEq)]
pub enum Onboarding {
    /// No content yet.
    Created,
    /// Content is arriving.
    Uploading,
    /// Content is being read and checked.
    Processing,
    /// Ready for use.
    Onboarded(Box<Content>),
    /// The content was invalid or did not arrive; it may be uploaded again.
    Error(Problem),
}

impl Onboarding {
    /// The name on the wire and in the database.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Uploading => "UPLOADING",
            Self::Processing => "PROCESSING",
            Self::Onboarded(_) => "ONBOARDED",
            Self::Error(_) => "ERROR",
        }
    }
}

/// Where the content of a package is fetched from (SOL005 clause 9.5.2.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSource {
    /// `addressInformation`. Path and query may hold secrets.
    pub uri: Secret,
    /// `userName`.
    pub user_name: Option<String>,
    /// `password`.
    pub password: Option<Secret>,
}

/// An onboarding whose process is gone, as the process that takes over finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterruptedOnboarding {
    /// UPLOADING by the client. The rest of the content never comes.
    Upload,
    /// UPLOADING from this source.
    Fetch(PackageSource),
    /// PROCESSING.
    Check {
        /// [`VnfPackage::content_epoch`].
        content_epoch: i64,
    },
}

/// The result of reading a CSAR.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// The descriptor.
    pub vnfd: Vnfd,
    /// SHA-512 of the whole CSAR, in hexadecimal digits.
    pub sha512: String,
    /// Size of the CSAR in bytes.
    pub size: u64,
    /// The artifacts named in TOSCA.meta and the manifest.
    pub artifacts: Vec<ArtifactInfo>,
    /// What is probably not as the author meant it.
    pub warnings: Warnings,
}

/// `operationalState` (SOL005 clause 9.5.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OperationalState {
    /// New instances may be made.
    Enabled,
    /// No new instances.
    Disabled,
}

/// One artifact of a package (SOL003 clause 10.5.3.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactInfo {
    /// Path in the CSAR.
    pub path: String,
    /// `SHA-256` and the like, as the package spells it.
    pub algorithm: String,
    /// Hexadecimal digits.
    pub hash: String,
    /// `Content-Type`, where the package gives one.
    pub content_type: Option<String>,
    /// The non-MANO artifact set of the manifest that it belongs to (SOL004 clause 4.3.7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_mano_artifact_set: Option<String>,
    /// Its purpose, if TOSCA.meta says that it is not part of the VNF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classification: Option<ArtifactClassification>,
    /// The VNFD's description, if it is a software image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<SoftwareImage>,
}

/// `artifactClassification` (SOL003 3.3.1 clause 10.5.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ArtifactClassification {
    /// The history of changes.
    History,
    /// For tests.
    Testing,
    /// A licence.
    License,
}

/// A software image as the VNFD describes it (SOL001, `tosca.datatypes.nfv.SwImageData`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoftwareImage {
    /// Its node in the VNFD.
    pub id: String,
    /// `name`.
    pub name: String,
    /// `provider`; that of the VNF if there is none.
    pub provider: String,
    /// `version`.
    pub version: String,
    /// `container_format`, in capitals.
    pub container_format: String,
    /// `disk_format`, in capitals.
    pub disk_format: String,
    /// `min_disk`, in bytes.
    pub min_disk: u64,
    /// `min_ram`, in bytes; 0 if there is none.
    pub min_ram: u64,
    /// `size`, in bytes.
    pub size: u64,
}

/// An artifact in YAML or JSON: it can be a definition file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionFile {
    /// Path in the CSAR.
    pub path: String,
    /// The text; empty if it cannot be read.
    pub text: String,
    /// Why it cannot be read, for an operation that needs it.
    pub problem: Option<String>,
}

impl DefinitionFile {
    /// The largest file in bytes, 8 MiB: bundles of CustomResourceDefinitions have more than 4 MiB.
    pub const MAX_BYTES: u64 = 8 << 20;

    /// A file with that text.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), problem: None }
    }

    /// A file that cannot be read, and why.
    pub fn unreadable(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), text: String::new(), problem: Some(problem.into()) }
    }
}
