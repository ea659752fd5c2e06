//! What is told at the end of a run: the verdict in the first line, what speaks against it next.

use std::fmt;

use super::{Figures, Run};
use crate::checker::{Validity, Verdict};

/// The end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Over everything.
    pub validity: Validity,
    /// The run's name.
    name: String,
    /// Where it was run, and without what.
    network: String,
    left_out: Vec<String>,
    /// What speaks against it, what is not known, what holds.
    against: Vec<String>,
    unknown: Vec<String>,
    holds: Vec<String>,
    figures: Figures,
}

impl Summary {
    /// Puts verdicts together: wrong when anything is, unknown when nothing is wrong and anything is unknown.
    pub fn new(run: &Run, verdicts: &[Verdict], figures: &Figures) -> Self {
        let (mut against, mut unknown, mut holds) = (Vec::new(), Vec::new(), Vec::new());
        for verdict in verdicts {
            let line = format!("{}: {}", verdict.checker, verdict.detail);
            match verdict.validity {
                Validity::Valid => holds.push(line),
                Validity::Invalid => against.push(line),
                Validity::Unknown => unknown.push(line),
            }
        }
        if verdicts.is_empty() {
            unknown.push("nothing was judged".to_owned());
        }
        let validity = if !against.is_empty() {
            Validity::Invalid
        } else if !unknown.is_empty() {
            Validity::Unknown
        } else {
            Validity::Valid
        };
        Self {
            validity,
            name: run.name.clone(),
            network: run.network.clone(),
            left_out: run.left_out.clone(),
            against,
            unknown,
            holds,
            figures: figures.clone(),
        }
    }

    /// Whether the run passes.
    pub fn passes(&self) -> bool {
        self.validity == Validity::Valid
    }

    /// In a word or two.
    pub fn word(&self) -> &'static str {
        match self.validity {
            Validity::Valid => "PASS",
            Validity::Invalid => "FAIL",
            Validity::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.validity {
            Validity::Valid => "everything that was judged holds",
            Validity::Invalid => "something does not hold",
            Validity::Unknown => "nothing is known to be wrong, and something was not proven: no pass",
        };
        writeln!(f, "{} {}: {meaning}", self.word(), self.name)?;
        let lists = [
            ("WRONG  ", &self.against),
            ("UNKNOWN", &self.unknown),
            ("holds  ", &self.holds),
        ];
        for (word, lines) in lists {
            for line in lines {
                writeln!(f, "  {word} {line}")?;
            }
        }
        if !self.network.is_empty() {
            writeln!(f, "  network: {}", self.network)?;
        }
        for left_out in &self.left_out {
            writeln!(f, "  left out {left_out}")?;
        }
        let figures = &self.figures;
        writeln!(
            f,
            "  {} operations in {:.1} s, {} acknowledged ({:.0}/s), at most {:.2} s without an acknowledged write",
            figures.operations, figures.seconds, figures.ok, figures.rate, figures.longest_silence
        )?;
        for (name, counts) in &figures.by_kind {
            writeln!(
                f,
                "  {name:<18} {:>7} ok {:>6} fail {:>5} info   ok in p50 {:>7.1} ms  p99 {:>7.1} ms  max {:>7.1} ms",
                counts.ok, counts.fail, counts.info, counts.p50, counts.p99, counts.max
            )?;
        }
        Ok(())
    }
}
