//! Fuzzes the descriptors of several files, and the numbers that follow from them.
#![no_main]

#[allow(dead_code)]
#[path = "../subjects.rs"]
mod subjects;

libfuzzer_sys::fuzz_target!(|data: &[u8]| subjects::vnfd(data));
