//! Lifecycle operations of VNF instances, and the view of instances between operations.

mod abandon;
mod accept;
mod cancel;
mod change_vnfpkg;
mod container_update;
mod dependencies;
mod drift;
mod error_handling;
mod failures;
mod grants;
mod levels;
mod lifecycle;
mod namespaces;
mod operate;
mod preview;
mod steps;
mod tolerance;
mod vdu_mapping;
mod view;
mod vim_errors;
mod waiting;
