//! cluster: see the map in `lib.rs`.
