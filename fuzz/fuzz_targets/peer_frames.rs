//! See `quorate::consensus::fuzzing::peer_frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quorate::consensus::fuzzing::peer_frames(data));
