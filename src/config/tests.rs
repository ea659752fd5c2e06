//! Layers, files, texts and messages.

mod fit;

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
