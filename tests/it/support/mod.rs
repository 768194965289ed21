//! What several test modules need.

pub mod audit;
pub mod cluster;
pub mod collector;
pub mod documents;
#[macro_use]
pub mod engines;
pub mod fault_proxy;
pub mod faults;
pub mod fleet;
pub mod granter;
pub mod gybe;
pub mod model;
pub mod nfvo;
pub mod openstack;
pub mod ops;
pub mod played_nfvo;
pub mod postgres;
pub mod proxy;
pub mod python;
pub mod repository;
pub mod rng;
pub mod sample;
pub mod schemas;
pub mod site;
pub mod store;
pub mod store_fixture;
pub mod subscriber;
pub mod witness;
