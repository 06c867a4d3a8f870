//! Requests for operations, as an agent sends them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| felhom_protocol::fuzzing::request(data));
