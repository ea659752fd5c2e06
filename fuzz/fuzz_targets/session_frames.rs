//! See `quorate::session::fuzzing::session_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::session::fuzzing::session_frames(data));
