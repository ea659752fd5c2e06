use serde_json::{Value, json};

use super::*;
use crate::history::{Kind, Notes, Op, Process};

const HOSTILE: &str = "</script><script>alert('x')</script>&\"";

fn op(index: u64, process: Process, kind: Kind, f: &str, workload: Option<&str>) -> Op {
    Op {
        index,
        process,
        kind,
        f: f.to_owned(),
        key: workload.map(|_| HOSTILE.to_owned()),
        value: json!(HOSTILE),
        time: index * 250_000_000,
        error: (kind == Kind::Fail).then(|| HOSTILE.to_owned()),
        workload: workload.map(str::to_owned),
        notes: Notes::default(),
    }
}

/// Two workloads, a fault that ends and one that does not, and texts that would like to be markup.
fn history() -> History {
    let client = Process::Client;
    let mut history = History {
        ops: vec![
            op(0, client(0), Kind::Invoke, "write", Some("register")),
            op(1, Process::Nemesis, Kind::Info, "start-kill", None),
            op(2, client(0), Kind::Ok, "write", Some("register")),
            op(3, client(1), Kind::Invoke, "add", Some("../set")),
            op(4, Process::Nemesis, Kind::Info, "stop-kill", None),
            op(5, client(1), Kind::Info, "add", Some("../set")),
            op(6, client(0), Kind::Invoke, "read", Some("register")),
            op(7, client(0), Kind::Fail, "read", Some("register")),
            op(8, Process::Nemesis, Kind::Info, &format!("start-{HOSTILE}"), None),
            op(9, client(0), Kind::Invoke, "read", Some("register")),
        ],
    };
    history.ops[2].time += 3_000_000;
    history
}

fn verdict(validity: Validity) -> Verdict {
    Verdict {
        checker: "register: linearizable".to_owned(),
        validity,
        detail: HOSTILE.to_owned(),
        data: Value::Null,
    }
}

#[test]
fn a_report_has_everything_and_runs_nothing_of_what_it_shows() {
    let dir = tempfile::tempdir().unwrap();
    let run = Run {
        name: HOSTILE.to_owned(),
        network: "loopback with proxies".to_owned(),
        left_out: vec!["links-lossy: there are no packets".to_owned()],
        ..Run::default()
    };
    let summary = write(dir.path(), &run, &history(), &[verdict(Validity::Valid)]).unwrap();
    assert!(summary.passes());
    let told = summary.to_string();
    assert!(
        told.contains("loopback") && told.contains("links-lossy"),
        "{told}"
    );
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let results: Value = serde_json::from_str(&read("results.json")).unwrap();
    assert_eq!(results["valid"], true);
    assert_eq!(results["run"]["network"], "loopback with proxies");
    assert_eq!(results["faults"][0]["fault"], "kill");
    assert_eq!(results["figures"]["by_kind"]["register write"]["ok"], 1);
    assert_eq!(read("history.edn").lines().count(), 10);
    // A workload's name is not a path.
    assert_eq!(read("register.edn").lines().count(), 8);
    assert_eq!(read("set.edn").lines().count(), 5);
    for name in ["timeline.html", "latency.svg", "rate.svg"] {
        let text = read(name);
        assert!(!text.contains("<script>alert"), "{name}");
        assert!(
            !text.contains("http://") || name.ends_with("svg"),
            "{name} fetches something"
        );
    }
    assert!(read("latency.svg").contains("kill"));
    // What is embedded is still what was recorded.
    let page = read("timeline.html");
    let data = page
        .split_once("id=\"data\">")
        .unwrap()
        .1
        .split_once("</script>")
        .unwrap()
        .0;
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["rows"][0][6], HOSTILE);
    assert_eq!(data["rows"].as_array().unwrap().len(), 4);
}

#[test]
fn nothing_recorded_is_a_report_too() {
    let dir = tempfile::tempdir().unwrap();
    let summary = write(dir.path(), &Run::default(), &History::default(), &[]).unwrap();
    assert_eq!(summary.word(), "UNKNOWN");
    assert!(!summary.passes());
}

#[test]
fn the_verdict_comes_first_and_only_what_holds_passes() {
    for (one, other, word) in [
        (Validity::Valid, Validity::Valid, "PASS"),
        (Validity::Valid, Validity::Unknown, "UNKNOWN"),
        (Validity::Invalid, Validity::Valid, "FAIL"),
        (Validity::Invalid, Validity::Unknown, "FAIL"),
    ] {
        let run = Run {
            name: "r".to_owned(),
            ..Run::default()
        };
        let summary = Summary::new(&run, &[verdict(one), verdict(other)], &Figures::default());
        assert!(
            summary.to_string().starts_with(&format!("{word} r: ")),
            "{summary}"
        );
        assert_eq!(summary.passes(), word == "PASS");
    }
}

/// What was seen beside a history can't be seen again.
#[test]
fn a_run_that_is_judged_again_keeps_what_was_seen_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    let lines = history()
        .ops
        .into_iter()
        .map(|op| serde_json::to_string(&op).unwrap() + "\n");
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    assert!(!again(&path).unwrap().passes());
    assert!(
        !dir.path().join("results.json").exists(),
        "nothing is left beside foreign histories"
    );
    let seen = Verdict {
        checker: "harness: managers behaved".to_owned(),
        ..verdict(Validity::Invalid)
    };
    write(dir.path(), &Run::default(), &history(), &[seen]).unwrap();
    let summary = again(&path).unwrap();
    assert_eq!(summary.word(), "FAIL");
    assert!(summary.to_string().contains("harness: managers behaved"));
    assert!(summary.to_string().contains("register: linearizable"));
}
