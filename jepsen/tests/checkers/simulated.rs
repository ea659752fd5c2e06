//! Large histories that are right by construction: a register that really does what it says, and many clients.

use std::collections::BTreeMap;

use jepsen::history::{History, Kind, Op, Process};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::script::{end, renumbered};

/// Registers that do what they say.
pub struct Registers {
    rng: StdRng,
    pub ops: Vec<Op>,
    values: BTreeMap<String, (Value, u64)>,
    open: Vec<Open>,
    /// Clients without an operation.
    pub idle: Vec<u64>,
    /// Versions, values and processes that were never used.
    pub fresh: u64,
}

struct Open {
    begun: Op,
    /// What is told once it has taken effect.
    told: Option<Op>,
    /// Whether its client has heard, or gave up.
    over: bool,
}

impl Registers {
    pub fn new(seed: u64, clients: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            ops: Vec::new(),
            values: BTreeMap::new(),
            open: Vec::new(),
            idle: (0..clients).collect(),
            fresh: 1_000,
        }
    }

    pub fn fresh(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }

    /// Works on `keys` registers for `count` operations; each hundredth operation or so is uncertain.
    pub fn work(&mut self, keys: u64, count: u64) {
        let mut begun = 0;
        while begun < count {
            match self.rng.random_range(0..3) {
                0 if !self.idle.is_empty() => {
                    self.begin(keys);
                    begun += 1;
                }
                1 => self.take_effect(),
                _ => self.tell(),
            }
        }
    }

    /// Ends everything that is under way and not uncertain.
    pub fn settle(&mut self) {
        while self.open.iter().any(|open| !open.over) {
            self.take_effect();
            self.tell();
        }
    }

    fn begin(&mut self, keys: u64) {
        let place = self.rng.random_range(0..self.idle.len());
        let process = self.idle.swap_remove(place);
        let key = format!("r{}", self.rng.random_range(0..keys));
        let value = self.fresh();
        let now = self
            .values
            .get(&key)
            .map_or(Value::Null, |(value, _)| value.clone());
        let (f, value) = match self.rng.random_range(0..10) {
            0..4 => ("read", Value::Null),
            4..7 => ("write", json!(value)),
            _ => ("cas", json!([now, value])),
        };
        let op = end(process, Kind::Invoke, f, &key, value);
        self.ops.push(op.clone());
        self.open.push(Open {
            begun: op,
            told: None,
            over: false,
        });
    }

    fn pick(&mut self, wanted: impl Fn(&Open) -> bool) -> Option<usize> {
        let places: Vec<_> = (0..self.open.len())
            .filter(|place| wanted(&self.open[*place]))
            .collect();
        let choice = self.rng.random_range(0..places.len().max(1));
        places.get(choice).copied()
    }

    fn take_effect(&mut self) {
        let Some(place) = self.pick(|open| open.told.is_none()) else {
            return;
        };
        let op = self.open[place].begun.clone();
        let version = self.fresh();
        let told = self.effect(op, version);
        self.open[place].told = Some(told);
    }

    /// What the register does, and tells.
    pub fn effect(&mut self, mut op: Op, version: u64) -> Op {
        let key = op.key.clone().expect("every operation has a key");
        let now = self.values.get(&key).cloned();
        let value = now.as_ref().map_or(Value::Null, |(value, _)| value.clone());
        op.kind = Kind::Ok;
        let written = match op.f.as_str() {
            "read" => {
                op.value = value;
                op.notes.version = now.map(|(_, version)| version);
                op.notes.revision = Some(version);
                return op;
            }
            "write" => op.value.clone(),
            _ if op.value[0] == value => op.value[1].clone(),
            _ => {
                op.kind = Kind::Fail;
                op.error = Some(format!("{}{value}", jepsen::checker::linear::MET));
                return op;
            }
        };
        op.notes.version = Some(version);
        self.values.insert(key, (written, version));
        op
    }

    fn tell(&mut self) {
        // One in a hundred hears nothing, whether or not it takes effect some day.
        let gives_up = self.rng.random_bool(0.01);
        let Some(place) = self.pick(|open| !open.over && (open.told.is_some() || gives_up)) else {
            return;
        };
        let Process::Client(process) = self.open[place].begun.process else {
            return;
        };
        if gives_up {
            let mut op = self.open[place].begun.clone();
            op.kind = Kind::Info;
            self.open[place].over = true;
            self.ops.push(op);
            let process = self.fresh();
            self.idle.push(process);
            return;
        }
        let open = self.open.swap_remove(place);
        self.ops.extend(open.told);
        self.idle.push(process);
    }

    /// One operation from its beginning to its end, with nothing beside it but what is uncertain.
    pub fn alone(&mut self, f: &str, key: &str, value: Value) -> Op {
        let process = *self.idle.first().expect("somebody is idle");
        let begun = end(process, Kind::Invoke, f, key, value);
        self.ops.push(begun.clone());
        let version = self.fresh();
        let told = self.effect(begun, version);
        self.ops.push(told.clone());
        told
    }

    /// Brings a register back to what it was.
    pub fn forget(&mut self, key: &str, value: Value, version: u64) {
        self.values.insert(key.to_owned(), (value, version));
    }

    pub fn history(&self) -> History {
        renumbered(self.ops.clone())
    }
}
