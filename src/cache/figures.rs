//! Handles of the metrics that are touched often.

use metrics::{Counter, Gauge, counter, gauge};

use crate::telemetry::{
    CACHE_CONNECTED, CACHE_FALLBACKS, CACHE_LAG, CACHE_MENDED, CACHE_REFILLS, CACHE_REFUSED, CACHE_WRITES,
};

/// Looked up once.
#[derive(Clone)]
pub(super) struct Figures {
    pub connected: Gauge,
    pub lag: Gauge,
    pub writes: Counter,
    pub refused: Counter,
    pub refills: Counter,
    pub mended: Counter,
}

impl Figures {
    pub fn new() -> Self {
        Self {
            connected: gauge!(CACHE_CONNECTED),
            lag: gauge!(CACHE_LAG),
            writes: counter!(CACHE_WRITES),
            refused: counter!(CACHE_REFUSED),
            refills: counter!(CACHE_REFILLS),
            mended: counter!(CACHE_MENDED),
        }
    }
}

/// Notes a cached read that was answered from local state.
pub fn fell_back(reason: &'static str) {
    counter!(CACHE_FALLBACKS, "reason" => reason).increment(1);
}
