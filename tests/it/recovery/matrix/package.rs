//! The packages of the VNFs in the matrix.

use std::collections::BTreeMap;

use gybe::domain::package::{Content, DefinitionFile};
use gybe::domain::vnfd::{Flavour, InstantiationLevel, ScalingAspect, Vdu, Vnfd};
use gybe::package::archive::Limits;
use gybe::package::csar;
use gybe::store::{OnboardedVnfd, Store};
use tempfile::TempDir;

use crate::support::{sample, store};

/// A package.
pub struct Package {
    pub content: Content,
    pub files: Vec<DefinitionFile>,
    /// The package of a change.
    pub other: Option<Box<Self>>,
}

impl Package {
    /// Objects that differ in creation and removal: a definition and an object of its kind, workloads with and without
    /// volumes, a bare pod. They are few, so that all cases can run.
    pub fn of_many_kinds() -> Self {
        let vdus = [("UDR", "udr", Some(1)), ("UDR_DB", "udr-db", Some(1)), ("PROBE", "probe", None)];
        Self::new("of-many-kinds", &vdus, include_str!("many_kinds.yaml"), None)
    }

    /// A package with a successor that shares, changes, adds and drops objects of each class, and assigns some
    /// workloads to other VDUs.
    pub fn changing() -> Self {
        let shared = [("UDR", "udr", Some(1)), ("UDR_DB", "udr-db", Some(1)), ("PROBE", "probe", None)];
        let to = [&shared[..], &[("PORTAL", "web", None), ("NEF", "nef", None)]].concat();
        let to = Self::new("changing-to", &to, include_str!("changing_to.yaml"), None);
        let from = [&shared[..], &[("WEB", "web", None), ("LEGACY", "legacy", None)]].concat();
        Self::new("changing-from", &from, include_str!("changing_from.yaml"), Some(Box::new(to)))
    }

    /// A package with a successor of other settings and images; a VDU uses the settings without another image.
    pub fn updating() -> Self {
        let vdus = [("UDR", "udr", Some(1)), ("UDR_DB", "udr-db", Some(1)), ("PROBE", "probe", None)];
        let uses = r#"image: "db:1", envFrom: [{configMapRef: {name: settings}}]"#;
        let from = include_str!("many_kinds.yaml").replace(r#"image: "db:1""#, uses);
        let to = from.replace("{a: b}", "{a: c}").replace("udr:1", "udr:2").replace("probe:1", "probe:2");
        let to = Self::new("updating-to", &vdus, &to, None);
        Self::new("updating-from", &vdus, &from, Some(Box::new(to)))
    }

    pub fn new(id: &str, vdus: &[(&str, &str, Option<u32>)], objects: &str, other: Option<Box<Self>>) -> Self {
        let vdu = |name: &str, initial| Vdu { name: name.to_owned(), kind: None, min: 1, max: 9, initial };
        let named = |entries: &[(&str, u32)]| entries.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let aspect = ScalingAspect {
            max_level: 3,
            deltas: BTreeMap::from([("UDR".to_owned(), vec![2]), ("UDR_DB".to_owned(), vec![1])]),
        };
        let level = |scale_level| InstantiationLevel {
            scale_levels: named(&[("subscriber_data", scale_level)]),
            vdu_instances: named(&[]),
        };
        let flavour = Flavour {
            description: String::new(),
            vdus: vdus.iter().map(|(id, name, initial)| ((*id).to_owned(), vdu(name, *initial))).collect(),
            aspects: BTreeMap::from([("subscriber_data".to_owned(), aspect)]),
            levels: BTreeMap::from([("default".to_owned(), level(0)), ("large".to_owned(), level(2))]),
            default_level: Some("default".to_owned()),
        };
        let vnfd = Vnfd { flavours: BTreeMap::from([("simple".to_owned(), flavour)]), ..store::vnfd(id) };
        let content = store::content_of(vnfd);
        let file = DefinitionFile::new("Files/objects.yaml", objects);
        Self { content, files: vec![file], other }
    }

    /// The sample `core5g` and its successor, read from their CSARs.
    pub fn core5g() -> Self {
        Self { other: Some(Box::new(Self::of_sample("core5g-2"))), ..Self::of_sample("core5g") }
    }

    pub fn of_sample(sample: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("sample.csar");
        std::fs::write(&file, sample::pack(sample)).unwrap();
        let csar::Onboarded { content, files } = csar::onboard(&file, &Limits::default()).unwrap();
        Self { content, files, other: None }
    }

    pub async fn onboard(&self, store: &dyn Store) -> OnboardedVnfd {
        store::onboarded(store, &self.content, &self.files).await
    }
}
