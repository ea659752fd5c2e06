//! The same history in Jepsen's words: EDN, one map a line.
//!
//! A key and its value are written as Jepsen's `independent` does, `[key value]`; the lists of the append workload as
//! Elle's transactions, `[[:append key element]]` and `[[:r key elements]]`, so that each checker finds the form it
//! reads. A history of one workload is one that others' checkers can read as a whole.

use std::io::{self, Write};

use serde_json::Value;

use super::{History, Op, Process};

/// Writes the operations of `workload` and the faults, or everything.
///
/// # Errors
/// It can't be written.
pub fn write(history: &History, workload: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    let wanted = |op: &&Op| {
        op.process == Process::Nemesis || workload.is_none_or(|name| op.workload.as_deref() == Some(name))
    };
    for op in history.ops.iter().filter(wanted) {
        writeln!(out, "{}", line(op))?;
    }
    Ok(())
}

/// One operation.
pub fn line(op: &Op) -> String {
    let mut text = String::from("{");
    let process = match op.process {
        Process::Client(id) => id.to_string(),
        Process::Nemesis => ":nemesis".to_owned(),
    };
    let (f, value) = word(op);
    let kind = op.kind.as_str();
    text.push_str(&format!(
        ":index {}, :time {}, :process {process}, :type :{kind}, :f {}, :value {value}",
        op.index,
        op.time,
        keyword(&f)
    ));
    let mut text_field = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str(&format!(", :{name} {}", string(value)));
        }
    };
    text_field("workload", op.workload.as_deref());
    text_field("error", op.error.as_deref());
    text_field("consistency", op.notes.consistency.as_deref());
    text_field("request", op.notes.request.as_deref());
    for (name, number) in [
        ("node", op.notes.node),
        ("version", op.notes.version),
        ("revision", op.notes.revision),
        ("min-revision", op.notes.min_revision),
    ] {
        if let Some(number) = number {
            text.push_str(&format!(", :{name} {number}"));
        }
    }
    if op.notes.last {
        text.push_str(", :final? true");
    }
    text.push('}');
    text
}

/// What is done, and to what, as the checker of its workload expects it.
fn word(op: &Op) -> (String, String) {
    let value = form(&op.value);
    let Some(key) = &op.key else {
        return (op.f.clone(), value);
    };
    let key = string(key);
    match (op.workload.as_deref(), op.f.as_str()) {
        (Some("append"), "append") => ("txn".into(), format!("[[:append {key} {value}]]")),
        (Some("append"), "read") => ("txn".into(), format!("[[:r {key} {value}]]")),
        _ => (op.f.clone(), format!("[{key} {value}]")),
    }
}

/// JSON as EDN.
fn form(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => string(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(form).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{} {}", string(name), form(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}

/// A keyword where the text can be one, a string elsewhere.
fn keyword(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_?!*+.".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain) {
        format!(":{text}")
    } else {
        string(text)
    }
}

/// A string. EDN knows the escapes of Java, and control characters as `\uXXXX`.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
