//! Property strings, volume ids, sizes and task names.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pve_sim::fuzzing::property(data));
