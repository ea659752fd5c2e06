//! See `quorate::probe::fuzzing::probe_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::probe::fuzzing::probe_frames(data));
