//! Medians over rounds: one table for people, one JSON file with every round.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::cluster::System;
use crate::load::Figures;
use crate::machine::Machine;
use crate::options::{Level, Transport};
use crate::spread::{Spread, grouped, ratio, short};

/// What a cell says when there is no figure.
const NONE: &str = "–";

/// Every figure measured.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    /// What each measured program says its version is, and how it is spoken to.
    pub versions: BTreeMap<System, String>,
    /// How long each level was measured for in each round.
    pub seconds: f64,
    /// By round, in order.
    levels: BTreeMap<(Transport, Level, System), Vec<Figures>>,
    failovers: BTreeMap<(Transport, System), Vec<Duration>>,
}

impl Report {
    pub fn new(machine: Machine, versions: BTreeMap<System, String>, seconds: f64) -> Self {
        Self {
            machine,
            versions,
            seconds,
            levels: BTreeMap::new(),
            failovers: BTreeMap::new(),
        }
    }

    /// Adds a round's figures of one level.
    pub fn add_level(&mut self, transport: Transport, level: Level, system: System, figures: Figures) {
        self.levels
            .entry((transport, level, system))
            .or_default()
            .push(figures);
    }

    /// Adds the outcome of one leader's kill.
    pub fn add_failover(&mut self, transport: Transport, system: System, took: Duration) {
        self.failovers.entry((transport, system)).or_default().push(took);
    }

    /// The table, with what it was measured on above it and what failed below it.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "what",
            "transport",
            "Quorate",
            "etcd",
            "ratio",
            "Quorate p50 / p99",
            "etcd p50 / p99",
            "p99 ratio",
        ]);
        let levels: BTreeSet<_> = self
            .levels
            .keys()
            .map(|&(transport, level, _)| (transport, level))
            .collect();
        let failovers: BTreeSet<_> = self.failovers.keys().map(|&(transport, _)| transport).collect();
        for transport in [Transport::Plain, Transport::Tls] {
            for &(_, level) in levels.iter().filter(|(of, _)| *of == transport) {
                table.add_row(self.level_row(transport, level));
            }
            if failovers.contains(&transport) {
                table.add_row(self.failover_row(transport));
            }
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}{table}\n{}", self.heading(), self.footnotes())
    }

    fn heading(&self) -> String {
        let Machine {
            cores,
            kernel,
            fdatasync_p50_ms,
            fdatasync_p99_ms,
        } = &self.machine;
        let versions: Vec<&str> = self.versions.values().map(String::as_str).collect();
        format!(
            "{}: three members each, driven in turn on one machine ({cores} cores, Linux {kernel}; 4 KiB fdatasync p50 \
             {fdatasync_p50_ms:.2} ms, p99 {fdatasync_p99_ms:.2} ms).\nMedian over rounds of {} s (least–most); a ratio \
             above 1 is in Quorate's favour.\n\n",
            versions.join(" and "),
            self.seconds,
        )
    }

    fn level_row(&self, transport: Transport, level: Level) -> [String; 8] {
        let per_second = |system| self.spread(transport, level, system, |figures| figures.per_second);
        let p99 = |system| self.spread(transport, level, system, |figures| millis(figures.p99));
        let percentiles = |system| {
            let p50 = self.spread(transport, level, system, |figures| millis(figures.p50));
            p50.zip(p99(system))
                .map(|(p50, p99)| format!("{} / {} ms", short(p50.median), short(p99.median)))
        };
        let throughput = [per_second(System::Quorate), per_second(System::Etcd)];
        let tail = [p99(System::Etcd), p99(System::Quorate)];
        let cell = |spread: Option<Spread>| spread.map(|spread| spread.text(grouped, "/s"));
        [
            Some(level.to_string()),
            Some(transport.to_string()),
            cell(throughput[0]),
            cell(throughput[1]),
            ratio(throughput),
            percentiles(System::Quorate),
            percentiles(System::Etcd),
            ratio(tail),
        ]
        .map(or_none)
    }

    fn failover_row(&self, transport: Transport) -> [String; 8] {
        let times = |system| {
            let kills = self.failovers.get(&(transport, system))?;
            Spread::of(kills.iter().copied().map(millis).collect())
        };
        let (quorate, etcd) = (times(System::Quorate), times(System::Etcd));
        let cell = |spread: Option<Spread>| spread.map(|spread| spread.text(grouped, " ms"));
        [
            Some("leader killed → next write".to_owned()),
            Some(transport.to_string()),
            cell(quorate),
            cell(etcd),
            ratio([etcd, quorate]),
            None,
            None,
            None,
        ]
        .map(or_none)
    }

    fn spread(
        &self,
        transport: Transport,
        level: Level,
        system: System,
        of: impl Fn(&Figures) -> f64,
    ) -> Option<Spread> {
        let rounds = self.levels.get(&(transport, level, system))?;
        Spread::of(rounds.iter().map(of).collect())
    }

    fn footnotes(&self) -> String {
        let mut text = String::new();
        for (&(transport, level, system), rounds) in &self.levels {
            let errors: u64 = rounds.iter().map(|figures| figures.errors).sum();
            if errors > 0 {
                let first = rounds
                    .iter()
                    .find_map(|figures| figures.first_error.as_deref())
                    .unwrap_or_default();
                text += &format!("{system}, {transport}, {level}: {errors} failed; the first: {first}\n");
            }
        }
        text
    }

    /// Writes every round's figures to `path`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let levels: Vec<Value> = self
            .levels
            .iter()
            .map(|(key, rounds)| level_json(key, rounds))
            .collect();
        let failovers: Vec<Value> = self
            .failovers
            .iter()
            .map(|((transport, system), kills)| {
                let kills: Vec<f64> = kills.iter().copied().map(millis).collect();
                json!({ "transport": name(transport), "system": system, "kill_to_write_ms": kills })
            })
            .collect();
        let versions: BTreeMap<String, &String> = self
            .versions
            .iter()
            .map(|(system, version)| (name(system), version))
            .collect();
        let all = json!({
            "machine": self.machine,
            "versions": versions,
            "seconds": self.seconds,
            "levels": levels,
            "failovers": failovers,
        });
        let text = serde_json::to_string_pretty(&all).context("the figures cannot be written as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
    }
}

fn level_json((transport, level, system): &(Transport, Level, System), rounds: &[Figures]) -> Value {
    let rounds: Vec<Value> = rounds
        .iter()
        .map(|figures| {
            json!({
                "per_second": figures.per_second,
                "p50_ms": millis(figures.p50),
                "p99_ms": millis(figures.p99),
                "max_ms": millis(figures.max),
                "errors": figures.errors,
                "member_cores": figures.member_cores,
                "client_cores": figures.client_cores,
            })
        })
        .collect();
    json!({
        "operation": format!("{:?}", level.operation).to_lowercase(),
        "clients": level.clients,
        "transport": name(transport),
        "system": system,
        "rounds": rounds,
    })
}

/// One line about one level of one round, for those who watch.
pub fn line(figures: &Figures) -> String {
    format!(
        "{}/s, p50 {} ms, p99 {} ms, max {} ms; members {:.2} cores, clients {:.2}; {} failed",
        grouped(figures.per_second),
        short(millis(figures.p50)),
        short(millis(figures.p99)),
        short(millis(figures.max)),
        figures.member_cores,
        figures.client_cores,
        figures.errors,
    )
}

fn or_none(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| NONE.to_owned())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn name(of: &impl ToString) -> String {
    of.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Operation;

    fn figures(per_second: f64, p99_ms: u64) -> Figures {
        Figures {
            per_second,
            p99: Duration::from_millis(p99_ms),
            ..Figures::default()
        }
    }

    fn report() -> Report {
        let machine = Machine {
            cores: 2,
            kernel: "6.1".to_owned(),
            fdatasync_p50_ms: 0.1,
            fdatasync_p99_ms: 0.4,
        };
        Report::new(machine, BTreeMap::new(), 5.0)
    }

    #[test]
    fn the_table_shows_medians_and_ratios_in_quorates_favour() {
        let mut report = report();
        let level = Level {
            operation: Operation::Put,
            clients: 64,
        };
        for (quorate, etcd) in [(21_000.0, 7_000.0), (19_000.0, 7_000.0), (20_000.0, 90_000.0)] {
            report.add_level(Transport::Plain, level, System::Quorate, figures(quorate, 11));
            report.add_level(Transport::Plain, level, System::Etcd, figures(etcd, 33));
        }
        report.add_failover(Transport::Tls, System::Etcd, Duration::from_millis(1200));
        report.add_failover(Transport::Tls, System::Quorate, Duration::from_millis(500));
        let text = report.text();
        for part in [
            "20,000/s (19,000–21,000)",
            "7,000/s (7,000–90,000)",
            "2.86x",
            "3.00x",
            "1,200 ms",
            "2.40x",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_system_that_was_not_measured_has_no_figure_and_no_ratio() {
        let mut report = report();
        let level = Level {
            operation: Operation::Read,
            clients: 64,
        };
        report.add_level(Transport::Plain, level, System::Etcd, figures(4600.0, 30));
        let text = report.text();
        assert!(text.contains(NONE) && !text.contains("x |"), "{text}");
    }
}
