//! The modules of Gybe that read input from others, without the rest: they need neither HTTP nor a database, and a tenth of the
//! dependencies. The crate is called `gybe` here, too, so that `subjects.rs` compiles against both.
#![allow(dead_code)]

#[path = "../src/domain/mod.rs"]
pub mod domain;
#[path = "../src/package/mod.rs"]
pub mod package;
#[path = "../src/store"]
pub mod store {
    pub mod attributes;
}
