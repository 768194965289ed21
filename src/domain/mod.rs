//! What Gybe decides, without doing anything: no I/O, no clock, no async. Everything else depends on this, it on nothing.

pub mod change;
pub mod drift;
pub mod evidence;
pub mod filter;
pub mod grant;
pub mod heal;
pub mod ids;
pub mod instance;
pub mod interface;
pub mod manifest;
pub mod mask;
pub mod namespace;
pub mod op_occ;
pub mod operate;
pub mod order;
pub mod package;
pub mod plan;
pub mod problem;
pub mod render;
pub mod resource;
pub mod scale;
pub mod sight;
pub mod subscription;
pub mod vim;
pub mod vnfd;
