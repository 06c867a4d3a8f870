//! Operators' files and bundles of signatures over them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| felhom_signing::fuzzing::operators(data));
