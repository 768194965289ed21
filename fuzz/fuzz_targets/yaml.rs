//! Fuzzes the YAML and the Kubernetes objects in it.
#![no_main]

#[allow(dead_code)]
#[path = "../subjects.rs"]
mod subjects;

libfuzzer_sys::fuzz_target!(|data: &[u8]| subjects::yaml(data));
