use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use toml::Table;

use super::schema::Schema;
use super::*;

const MANAGER: &str = include_str!("../../config/manager.toml");
const RUNNER: &str = include_str!("../../config/runner.toml");

/// A file that lives as long as the first of the two.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn load<T: Layered>(text: &str) -> Result<T, ConfigError> {
    let (_dir, path) = file(text);
    Sources::default().file(Some(path)).load()
}

fn env<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Sources {
    Sources::default().env(
        variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    )
}

/// What is wrong, without the directory the file stood in.
fn wrong<T: Layered + std::fmt::Debug>(result: Result<T, ConfigError>) -> String {
    let text = result.unwrap_err().to_string();
    text.lines()
        .map(|line| line.rsplit_once("/q.toml").map_or(line, |(_, rest)| rest))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The keys that have no default are written `#key`.
fn uncommented(text: &str) -> String {
    let open = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(open).collect::<Vec<_>>().join("\n")
}

fn keys(table: &Table, prefix: &str, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            toml::Value::Table(inner) => keys(inner, &path, found),
            toml::Value::Array(items) => {
                items
                    .iter()
                    .filter_map(|item| item.as_table())
                    .for_each(|item| keys(item, &path, found));
            }
            _ => {}
        }
        found.insert(path);
    }
}

fn file_shows<T: Layered + PartialEq + std::fmt::Debug>(text: &str) {
    assert_eq!(
        load::<T>(text).unwrap(),
        T::default(),
        "the file shows the defaults"
    );
    let mut named = BTreeSet::new();
    keys(&uncommented(text).parse().unwrap(), "", &mut named);
    let schema = Schema::new(Table::try_from(T::complete()).unwrap());
    let known: BTreeSet<String> = schema.paths().into_iter().collect();
    let missing: Vec<_> = known.difference(&named).collect();
    assert!(missing.is_empty(), "the file does not name {missing:?}");
    // All but what stands in the table that takes any key.
    let unknown: Vec<_> = named
        .difference(&known)
        .filter(|key| !key.starts_with("labels."))
        .collect();
    assert!(
        unknown.is_empty(),
        "the file names {unknown:?}, which there is not"
    );
}

#[test]
fn the_files_show_every_key_and_its_default() {
    file_shows::<ManagerConfig>(MANAGER);
    file_shows::<RunnerConfig>(RUNNER);
}

#[test]
fn the_examples_in_the_files_are_valid() {
    // A manager begins a cluster or joins one, a token is given or a file with it: not both.
    let text = uncommented(MANAGER);
    let begin: String = text
        .lines()
        .filter(|line| !line.starts_with("join"))
        .fold(String::new(), |a, l| a + l + "\n");
    let config = load::<ManagerConfig>(&begin).unwrap();
    assert_eq!(config.bootstrap.own().unwrap().id, 1);
    assert_eq!(
        config.api.advertise.unwrap().to_string(),
        "manager-1.example.org:7400"
    );
    let text = uncommented(RUNNER).replace("join_token_file", "#join_token_file");
    let config = load::<RunnerConfig>(&text).unwrap();
    assert_eq!(config.labels["zone"], "a");
    assert_eq!(config.capacity.memory, Some(Size(8 << 30)));
}

#[test]
fn what_is_printed_loads_again() {
    let text = "name = \"m\"\n[api]\nlisten = \"127.0.0.1:1\"\nplain = true\nmax_body = 2048\n[raft]\nheartbeat = \"50ms\"";
    let config = load::<ManagerConfig>(text).unwrap();
    let printed = config.print().unwrap();
    assert!(
        printed.contains("max_body = \"2KiB\"") && printed.contains("heartbeat = \"50ms\""),
        "{printed}"
    );
    assert_eq!(load::<ManagerConfig>(&printed).unwrap(), config);
    let config = load::<RunnerConfig>("join_token = \"qjt_swordfish\"").unwrap();
    assert_eq!(config.join_token.as_ref().unwrap().expose(), "qjt_swordfish");
    assert!(!config.print().unwrap().contains("swordfish"));
}

#[test]
fn later_layers_win() {
    let (_dir, path) =
        file("name = \"file\"\n[raft]\nkeep_logs = 1\nsnapshot_every = 1\n[logs]\nlevel = \"warn\"");
    let variables = [
        ("QUORATE_RAFT_KEEP_LOGS", "2"),
        ("QUORATE_LOGS_LEVEL", "debug"),
        ("PATH", "x"),
        ("QUORATE_NAME", ""),
    ];
    let config: ManagerConfig = env(variables)
        .file(Some(path))
        .set(["logs.level=trace", "logs.format = json"])
        .flag("--listen", "api.listen", Some("127.0.0.1:9"))
        .flag("--data", "data_dir", None::<String>)
        .load()
        .unwrap();
    assert_eq!(config.name, "file", "an empty variable is none");
    assert_eq!((config.raft.snapshot_every, config.raft.keep_logs), (1, 2));
    assert_eq!(
        config.logs,
        LogsConfig {
            level: "trace".into(),
            format: LogFormat::Json
        }
    );
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:9");
    assert_eq!(config.data_dir, ManagerConfig::default().data_dir);
}

#[test]
fn texts_become_every_kind_of_value() {
    let variables = [
        ("QUORATE_MANAGERS", "a:1, b:2"),
        ("QUORATE_LABELS", "zone=a,gpu=no"),
        ("QUORATE_CAPACITY_CPU_MILLIS", "500"),
        ("QUORATE_CAPACITY_MEMORY", "4096"),
    ];
    let config: RunnerConfig = env(variables)
        .set(["labels.gpu=yes", "labels.example.org/x=1"])
        .load()
        .unwrap();
    assert_eq!(config.managers, ["a:1", "b:2"].map(|text| text.parse().unwrap()));
    let labels: Vec<_> = config
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(labels, [("example.org/x", "1"), ("gpu", "yes"), ("zone", "a")]);
    assert_eq!(
        config.capacity,
        CapacityConfig {
            cpu_millis: Some(500),
            memory: Some(Size(4096))
        }
    );

    let peers = r#"[{ id = 1, peer = "a:1", api = "a:2", session = "a:3" }]"#;
    let set = format!("bootstrap.peers={peers}");
    let config: ManagerConfig = env([
        ("QUORATE_API_PLAIN", "true"),
        ("QUORATE_API_LISTEN", "[::1]:7400"),
    ])
    .set([set.as_str(), "bootstrap.id=1", "bootstrap.dir=x"])
    .load()
    .unwrap();
    assert!(config.api.plain);
    assert_eq!(config.bootstrap.own().unwrap().session.to_string(), "a:3");
}

#[test]
fn unknown_keys_are_named_with_their_line_and_the_nearest_known_one() {
    let text = "nam = \"x\"\n\n[api]\nlisten = \"0.0.0.0:1\"\nlissten = \"x\"\n[raft]\nsnapshots_every = 1\n[[bootstrap.peers]]\nid = 1\npeer = \"a:1\"\napi = \"a:2\"\nsession = \"a:3\"\nsesion = 1\n[pears]\nx = 1";
    let text = wrong(load::<ManagerConfig>(text));
    for expected in [
        ":1: `nam` is not a known key; the nearest one is `name`",
        ":5: `api.lissten` is not a known key; the nearest one is `api.listen`",
        ":7: `raft.snapshots_every` is not a known key; the nearest one is `raft.snapshot_every`",
        ":13: `bootstrap.peers.sesion` is not a known key; the nearest one is `bootstrap.peers.session`",
        ":14: `pears` is not a known key; the nearest one is `peers`",
    ] {
        assert!(text.lines().any(|line| line == expected), "{text}");
    }
    assert_eq!(text.lines().count(), 5, "{text}");
    // A key in the wrong section is found by its own name.
    assert!(wrong(load::<ManagerConfig>("dir = \"x\"")).ends_with("`bootstrap.dir`"));
    assert!(wrong(load::<ManagerConfig>("heartbeat = \"1s\"")).ends_with("`raft.heartbeat`"));
    let text = wrong(Sources::default().set(["api.plane=true"]).load::<ManagerConfig>());
    assert_eq!(
        text,
        "--set api.plane: `api.plane` is not a known key; the nearest one is `api.plain`"
    );
    let text = wrong(Sources::default().set(["name.x=1"]).load::<ManagerConfig>());
    assert!(
        text.starts_with("--set name.x: `name.x` is not a known key"),
        "{text}"
    );
}

#[test]
fn unknown_variables_are_errors_where_they_are_meant_for_us() {
    for (name, nearest) in [
        ("QUORATE_API_LISTN", "QUORATE_API_LISTEN"),
        ("QUORATE_RAFT_ANYTHING_AT_ALL", "QUORATE_RAFT_"),
        ("QUORATE_DATADIR", "QUORATE_DATA_DIR"),
    ] {
        let text = wrong(env([(name, "x")]).load::<ManagerConfig>());
        assert!(
            text.contains(&format!("`{name}`")) && text.contains(nearest),
            "{text}"
        );
    }
    let others = [
        ("QUORATE_TOKEN", "x"),
        ("QUORATE_ENDPOINTS", "x"),
        ("QUORATE_MANAGERS", "a:1"),
        ("QUORATE_API_SERVICE_HOST", "10.0.0.1"),
        ("QUORATE_API_PORT_7400_TCP_ADDR", "10.0.0.1"),
        ("QUORATE_API_PORT", "tcp://10.0.0.1:7400"),
    ];
    assert_eq!(
        env(others).load::<ManagerConfig>().unwrap(),
        ManagerConfig::default()
    );
}

#[test]
fn every_variable_stands_for_one_key() {
    for complete in [
        Table::try_from(ManagerConfig::complete()),
        Table::try_from(RunnerConfig::complete()),
    ] {
        let settable = Schema::new(complete.unwrap()).settable();
        let names: BTreeSet<String> = settable.iter().map(|path| path.replace('.', "_")).collect();
        assert_eq!(names.len(), settable.len());
    }
}

#[test]
fn wrong_values_are_told_with_their_place() {
    let text = "\n[api]\nlisten = \"nowhere\"\nplain = \"yes\"\nmax_body = \"lots\"\n[raft]\nheartbeat = \"100 parsecs\"\nkeep_logs = -1\n[logs]\nformat = \"xml\"";
    let text = wrong(load::<ManagerConfig>(text));
    for (at, key, part) in [
        (3, "api.listen", "`nowhere` is not an address"),
        (4, "api.plain", "boolean"),
        (5, "api.max_body", "a size such as"),
        (7, "raft.heartbeat", "`100 parsecs` is not a duration"),
        (8, "raft.keep_logs", "-1"),
        (10, "logs.format", "`text` or `json`"),
    ] {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!(":{at}: `{key}`")));
        assert!(line.is_some_and(|line| line.contains(part)), "{key}: {text}");
    }
    let text =
        wrong(env([("QUORATE_RAFT_KEEP_LOGS", "many"), ("QUORATE_API_PLAIN", "1")]).load::<ManagerConfig>());
    assert!(
        text.contains("QUORATE_RAFT_KEEP_LOGS: `raft.keep_logs` must be a whole number"),
        "{text}"
    );
    assert!(
        text.contains("QUORATE_API_PLAIN: `api.plain` must be `true` or `false`"),
        "{text}"
    );
    assert!(wrong(load::<ManagerConfig>("api = 3")).contains(":1: `api` is a section"));
    assert!(wrong(Sources::default().set(["api=3"]).load::<ManagerConfig>()).contains("is a section"));
    let text = wrong(
        Sources::default()
            .flag("--listen", "api.listen", Some("x"))
            .load::<ManagerConfig>(),
    );
    assert!(text.starts_with("--listen: `api.listen` is wrong"), "{text}");
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named() {
    let error = wrong(load::<RunnerConfig>("name = \"a\"\njoin_token = \"qjt_swordfish"));
    assert!(
        error.starts_with(":2: ") && !error.contains("swordfish"),
        "{error}"
    );
    let missing = Sources::default()
        .file(Some("/nowhere/q.toml"))
        .load::<RunnerConfig>()
        .unwrap_err();
    assert!(missing.to_string().contains("/nowhere/q.toml"));
    assert!(std::error::Error::source(&missing).is_some());
}

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

#[test]
fn a_machines_name_becomes_a_valid_one() {
    for (text, expected) in [
        ("Web_1.Example.org", "web_1.example.org"),
        ("-x-", "x"),
        ("my laptop", "my-laptop"),
        ("Ünal", "nal"),
        ("---", ""),
        ("", ""),
    ] {
        assert_eq!(valid_name(text), expected);
    }
    let long = format!("{}-{}", "a".repeat(62), "b".repeat(9));
    assert_eq!(valid_name(&long), "a".repeat(62));
}
