//! Fuzzes the attribute filters of lists, and what they ask of each list.
#![no_main]

#[allow(dead_code)]
#[path = "../subjects.rs"]
mod subjects;

libfuzzer_sys::fuzz_target!(|data: &[u8]| subjects::filter(data));
