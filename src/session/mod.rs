//! The manager side of runner sessions.
