//! Documents that are signed for a box: challenges and vetoes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| felhom_signing::fuzzing::challenge(data));
