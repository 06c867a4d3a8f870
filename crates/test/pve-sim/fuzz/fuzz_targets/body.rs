//! A form, a query and a JSON body, and their parameters against every route.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pve_sim::fuzzing::body(data));
