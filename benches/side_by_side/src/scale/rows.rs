//! Each measure as rows of the second table.

use super::{
    fleet::Failures, kill::Kill, options::Measure, silence::Silence, stage::Step, steady::Idle, times::Times,
};
use crate::spread::{grouped, short};

const NONE: &str = "–";

/// A measure, and what came out.
pub type Row = (String, String);

pub fn joined(step: &Step, ramp: usize) -> [Row; 2] {
    [
        (
            format!("{} runners join, {ramp} at a time", grouped(step.runners as f64)),
            format!(
                "{:.1} s, {}/s",
                step.seconds,
                grouped(step.runners as f64 / step.seconds)
            ),
        ),
        ("processor time of each join".to_owned(), processor(step)),
    ]
}

pub fn attached(step: &Step, ramp: usize) -> Vec<Row> {
    let rate = step.opened.map_or_else(String::new, |times| {
        format!(", {}/s", grouped(times.count as f64 * 1e3 / times.last_ms))
    });
    vec![
        (
            format!(
                "{} sessions are opened, {ramp} at a time",
                grouped(step.runners as f64)
            ),
            took(step.opened) + &rate,
        ),
        (
            "→ a heartbeat of each is counted".to_owned(),
            took(step.confirmed),
        ),
        (
            "processor time of each session's opening".to_owned(),
            processor(step),
        ),
        ("what failed".to_owned(), failed(&step.failures)),
    ]
}

pub fn reopened(step: &Step) -> [Row; 4] {
    let [one, two, three] = step.spread;
    [
        (
            "all sessions are closed at once → all are open again".to_owned(),
            took(step.opened),
        ),
        (
            "→ a heartbeat of each is counted".to_owned(),
            took(step.confirmed),
        ),
        (
            "processor time of each session's opening".to_owned(),
            processor(step),
        ),
        (
            "what failed; sessions then".to_owned(),
            format!("{}; {one}, {two} and {three}", failed(&step.failures)),
        ),
    ]
}

fn processor(step: &Step) -> String {
    let each = |seconds: f64| short(seconds * 1e3 / step.runners as f64);
    let (managers, runners) = (each(step.managers_processor), each(step.runners_processor));
    format!("managers together {managers} ms, runner {runners} ms")
}

fn took(times: Option<Times>) -> String {
    times.map_or_else(|| NONE.to_owned(), |times| times.text())
}

fn failed(failures: &Failures) -> String {
    let kinds: Vec<String> = failures
        .kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    match kinds.is_empty() {
        true => NONE.to_owned(),
        false => kinds.join(", "),
    }
}

pub fn heartbeats(idle: &Idle) -> [Row; 3] {
    let fan_in: f64 = idle.uses.iter().map(|used| used.digest_bytes_per_second).sum();
    [
        (
            "heartbeats of idle sessions".to_owned(),
            format!(
                "{}/s, {}/s acknowledged",
                grouped(idle.heartbeats_per_second),
                grouped(idle.acknowledged_per_second)
            ),
        ),
        (
            "bytes of sessions, with TLS: heartbeats, samples, echoes".to_owned(),
            format!(
                "{} kB/s from runners, {} kB/s to them; the runners' own processor {} %",
                grouped(idle.sent_per_second / 1e3),
                grouped(idle.received_per_second / 1e3),
                short(idle.runners_processor_percent)
            ),
        ),
        (
            "bytes of digests, managers → leader".to_owned(),
            format!("{} kB/s", short(fan_in / 1e3)),
        ),
    ]
}

pub fn kill(kill: &Kill) -> [Row; 5] {
    let who = kill.victim.word();
    let moved = kill.opened.map_or(0, |times| times.count);
    let spread: Vec<String> = kill
        .spread
        .iter()
        .filter(|count| **count > 0)
        .map(ToString::to_string)
        .collect();
    [
        (
            format!(
                "{who} is killed → its {} sessions are open elsewhere",
                grouped(moved as f64)
            ),
            took(kill.opened),
        ),
        (
            "→ a heartbeat of each is counted".to_owned(),
            took(kill.confirmed),
        ),
        (
            "other sessions that broke; containers misjudged".to_owned(),
            format!("{}; {}", kill.others, kill.misjudged),
        ),
        (
            "longest without a counted heartbeat; exclusive agents stopped".to_owned(),
            format!("{} s; {}", short(kill.longest_ms / 1e3), kill.lapsed),
        ),
        (
            "what broke and failed; sessions then".to_owned(),
            format!("{}; {}", failed(&kill.failures), spread.join(" and ")),
        ),
    ]
}

pub fn silent(silence: &Silence, sessions: usize) -> Vec<Row> {
    let how = match silence.how {
        Measure::Closed => "close their connections and stay away",
        _ => "fall silent, their connections stay",
    };
    let of = format!(
        "{} of {}",
        grouped(silence.silenced as f64),
        grouped(sessions as f64)
    );
    let mut rows = vec![(format!("{of} {how} → suspect"), took(silence.suspect))];
    if silence.breaker {
        rows.push(("the breaker opened → lost".to_owned(), took(silence.lost)));
    } else {
        rows.push(("→ lost".to_owned(), took(silence.lost)));
        rows.push((
            "→ fenced: exclusive agents may run elsewhere".to_owned(),
            took(silence.fenced),
        ));
    }
    rows.push((
        "they come back → the last is ready".to_owned(),
        format!("{} s", short(silence.ready_ms / 1e3)),
    ));
    rows
}
