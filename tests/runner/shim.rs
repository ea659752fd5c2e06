//! `quorate runner-exec`: what an agent's process begins as.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::scripted::{eventually, lives, pid_in};

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

/// A shell that stands for the runner, with one agent that runs this script in this directory.
struct Runner {
    shell: Child,
    keeper: i32,
    dir: TempDir,
}

impl Runner {
    fn start(script: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let line = format!("{QUORATE} runner-exec $$ -- sh -c '{script}' & echo $!; wait");
        let mut shell = Command::new("sh")
            .args(["-c", &line])
            .current_dir(dir.path())
            .env("QUORATE_AGENT_ID", "a-test")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(shell.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let keeper = line.trim().parse().unwrap();
        Self { shell, keeper, dir }
    }

    async fn pid(&self, name: &str) -> i32 {
        pid_in(&self.dir.path().join(name)).await
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // Its agent ends with it.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

async fn ended(pid: i32) {
    eventually(&format!("the end of {pid}"), || (!lives(pid)).then_some(())).await;
}

/// One in the group, one in a session of its own, and one that says nothing of where it comes from.
const FAMILY: &str = "sleep 1000 & echo $! > group; \
    setsid sh -c \"echo \\$\\$ > session; exec sleep 1000\" & \
    env -i setsid sh -c \"echo \\$\\$ > bare; exec sleep 1000\" & \
    echo $$ > head; wait";

#[tokio::test]
async fn an_agent_and_all_it_started_die_with_a_runner_that_is_killed() {
    let mut runner = Runner::start(FAMILY);
    let mut all = vec![runner.keeper];
    for name in ["head", "group", "session", "bare"] {
        all.push(runner.pid(name).await);
    }
    assert!(all.iter().all(|pid| lives(*pid)), "{all:?}");
    runner.shell.kill().unwrap();
    runner.shell.wait().unwrap();
    for pid in all {
        ended(pid).await;
    }
}

#[tokio::test]
async fn nothing_is_left_when_the_program_ends_or_is_killed_with_its_group() {
    for way in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut runner = Runner::start(FAMILY);
        let mut all = vec![runner.keeper];
        for name in ["head", "group", "session", "bare"] {
            all.push(runner.pid(name).await);
        }
        let keeper = Pid::from_raw(runner.keeper);
        if way == Signal::SIGTERM {
            // Handed on by the keeper.
            kill(keeper, way).unwrap();
        } else {
            killpg(keeper, way).unwrap();
        }
        for pid in all {
            ended(pid).await;
        }
        // The shell's own `wait` is over.
        assert!(runner.shell.wait().unwrap().success());
    }
}

#[tokio::test]
async fn a_program_that_leaves_its_group_is_told_to_stop_all_the_same() {
    let mut runner = Runner::start(
        "exec setsid sh -c \"trap \\\"touch told; exit\\\" TERM; echo \\$\\$ > head; while :; do sleep 0.05; done\"",
    );
    let head = runner.pid("head").await;
    kill(Pid::from_raw(runner.keeper), Signal::SIGTERM).unwrap();
    ended(head).await;
    assert!(runner.dir.path().join("told").exists());
    runner.shell.wait().unwrap();
}

#[test]
fn it_ends_as_its_program_does() {
    let id = std::process::id();
    assert_eq!(shim(id, &["sh", "-c", "kill -9 $$"]).status.signal(), Some(9));
    assert_eq!(shim(id, &["sh", "-c", "kill -SEGV $$"]).status.signal(), Some(11));
    // What it blocks for itself is not blocked for the program.
    let masks = shim(id, &["grep", "SigBlk", "/proc/self/status"]);
    let masks = String::from_utf8(masks.stdout).unwrap();
    assert!(masks.trim_end().ends_with("\t0000000000000000"), "{masks}");
}
