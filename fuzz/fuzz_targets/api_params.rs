//! See `quorate::api::fuzzing::api_params`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::api::fuzzing::api_params(data));
