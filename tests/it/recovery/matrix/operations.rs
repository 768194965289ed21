//! The rows of the matrix: each operation in each situation that is tested.

/// A row of the matrix.
pub struct Operation {
    pub name: &'static str,
    /// What the instance went through before.
    pub before: &'static [Request],
    pub request: Request,
    /// What of it is put to the test.
    pub way: Way,
}

/// A task of the API and its body.
pub type Request = (&'static str, &'static str);

/// The part of an operation that is put to the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From its acceptance on.
    Forward,
    /// It stopped at its end and is rolled back.
    Back,
    /// It stopped half-way and is tried again.
    Again,
    /// It stopped at its end and nobody decided in time: what is put to the test is that a conductor does.
    Left,
}

pub const INSTANTIATE: Request =
    ("instantiate", r#"{"flavourId":"simple","additionalParams":{"namespace":"vnf","createNamespace":true}}"#);

/// An instantiation that stops with everything made, and is failed.
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

pub const KILL: Request = ("terminate", r#"{"terminationType":"FORCEFUL"}"#);

/// Somebody deletes what the VNF needs; no request.
pub const LOSE: Request = ("lose", "Deployment udr, Pod probe");

pub const MODIFY: Request = ("modify", r#"{"vnfInstanceName":"renamed","metadata":{"site":"north"}}"#);

/// To the other package; what stands for its VNFD is replaced.
pub const CHANGE: Request = ("change_vnfpkg", r#"{"vnfdId":"the other","extensions":{"site":"north"}}"#);

/// One that stops with everything done, and is failed: the VNF has the first package then, and the objects of the other.
pub const CHANGE_AND_FAIL: Request = ("change_vnfpkg and fail", r#"{"vnfdId":"the other"}"#);

pub const CHANGE_BACK: Request = ("change_vnfpkg", r#"{"vnfdId":"the first"}"#);

#[rustfmt::skip]
pub const OPERATIONS: [Operation; 26] = [
    Operation { name: "INSTANTIATE", before: &[], request: INSTANTIATE, way: Way::Forward },
    Operation { name: "INSTANTIATE rolled back", before: &[], request: INSTANTIATE, way: Way::Back },
    Operation { name: "INSTANTIATE left alone", before: &[], request: INSTANTIATE, way: Way::Left },
    Operation { name: "INSTANTIATE retried", before: &[], request: INSTANTIATE, way: Way::Again },
    Operation { name: "INSTANTIATE over what is left", before: &[INSTANTIATE_AND_FAIL], request: INSTANTIATE, way: Way::Forward },
    Operation { name: "SCALE out", before: &[INSTANTIATE], request: SCALE_OUT, way: Way::Forward },
    Operation { name: "SCALE out rolled back", before: &[INSTANTIATE], request: SCALE_OUT, way: Way::Back },
    Operation { name: "SCALE in", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_IN, way: Way::Forward },
    Operation { name: "SCALE in rolled back", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_IN, way: Way::Back },
    Operation { name: "SCALE_TO_LEVEL of instantiation", before: &[INSTANTIATE], request: SCALE_TO_LEVEL, way: Way::Forward },
    Operation { name: "SCALE_TO_LEVEL of instantiation rolled back", before: &[INSTANTIATE], request: SCALE_TO_LEVEL, way: Way::Back },
    Operation { name: "SCALE_TO_LEVEL of an aspect", before: &[INSTANTIATE, SCALE_OUT], request: SCALE_ASPECTS, way: Way::Forward },
    Operation { name: "HEAL one", before: &[INSTANTIATE], request: HEAL_ONE, way: Way::Forward },
    Operation { name: "HEAL all", before: &[INSTANTIATE], request: HEAL_ALL, way: Way::Forward },
    Operation { name: "HEAL of what was deleted", before: &[INSTANTIATE, LOSE], request: HEAL_ALL, way: Way::Forward },
    Operation { name: "HEAL of a stopped VNF", before: &[INSTANTIATE, STOP], request: HEAL_ALL, way: Way::Forward },
    Operation { name: "OPERATE stop", before: &[INSTANTIATE, SCALE_OUT], request: STOP, way: Way::Forward },
    Operation { name: "OPERATE stop rolled back", before: &[INSTANTIATE, SCALE_OUT], request: STOP, way: Way::Back },
    Operation { name: "OPERATE stop retried", before: &[INSTANTIATE], request: STOP, way: Way::Again },
    Operation { name: "OPERATE start", before: &[INSTANTIATE, SCALE_OUT, STOP], request: START, way: Way::Forward },
    Operation { name: "OPERATE start rolled back", before: &[INSTANTIATE, SCALE_OUT, STOP], request: START, way: Way::Back },
    Operation { name: "TERMINATE of a stopped VNF", before: &[INSTANTIATE, STOP], request: KILL, way: Way::Forward },
    Operation { name: "TERMINATE graceful", before: &[INSTANTIATE, SCALE_OUT], request: TERMINATE, way: Way::Forward },
    Operation { name: "TERMINATE forceful", before: &[INSTANTIATE], request: KILL, way: Way::Forward },
    Operation { name: "TERMINATE retried", before: &[INSTANTIATE], request: KILL, way: Way::Again },
    Operation { name: "MODIFY_INFO", before: &[INSTANTIATE], request: MODIFY, way: Way::Forward },
];

/// Of a VNF with another package than the rest, which has a successor.
#[rustfmt::skip]
pub const CHANGES: [Operation; 7] = [
    Operation { name: "CHANGE_VNFPKG", before: &[INSTANTIATE], request: CHANGE, way: Way::Forward },
    Operation { name: "CHANGE_VNFPKG rolled back", before: &[INSTANTIATE, SCALE_OUT], request: CHANGE, way: Way::Back },
    Operation { name: "CHANGE_VNFPKG retried", before: &[INSTANTIATE], request: CHANGE, way: Way::Again },
    Operation { name: "CHANGE_VNFPKG of what was deleted", before: &[INSTANTIATE, LOSE], request: CHANGE, way: Way::Forward },
    Operation { name: "CHANGE_VNFPKG back", before: &[INSTANTIATE, SCALE_OUT, CHANGE], request: CHANGE_BACK, way: Way::Forward },
    Operation { name: "CHANGE_VNFPKG over what is left", before: &[INSTANTIATE, CHANGE_AND_FAIL], request: CHANGE, way: Way::Forward },
    Operation { name: "TERMINATE of what is left", before: &[INSTANTIATE, CHANGE_AND_FAIL], request: KILL, way: Way::Forward },
];
