//! See `quorate::config::fuzzing::config_file`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::config::fuzzing::config_file(data));
