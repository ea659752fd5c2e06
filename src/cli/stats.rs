//! What was in use in a container, summed up for people.

use serde::Serialize;

use super::{
    Failure,
    output::{Output, Row, bytes},
};
use crate::{
    client::types::{ContainerStats, SampleView},
    model::Sample,
};

/// One figure over the time that was asked for.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Summary {
    figure: &'static str,
    cells: [String; 4],
}

impl Row for Summary {
    fn head(_: bool) -> Vec<&'static str> {
        vec!["FIGURE", "MIN", "AVG", "MAX", "LAST"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let figure = [self.figure.to_owned()];
        figure.into_iter().chain(self.cells.clone()).collect()
    }
}

type Figure = (&'static str, fn(&Sample) -> u64, fn(u64) -> String);

const FIGURES: [Figure; 7] = [
    ("cpu", |s| s.cpu_millis, |n| format!("{n}m")),
    ("memory", |s| s.memory_bytes, bytes),
    ("disk used", |s| s.disk_used_bytes, bytes),
    ("disk read", |s| s.disk_read_rate, rate),
    ("disk written", |s| s.disk_write_rate, rate),
    ("received", |s| s.receive_rate, rate),
    ("sent", |s| s.send_rate, rate),
];

fn rate(count: u64) -> String {
    format!("{}/s", bytes(count))
}

/// Shows what was sampled: a table for people, with what they should know of it on standard error.
pub fn tell(output: &Output, stats: &ContainerStats) -> Result<(), Failure> {
    let rows = if output.is_table() {
        summed_up(&stats.samples)
    } else {
        Vec::new()
    };
    output.rows(&rows, stats)?;
    if output.is_table() {
        for line in notes(stats) {
            eprintln!("{line}");
        }
    }
    Ok(())
}

fn summed_up(samples: &[SampleView]) -> Vec<Summary> {
    let of = |(figure, of, show): Figure| {
        let values = samples.iter().map(|view| of(&view.sample));
        let sum: u128 = values.clone().map(u128::from).sum();
        // No more than the largest of them; without any there is none of the others either.
        let mean = u64::try_from(sum / samples.len().max(1) as u128).unwrap_or(u64::MAX);
        let (least, most) = (values.clone().min()?, values.max()?);
        let last = of(&samples.last()?.sample);
        Some(Summary {
            figure,
            cells: [least, mean, most, last].map(show),
        })
    };
    FIGURES.into_iter().filter_map(of).collect()
}

fn notes(stats: &ContainerStats) -> Vec<String> {
    let list = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let mut notes = Vec::new();
    if stats.samples.is_empty() {
        notes.push(
            "no samples: its runner has no session, or has just begun; look back further with --last".into(),
        );
    } else {
        let managers = list(&stats.managers);
        notes.push(format!(
            "{} samples, held by manager {managers}",
            stats.samples.len()
        ));
    }
    if !stats.unanswered.is_empty() {
        let managers = list(&stats.unanswered);
        notes.push(format!(
            "manager {managers} did not answer: samples it holds are missing here"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerId, Millis};

    fn stats(cpu: &[u64]) -> ContainerStats {
        let view = |cpu_millis: &u64| SampleView {
            at: Millis(0),
            sample: Sample {
                cpu_millis: *cpu_millis,
                ..Sample::default()
            },
        };
        ContainerStats {
            container: ContainerId(1),
            name: "c1".parse().unwrap(),
            since: Millis(0),
            samples: cpu.iter().map(view).collect(),
            managers: vec![1, 3],
            unanswered: vec![],
        }
    }

    #[test]
    fn figures_are_summed_up() {
        let rows = summed_up(&stats(&[100, 400, 250]).samples);
        assert_eq!(rows.len(), 7);
        assert_eq!(rows[0].cells(false), ["cpu", "100m", "250m", "400m", "250m"]);
        assert_eq!(rows[6].cells(false), ["sent", "0 B/s", "0 B/s", "0 B/s", "0 B/s"]);
        assert!(summed_up(&[]).is_empty());
    }

    #[test]
    fn who_had_samples_and_who_did_not_answer_is_told() {
        let mut told = stats(&[1]);
        assert_eq!(notes(&told), ["1 samples, held by manager 1, 3"]);
        told.unanswered = vec![2];
        assert!(notes(&told)[1].contains("manager 2 did not answer"));
        told.samples.clear();
        assert!(notes(&told)[0].starts_with("no samples"));
    }
}
