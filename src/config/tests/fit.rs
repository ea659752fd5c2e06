//! What does not fit together, and what does.

use super::*;

/// Each line of a table: what is set, and what must be said about it, with where it was set.
#[test]
fn values_that_do_not_fit_together_are_refused() {
    let set = |assignments: &[&str]| Sources::default().set(assignments.iter().copied());
    let peer = |id| format!(r#"{{ id = {id}, peer = "a:1", api = "a:2", session = "a:3" }}"#);
    let twins = format!("bootstrap.peers=[{}, {}]", peer(1), peer(1));
    let zero = format!("bootstrap.peers=[{}]", peer(0));
    let one = format!("bootstrap.peers=[{}]", peer(1));
    let unspecified = one.replace("a:3", "0.0.0.0:3");
    let dir = "bootstrap.dir=x";
    for (assignments, expected) in [
        (
            &["api.plain=true"][..],
            "--set api.plain: `api.plain` is allowed on a loopback address only",
        ),
        (
            &["api.advertise=0.0.0.0:1"],
            "--set api.advertise: `api.advertise` has 0.0.0.0:1, which nobody can dial",
        ),
        (&["peers.advertise=[::]:1"], "`peers.advertise` has [::]:1"),
        (&["sessions.advertise=a:0"], "`sessions.advertise` has a:0"),
        (
            &["peers.listen=0.0.0.0:7400"],
            "`peers.listen` must differ from `api.listen`",
        ),
        (&["api.max_body=10"], "`api.max_body` must be at least 1KiB"),
        (&["api.max_connections=0"], "`api.max_connections` must be"),
        (&["api.request_timeout=1ms"], "`api.request_timeout` must be"),
        (&["name=-x"], "`name` is wrong: `-x` is not a name"),
        (&["name=X"], "`name` is wrong: `X` is not a name"),
        (&["data_dir="], "`data_dir` must not be empty"),
        (
            &["raft.heartbeat=200ms"],
            "`raft.election_min` must be at least twice `raft.heartbeat`, which is 200ms",
        ),
        (&["raft.heartbeat=0ms"], "`raft.heartbeat` must be"),
        (
            &["raft.election_max=200ms"],
            "`raft.election_max` must be more than",
        ),
        (&["raft.snapshot_every=0"], "`raft.snapshot_every` must be"),
        (&["liveness.suspect=1s"], "`liveness.suspect` must be at least 2s"),
        (&["liveness.lost=3s"], "`liveness.lost` must be more than"),
        (&["liveness.fence=9s"], "`liveness.fence` must be at least 10s"),
        (
            &["liveness.self_stop=3s"],
            "`liveness.self_stop` must be more than",
        ),
        (
            &["liveness.lost=11s"],
            "`liveness.fence` must not be less than `liveness.lost`",
        ),
        (
            &["liveness.breaker_share=101"],
            "`liveness.breaker_share` must be a percentage",
        ),
        (
            &["liveness.breaker_least=0"],
            "`liveness.breaker_least` must be at least 1",
        ),
        (
            &["liveness.breaker_within=1s"],
            "`liveness.breaker_within` must be at least 2s",
        ),
        (
            &["discovery.cidrs=0.0.0.0/0"],
            "`discovery.cidrs` is no plan: `0.0.0.0/0` holds 4294967296 addresses",
        ),
        (
            &["discovery.cidrs=10.0.0.0/24", "discovery.ports="],
            "`discovery.cidrs` is no plan: no port",
        ),
        (&["discovery.rate=0"], "`discovery.rate` must be 1 to 10000"),
        (
            &["discovery.interval=10ms"],
            "`discovery.interval` must be at least 1s",
        ),
        (&["logs.level=inof"], "`logs.level` has `inof`"),
        (&["logs.level=info,=debug"], "`logs.level` has `=debug`"),
        (&["bootstrap.id=1"], "`bootstrap.id` means something with"),
        (&[&one, "bootstrap.id=1"], "`bootstrap.dir` must name the bundle"),
        (
            &[&one, dir, "bootstrap.id=2"],
            "`bootstrap.id` must be the id of one",
        ),
        (&[&twins, dir, "bootstrap.id=1"], "`bootstrap.peers` has the id 1"),
        (&[&zero, dir, "bootstrap.id=0"], "`bootstrap.peers` has the id 0"),
        (
            &[&unspecified, dir, "bootstrap.id=1"],
            "`bootstrap.peers` has 0.0.0.0:3",
        ),
        (
            &["bootstrap.join=a:1"],
            "`bootstrap.join_token_file` must name a file",
        ),
        (
            &["bootstrap.join_token_file=x"],
            "`bootstrap.join_token_file` means something with",
        ),
        (
            &["bootstrap.join=a:1", dir, "bootstrap.join_token_file=x"],
            "`bootstrap.join` excludes",
        ),
        (
            &["bootstrap.join=a:0", "bootstrap.join_token_file=x"],
            "`bootstrap.join` has a:0",
        ),
    ] {
        let text = wrong(set(assignments).load::<ManagerConfig>());
        assert!(text.contains(expected), "{assignments:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{assignments:?}: {text}");
    }
    for (assignments, expected) in [
        (&["managers="][..], "`managers` must name at least one"),
        (&["managers=0.0.0.0:1"], "`managers` has 0.0.0.0:1"),
        (
            &["join_token=a", "join_token_file=b"],
            "`join_token_file` excludes `join_token`",
        ),
        (&["capacity.cpu_millis=0"], "`capacity.cpu_millis` must be"),
        (&["capacity.memory=0"], "`capacity.memory` must be"),
        (
            &["probe.listen=0.0.0.0:1"],
            "`probe.listen` needs a join token or `probe.ca`",
        ),
        (&["probe.ca=00"], "`probe.ca` must be the CA's fingerprint"),
    ] {
        let text = wrong(set(assignments).load::<RunnerConfig>());
        assert!(text.contains(expected), "{assignments:?}: {text}");
    }
}

#[test]
fn what_fits_together_is_taken() {
    let set = |assignments: &[&str]| {
        Sources::default()
            .set(assignments.iter().copied())
            .load::<ManagerConfig>()
    };
    set(&[
        "api.plain=true",
        "api.listen=127.0.0.1:0",
        "peers.listen=127.0.0.1:0",
        "sessions.listen=127.0.0.1:0",
    ])
    .unwrap();
    set(&["bootstrap.join=a:1,b:1", "bootstrap.join_token_file=x"]).unwrap();
    set(&["bootstrap.dir=x"]).unwrap();
    let config = set(&["discovery.cidrs=10.0.0.0/24,fd00::/120", "discovery.ports=1,2"]).unwrap();
    assert_eq!(config.discovery.plan().unwrap().unwrap().total(), 2 * 512);
    // Found by a scan, a runner needs to know no manager.
    for safe in ["join_token=qjt_x", "probe.trust_first=true"] {
        let found = Sources::default().set(["probe.listen=[::]:7997", "managers=", safe]);
        assert!(found.load::<RunnerConfig>().unwrap().managers.is_empty());
    }
    let config = set(&["liveness.self_stop=4s", "liveness.lost=4s", "liveness.fence=5s"]).unwrap();
    assert_eq!(config.liveness.fence, Duration::from_secs(5));
}

#[test]
fn what_is_advertised_can_be_dialled() {
    let address = |text: &str| text.parse::<Address>().unwrap();
    let show = |listen: &str, advertise: Option<&str>| {
        advertised(&address(listen), advertise.map(address).as_ref(), 9).to_string()
    };
    assert_eq!(show("0.0.0.0:1", Some("m:2")), "m:2");
    assert_eq!(show("10.0.0.1:1", None), "10.0.0.1:1");
    assert_eq!(show("[::1]:0", None), "[::1]:9");
    assert_eq!(show("0.0.0.0:1", None), format!("{}:1", host_name()));

    let peers = r#"bootstrap.peers=[{ id = 1, peer = "p:1", api = "a:2", session = "p:3" }]"#;
    let config: ManagerConfig = Sources::default()
        .set([
            peers,
            "bootstrap.id=1",
            "bootstrap.dir=x",
            "api.advertise=z:1",
            "peers.listen=10.0.0.1:1",
        ])
        .load()
        .unwrap();
    let mut expected = vec![
        "10.0.0.1".to_owned(),
        "a".into(),
        "p".into(),
        "z".into(),
        host_name(),
    ];
    expected.sort();
    assert_eq!(config.hosts(), expected);
}
