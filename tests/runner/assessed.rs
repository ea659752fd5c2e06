//! What real runner processes find in their containers, and managers keep of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use quorate::{
    dev::docker,
    model::{Assessment, ContainerState, Millis},
};

use crate::{
    manager::Manager,
    scripted::{eventually, lives, pid_in},
};

const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// A runner process with this `PATH`; it ends with this.
struct Process(Child);

impl Process {
    fn start(manager: &Manager, dir: &Path, path: &Path, settings: &[&str]) -> Self {
        let mut command = Command::new(QUORATE);
        command
            .args([
                "runner",
                "--name",
                "box-1",
                "--managers",
                &manager.address.to_string(),
            ])
            .arg("--data-dir")
            .arg(dir.join("process"))
            .env("PATH", path)
            .env("QUORATE_JOIN_TOKEN", manager.token.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        for setting in settings {
            command.args(["--set", setting]);
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts a program into a directory, all at once.
fn program(bin: &Path, name: &str, script: &str) -> PathBuf {
    let (file, draft) = (bin.join(name), bin.join(".draft"));
    fs::write(&draft, format!("#!/bin/bash\n{script}\n")).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&draft, &file).unwrap();
    file
}

async fn assessed(manager: &Manager, what: &str, wanted: impl Fn(&Assessment) -> bool) -> Arc<Assessment> {
    let found = |state: &quorate::state::State| {
        let container = state.find_container("box-1")?;
        container.assessment.clone().filter(|found| wanted(found))
    };
    manager.until(what, found).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_shows_what_its_runner_finds_and_what_changes() {
    let manager = Manager::start().await;
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    program(&bin, "python3", "echo Python 3.99.1");
    program(&bin, "java", r#"echo 'openjdk version "17.0.9" 2023-10-17' >&2"#);
    // Whoever answers with a flood, with control characters or with a failure has no version.
    program(&bin, "node", "while :; do echo v20.0.0 v20.0.0 v20.0.0; done");
    program(&bin, "php", r"printf '1.\033[2J\n'");
    program(&bin, "perl", "echo 5.36.0; exit 3");
    let settings = ["assess_every=1s", r#"capabilities=["camera"]"#];
    let runner = Process::start(&manager, dir.path(), &bin, &settings);
    let found = assessed(&manager, "a first look", |_| true).await;
    let versions: Vec<_> = found
        .interpreters
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let expected = [
        ("java", "17.0.9"),
        ("node", ""),
        ("perl", ""),
        ("php", ""),
        ("python3", "3.99.1"),
    ];
    assert_eq!(versions, expected);
    assert_eq!(found.declared, ["camera"]);
    assert!(found.cpus > 0 && found.memory_bytes > 0 && found.disk_bytes > 0 && !found.kernel.is_empty());

    program(&bin, "python3", "echo Python 3.99.2");
    program(&bin, "ruby", "echo ruby 3.1.2p20");
    let ruby = |found: &Assessment| {
        found
            .interpreters
            .get("ruby")
            .is_some_and(|version| version == "3.1.2p20")
    };
    let later = assessed(&manager, "a look that finds ruby", ruby).await;
    assert!(later.number > found.number);
    assert_eq!(later.interpreters["python3"], "3.99.2");
    drop(runner);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interpreter_that_hangs_costs_a_version_and_leaves_nothing() {
    let manager = Manager::start().await;
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let mark = dir.path().join("left");
    let hang = format!(
        "trap '' TERM; (while :; do read -t 1 <> <(:); done) & echo $! > {}; wait",
        mark.display()
    );
    program(&bin, "python3", &hang);
    let runner = Process::start(&manager, dir.path(), &bin, &[]);
    // The session does not wait for it.
    manager.container(ContainerState::Ready).await;
    let left = pid_in(&mark).await;
    let found = assessed(&manager, "a look", |_| true).await;
    assert_eq!(found.interpreters["python3"], "");
    eventually("the end of what it started", || (!lives(left)).then_some(())).await;
    drop(runner);
    manager.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_use_is_measured_and_stays_out_of_the_log() {
    let manager = Manager::start().await;
    let dir = tempfile::tempdir().unwrap();
    let runner = Process::start(&manager, dir.path(), dir.path(), &[]);
    let id = manager.container(ContainerState::Ready).await.id;
    assessed(&manager, "a look", |_| true).await;
    let before = manager.consensus.state().revision();
    let taken = || manager.samples.history(id, Millis(0)).samples;
    eventually("two samples", || (taken().len() > 1).then_some(())).await;
    let [first, second] = taken()[..2] else { panic!() };
    let apart = second.at.since(first.at).as_secs();
    assert!(second.sample.memory_bytes > 0 && second.sample.disk_used_bytes > 0 && apart >= 4);
    assert_eq!(manager.consensus.state().revision(), before);
    let shown = || manager.samples.render().contains(r#"container="box-1""#);
    assert!(shown());
    let [(container, Some(trip))] = manager.roster.open()[..] else {
        panic!("its round trip is not known: {:?}", manager.roster.open())
    };
    assert_eq!(container, id);
    assert!(trip.0 > 0);
    drop(runner);
    eventually("the session's end", || (!shown()).then_some(())).await;
    assert!(taken().len() > 1, "they stay for their hour");
    manager.stop().await;
}

/// A container of this machine's Docker Engine; it goes with this.
struct Docker {
    name: String,
    image: String,
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = docker::docker(&["rm", "--force", "--volumes", &self.name]);
        let _ = docker::docker(&["rmi", "--force", &self.image]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_docker_containers_limits_are_seen() {
    if let Some(why) = docker::missing() {
        assert!(std::env::var_os("CI").is_none(), "no engine to test with: {why}");
        eprintln!("skipped: no engine to test with: {why}");
        return;
    }
    let manager = Manager::start().await;
    let dir = tempfile::tempdir().unwrap();
    let id = format!("quorate-assessed-{:08x}", rand::random::<u32>());
    let container = Docker {
        image: format!("{id}:latest"),
        name: id,
    };
    docker::make_image(Path::new(QUORATE), &container.image, dir.path()).unwrap();
    docker::docker_with(
        ("QUORATE_JOIN_TOKEN", &manager.token.to_string()),
        &[
            "run",
            "--detach",
            "--network",
            "host",
            "--name",
            &container.name,
            "--cpus",
            "0.5",
            "--memory",
            "128m",
            "--env",
            "QUORATE_JOIN_TOKEN",
            &container.image,
            "runner",
            "--name",
            "box-1",
            "--data-dir",
            "/data",
            "--managers",
            &manager.address.to_string(),
        ],
    )
    .unwrap();
    let ready = manager.container(ContainerState::Ready).await;
    assert_eq!(
        (ready.resources.cpu_millis, ready.resources.memory_bytes),
        (500, 128 << 20)
    );
    let found = assessed(&manager, "a look", |_| true).await;
    assert_eq!(
        (found.cpu_limit_millis, found.memory_limit_bytes),
        (Some(500), Some(128 << 20))
    );
    assert!(found.memory_bytes > 128 << 20, "of the machine");
    assert!(found.interpreters.is_empty(), "there is nothing but the binary");
    let taken = || manager.samples.history(ready.id, Millis(0)).samples.pop();
    let sample = eventually("a sample", taken).await.sample;
    assert!((1..=128 << 20).contains(&sample.memory_bytes), "{sample:?}");
    assert!(sample.cpu_millis <= 600, "{sample:?}");
    drop(container);
    manager.stop().await;
}
