//! The measurement of scale with few runners: it gets through, says what it measured, and leaves nothing behind.
//! How long anything took is no concern of a test.

use std::process::Command;

#[test]
fn twenty_sessions_are_measured_and_outlive_a_follower() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("figures.json");
    let data = dir.path().join("data");
    let ended = Command::new(env!("CARGO_BIN_EXE_quorate-bench"))
        .args([
            "scale",
            "--sessions",
            "20",
            "--idle",
            "2",
            "--only",
            "idle,follower",
            "--dir",
        ])
        .arg(&data)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");

    let figures: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(figures["attached"]["runners"], 20, "{figures}");
    assert!(
        figures["idle"]["acknowledged_per_second"].as_f64().unwrap() > 0.0,
        "{figures}"
    );
    let digests = figures["idle"]["uses"].as_array().unwrap().iter();
    let bytes: f64 = digests
        .filter_map(|used| used["digest_bytes_per_second"].as_f64())
        .sum();
    assert!(bytes > 0.0, "followers sent digests: {figures}");
    assert_eq!(figures["kills"][0]["victim"], "follower", "{figures}");
    assert_eq!(figures["reopened"][0]["confirmed"]["count"], 20, "{figures}");
    assert_eq!(
        std::fs::read_dir(&data).unwrap().count(),
        0,
        "its data is removed"
    );
}
