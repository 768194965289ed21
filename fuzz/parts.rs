//! The parts of Gybe that read other people's input, compiled without the rest of it: they need neither HTTP nor a database, and
//! a tenth of the dependencies. Here the crate is called `gybe`, too, so that what is fuzzed can be tested against the whole.
#![allow(missing_docs, dead_code)]

#[path = "../src/domain/mod.rs"]
pub mod domain;
#[path = "../src/package/mod.rs"]
pub mod package;
#[path = "../src/store"]
pub mod store {
    pub mod attributes;
}
