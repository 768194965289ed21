//! What several test modules need.

pub mod chance;
pub mod cluster;
pub mod collector;
pub mod faults;
pub mod gybe;
pub mod model;
pub mod ops;
pub mod postgres;
pub mod proxy;
pub mod sample;
pub mod store;
