//! Logs and metrics: set-up, and every metric name in one place.
//!
//! Logs go to standard error, so that standard output stays the program's own. Libraries that say
//! much at `info` are held at `warn` until they are named in `logs.level`.
//!
//! A handle for a metric (`metrics::counter!(PROPOSALS)`) is looked up by name; on a hot path the
//! caller makes it once and keeps it. Recording is then an atomic operation. No metric carries a
//! secret or an unbounded label. All managers of a test process share one set of metrics.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogsConfig};

/// Declares constants for names and, from the same lines, `describe_all`.
macro_rules! names {
    ($($kind:ident $constant:ident = $name:literal, $unit:ident, $description:literal;)*) => {
        $(#[doc = $description] pub const $constant: &str = $name;)*

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];

        fn describe_all() {
            $(names!(@describe $kind, $constant, $unit, $description);)*
        }
    };
    (@describe counter, $name:ident, $unit:ident, $text:literal) => { describe_counter!($name, Unit::$unit, $text) };
    (@describe gauge, $name:ident, $unit:ident, $text:literal) => { describe_gauge!($name, Unit::$unit, $text) };
    (@describe histogram, $name:ident, $unit:ident, $text:literal) => { describe_histogram!($name, Unit::$unit, $text) };
}

names! {
    counter PROPOSALS = "quorate_proposals_total", Count, "Commands proposed on this manager.";
    histogram PROPOSAL_SECONDS = "quorate_proposal_seconds", Seconds, "From a proposal to its outcome.";
    counter READS = "quorate_reads_total", Count, "Reads, by `consistency`: linearizable, stale or cached.";
    histogram READ_ROUND_SECONDS = "quorate_read_round_seconds", Seconds, "One quorum round that confirms reads.";
    histogram LOG_SYNC_SECONDS = "quorate_log_sync_seconds", Seconds, "One flush and fdatasync of the log.";
    histogram LOG_BATCH_ENTRIES = "quorate_log_batch_entries", Count, "Entries that shared one sync of the log.";
    gauge IS_LEADER = "quorate_is_leader", Count, "1 on the leader, else 0.";
    gauge TERM = "quorate_term", Count, "The current term.";
    gauge APPLIED_REVISION = "quorate_applied_revision", Count, "The last revision applied on this manager.";
    counter DIGESTS = "quorate_digests_total", Count, "Digests of runners' heartbeats this manager sent to the leader.";
    counter DIGEST_BYTES = "quorate_digest_bytes_total", Bytes, "Bytes of those digests, without frames and TLS.";
    gauge SESSIONS = "quorate_sessions", Count, "Runner sessions this manager holds.";
    gauge CONTAINERS = "quorate_containers", Count, "Containers, by lifecycle `state`.";
    gauge BREAKER_OPEN = "quorate_breaker_open", Count, "1 while too many containers are silent for silence to mean anything, else 0.";
    counter ADOPTIONS = "quorate_adoptions_total", Count, "Runners that were to be brought into containers, by `result`: started or failed.";
    gauge AGENTS = "quorate_agents", Count, "Agents, by observed `state`.";
    gauge CACHE_CONNECTED = "quorate_cache_connected", Count, "1 while cached reads of this manager can go to Redis, else 0.";
    gauge CACHE_LAG = "quorate_cache_lag", Count, "How many revisions Redis is behind the leader; 0 elsewhere.";
    counter CACHE_WRITES = "quorate_cache_writes_total", Count, "Objects this manager wrote to Redis or removed there.";
    counter CACHE_REFUSED = "quorate_cache_refused_total", Count, "Writes that Redis refused for something newer that is there.";
    counter CACHE_REFILLS = "quorate_cache_refills_total", Count, "How often this manager began to fill Redis with everything.";
    counter CACHE_MENDED = "quorate_cache_mended_total", Count, "Objects in Redis that somebody else had changed or removed.";
    counter CACHE_FALLBACKS = "quorate_cache_fallbacks_total", Count, "Cached reads that were answered from local state, by `reason`.";
    counter HTTP_REQUESTS = "quorate_http_requests_total", Count, "API requests, by `kind` (read or write) and class of `status`.";
    histogram HTTP_SECONDS = "quorate_http_seconds", Seconds, "From a request's head to its answer's head.";
}

/// Of each container with a session here, its name and description. They come and go with sessions, which
/// the recorder's do not, so `session` writes them by itself.
pub const CONTAINER_CPU: (&str, &str) = (
    "quorate_container_cpu_millis",
    "Thousandths of a processor in use, of each container whose session this manager holds.",
);

/// As [`CONTAINER_CPU`].
pub const CONTAINER_MEMORY: (&str, &str) = (
    "quorate_container_memory_bytes",
    "Memory in use, of each container whose session this manager holds.",
);

/// As [`CONTAINER_CPU`], without a label.
pub const CONTAINERS_UNSHOWN: (&str, &str) = (
    "quorate_container_figures_unshown",
    "Containers whose figures are not shown here because there are too many.",
);

/// From 50 µs, a sync on a fast disk, to the longest request.
const SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Up to the largest chunk of the log, and some.
const ENTRIES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// How often recorded samples are folded into their buckets. Between two, each takes 16 bytes.
const UPKEEP: Duration = Duration::from_secs(1);

/// Libraries, and the most they may say unasked.
const QUIET: [(&str, LevelFilter); 6] = [
    ("openraft", LevelFilter::WARN),
    ("sled", LevelFilter::WARN),
    ("hyper", LevelFilter::INFO),
    ("h2", LevelFilter::INFO),
    ("rustls", LevelFilter::WARN),
    ("bollard", LevelFilter::INFO),
];

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `logs.level` is not a filter.
    #[error("`logs.level` is not usable")]
    Level(#[source] tracing_subscriber::filter::ParseError),
    /// Someone else has set up logs in this process.
    #[error("logs are set up already, by another part of this process")]
    Logs(#[source] tracing::subscriber::SetGlobalDefaultError),
    /// Someone else has set up metrics in this process.
    #[error("cannot set up metrics")]
    Metrics(#[from] BuildError),
}

/// Sends logs to standard error as configured. A second call changes nothing.
///
/// # Errors
/// `Level`, `Logs`.
pub fn init_logs(config: &LogsConfig) -> Result<(), TelemetryError> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !*done {
        let subscriber = subscriber(config, std::io::stderr, std::io::stderr().is_terminal())?;
        tracing::subscriber::set_global_default(subscriber).map_err(TelemetryError::Logs)?;
        *done = true;
    }
    Ok(())
}

fn subscriber<W>(
    config: &LogsConfig,
    writer: W,
    colours: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(directives(&config.level))
        .map_err(TelemetryError::Level)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours);
    Ok(match config.format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .finish(),
        ),
    })
}

/// The level that was asked for, with the libraries held down. Of two directives for one target
/// the later counts, so what was asked for comes last.
fn directives(level: &str) -> String {
    let overall = level
        .split(',')
        .rev()
        .find_map(|part| part.trim().parse::<LevelFilter>().ok());
    let overall = overall.unwrap_or(LevelFilter::ERROR);
    let quiet = QUIET
        .iter()
        .map(|(target, most)| format!("{target}={},", overall.min(*most)));
    quiet.chain([level.to_owned()]).collect()
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Starts to collect; a later call gives the same metrics. [`Metrics::upkeep`] must run.
    ///
    /// # Errors
    /// `Metrics`.
    pub fn install() -> Result<Self, TelemetryError> {
        static INSTALLED: Mutex<Option<Metrics>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = &*installed {
            return Ok(metrics.clone());
        }
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_entries".into()), &ENTRIES)?
            .install_recorder()?;
        describe_all();
        Ok(installed.insert(Metrics { handle }).clone())
    }

    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds samples into their buckets, for ever. Without it each sample stays in memory until
    /// the next [`Metrics::render`].
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a few events look like under a level and a format.
    fn logged(level: &str, format: LogFormat) -> Vec<String> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let config = LogsConfig {
            level: level.into(),
            format,
        };
        let subscriber = subscriber(&config, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(manager = 7, "ours at info");
            tracing::debug!("ours at debug");
            tracing::info!(target: "openraft::core", "theirs at info");
            tracing::warn!(target: "openraft::core", "theirs at warn");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn noisy_libraries_are_held_down_unless_asked_for() {
        let has = |level: &str| {
            let lines = logged(level, LogFormat::Text).join("\n");
            [
                "ours at info",
                "ours at debug",
                "theirs at info",
                "theirs at warn",
            ]
            .map(|text| lines.contains(text))
        };
        assert_eq!(has("info"), [true, false, false, true]);
        assert_eq!(has("debug"), [true, true, false, true]);
        assert_eq!(has("error"), [false, false, false, false]);
        assert_eq!(has("info,openraft=info"), [true, false, true, true]);
        assert_eq!(has("openraft=off,info"), [true, false, false, false]);
        assert_eq!(has("quorate=debug"), [true, true, false, false]);
    }

    #[test]
    fn json_lines_are_objects_with_the_fields() {
        let lines = logged("info", LogFormat::Json);
        assert_eq!(lines.len(), 2);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["manager"]),
            (&"INFO".into(), &"ours at info".into(), &7.into())
        );
    }

    #[test]
    fn set_up_may_be_repeated() {
        let config = LogsConfig {
            level: "error".into(),
            format: LogFormat::Text,
        };
        init_logs(&config).unwrap();
        init_logs(&config).unwrap();
    }

    #[test]
    fn every_metric_is_described_and_in_the_right_buckets() {
        let one = Metrics::install().unwrap();
        let two = Metrics::install().unwrap();
        for name in NAMES {
            match *name {
                _ if name.ends_with("_total") => metrics::counter!(*name).increment(0),
                _ if name.ends_with("_seconds") || name.ends_with("_entries") => {
                    metrics::histogram!(*name).record(0.003);
                }
                _ => metrics::gauge!(*name).increment(0.0),
            }
        }
        let text = one.render();
        for name in NAMES {
            assert!(
                text.lines()
                    .any(|line| line.starts_with(&format!("# HELP {name} "))),
                "{name}: {text}"
            );
        }
        assert!(
            text.contains("quorate_proposal_seconds_bucket{le=\"0.005\"}"),
            "{text}"
        );
        assert!(
            text.contains("quorate_log_batch_entries_bucket{le=\"256\"}"),
            "{text}"
        );
        assert!(
            two.render().contains("quorate_proposals_total"),
            "both show the same metrics"
        );
        assert_eq!(NAMES.iter().collect::<BTreeSet<_>>().len(), NAMES.len());
        assert!(NAMES.iter().all(|name| name.starts_with("quorate_")));
    }
}
