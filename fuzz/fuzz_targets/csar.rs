//! Fuzzes the packages: raw archives, and archives made of listed files.
#![no_main]

#[allow(dead_code)]
#[path = "../subjects.rs"]
mod subjects;

libfuzzer_sys::fuzz_target!(|data: &[u8]| subjects::csar(data));
