//! When managers may have been started again: what is only in memory begins anew then.
//!
//! A history doesn't say when a process ended or began, only which faults were about. While one is that may end a
//! manager's process, and around anything else that happened to a manager, nothing is said of what it may forget.

use crate::history::{Call, History, windows};

/// Faults that leave processes alone, by how their names begin.
const GENTLE: &[&str] = &[
    "partition",
    "pause",
    "links",
    "clock",
    "transfer",
    "disk-slow",
    "runner",
];

/// How far around a single line of a fault its restart may lie, in nanoseconds.
const AROUND: u64 = 3_000_000_000;

/// The lives of managers' processes.
pub struct Lives {
    spans: Vec<Span>,
}

/// A span of time in which a process may have ended or begun.
struct Span {
    from: u64,
    to: u64,
    /// Of these managers only; of any where it is not said.
    nodes: Option<Vec<u64>>,
}

impl Lives {
    /// The lives that a history tells of.
    pub fn of(history: &History) -> Self {
        let spans = windows(history)
            .into_iter()
            .filter(|window| !GENTLE.iter().any(|gentle| window.fault.starts_with(gentle)))
            .map(|window| {
                let named = window.value.get("nodes").and_then(|nodes| nodes.as_array());
                let at_once = window.from == window.to;
                let around = if at_once { AROUND } else { 0 };
                Span {
                    from: window.from.saturating_sub(around),
                    to: window.to.saturating_add(around),
                    nodes: named.map(|named| named.iter().filter_map(|node| node.as_u64()).collect()),
                }
            })
            .collect();
        Self { spans }
    }

    /// Which life of a manager's process a span of time lies in; none where it may lie in two.
    pub fn during(&self, node: u64, from: u64, to: u64) -> Option<usize> {
        let of_node = || {
            let hits = |span: &&Span| span.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node));
            self.spans.iter().filter(hits)
        };
        if of_node().any(|span| span.from <= to && from <= span.to) {
            return None;
        }
        Some(of_node().filter(|span| span.to < from).count())
    }

    /// Which life of its manager an operation lies in.
    pub fn of_call(&self, call: &Call<'_>) -> Option<(u64, usize)> {
        let node = call.notes().node?;
        let life = self.during(node, call.invoke.time, call.end?.time)?;
        Some((node, life))
    }
}
