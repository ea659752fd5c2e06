//! One register: its operations as steps between small numbers.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::MET;
use crate::history::{Call, Kind};

/// What a step does to the register. Values are numbered from 1; 0 is a register that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It shows this value, and changes nothing.
    Read(u32),
    /// It leaves this value.
    Write(u32),
    /// It leaves the second where it meets the first, and is impossible elsewhere.
    Cas(u32, u32),
}

impl Effect {
    /// What is there after it, or that it can't happen now.
    pub fn on(self, state: u32) -> Option<u32> {
        match self {
            Self::Read(seen) => (seen == state).then_some(state),
            Self::Write(new) => Some(new),
            Self::Cas(old, new) => (old == state).then_some(new),
        }
    }
}

/// An operation that may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub effect: Effect,
    /// The index of its beginning: it has no effect before.
    pub from: u64,
    /// The index of its end: it has its effect before. None when it is not known to have ended: then it may also
    /// never have one.
    pub to: Option<u64>,
    /// Which operation it is, among those it was made of.
    pub call: usize,
}

/// A register's operations.
#[derive(Debug, Clone, Default)]
pub struct Object {
    every: Vec<Step>,
    steps: Vec<Step>,
    values: Values,
}

/// Values with their numbers.
#[derive(Debug, Clone, Default)]
struct Values {
    /// By number, from 1.
    known: Vec<Value>,
    numbers: HashMap<String, u32>,
}

impl Values {
    fn number(&mut self, value: &Value) -> u32 {
        if value.is_null() {
            return 0;
        }
        let next = self.known.len() as u32 + 1;
        *self.numbers.entry(value.to_string()).or_insert_with(|| {
            self.known.push(value.clone());
            next
        })
    }
}

impl Object {
    /// The steps of a register's operations.
    ///
    /// # Errors
    /// One of them is not of a register, and the text says which.
    pub fn new(calls: &[Call<'_>]) -> Result<Self, String> {
        let mut object = Self::default();
        for (number, call) in calls.iter().enumerate() {
            if let Some(effect) = object.values.effect(call)? {
                let to = match call.kind() {
                    Kind::Invoke | Kind::Info => None,
                    Kind::Ok | Kind::Fail => Some(call.ends()),
                };
                object.every.push(Step {
                    effect,
                    from: call.begins(),
                    to,
                    call: number,
                });
            }
        }
        object.steps = without_the_unseen(object.every.clone());
        Ok(object)
    }

    /// The steps, by their beginning, without those that make no difference.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// All of them.
    pub fn every(&self) -> &[Step] {
        &self.every
    }

    /// The value with this number.
    pub fn value(&self, number: u32) -> Value {
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_sub(1));
        place
            .and_then(|place| self.values.known.get(place))
            .cloned()
            .unwrap_or(Value::Null)
    }

    /// The numbers that there are.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        0..=self.values.known.len() as u32
    }
}

/// What was known when the history was at `index`: later beginnings are left out, what ended later is open.
pub fn until(steps: &[Step], index: u64) -> Vec<Step> {
    let known = steps.iter().filter(|step| step.from <= index);
    let cut = known.map(|step| Step {
        to: step.to.filter(|to| *to <= index),
        ..*step
    });
    // A read that has not ended says nothing.
    let telling = cut.filter(|step| step.to.is_some() || !matches!(step.effect, Effect::Read(_)));
    telling.collect()
}

impl Values {
    /// What an operation may have done; none where it certainly did nothing, and says nothing.
    fn effect(&mut self, call: &Call<'_>) -> Result<Option<Effect>, String> {
        let foreign = |what: &str| Err(format!("{what} in operation {}", call.begins()));
        let pair = || match call.asked().as_array().map(Vec::as_slice) {
            Some([old, new]) => Some((old, new)),
            _ => None,
        };
        Ok(match (call.f(), call.kind()) {
            ("read", Kind::Ok) => call.answered().map(|value| Effect::Read(self.number(value))),
            ("read", _) => None,
            ("write" | "cas", Kind::Fail) => self.met(call),
            ("write", _) => Some(Effect::Write(self.number(call.asked()))),
            ("cas", _) => match pair() {
                Some((old, new)) => Some(Effect::Cas(self.number(old), self.number(new))),
                None => return foreign("a compare-and-swap that is not `[old, new]`"),
            },
            (f, _) => return foreign(&format!("`{f}`, which registers don't have,")),
        })
    }

    /// A refused compare-and-swap that says what it met is a read.
    fn met(&mut self, call: &Call<'_>) -> Option<Effect> {
        let error = call.end?.error.as_deref()?;
        let value: Value = serde_json::from_str(error.strip_prefix(MET)?).ok()?;
        Some(Effect::Read(self.number(&value)))
    }
}

/// Leaves out uncertain steps whose value nobody ever saw. An order that has one of them is an order without it too:
/// until something else is written nothing can tell the difference, as nothing expects that value. Most uncertain
/// steps of a partition never took effect, and each that stays can double the search.
fn without_the_unseen(mut steps: Vec<Step>) -> Vec<Step> {
    loop {
        let mut seen = HashSet::new();
        for step in &steps {
            if let Effect::Read(value) | Effect::Cas(value, _) = step.effect {
                seen.insert(value);
            }
        }
        let before = steps.len();
        steps.retain(|step| match step.effect {
            Effect::Write(new) | Effect::Cas(_, new) => step.to.is_some() || seen.contains(&new),
            Effect::Read(_) => true,
        });
        // What is gone may have been the only one to expect another's value.
        if steps.len() == before {
            return steps;
        }
    }
}
