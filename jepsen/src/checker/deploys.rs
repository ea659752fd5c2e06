//! Deploys: each acknowledged agent is there, under the id that was told, once.

use std::collections::HashMap;

use serde_json::Value;

use super::{Findings, Verdict};
use crate::history::{Call, History, Kind, calls};

/// Judges every list of agents.
pub fn check(history: &History, workload: &str) -> Verdict {
    let mut findings = Findings::new(workload, "agents");
    let calls = calls(history, workload);
    let mut deploys: HashMap<&str, Vec<Call<'_>>> = HashMap::new();
    for call in calls.iter().filter(|call| call.f() == "deploy") {
        deploys.entry(call.key()).or_default().push(*call);
    }
    for copies in deploys.values() {
        let mut told = copies.iter().filter(|call| call.is_ok());
        if let (Some(one), Some(other)) = (told.next(), told.next()) {
            findings.wrong(
                "two clients were told that they deployed the same name",
                &[one, other],
            );
        }
    }
    for read in calls.iter().filter(|call| call.f() == "read" && call.is_ok()) {
        one_list(read, &deploys, &mut findings);
    }
    findings.verdict("agents in lists")
}

fn one_list(read: &Call<'_>, deploys: &HashMap<&str, Vec<Call<'_>>>, findings: &mut Findings) {
    let (mut names, mut ids): (HashMap<&str, &str>, HashMap<&str, &str>) = Default::default();
    for agent in read.answered().and_then(Value::as_array).into_iter().flatten() {
        let (Some(name), Some(id)) = (agent[0].as_str(), agent[1].as_str()) else {
            findings.wrong(format!("{agent} is no agent"), &[read]);
            continue;
        };
        findings.looked();
        if names.insert(name, id).is_some() {
            findings.wrong(format!("agent `{name}` is there twice"), &[read]);
        }
        if let Some(other) = ids.insert(id, name) {
            findings.wrong(format!("`{name}` and `{other}` have the same id {id}"), &[read]);
        }
        let Some(deploys) = deploys.get(name) else {
            findings.wrong(
                format!("agent `{name}` is there, and nobody deployed it"),
                &[read],
            );
            continue;
        };
        if deploys.iter().all(|deploy| deploy.kind() == Kind::Fail) {
            findings.wrong(
                format!("agent `{name}` is there, and its deploy failed"),
                &[&deploys[0], read],
            );
        }
    }
    for deploy in deploys.values().flatten() {
        let Some(told) = deploy.answered().and_then(Value::as_str) else {
            continue;
        };
        match names.get(deploy.key()) {
            None if deploy.ends() < read.begins() => {
                findings.wrong("an acknowledged agent is not there", &[deploy, read]);
            }
            Some(id) if *id != told => {
                findings.wrong("an agent has another id than was told", &[deploy, read])
            }
            _ => {}
        }
    }
}
