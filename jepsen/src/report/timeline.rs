//! Every operation as a bar, for a browser: one file, nothing is fetched.
//!
//! What histories hold may come from anywhere, so none of it becomes markup: operations travel as JSON inside a script
//! element that is not run, with every `<`, `>` and `&` escaped, and the page writes texts as texts.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Run, Summary};
use crate::history::{History, Process, calls, windows};

const PAGE: &str = include_str!("timeline.html");
const SCRIPT: &str = include_str!("timeline.js");
const STYLE: &str = include_str!("timeline.css");

/// Characters of a value or an error that are shown.
const SHOWN: usize = 120;

/// Writes the page.
///
/// # Errors
/// It can't be written.
pub fn write(out: &mut impl Write, run: &Run, history: &History, summary: &Summary) -> io::Result<()> {
    let page = PAGE
        .replace("{{title}}", &text(&format!("{} {}", summary.word(), run.name)))
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
        .replace("{{summary}}", &text(&summary.to_string()));
    // The data goes in last, and nothing is replaced in it.
    let (before, after) = page.split_once("{{data}}").unwrap_or((&page, ""));
    out.write_all(before.as_bytes())?;
    out.write_all(data(history).as_bytes())?;
    out.write_all(after.as_bytes())
}

fn data(history: &History) -> String {
    let mut workloads: Vec<&str> = history
        .ops
        .iter()
        .filter(|op| op.process != Process::Nemesis)
        .map(|op| op.workload.as_deref().unwrap_or_default())
        .collect();
    workloads.sort_unstable();
    workloads.dedup();
    let mut rows: Vec<Value> = Vec::new();
    for workload in workloads {
        for call in calls(history, workload) {
            let process = match call.invoke.process {
                Process::Client(id) => json!(id),
                Process::Nemesis => continue,
            };
            let value = call.answered().unwrap_or(call.asked());
            let error = call.end.and_then(|end| end.error.as_deref()).unwrap_or_default();
            let notes = call.notes();
            rows.push(json!([
                process,
                micros(call.invoke.time),
                call.end.map(|end| micros(end.time)),
                call.kind().as_str(),
                workload,
                call.f(),
                call.key(),
                cut(&value.to_string()),
                cut(error),
                notes.node,
                notes.version,
                notes.revision,
                call.begins(),
            ]));
        }
    }
    let faults: Vec<Value> = windows(history)
        .into_iter()
        .map(|window| {
            json!([
                window.fault,
                micros(window.from),
                micros(window.to),
                cut(&window.value.to_string())
            ])
        })
        .collect();
    let data = json!({ "rows": rows, "faults": faults }).to_string();
    data.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
}

fn micros(time: u64) -> u64 {
    time / 1_000
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head}…")
}

/// A text inside markup.
fn text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
