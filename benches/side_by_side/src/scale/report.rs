//! Two tables for people, and one JSON file with every figure.

use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    kill::Kill,
    options::Options,
    rows::{attached, heartbeats, joined, kill, reopened, silent},
    silence::{LOOK, Silence},
    stage::{Stage, Step},
    steady::{Baseline, Idle},
    watch::Use,
};
use crate::{
    cluster::MEMBERS,
    machine::Machine,
    spread::{grouped, short},
};

const NONE: &str = "–";
const MEBIBYTE: f64 = (1 << 20) as f64;

/// Every figure measured.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    version: String,
    sessions: usize,
    silenced: usize,
    ramp: usize,
    pub baseline: Option<Baseline>,
    pub joined: Option<Step>,
    pub attached: Option<Step>,
    pub idle: Option<Idle>,
    pub kills: Vec<Kill>,
    pub reopened: Vec<Step>,
    pub silences: Vec<Silence>,
}

impl Report {
    /// Nothing measured yet.
    ///
    /// # Errors
    /// The disk cannot be written.
    pub fn new(options: &Options, stage: &Stage) -> Result<Self> {
        let machine = Machine::look(&options.dir)?;
        let counts = [options.sessions, options.silenced(), options.ramp];
        Ok(Self::of(machine, stage.version.clone(), counts))
    }

    fn of(machine: Machine, version: String, [sessions, silenced, ramp]: [usize; 3]) -> Self {
        Self {
            machine,
            version,
            sessions,
            silenced,
            ramp,
            baseline: None,
            joined: None,
            attached: None,
            idle: None,
            kills: Vec::new(),
            reopened: Vec::new(),
            silences: Vec::new(),
        }
    }

    /// The tables, with what was measured above them.
    pub fn text(&self) -> String {
        let Machine {
            cores,
            kernel,
            fdatasync_p50_ms,
            ..
        } = &self.machine;
        let mut text = format!(
            "{}: three managers and {} runner sessions with mutual TLS, all on one machine ({cores} cores, Linux \
             {kernel}; 4 KiB fdatasync p50 {fdatasync_p50_ms:.2} ms).\n",
            self.version,
            grouped(self.sessions as f64)
        );
        if let Some(idle) = &self.idle {
            text += &format!("\n{}\n", self.managers(idle));
        }
        text += &format!("\n{}\n", self.measures());
        if !self.silences.is_empty() {
            text += &format!(
                "\nSuspect, lost and fenced: from the moment when all fell silent, whose last heartbeat was up to 1.1 s \
                 earlier, until a follower's API showed it, looked at each {} ms.\n",
                LOOK.as_millis()
            );
        }
        text
    }

    fn managers(&self, idle: &Idle) -> Table {
        // The leader first.
        let order: Vec<usize> = (0..MEMBERS).map(|turn| (idle.leader + turn) % MEMBERS).collect();
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "idle sessions",
            "leader",
            "follower",
            "follower",
        ]);
        let mut row = |what: String, cell: &dyn Fn(usize) -> String| {
            let cells = order.iter().map(|member| cell(*member));
            table.add_row(std::iter::once(what).chain(cells));
        };
        let percent = |used: &Use| format!("{} %", short(used.processor_percent));
        let memory = |bytes: u64| format!("{} MiB", short(bytes as f64 / MEBIBYTE));
        row("sessions held".to_owned(), &|member| {
            grouped(idle.sessions[member] as f64)
        });
        row(
            format!("processor, of one core, over {:.0} s", idle.seconds),
            &|member| percent(&idle.uses[member]),
        );
        if let Some(baseline) = &self.baseline {
            row(
                format!("the same without sessions, over {:.0} s", baseline.seconds),
                &|member| percent(&baseline.uses[member]),
            );
        }
        row("memory, resident".to_owned(), &|member| {
            memory(idle.uses[member].memory.resident)
        });
        row("the most so far".to_owned(), &|member| {
            memory(idle.uses[member].memory.peak)
        });
        if let Some(baseline) = &self.baseline {
            row("memory without sessions".to_owned(), &|member| {
                memory(baseline.uses[member].memory.resident)
            });
        }
        row("digests to the leader".to_owned(), &|member| {
            let used = &idle.uses[member];
            if used.digests_per_second == 0.0 {
                return NONE.to_owned();
            }
            format!(
                "{}/s, {} kB/s",
                short(used.digests_per_second),
                short(used.digest_bytes_per_second / 1e3)
            )
        });
        row("entries of the log".to_owned(), &|member| {
            grouped(idle.uses[member].entries)
        });
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn measures(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_header(["what", "figure"]);
        let mut rows = Vec::new();
        rows.extend(self.joined.iter().flat_map(|step| joined(step, self.ramp)));
        rows.extend(self.attached.iter().flat_map(|step| attached(step, self.ramp)));
        rows.extend(self.idle.iter().flat_map(heartbeats));
        rows.extend(self.kills.iter().flat_map(kill));
        rows.extend(self.reopened.iter().flat_map(reopened));
        rows.extend(
            self.silences
                .iter()
                .flat_map(|silence| silent(silence, self.sessions)),
        );
        for (what, figure) in rows {
            table.add_row([what, figure]);
        }
        table
    }

    /// Writes every figure to `path`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the figures cannot be written as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        machine::Memory,
        scale::{fleet::Failures, kill::Victim, options::Measure, times::Times},
    };

    fn report() -> Report {
        let machine = Machine {
            cores: 2,
            kernel: "6.1".to_owned(),
            fdatasync_p50_ms: 0.1,
            fdatasync_p99_ms: 0.4,
        };
        Report::of(machine, "quorate 0.1.0".to_owned(), [5000, 500, 128])
    }

    #[test]
    fn the_leader_stands_first_whichever_member_it_is() {
        let used = |member: u32| Use {
            processor_percent: f64::from(member),
            memory: Memory {
                resident: 64 << 20,
                peak: 65 << 20,
            },
            digests_per_second: 0.0,
            digest_bytes_per_second: 0.0,
            entries: 0.0,
        };
        let idle = Idle {
            seconds: 60.0,
            leader: 2,
            uses: [used(1), used(2), used(3)],
            sessions: [1666, 1667, 1668],
            heartbeats_per_second: 5000.0,
            acknowledged_per_second: 4999.0,
            sent_per_second: 1e5,
            received_per_second: 2e5,
            runners_processor_percent: 40.0,
        };
        let text = Report {
            idle: Some(idle),
            ..report()
        }
        .text();
        let row = text.lines().find(|line| line.contains("sessions held")).unwrap();
        let cells: Vec<_> = row
            .split('|')
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        assert_eq!(cells, ["sessions held", "1,668", "1,666", "1,667"]);
        assert!(text.contains("100 kB/s from runners, 200 kB/s to them"), "{text}");
    }

    #[test]
    fn who_is_not_lost_because_the_breaker_opened_is_told() {
        let times = Times::of([Duration::from_secs(3)]);
        let silence = Silence {
            how: Measure::Silence,
            silenced: 500,
            suspect: times,
            lost: None,
            fenced: None,
            breaker: true,
            ready_ms: 1500.0,
        };
        let kill = Kill {
            victim: Victim::Leader,
            opened: times,
            confirmed: times,
            others: 0,
            longest_ms: 2500.0,
            lapsed: 0,
            misjudged: 0,
            failures: Failures {
                kinds: [("slow to answer", 7)].into(),
                first: None,
            },
            spread: [0, 2500, 2500],
        };
        let text = Report {
            silences: vec![silence],
            kills: vec![kill],
            ..report()
        }
        .text();
        for part in [
            "the breaker opened → lost",
            "500 of 5,000 fall silent",
            "7 slow to answer; 2500 and 2500",
            "the leader is killed → its 1 sessions",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
