//! What must hold of a history.
//!
//! Each checker is a function of the history alone: it knows nothing of the cluster, and a recorded run can be judged
//! again. What can't be decided within bounds, and what nothing was there to judge by, is [`Validity::Unknown`], which
//! is no pass. What does not hold comes with the smallest evidence that shows it.

pub mod append;
pub mod containers;
pub mod deploys;
pub mod enough;
mod floor;
pub mod freshness;
pub mod last;
pub mod linear;
mod lives;
pub mod members;
pub mod once;
pub mod set;
pub mod versions;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::history::{Call, History};
use crate::workload;

/// What a checker found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validity {
    /// It holds.
    Valid,
    /// It does not.
    Invalid,
    /// Undecided, or nothing was there to judge: no pass.
    Unknown,
}

/// A checker's verdict on a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which checker, such as `register: linearizable`.
    pub checker: String,
    /// Whether it holds.
    pub validity: Validity,
    /// One sentence for people.
    pub detail: String,
    /// The evidence: counts, the operations that contradict each other.
    #[serde(default)]
    pub data: Value,
}

impl Verdict {
    /// Whether the run passes as far as this checker goes.
    pub fn passes(&self) -> bool {
        self.validity == Validity::Valid
    }
}

/// The most contradictions that are told of one checker; all are counted.
const SHOWN: usize = 20;

/// Collects what a checker finds.
#[derive(Debug)]
struct Findings {
    checker: String,
    looked_at: u64,
    count: u64,
    shown: Vec<Value>,
}

impl Findings {
    fn new(workload: &str, what: &str) -> Self {
        Self {
            checker: format!("{workload}: {what}"),
            looked_at: 0,
            count: 0,
            shown: Vec::new(),
        }
    }

    /// One more thing that could have been wrong.
    fn looked(&mut self) {
        self.looked_at += 1;
    }

    /// A contradiction, with the operations that show it.
    fn wrong(&mut self, what: impl Into<String>, calls: &[&Call<'_>]) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            let calls: Vec<_> = calls.iter().map(|call| call.show()).collect();
            self.shown
                .push(json!({ "what": what.into(), "operations": calls }));
        }
    }

    /// The verdict: it holds when something was looked at and nothing was wrong.
    fn verdict(self, of_what: &str) -> Verdict {
        let (validity, detail) = match (self.count, self.looked_at) {
            (0, 0) => (Validity::Unknown, format!("there are no {of_what} to judge by")),
            (0, looked_at) => (Validity::Valid, format!("holds for {looked_at} {of_what}")),
            (count, looked_at) => {
                let first = self.shown.first().and_then(|shown| shown["what"].as_str());
                (
                    Validity::Invalid,
                    format!(
                        "{count} contradictions in {looked_at} {of_what}; the first: {}",
                        first.unwrap_or_default()
                    ),
                )
            }
        };
        Verdict {
            checker: self.checker,
            validity,
            detail,
            data: json!({ "looked_at": self.looked_at, "wrong": self.count, "shown": self.shown }),
        }
    }
}

/// Judges a history by every workload that is in it. One that names none is taken for registers, as others write them.
pub fn judge(history: &History) -> Vec<Verdict> {
    let names = |name: &str| history.ops.iter().any(|op| op.workload.as_deref() == Some(name));
    let verdicts: Vec<_> = workload::all()
        .iter()
        .filter(|workload| names(workload.name()))
        .flat_map(|workload| workload.check(history))
        .collect();
    if verdicts.is_empty() {
        return vec![linear::check(history, "register")];
    }
    verdicts
}
