//! Logs and metrics: set-up, and every metric name in one place.
