//! Figures of requests, with their handles looked up once and not for each request.

use std::time::Duration;

use axum::http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

use super::params::Consistency;
use crate::telemetry::{HTTP_REQUESTS, HTTP_SECONDS, READS};

#[derive(Debug)]
struct Kind {
    classes: [Counter; 5],
    seconds: Histogram,
}

impl Kind {
    fn new(kind: &'static str) -> Self {
        let class = |status: &'static str| counter!(HTTP_REQUESTS, "kind" => kind, "status" => status);
        Self {
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(class),
            seconds: histogram!(HTTP_SECONDS, "kind" => kind),
        }
    }
}

/// The handles.
#[derive(Debug)]
pub struct Figures {
    reads: Kind,
    writes: Kind,
}

impl Figures {
    /// Looks the handles up; the recorder has to be installed before.
    pub fn new() -> Self {
        Self {
            reads: Kind::new("read"),
            writes: Kind::new("write"),
        }
    }

    /// Notes one answered request.
    pub fn note(&self, changes: bool, status: StatusCode, took: Duration) {
        let kind = if changes { &self.writes } else { &self.reads };
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = kind.classes.get(class) {
            counter.increment(1);
        }
        kind.seconds.record(took);
    }
}

/// Reads, by how fresh they had to be.
#[derive(Debug)]
pub struct Reads {
    linearizable: Counter,
    stale: Counter,
    cached: Counter,
}

impl Reads {
    /// Looks the handles up; the recorder has to be installed before.
    pub fn new() -> Self {
        let of = |consistency: &'static str| counter!(READS, "consistency" => consistency);
        Self {
            linearizable: of("linearizable"),
            stale: of("stale"),
            cached: of("cached"),
        }
    }

    /// Notes one read.
    pub fn note(&self, consistency: Consistency) {
        let counter = match consistency {
            Consistency::Linearizable => &self.linearizable,
            Consistency::Stale => &self.stale,
            Consistency::Cached => &self.cached,
        };
        counter.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn reads_are_counted_by_their_consistency() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            let reads = Reads::new();
            for consistency in [Consistency::Stale, Consistency::Linearizable, Consistency::Stale] {
                reads.note(consistency);
            }
            recorder.handle().render()
        });
        assert!(
            text.contains(r#"quorate_reads_total{consistency="stale"} 2"#),
            "{text}"
        );
        assert!(
            text.contains(r#"quorate_reads_total{consistency="linearizable"} 1"#),
            "{text}"
        );
    }
}
