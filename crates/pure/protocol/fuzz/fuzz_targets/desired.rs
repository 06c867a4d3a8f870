//! Desired state, as a person writes it and as a hub sends it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| felhom_protocol::fuzzing::desired(data));
