//! See `quorate::consensus::fuzzing::snapshot_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::consensus::fuzzing::snapshot_file(data));
