//! Armored signatures, of every type of key.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| felhom_signing::fuzzing::sshsig(data));
