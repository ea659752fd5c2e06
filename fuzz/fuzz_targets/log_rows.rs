//! See `quorate::consensus::fuzzing::log_rows`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::consensus::fuzzing::log_rows(data));
