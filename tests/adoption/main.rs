//! Containers of the real engine that have no runner, and managers that bring one in.
//!
//! What is brought is a static build of `quorate`: `make static` leaves it where it is looked for.

#[path = "../support/mod.rs"]
mod support;
mod yard;

use std::{fs, path::Path, process::Command};

use nix::sys::signal::{Signal, kill};
use quorate::{
    client::Condition,
    dev::docker::{docker, docker_with, make_image},
    model::{AgentSpec, AgentState, ContainerState},
};
use yard::{ENABLE, SLEEP, Yard, brought, only_runner, only_runner_and_user, piped, runners, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_one_static_program_is_adopted_and_always_comes_back_as_itself() {
    let Some(yard) = Yard::new(1).await else {
        return;
    };
    yard.watch().await;
    let name = yard.run(&[], &yard.scratch(), &SLEEP);
    let first = yard.adopted(&name).await;
    only_runner(&name);

    let spec: AgentSpec = serde_json::from_value(serde_json::json!({
        "name": "echo", "command": "/.quorate/quorate", "args": ["example-agent"],
    }))
    .unwrap();
    yard.client.deploy_agent(&spec).await.unwrap();
    let runs = async || {
        let agent = yard.client.agent("echo").await.unwrap();
        agent.state == AgentState::Running && agent.container == Some(first.id)
    };
    yard.cluster.eventually("the agent runs in it", runs).await;

    // The container itself is started again: the engine says so.
    docker(&["restart", "--time", "0", &name]).unwrap();
    let again = yard
        .until(&name, "back after a restart", |view| {
            view.version > first.version && view.state == ContainerState::Ready && !runners(&name).is_empty()
        })
        .await;
    assert_eq!((again.id, again.adopted), (first.id, true));
    yard.cluster.eventually("the agent is back", runs).await;

    // Only the runner dies: nobody says so.
    let dead = only_runner(&name);
    kill(dead, Signal::SIGKILL).unwrap();
    let again = yard
        .until(&name, "back after its runner's death", |view| {
            let another = runners(&name).iter().any(|runner| *runner != dead);
            another && view.state == ContainerState::Ready
        })
        .await;
    assert_eq!((again.id, again.adopted), (first.id, true));
    only_runner(&name);

    // No token is left: each was for one start.
    let tokens = yard.client.join_tokens(&Default::default()).await.unwrap();
    assert_eq!(tokens.items.len(), 1, "the bundle's own: {tokens:?}");
    let inspected = docker(&["inspect", &name]).unwrap();
    let told = docker(&["top", &name, "-eo", "pid,args"]).unwrap();
    let log = yard.cluster.log(0);
    assert!(![inspected, told, log].iter().any(|text| text.contains("qjt_")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_root_and_whoever_the_user() {
    let Some(yard) = Yard::new(1).await else {
        return;
    };
    yard.watch().await;
    let (small, large) = (yard.small(), yard.large());
    let volume = unique("volume");
    docker(&["volume", "create", &volume]).unwrap();
    yard.volumes.borrow_mut().push(volume.clone());
    let mounted = format!("{volume}:/v");
    let cases: [(&str, &[&str], &str, &[&str]); 5] = [
        ("a user by name", &["--user", "app"], &small, &["sleep", "1000"]),
        (
            "a user by number",
            &["--user", "4321:4321"],
            &large,
            &["/bin/sleep", "1000"],
        ),
        ("this machine's own shell", &[], &large, &["/bin/sleep", "1000"]),
        (
            "a volume",
            &["--read-only", "--volume", &mounted, "--user", "app"],
            &small,
            &["sleep", "1000"],
        ),
        (
            "memory",
            &["--read-only", "--tmpfs", "/m:exec,mode=1777", "--user", "app"],
            &small,
            &["sleep", "1000"],
        ),
    ];
    let started: Vec<_> = cases
        .iter()
        .map(|(what, args, image, command)| (what, yard.run(args, image, command)))
        .collect();
    for (what, name) in started {
        eprintln!("{what}");
        yard.adopted(&name).await;
        let user = match *what {
            "a user by number" => 4321,
            "this machine's own shell" => 0,
            _ => 1234,
        };
        assert_eq!(only_runner_and_user(&name).1, user);
    }
}

/// The image once more, as if it were for another kind of machine.
fn for_another_machine(yard: &Yard, image: &str) -> String {
    let tag = format!("{}:latest", unique("arm"));
    let dir = yard.work.path().join("saved");
    fs::create_dir_all(&dir).unwrap();
    piped(
        Command::new("docker").args(["save", image]),
        Command::new("tar").arg("-C").arg(&dir).arg("-x"),
    );
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    let config = dir.join(manifest[0]["Config"].as_str().unwrap());
    let mut about: serde_json::Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    about["architecture"] = "arm64".into();
    manifest[0]["RepoTags"] = serde_json::json!([tag]);
    fs::write(&config, about.to_string()).unwrap();
    fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    let _ = fs::remove_file(dir.join("repositories"));
    yard.images.borrow_mut().push(tag.clone());
    piped(
        Command::new("tar").arg("-C").arg(&dir).args(["-c", "."]),
        Command::new("docker").arg("load"),
    );
    tag
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_can_not_be_done_the_record_says_why() {
    let Some(yard) = Yard::new(1).await else {
        return;
    };
    let image = yard.scratch();
    let refused = yard.run(&["--label", "quorate.adopt=false"], &image, &SLEEP);
    let paused = yard.run(&[], &image, &SLEEP);
    docker(&["pause", &paused]).unwrap();
    let read_only = yard.run(&["--read-only"], &image, &SLEEP);
    let in_memory = yard.run(&["--read-only", "--tmpfs", "/m:exec"], &image, &SLEEP);
    let another = yard.run(&[], &for_another_machine(&yard, &image), &SLEEP);
    // Whoever has its volume too could read the runner's key.
    let volume = unique("volume");
    docker(&["volume", "create", &volume]).unwrap();
    yard.volumes.borrow_mut().push(volume.clone());
    let mounted = format!("{volume}:/v");
    let shared = yard.run(&["--read-only", "--volume", &mounted], &image, &SLEEP);
    yard.run(
        &["--label", "quorate.adopt=false", "--volume", &mounted],
        &image,
        &SLEEP,
    );
    // Its environment makes a configuration that no runner takes.
    let wrong = yard.run(&["--env", "QUORATE_CAPACITY_CPU_MILLIS=0"], &image, &SLEEP);
    yard.watch().await;
    for (name, why) in [
        (&read_only, "its root is read-only"),
        (&in_memory, "in /m: "),
        (&shared, "in /v: another container has this volume too"),
        (&another, "its image is for arm64"),
        (&wrong, "capacity.cpu_millis"),
    ] {
        let view = yard
            .until(name, why, |view| {
                view.adoption.as_ref().is_some_and(|told| told.contains(why))
            })
            .await;
        assert_eq!(
            (view.state, view.adopted),
            (ContainerState::Candidate, false),
            "{view:?}"
        );
        assert_eq!(view.adoption.as_ref(), Some(&view.reason));
    }
    // Those that were found before them were let alone.
    for name in [&refused, &paused] {
        let view = yard.find(name).await.unwrap();
        assert_eq!((view.state, view.adoption), (ContainerState::Candidate, None));
        assert!(!brought(name));
    }
    docker(&["unpause", &paused]).unwrap();
    yard.adopted(&paused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_runner_of_its_own_is_left_alone() {
    let Some(yard) = Yard::new(1).await else {
        return;
    };
    yard.watch().await;
    let image = unique("own");
    yard.images.borrow_mut().push(image.clone());
    make_image(Path::new(env!("CARGO_BIN_EXE_quorate")), &image, yard.work.path()).unwrap();
    let token = fs::read_to_string(yard.cluster.bundle().join("join.token")).unwrap();
    let start = |managers: &str| {
        let name = unique("own");
        yard.containers.borrow_mut().push(name.clone());
        let mut args = vec!["run", "--detach", "--network", "host", "--name", &name];
        args.extend(ENABLE);
        args.extend(["--label", &yard.label]);
        args.extend(["--env", "QUORATE_JOIN_TOKEN", &image, "runner", "--name", &name]);
        args.extend(["--data-dir", "/data", "--managers", managers]);
        docker_with(("QUORATE_JOIN_TOKEN", token.trim()), &args).unwrap();
        name
    };
    let lost = start("127.0.0.1:1");
    let well = start(&format!("127.0.0.1:{}", yard.cluster.session_port(0)));
    let ready = yard
        .until(&well, "ready", |view| view.state == ContainerState::Ready)
        .await;
    assert!(!ready.adopted);
    // This one's runner reaches nobody, for longer than the grace.
    let told = yard
        .until(&lost, "told apart", |view| view.adoption.is_some())
        .await;
    assert!(told.reason.contains("a runner of its own"), "{told:?}");
    assert!(!told.adopted);
    for name in [&lost, &well] {
        assert!(!brought(name), "none was brought in");
    }
    let ready = yard.find(&well).await.unwrap();
    assert_eq!((ready.adopted, ready.adoption), (false, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_starts_no_second_runner_and_a_removed_container_is_adopted_anew() {
    let Some(mut yard) = Yard::new(3).await else {
        return;
    };
    yard.watch().await;
    let name = yard.run(&[], &yard.scratch(), &SLEEP);
    let first = yard.adopted(&name).await;
    let runner = only_runner(&name);
    kill(runner, Signal::SIGSTOP).unwrap();
    let leader = yard.cluster.leader().await;
    yard.cluster.kill(leader);
    // The next leader misses the runner, and looks for it in the container.
    yard.until(&name, "looked at", |view| {
        let told = view.adoption.as_deref().unwrap_or_default();
        told.contains("runs and has no session")
    })
    .await;
    assert_eq!(only_runner(&name), runner);
    kill(runner, Signal::SIGCONT).unwrap();
    let back = yard.adopted(&name).await;
    assert_eq!((back.id, only_runner(&name)), (first.id, runner));

    yard.client.remove_container(&name, Condition::Any).await.unwrap();
    let anew = yard
        .until(&name, "adopted anew", |view| {
            view.adopted && view.state == ContainerState::Ready && view.id != first.id
        })
        .await;
    assert_ne!(only_runner(&name), runner);
    assert_eq!(anew.engine_container, first.engine_container);
}
