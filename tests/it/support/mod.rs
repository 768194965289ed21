//! What several test modules need.

pub mod cluster;
pub mod postgres;
pub mod proxy;
