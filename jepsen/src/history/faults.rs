//! When faults were in effect.

use serde_json::Value;

use super::{History, Process};

/// A span of time in which a fault was in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// The fault.
    pub fault: String,
    /// Nanoseconds since the run began.
    pub from: u64,
    /// The same; as `from` for what happens at once, the end of the history for what was never undone.
    pub to: u64,
    /// What was recorded when it began.
    pub value: Value,
    /// What was recorded when it was undone.
    pub undone: Value,
}

/// The faults of a history by the time they began.
pub fn windows(history: &History) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for op in &history.ops {
        if op.process != Process::Nemesis {
            continue;
        }
        if let Some(fault) = op.f.strip_prefix("stop-") {
            // A second `stop` of the same fault, or one of a fault that never began, undoes nothing.
            if let Some(place) = open.iter().position(|at| windows[*at].fault == fault) {
                let window = &mut windows[open.remove(place)];
                window.to = op.time;
                window.undone = op.value.clone();
            }
            continue;
        }
        let begun = op.f.strip_prefix("start-");
        if begun.is_some() {
            open.push(windows.len());
        }
        windows.push(Window {
            fault: begun.unwrap_or(&op.f).to_owned(),
            from: op.time,
            to: op.time,
            value: op.value.clone(),
            undone: Value::Null,
        });
    }
    let end = history.ops.last().map_or(0, |op| op.time);
    for place in open {
        windows[place].to = end;
    }
    windows
}
