//! Fuzzes the attribute filters of lists, down to the SQL that SQLite runs.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/it/support/store.rs"]
mod store;
#[allow(dead_code)]
#[path = "../subjects.rs"]
mod subjects;

libfuzzer_sys::fuzz_target!(|data: &[u8]| subjects::filter(data));
