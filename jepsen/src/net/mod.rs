//! net: see the map in `lib.rs`.
