//! An operation's two ends, put together.

use std::collections::HashMap;

use serde_json::Value;

use super::{History, Kind, Notes, Op, Process};

/// An operation from its beginning to its end.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Its beginning.
    pub invoke: &'a Op,
    /// Its end; none when the run ended before.
    pub end: Option<&'a Op>,
}

impl<'a> Call<'a> {
    /// How it ended. What never ended is as uncertain as what ended in `info`.
    pub fn kind(&self) -> Kind {
        self.end.map_or(Kind::Info, |end| end.kind)
    }

    /// Whether it happened.
    pub fn is_ok(&self) -> bool {
        self.kind() == Kind::Ok
    }

    /// What is done.
    pub fn f(&self) -> &'a str {
        &self.invoke.f
    }

    /// What it is done to; empty where there is nothing.
    pub fn key(&self) -> &'a str {
        self.invoke.key.as_deref().unwrap_or_default()
    }

    /// What was asked for.
    pub fn asked(&self) -> &'a Value {
        &self.invoke.value
    }

    /// What was answered, when it is `ok`.
    pub fn answered(&self) -> Option<&'a Value> {
        self.end.filter(|end| end.kind == Kind::Ok).map(|end| &end.value)
    }

    /// What the answer says beside its value; of the beginning when there is none.
    pub fn notes(&self) -> &'a Notes {
        &self.end.unwrap_or(self.invoke).notes
    }

    /// Its index in the history.
    pub fn begins(&self) -> u64 {
        self.invoke.index
    }

    /// The index until which its effect may come: for ever, unless it is known to have ended.
    pub fn ends(&self) -> u64 {
        match self.end {
            Some(end) if end.kind != Kind::Info => end.index,
            _ => u64::MAX,
        }
    }

    /// In one line, for people.
    pub fn show(&self) -> String {
        let op = self.end.unwrap_or(self.invoke);
        let milliseconds = |time: u64| time as f64 / 1e6;
        let mut text = format!(
            "[{}–{}] {:.1}–{} ms process {} {} {}",
            self.invoke.index,
            self.end
                .map_or_else(|| "…".to_owned(), |end| end.index.to_string()),
            milliseconds(self.invoke.time),
            self.end
                .map_or_else(|| "…".to_owned(), |end| format!("{:.1}", milliseconds(end.time))),
            op.process,
            self.kind().as_str(),
            op.f,
        );
        if !self.key().is_empty() {
            text.push_str(&format!(" {}", self.key()));
        }
        let value = self.answered().unwrap_or(&self.invoke.value);
        text.push_str(&format!(" {}", short(value)));
        for (name, number) in [
            ("version", op.notes.version),
            ("revision", op.notes.revision),
            ("node", op.notes.node),
        ] {
            if let Some(number) = number {
                text.push_str(&format!(" {name} {number}"));
            }
        }
        if let Some(error) = &op.error {
            text.push_str(&format!(" ({error})"));
        }
        text
    }
}

/// A value in a line: long ones are cut in the middle, where lists differ least.
fn short(value: &Value) -> String {
    let text = value.to_string();
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= 160 {
        return text;
    }
    let (head, tail) = (&chars[..70], &chars[chars.len() - 80..]);
    format!(
        "{} … {}",
        head.iter().collect::<String>(),
        tail.iter().collect::<String>()
    )
}

/// The operations of a workload's clients, in the order they began.
pub fn calls<'a>(history: &'a History, workload: &str) -> Vec<Call<'a>> {
    let mut calls: Vec<Call<'a>> = Vec::new();
    let mut open: HashMap<Process, usize> = HashMap::new();
    for op in &history.ops {
        if op.process == Process::Nemesis || !op.is_of(workload) {
            continue;
        }
        if op.kind == Kind::Invoke {
            open.insert(op.process, calls.len());
            calls.push(Call {
                invoke: op,
                end: None,
            });
        } else if let Some(place) = open.remove(&op.process) {
            calls[place].end = Some(op);
        }
    }
    calls
}
