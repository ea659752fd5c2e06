//! What clients asked and were told, held against the committed log.
//!
//! Each write carries its number, in its value or its idempotency key, so that it is found in the log
//! whatever its client was told. A model of its own (a few lines: names, versions, keys) says what each
//! entry must have answered. Since every answer names the revision it speaks of, the log's order is a
//! witness: what clients saw is linearizable if each answer is the model's at its revision and no
//! operation's revision lies before one that was complete when it began.

use std::collections::{BTreeMap, VecDeque};

use quorate::{
    command::{Command, Condition, ConfigCommand, Kind, Outcome, Proposal, Rejection, Reply, RequestKey},
    model::{Revision, TokenId},
    state::State,
};
use rand::{Rng, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// Registers: few, so that operations meet.
pub const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One write, however often it is sent.
#[derive(Debug, Clone)]
pub struct Write {
    pub number: u64,
    pub key: Option<RequestKey>,
    pub command: Command,
}

/// What is known of it.
#[derive(Debug, Default)]
struct Fate {
    keyed: bool,
    /// The newest revision that was complete when it was first sent.
    floor: Revision,
    sent: u32,
    failed: u32,
    /// Where it stands in the log; a keyed one may stand there often.
    at: Vec<Revision>,
    answered: Option<(Revision, Result<Outcome, Rejection>)>,
}

/// What became of one sending.
#[derive(Debug)]
pub enum Told {
    Answered(Reply),
    /// It certainly had no effect.
    Failed,
    Unknown,
}

/// A register as the model has it.
type Value = Option<(Revision, Vec<u8>)>;

#[derive(Debug, Default)]
struct Model {
    values: BTreeMap<String, Vec<(Revision, Value)>>,
    keys: BTreeMap<String, (Revision, Result<Outcome, Rejection>)>,
}

/// What a reader was shown.
struct Shown {
    floor: Revision,
    revision: Revision,
    values: Vec<Value>,
}

struct Answer {
    number: u64,
    floor: Revision,
    reply: Reply,
}

/// Counts of what clients got.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Counts {
    pub written: u64,
    pub read: u64,
    pub failed: u64,
    pub unknown: u64,
    pub replayed: u64,
    pub refused: u64,
}

#[derive(Default)]
pub struct Oracle {
    fates: BTreeMap<u64, Fate>,
    model: Model,
    expected: BTreeMap<Revision, Reply>,
    /// The newest revision any complete operation spoke of.
    floor: Revision,
    /// What the model covers.
    known: Revision,
    answers: Vec<Answer>,
    shown: Vec<Shown>,
    /// Keyed writes that are to be sent again, by anyone.
    again: VecDeque<Write>,
    versions: BTreeMap<&'static str, Revision>,
    next: u64,
    pub counts: Counts,
}

/// The model's and the program's answer to one entry differ, or a client was told something else.
pub type Verdict = Result<(), String>;

impl Oracle {
    /// The next write of a client: a new one, or a keyed one once more.
    pub fn next_write(&mut self, rng: &mut StdRng) -> Write {
        if rng.random_bool(0.4)
            && let Some(write) = self.again.pop_front()
        {
            return write;
        }
        self.next += 1;
        let number = self.next;
        let name = NAMES[rng.random_range(0..NAMES.len())];
        let condition = match rng.random_range(0..10) {
            0..=4 => Condition::Any,
            5 => Condition::Absent,
            6 => Condition::Exists,
            _ => Condition::Version(vec![self.versions.get(name).copied().unwrap_or(1)]),
        };
        let delete = rng.random_bool(0.1);
        let keyed = delete || rng.random_bool(0.4);
        let command = Command::Config(if delete {
            ConfigCommand::Delete {
                name: name.parse().unwrap(),
                condition,
            }
        } else {
            let filling = if rng.random_bool(0.05) { 3000 } else { 10 };
            ConfigCommand::Put {
                name: name.parse().unwrap(),
                content_type: "text/plain".into(),
                value: format!("{number}:{}", "x".repeat(filling)).into(),
                condition,
            }
        });
        let key = keyed.then(|| RequestKey {
            principal: TokenId(1),
            key: number.to_string(),
            fingerprint: number,
        });
        let write = Write { number, key, command };
        if keyed {
            // The same request through several managers, perhaps at the same time.
            (0..rng.random_range(0..3)).for_each(|_| self.again.push_back(write.clone()));
        }
        write
    }

    /// Notes that a write is sent; returns what must lie before its effect.
    pub fn begin_write(&mut self, write: &Write) -> Revision {
        let floor = self.floor;
        let fate = self.fates.entry(write.number).or_insert_with(|| Fate {
            keyed: write.key.is_some(),
            floor,
            ..Fate::default()
        });
        fate.sent += 1;
        floor
    }

    /// Notes that a read begins; returns the newest revision it must show.
    pub fn begin_read(&self) -> Revision {
        self.floor
    }

    pub fn end_write(&mut self, write: Write, floor: Revision, told: Told) -> Verdict {
        let number = write.number;
        match told {
            Told::Answered(reply) => {
                if let Ok(Outcome::ConfigPut { .. }) = reply.result
                    && let Command::Config(ConfigCommand::Put { name, .. }) = &write.command
                    && let Some(name) = NAMES.iter().find(|n| **n == name.as_str())
                {
                    self.versions.insert(*name, reply.revision);
                }
                self.counts.written += 1;
                self.counts.replayed += u64::from(reply.replayed);
                self.counts.refused += u64::from(reply.result.is_err());
                self.floor = self.floor.max(reply.revision);
                self.answers.push(Answer { number, floor, reply });
            }
            Told::Failed => {
                self.counts.failed += 1;
                let fate = self.fates.entry(number).or_default();
                fate.failed += 1;
                if fate.failed == fate.sent && !fate.at.is_empty() {
                    return Err(format!(
                        "write {number} was said to have failed, and stands in the log at {:?}",
                        fate.at
                    ));
                }
                if write.key.is_some() {
                    self.again.push_back(write);
                }
            }
            Told::Unknown => {
                self.counts.unknown += 1;
                if write.key.is_some() {
                    self.again.push_back(write);
                }
            }
        }
        Ok(())
    }

    pub fn end_read(&mut self, floor: Revision, state: &State) {
        self.counts.read += 1;
        self.floor = self.floor.max(state.revision());
        self.shown.push(Shown {
            floor,
            revision: state.revision(),
            values: NAMES.iter().map(|name| value_of(state, name)).collect(),
        });
    }

    /// Takes the next committed entry's proposal, and what the program's apply answers to it.
    pub fn take(&mut self, revision: Revision, proposal: Option<&Proposal>, reply: &Reply) -> Verdict {
        self.known = revision;
        let Some(proposal) = proposal else { return Ok(()) };
        let Command::Config(command) = &proposal.command else {
            return Ok(());
        };
        self.place(revision, command, proposal)?;
        let expected = self.model.apply(revision, command, proposal.key.as_ref());
        if expected != *reply {
            return Err(format!(
                "apply answers {reply:?} to the entry at {revision}, the model {expected:?}"
            ));
        }
        self.expected.insert(revision, expected);
        Ok(())
    }

    /// Notes where a write stands in the log.
    fn place(&mut self, revision: Revision, command: &ConfigCommand, proposal: &Proposal) -> Verdict {
        let number = match (command, &proposal.key) {
            (ConfigCommand::Put { value, .. }, _) => number_in(value),
            (_, Some(key)) => key.key.parse().ok(),
            _ => None,
        };
        let fate = number.and_then(|number| self.fates.get_mut(&number));
        let (Some(number), Some(fate)) = (number, fate) else {
            return Err(format!("the entry at {revision} is of no client: {proposal:?}"));
        };
        fate.at.push(revision);
        if fate.failed == fate.sent {
            return Err(format!(
                "write {number} was said to have failed, and stands in the log at {revision}"
            ));
        }
        if !fate.keyed && fate.at.len() > 1 {
            return Err(format!(
                "write {number} was sent once and stands in the log at {:?}",
                fate.at
            ));
        }
        if fate.at[0] <= fate.floor {
            return Err(format!(
                "write {number} stands at {}, which was over at {} when it was sent",
                fate.at[0], fate.floor
            ));
        }
        Ok(())
    }

    /// Judges what the model now covers.
    pub fn judge(&mut self) -> Verdict {
        let known = self.known;
        let ready: Vec<_> = self.shown.extract_if(.., |s| s.revision <= known).collect();
        for shown in ready {
            self.judge_read(&shown)?;
        }
        let ready: Vec<_> = self
            .answers
            .extract_if(.., |a| a.reply.revision <= known)
            .collect();
        ready.into_iter().try_for_each(|answer| self.judge_answer(answer))
    }

    fn judge_read(&self, shown: &Shown) -> Verdict {
        if shown.revision < shown.floor {
            return Err(format!(
                "a read showed revision {}, and {} was complete when it began",
                shown.revision, shown.floor
            ));
        }
        for (name, value) in NAMES.iter().zip(&shown.values) {
            let expected = self.value(name, shown.revision);
            if *value != expected {
                return Err(format!(
                    "a read at {} showed {name} as {value:?}, the log makes it {expected:?}",
                    shown.revision
                ));
            }
        }
        Ok(())
    }

    fn judge_answer(&mut self, answer: Answer) -> Verdict {
        let Answer { number, floor, reply } = answer;
        let revision = reply.revision;
        let fate = self.fates.entry(number).or_default();
        if !fate.at.contains(&revision) {
            return Err(format!(
                "write {number} was answered at {revision}, and stands in the log at {:?}",
                fate.at
            ));
        }
        if fate.keyed && revision != fate.at[0] {
            return Err(format!(
                "write {number} had its effect at {}, and an answer at {revision}",
                fate.at[0]
            ));
        }
        if !fate.keyed && revision <= floor {
            return Err(format!(
                "write {number} was answered at {revision}, and {floor} was complete when it began"
            ));
        }
        let said = (revision, reply.result.clone());
        if fate.answered.get_or_insert_with(|| said.clone()) != &said {
            return Err(format!(
                "write {number} was answered {said:?} and {:?}",
                fate.answered
            ));
        }
        match self.expected.get(&revision) {
            Some(expected) if expected.result == reply.result => Ok(()),
            other => Err(format!(
                "write {number} was answered {reply:?}, the model says {other:?}"
            )),
        }
    }

    /// A register at a revision, as the log makes it.
    pub fn value(&self, name: &str, revision: Revision) -> Value {
        let values = self.model.values.get(name)?;
        let after = values.partition_point(|(at, _)| *at <= revision);
        values[..after].last()?.1.clone()
    }

    /// What must hold once all is quiet.
    pub fn finish(&self) -> Verdict {
        if self.answers.is_empty() && self.shown.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} answers and {} reads speak of revisions that no log has",
            self.answers.len(),
            self.shown.len()
        ))
    }
}

/// A register as a state has it.
pub fn value_of(state: &State, name: &str) -> Value {
    state.config(name).map(|c| (c.version, c.value.to_vec()))
}

fn number_in(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.split_once(':')?.0.parse().ok()
}

impl Model {
    fn apply(&mut self, revision: Revision, command: &ConfigCommand, key: Option<&RequestKey>) -> Reply {
        if let Some((first, result)) = key.and_then(|key| self.keys.get(&key.key)) {
            return Reply {
                revision: *first,
                replayed: true,
                result: result.clone(),
            };
        }
        let result = self.decide(revision, command);
        if let Some(key) = key {
            self.keys.insert(key.key.clone(), (revision, result.clone()));
        }
        Reply {
            revision,
            replayed: false,
            result,
        }
    }

    fn decide(&mut self, revision: Revision, command: &ConfigCommand) -> Result<Outcome, Rejection> {
        let (name, condition, value) = match command {
            ConfigCommand::Put {
                name,
                condition,
                value,
                ..
            } => (name, condition, Some((revision, value.to_vec()))),
            ConfigCommand::Delete { name, condition } => (name, condition, None),
        };
        let history = self.values.entry(name.to_string()).or_default();
        let current = history.last().and_then(|(_, value)| value.as_ref()).map(|v| v.0);
        let holds = match condition {
            Condition::Any => true,
            Condition::Exists => current.is_some(),
            Condition::Absent => current.is_none(),
            Condition::Version(versions) => versions.iter().any(|v| Some(*v) == current),
        };
        if !holds {
            return Err(Rejection::Condition { current });
        }
        if value.is_none() && current.is_none() {
            return Err(Rejection::NotFound {
                kind: Kind::Config,
                name: name.to_string(),
            });
        }
        let outcome = match value {
            Some(_) => Outcome::ConfigPut {
                created: current.is_none(),
            },
            None => Outcome::Done,
        };
        history.push((revision, value));
        Ok(outcome)
    }
}
