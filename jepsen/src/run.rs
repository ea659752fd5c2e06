//! run: see the map in `lib.rs`.
