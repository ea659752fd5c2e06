//! `quorate runner-exec`: what an agent's process begins as.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::scripted::{eventually, lives};

const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

fn shim(parent: u32, program: &[&str]) -> std::process::Output {
    Command::new(QUORATE)
        .args(["runner-exec", &parent.to_string(), "--"])
        .args(program)
        .output()
        .unwrap()
}

#[test]
fn it_becomes_the_program() {
    let output = shim(
        std::process::id(),
        &["sh", "-c", "echo $0 $1; exit 3", "a b", "c"],
    );
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a b c\n");
}

#[test]
fn it_says_why_it_can_not() {
    let output = shim(std::process::id(), &["/no/such/program"]);
    assert_eq!(output.status.code(), Some(127));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.starts_with("cannot run /no/such/program: "), "{words}");
    assert_eq!(
        shim(std::process::id(), &["/etc/passwd"]).status.code(),
        Some(126)
    );

    let orphan = shim(std::process::id() + 1, &["true"]);
    assert_eq!(
        orphan.status.code(),
        Some(125),
        "the runner it was started for is not its parent"
    );
}

#[tokio::test]
async fn an_agent_dies_with_its_runner() {
    // A shell stands for the runner.
    let script = format!("{QUORATE} runner-exec $$ -- sleep 1000 & echo $!; wait");
    let mut runner = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(runner.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let agent: i32 = line.trim().parse().unwrap();
    let comm = format!("/proc/{agent}/comm");
    eventually("the shim becomes `sleep`", || {
        std::fs::read_to_string(&comm)
            .is_ok_and(|name| name == "sleep\n")
            .then_some(())
    })
    .await;
    assert!(lives(agent));
    runner.kill().unwrap();
    runner.wait().unwrap();
    eventually("the agent's end", || (!lives(agent)).then_some(())).await;
}
