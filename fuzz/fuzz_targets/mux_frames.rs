//! See `quorate::wire::streams::fuzzing::mux_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::wire::streams::fuzzing::mux_frames(data));
