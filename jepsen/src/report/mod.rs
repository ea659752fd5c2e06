//! report: see the map in `lib.rs`.
