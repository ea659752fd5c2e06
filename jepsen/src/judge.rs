//! What the harness itself judges: that faults were in effect, managers behaved, the cluster recovered, and enough
//! happened for any of it to mean something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::checker::{Validity, Verdict};
use crate::history::{History, Process};
use crate::nemesis::{RECOVERS_WITHIN, Strike};
use crate::run::Events;

/// Exit codes of managers that must not go on: consensus, storage.
const CONSENSUS: i32 = 70;
const STORAGE: i32 = 74;
/// Acknowledged operations a second, below which a run proves nothing.
const LEAST_RATE: f64 = 5.0;

/// The harness's own verdicts.
pub fn harness(history: &History, events: &Events) -> Vec<Verdict> {
    let mut verdicts = vec![
        enough(history, events),
        ends(events),
        watched(events),
        recovery(events),
    ];
    if !events.planned.is_empty() {
        verdicts.insert(0, effect(events));
    }
    verdicts
}

fn verdict(checker: &str, wrong: &[String], bad: Validity, well: String, data: Value) -> Verdict {
    let (validity, detail) = match wrong {
        [] => (Validity::Valid, well),
        wrong => (bad, wrong.join("; ")),
    };
    Verdict {
        checker: format!("harness: {checker}"),
        validity,
        detail,
        data,
    }
}

fn effect(events: &Events) -> Verdict {
    let (alone, crowd): (Vec<&Strike>, Vec<&Strike>) = events.strikes.iter().partition(|strike| strike.alone);
    let mut doubts: Vec<String> = alone.iter().filter_map(|strike| strike.doubt()).collect();
    let struck: BTreeSet<_> = alone.iter().map(|strike| strike.fault).collect();
    let missing = events
        .planned
        .iter()
        .filter(|fault| !events.crowded && !struck.contains(*fault));
    doubts.extend(missing.map(|fault| format!("{fault} never had its turn: let it run longer")));
    if events.crowded {
        doubts.extend(crowd_doubt(&crowd));
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for strike in &events.strikes {
        *counts.entry(strike.fault).or_default() += 1;
    }
    let well = format!(
        "{} faults struck, with evidence that they were in effect",
        events.strikes.len()
    );
    verdict(
        "faults were in effect",
        &doubts,
        Validity::Unknown,
        well,
        json!(counts),
    )
}

/// Faults in a crowd get into each other's way: one pauses what another would have asked. Most must be in effect.
fn crowd_doubt(crowd: &[&Strike]) -> Option<String> {
    let proven = crowd.iter().filter(|strike| strike.in_effect).count();
    (crowd.len() < 5 || proven * 2 <= crowd.len())
        .then(|| format!("of {} faults at once only {proven} were in effect", crowd.len()))
}

fn enough(history: &History, events: &Events) -> Verdict {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for op in &history.ops {
        if matches!(op.process, Process::Client(_)) {
            *counts.entry(op.kind.as_str()).or_default() += 1;
        }
    }
    let ok = counts.get("ok").copied().unwrap_or_default();
    let rate = ok as f64 / events.seconds.max(1.0);
    let few =
        (rate < LEAST_RATE).then(|| format!("only {ok} operations were acknowledged, {rate:.1} a second"));
    let well = format!("{ok} operations were acknowledged, {rate:.0} a second");
    verdict(
        "enough happened",
        few.as_slice(),
        Validity::Unknown,
        well,
        json!({"counts": counts, "ok_a_second": rate}),
    )
}

/// Whether a line tells of a panic of the database over a damaged file. The manager catches it and refuses to start;
/// the line is printed all the same.
fn caught(line: &str, planned: &[&str]) -> bool {
    line.contains("/sled-") && planned.iter().any(|fault| fault.starts_with("damage"))
}

fn ends(events: &Events) -> Verdict {
    let mut wrong: Vec<String> = events
        .strikes
        .iter()
        .filter_map(|strike| strike.violation.clone())
        .collect();
    wrong.extend(
        events
            .panics
            .iter()
            .filter(|line| !caught(line, &events.planned))
            .cloned(),
    );
    let storage_faults = events
        .planned
        .iter()
        .any(|fault| ["disk-full", "disk-failing"].contains(fault) || fault.starts_with("damage"));
    // A manager that lost its data is told to go, and one that was removed may go.
    let membership = events.planned.iter().any(|fault| fault.starts_with("member"));
    for exit in &events.exits {
        let allowed = match exit.code {
            Some(CONSENSUS) => true,
            Some(STORAGE) => storage_faults || membership,
            Some(_) => membership,
            None => false,
        };
        if !allowed {
            wrong.push(format!(
                "the manager of seat {} ended by itself with {:?}: {}",
                exit.seat,
                exit.code.or(exit.signal),
                exit.said
            ));
        }
    }
    let well = format!(
        "no manager did what it must not; {} ended by themselves, as they should",
        events.exits.len()
    );
    verdict(
        "managers behaved",
        &wrong,
        Validity::Invalid,
        well,
        json!(events.exits),
    )
}

fn watched(events: &Events) -> Verdict {
    let watched = &events.watched;
    let well = format!(
        "{} answers of managers about themselves, {} terms: none went back, no term had two leaders",
        watched.looks, watched.leaders
    );
    verdict(
        "terms and leaders",
        &watched.contradictions,
        Validity::Invalid,
        well,
        json!(watched),
    )
}

fn recovery(events: &Events) -> Verdict {
    let longest = events
        .strikes
        .iter()
        .filter_map(|strike| strike.recovered_in)
        .chain(events.recovery.as_ref().ok().copied())
        .max()
        .unwrap_or_default();
    let late: Vec<String> = events.recovery.as_ref().err().cloned().into_iter().collect();
    let well = format!(
        "one leader, all serving, at most {} after a fault was undone (bound: {} s)",
        shown(longest),
        RECOVERS_WITHIN.as_secs()
    );
    let each: Vec<_> = events
        .strikes
        .iter()
        .map(|strike| json!({"after": strike.fault, "took": strike.recovered_in}))
        .collect();
    verdict("recovery", &late, Validity::Invalid, well, json!(each))
}

fn shown(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// A time as the name of a directory: `20261124T064512`, in UTC.
pub fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}")
}

/// Year, month and day, so many days after the beginning of 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Watched;

    fn events() -> Events {
        Events {
            strikes: Vec::new(),
            exits: Vec::new(),
            recovery: Ok(Duration::from_secs(1)),
            panics: Vec::new(),
            watched: Watched::default(),
            planned: Vec::new(),
            crowded: false,
            seconds: 10.0,
        }
    }

    #[test]
    fn a_fault_that_never_struck_is_no_pass() {
        let events = Events {
            planned: vec!["kill-one"],
            ..events()
        };
        assert_eq!(effect(&events).validity, Validity::Unknown);
    }

    #[test]
    fn an_idle_run_is_no_pass() {
        let verdict = enough(&History::default(), &events());
        assert_eq!(verdict.validity, Validity::Unknown);
    }

    #[test]
    fn a_panic_or_a_late_recovery_is_a_failure() {
        let panicked = Events {
            panics: vec!["seat 1: thread panicked at x".to_owned()],
            ..events()
        };
        assert_eq!(ends(&panicked).validity, Validity::Invalid);
        let late = Events {
            recovery: Err("no leader".to_owned()),
            ..events()
        };
        assert_eq!(recovery(&late).validity, Validity::Invalid);
        assert!(recovery(&events()).passes() && ends(&events()).passes());
    }

    #[test]
    fn the_database_may_panic_over_damage_and_only_then() {
        let database = Events {
            panics: vec!["seat 1: thread panicked at /r/sled-0.34.7/src/x.rs".to_owned()],
            planned: vec!["damage-log-bits"],
            ..events()
        };
        assert!(ends(&database).passes());
        let undamaged = Events {
            planned: vec!["kill-one"],
            ..database
        };
        assert_eq!(ends(&undamaged).validity, Validity::Invalid);
        let ours = Events {
            panics: vec!["seat 1: thread panicked at src/node/mod.rs".to_owned()],
            planned: vec!["damage-log-bits"],
            ..events()
        };
        assert_eq!(ends(&ours).validity, Validity::Invalid);
    }

    #[test]
    fn times_are_shown_as_people_write_them() {
        let at = |seconds| stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000");
        assert_eq!(at(951_782_400), "20000229T000000");
        assert_eq!(at(1_795_502_712), "20261124T064512");
    }
}
