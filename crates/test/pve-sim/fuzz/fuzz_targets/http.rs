//! A request's head, cut anywhere, and what the transport makes of its path and fields.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pve_sim::fuzzing::http(data));
