//! The replicated state and how commands change it. Pure.
