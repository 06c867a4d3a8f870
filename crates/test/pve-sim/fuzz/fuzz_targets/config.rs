//! The files of the state directory, read and written back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pve_sim::fuzzing::config(data));
