//! What several test modules need.

pub mod audit;
pub mod cluster;
pub mod collector;
pub mod documented;
pub mod documents;
pub mod events;
#[macro_use]
pub mod both_engines;
pub mod fake_nfvo;
pub mod fault_proxy;
pub mod faults;
pub mod generated_clients;
pub mod grant_server;
pub mod gybe;
pub mod issuer;
pub mod keystone;
pub mod load_test;
pub mod model;
pub mod nfvo_load;
pub mod object_recorder;
pub mod op_occ_fixture;
pub mod openstack;
pub mod postgres;
pub mod process_group;
pub mod proxy;
pub mod python;
pub mod repository;
pub mod rng;
pub mod sample;
pub mod schemas;
pub mod store;
pub mod store_fixture;
pub mod subscriber;
