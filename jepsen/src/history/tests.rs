use serde_json::{Value, json};

use super::*;

fn entry(process: Process, kind: Kind, f: &'static str, value: Value) -> Entry<'static> {
    Entry {
        process,
        kind,
        f,
        workload: Some("register"),
        key: Some("r0"),
        value,
        error: None,
        notes: Notes::default(),
    }
}

#[test]
fn what_is_recorded_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&dir.path().join("history.jsonl")).unwrap();
    let (one, other) = (recorder.process(), recorder.process());
    assert_ne!(one, other);
    recorder.record(entry(one, Kind::Invoke, "cas", json!([null, 7])));
    recorder.nemesis("start-kill", json!({ "nodes": [1] }));
    let notes = Notes {
        node: Some(2),
        version: Some(9),
        ..Notes::default()
    };
    recorder.record(Entry {
        notes: notes.clone(),
        ..entry(one, Kind::Ok, "cas", json!([null, 7]))
    });
    let history = recorder.history().unwrap();
    assert_eq!(history.ops.len(), 3);
    assert_eq!(history.ops[2].notes, notes);
    assert!(history.ops.windows(2).all(|two| two[0].time <= two[1].time));
    let calls = calls(&history, "register");
    assert_eq!((calls.len(), calls[0].begins(), calls[0].ends()), (1, 0, 2));
    recorder.give_back(other);
    assert_eq!(recorder.process(), other);
    // A run never writes over another one's history.
    assert!(Recorder::create(&dir.path().join("history.jsonl")).is_err());
}

fn read(text: &str) -> Result<History, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    std::fs::write(&path, text).unwrap();
    History::read(&path).map_err(|error| error.to_string())
}

fn line(index: u64, process: &str, kind: &str, f: &str, time: u64) -> String {
    format!(
        "{{\"index\":{index},\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":1,\"time\":{time}}}\n"
    )
}

#[test]
fn what_is_no_history_is_refused_with_its_line() {
    let good = line(0, "3", "invoke", "write", 5);
    assert_eq!(read(&good).unwrap().ops.len(), 1);
    for (second, why) in [
        ("{\"index\":1,\"proc".to_owned(), "cut off"),
        (line(1, "3", "ok", "write", 6).trim_end().to_owned(), "has no end"),
        ("garbage\n".to_owned(), "no operation"),
        ("\n".to_owned(), "no operation"),
        ("{}\n".to_owned(), "no operation"),
        (line(1, "\"x\"", "ok", "write", 6), "`x` is no process"),
        (line(1, "3", "done", "write", 6), "no operation"),
        (
            line(2, "3", "ok", "write", 6),
            "the index is 2, and 1 was to come",
        ),
        (line(1, "3", "ok", "write", 4), "time goes back"),
        (line(1, "3", "ok", "read", 6), "has `write` under way"),
        (line(1, "4", "ok", "write", 6), "without having begun it"),
        (
            line(1, "3", "invoke", "read", 6),
            "while its `write` is under way",
        ),
    ] {
        let error = read(&format!("{good}{second}")).unwrap_err();
        assert!(
            error.contains("history.jsonl:2: ") && error.contains(why),
            "{error}"
        );
    }
    let used_again = [
        good,
        line(1, "3", "info", "write", 6),
        line(2, "3", "invoke", "write", 7),
    ];
    assert!(read(&used_again.concat()).unwrap_err().contains(":3: "));
    assert!(read("").unwrap().ops.is_empty());
}

#[test]
fn faults_have_windows() {
    let faults = [
        ("start-kill", 1),
        ("start-partition", 2),
        ("transfer", 3),
        ("stop-kill", 4),
        ("stop-kill", 5),
    ];
    let mut text = String::new();
    for (index, (f, time)) in faults.iter().enumerate() {
        text.push_str(&line(index as u64, "\"nemesis\"", "info", f, *time));
    }
    let windows = windows(&read(&text).unwrap());
    let seen: Vec<_> = windows.iter().map(|w| (w.fault.as_str(), w.from, w.to)).collect();
    // What was never undone lasts to the end.
    assert_eq!(seen, [("kill", 1, 4), ("partition", 2, 5), ("transfer", 3, 3)]);
}

#[test]
fn edn_is_what_jepsen_writes() {
    let of = |workload: &str, f: &str, value: Value| {
        let mut op: Op = serde_json::from_str(&line(4, "3", "ok", f, 17)).unwrap();
        op.workload = Some(workload.to_owned());
        op.key = Some("k".to_owned());
        op.value = value;
        edn::line(&op)
    };
    assert_eq!(
        of("register", "cas", json!([null, 7])),
        "{:index 4, :time 17, :process 3, :type :ok, :f :cas, :value [\"k\" [nil 7]], :workload \"register\"}"
    );
    assert!(of("append", "append", json!(1)).contains(":f :txn, :value [[:append \"k\" 1]]"));
    assert!(of("append", "read", json!([1, 2])).contains(":f :txn, :value [[:r \"k\" [1 2]]]"));
    assert!(
        of("x", "a b", json!({ "q\"": "\u{1}\n" }))
            .contains(":f \"a b\", :value [\"k\" {\"q\\\"\" \"\\u0001\\n\"}]")
    );
    let fault: Op = serde_json::from_str(&line(0, "\"nemesis\"", "info", "start-kill", 0)).unwrap();
    assert!(edn::line(&fault).contains(":process :nemesis, :type :info, :f :start-kill, :value 1"));
}
