//! The rows of the matrix: the operations and the situations in which they are tested.

/// A row of the matrix.
pub struct Operation {
    pub name: &'static str,
    /// The operations before it.
    pub before: &'static [Request],
    pub request: Request,
    /// The tested phase.
    pub phase: Phase,
}

/// A task of the API, and its request body.
pub type Request = (&'static str, &'static str);

/// The phase of an operation that is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From its acceptance to its end.
    Forward,
    /// The rollback after it stopped at its last point.
    Rollback,
    /// The retry after it stopped half-way.
    Retry,
    /// The decision of a conductor after it stopped at its last point and no client decided in time.
    Unattended,
}

pub const INSTANTIATE: Request =
    ("instantiate", r#"{"flavourId":"simple","additionalParams":{"namespace":"vnf","createNamespace":true}}"#);

/// An instantiation that stops after everything is created, and is then failed.
pub const INSTANTIATE_AND_FAIL: Request =
    ("instantiate and fail", r#"{"flavourId":"simple","additionalParams":{"namespace":"vnf","createNamespace":true}}"#);

pub const SCALE_OUT: Request = ("scale", r#"{"type":"SCALE_OUT","aspectId":"subscriber_data","numberOfSteps":2}"#);

pub const SCALE_IN: Request = ("scale", r#"{"type":"SCALE_IN","aspectId":"subscriber_data"}"#);

pub const SCALE_TO_LEVEL: Request = ("scale_to_level", r#"{"instantiationLevelId":"large"}"#);

pub const SCALE_ASPECTS: Request =
    ("scale_to_level", r#"{"scaleInfo":[{"aspectId":"subscriber_data","scaleLevel":0}]}"#);

pub const HEAL_ONE: Request = ("heal", r#"{"vnfcInstanceId":["UDR_DB-udr-db-0"]}"#);

pub const HEAL_ALL: Request = ("heal", r#"{"cause":"healing all"}"#);

pub const STOP: Request = ("operate", r#"{"changeStateTo":"STOPPED","stopType":"GRACEFUL","gracefulStopTimeout":5}"#);

pub const START: Request = ("operate", r#"{"changeStateTo":"STARTED"}"#);

pub const TERMINATE: Request = ("terminate", r#"{"terminationType":"GRACEFUL","gracefulTerminationTimeout":5}"#);

pub const TERMINATE_FORCEFUL: Request = ("terminate", r#"{"terminationType":"FORCEFUL"}"#);

/// Another client deletes objects of the VNF; not a request.
pub const DELETE_OBJECTS: Request = ("lose", "Deployment udr, Pod probe");

pub const MODIFY: Request = ("modify", r#"{"vnfInstanceName":"renamed","metadata":{"site":"north"}}"#);

/// To the other package; the placeholder becomes its vnfdId.
pub const CHANGE: Request = ("change_vnfpkg", r#"{"vnfdId":"the other","extensions":{"site":"north"}}"#);

/// A change that stops after its last effect and is then failed: the VNF still refers to the first package, and has the
/// objects of the other.
pub const CHANGE_AND_FAIL: Request = ("change_vnfpkg and fail", r#"{"vnfdId":"the other"}"#);

/// A change of attributes with the vnfdId of the other package.
pub const UPDATE: Request = ("update", r#"{"vnfdId":"the other","vnfInstanceName":"renamed"}"#);

pub const CHANGE_BACK: Request = ("change_vnfpkg", r#"{"vnfdId":"the first"}"#);

#[rustfmt::skip]
pub const OPERATIONS: [Operation; 26] = [
    Operation { name: "INSTANTIATE", before: &[], request: INSTANTIATE, phase: Phase::Forward },
    Operation { name: "INSTANTIATE rolled back", before: &[], request: INSTANTIATE, phase: Phase::Rollback },
    Operation { name: "INSTANTIATE unattended", before: &[], request: INSTANTIATE, phase: Phase::Unattended },
    Operation { name: "INSTANTIATE retried", before: &[], request: INSTANTIATE, phase: Phase::Retry },
    Operation { name: "INSTANTIATE after a failed INSTANTIATE", before: &[INSTANTIATE_AND_FAIL], request: INSTANTIATE, phase: Phase::Forward },
    Operation { name: "SCALE out", before: &[INSTANTIATE], request: SCALE_OUT, phase: Phase::Forward },
    Operation { name: "SCALE out rolled back", before: &[INSTANTIATE], request: SCALE_OUT, phase: Phase::Rollback },
    Operation { name: "SCALE in", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_IN, phase: Phase::Forward },
    Operation { name: "SCALE in rolled back", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_IN, phase: Phase::Rollback },
    Operation { name: "SCALE_TO_LEVEL of instantiation", before: &[INSTANTIATE], request: SCALE_TO_LEVEL, phase: Phase::Forward },
    Operation { name: "SCALE_TO_LEVEL of instantiation rolled back", before: &[INSTANTIATE], request: SCALE_TO_LEVEL, phase: Phase::Rollback },
    Operation { name: "SCALE_TO_LEVEL of an aspect", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_ASPECTS, phase: Phase::Forward },
    Operation { name: "HEAL one", before: &[INSTANTIATE], request: HEAL_ONE, phase: Phase::Forward },
    Operation { name: "HEAL all", before: &[INSTANTIATE], request: HEAL_ALL, phase: Phase::Forward },
    Operation { name: "HEAL of deleted objects", before: &[INSTANTIATE, DELETE_OBJECTS], request: HEAL_ALL, phase: Phase::Forward },
    Operation { name: "HEAL of a stopped VNF", before: &[INSTANTIATE, STOP], request: HEAL_ALL, phase: Phase::Forward },
    Operation { name: "OPERATE stop", before: &[INSTANTIATE, SCALE_OUT], request: STOP, phase: Phase::Forward },
    Operation { name: "OPERATE stop rolled back", before: &[INSTANTIATE, SCALE_OUT], request: STOP, phase: Phase::Rollback },
    Operation { name: "OPERATE stop retried", before: &[INSTANTIATE], request: STOP, phase: Phase::Retry },
    Operation { name: "OPERATE start", before: &[INSTANTIATE, SCALE_OUT, STOP], request: START, phase: Phase::Forward },
    Operation { name: "OPERATE start rolled back", before: &[INSTANTIATE, SCALE_OUT, STOP], request: START, phase: Phase::Rollback },
    Operation { name: "TERMINATE of a stopped VNF", before: &[INSTANTIATE, STOP], request: TERMINATE_FORCEFUL, phase: Phase::Forward },
    Operation { name: "TERMINATE graceful", before: &[INSTANTIATE, SCALE_OUT], request: TERMINATE, phase: Phase::Forward },
    Operation { name: "TERMINATE forceful", before: &[INSTANTIATE], request: TERMINATE_FORCEFUL, phase: Phase::Forward },
    Operation { name: "TERMINATE retried", before: &[INSTANTIATE], request: TERMINATE_FORCEFUL, phase: Phase::Retry },
    Operation { name: "MODIFY_INFO", before: &[INSTANTIATE], request: MODIFY, phase: Phase::Forward },
];

/// Rows of a VNF whose package has a successor.
#[rustfmt::skip]
pub const CHANGES: [Operation; 7] = [
    Operation { name: "CHANGE_VNFPKG", before: &[INSTANTIATE], request: CHANGE, phase: Phase::Forward },
    Operation { name: "CHANGE_VNFPKG rolled back", before: &[INSTANTIATE, SCALE_OUT], request: CHANGE, phase: Phase::Rollback },
    Operation { name: "CHANGE_VNFPKG retried", before: &[INSTANTIATE], request: CHANGE, phase: Phase::Retry },
    Operation { name: "CHANGE_VNFPKG of deleted objects", before: &[INSTANTIATE, DELETE_OBJECTS], request: CHANGE, phase: Phase::Forward },
    Operation { name: "CHANGE_VNFPKG back", before: &[INSTANTIATE, SCALE_OUT, CHANGE], request: CHANGE_BACK, phase: Phase::Forward },
    Operation { name: "CHANGE_VNFPKG after a failed CHANGE_VNFPKG", before: &[INSTANTIATE, CHANGE_AND_FAIL], request: CHANGE, phase: Phase::Forward },
    Operation { name: "TERMINATE after a failed CHANGE_VNFPKG", before: &[INSTANTIATE, CHANGE_AND_FAIL], request: TERMINATE_FORCEFUL, phase: Phase::Forward },
];

/// Rows of a VNF whose package has a successor with other settings and images.
#[rustfmt::skip]
pub const UPDATES: [Operation; 3] = [
    Operation { name: "MODIFY_INFO of containers", before: &[INSTANTIATE, SCALE_OUT], request: UPDATE, phase: Phase::Forward },
    Operation { name: "MODIFY_INFO of containers rolled back", before: &[INSTANTIATE], request: UPDATE, phase: Phase::Rollback },
    Operation { name: "MODIFY_INFO of containers retried", before: &[INSTANTIATE], request: UPDATE, phase: Phase::Retry },
];
