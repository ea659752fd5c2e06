//! disk: see the map in `lib.rs`.
