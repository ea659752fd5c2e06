//! Bodies, addresses and headers from whoever reaches the API.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    body,
    call::Call,
    configs,
    headers::IDEMPOTENCY_KEY,
    params::{Freshness, LABELLED_LIST, Paging, Params, only_local, write_continue},
    precondition,
    types::{ApproveRequest, ContainerRequest, EngineRequest, JoinTokenRequest, ScanRequest, TokenRequest},
};
use crate::{
    command::{AgentCommand, Command, Condition, ContainerCommand, DiscoveryCommand, Proposal},
    model::{
        AgentId, AgentSpec, ContainerId, MAX_SCAN_CIDRS, MAX_SCAN_PORTS, MAX_SCANNED, Millis, Name, ScanId,
        ScanPlan, Selector,
    },
    security::{ApiToken, JoinToken},
    state::State,
};

/// A body of some kind; what is accepted is applied.
///
/// # Panics
/// When something does not hold.
pub fn api_bodies(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else {
        return;
    };
    match kind % 10 {
        0 => {
            if let Some(spec) = parsed::<AgentSpec>(text) {
                deployed(&spec);
            }
        }
        1 => {
            let spec = std::str::from_utf8(text).ok();
            if let Some(spec) = spec.and_then(|text| toml::from_str::<AgentSpec>(text).ok()) {
                deployed(&spec);
            }
        }
        2 => {
            if let Some(asked) = parsed::<ContainerRequest>(text) {
                applied(Command::Container(ContainerCommand::Register {
                    id: ContainerId(1),
                    name: asked.name,
                    labels: asked.labels,
                }));
            }
        }
        3 => drop(parsed::<EngineRequest>(text)),
        4 => drop(parsed::<TokenRequest>(text)),
        5 => drop(parsed::<JoinTokenRequest>(text)),
        6 => {
            let text = String::from_utf8_lossy(text);
            let _ = text.parse::<ApiToken>();
            let _ = text.parse::<JoinToken>();
        }
        7 => {
            let text = String::from_utf8_lossy(text);
            let _ = text.parse::<Selector>();
            if let Ok(name) = text.parse::<Name>() {
                assert_eq!(name.to_string(), text);
            }
        }
        8 => {
            if let Some(asked) = parsed::<ScanRequest>(text) {
                scanned(asked);
            }
        }
        _ => drop(parsed::<ApproveRequest>(text)),
    }
}

/// What was read can be written, and reads as the same.
fn parsed<T: Serialize + DeserializeOwned>(text: &[u8]) -> Option<T> {
    let value: T = body::parse(text).ok()?;
    let once = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&once).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("as before"), once);
    Some(value)
}

/// A spec that is let in survives the log, the state and a snapshot.
fn deployed(spec: &AgentSpec) {
    if spec.check().is_err() {
        return;
    }
    let json = serde_json::to_vec(spec).expect("a spec can be written");
    assert_eq!(
        &serde_json::from_slice::<AgentSpec>(&json).expect("and read"),
        spec
    );
    applied(Command::Agent(AgentCommand::Deploy {
        id: AgentId(1),
        spec: spec.clone().into(),
    }));
}

/// A scan that is let in ends, and goes to no place twice.
fn scanned(asked: ScanRequest) {
    let Ok(plan) = ScanPlan::new(asked.cidrs, asked.ports) else {
        return;
    };
    assert!(plan.total() <= (MAX_SCANNED as u64) * MAX_SCAN_PORTS as u64);
    assert!(plan.cidrs().len() <= MAX_SCAN_CIDRS);
    assert!(plan.places().take(100).all(|place| plan.covers(place)));
    applied(Command::Discovery(DiscoveryCommand::Scan {
        id: ScanId(1),
        plan,
        scheduled: false,
    }));
}

fn applied(command: Command) {
    let proposal = Proposal {
        at: Millis(1),
        by: crate::command::Principal::Manager,
        key: None,
        command,
    };
    let bytes = postcard::to_stdvec(&proposal).expect("a proposal can be written");
    let read: Proposal = postcard::from_bytes(&bytes).expect("and read");
    assert_eq!(read, proposal);
    let mut state = State::default();
    assert!(state.apply(1, 1, &proposal).result.is_ok());
    if let Err(violation) = state.check() {
        panic!("{violation}");
    }
    let mut snapshot = Vec::new();
    state.write_to(&mut snapshot).expect("memory");
    State::read_from(&snapshot[..]).expect("a snapshot can be read");
}

/// A request's address on the first line, a header on each further one.
///
/// # Panics
/// When something does not hold.
pub fn api_params(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let address = lines.next().unwrap_or_default();
    let Ok(request) = Request::builder().uri(address).body(()) else {
        return;
    };
    let (mut parts, ()) = request.into_parts();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            parts.headers.append(name, value);
        }
    }
    conditions(&parts.headers);
    let _ = body::expect_json(&parts.headers);
    let _ = configs::content_type(&parts.headers);
    if let Ok(params) = Params::of(&parts.uri, LABELLED_LIST) {
        let _ = Freshness::of(&params);
        let _ = only_local(&params);
        if let Ok(paging) = Paging::of(&params) {
            let _ = paging.after::<ContainerId>();
            if let Ok(Some(after)) = paging.after::<Name>() {
                assert!(!write_continue(&after).is_empty());
            }
        }
    }
    let call = Call::of(parts);
    if let Ok(name) = call.name_in::<Name>("/api/v1/configs/") {
        assert_eq!(name.parse::<Name>().ok(), Some(name));
    }
    let _ = call.name_in::<ContainerId>("/api/v1/containers/");
    if let Ok(Some(key)) = call.key(b"body") {
        assert!((1..=128).contains(&key.key.len()));
        assert_eq!(call.key(b"body").ok().flatten(), Some(key));
    }
    let _ = call.no_key();
}

/// Versions that were let in are found again when they are written as ETags.
fn conditions(headers: &HeaderMap) {
    let _ = precondition::none(headers);
    let _ = precondition::for_change(headers);
    let _ = precondition::for_read(headers);
    if let Ok(Condition::Version(versions)) = precondition::for_write(headers) {
        let mut again = HeaderMap::new();
        for version in &versions {
            again.append(header::IF_MATCH, precondition::etag(*version));
        }
        if !versions.is_empty() {
            let read = precondition::for_write(&again).expect("our own ETags are read");
            assert_eq!(read, Condition::Version(versions));
        }
    }
}

/// Inputs to begin with.
pub fn api_seeds() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let spec = r#"{"name":"web-1","command":"/bin/sh","args":["-c","x"],"env":{"A":"b"},"working_dir":"/","labels":{"a":"b"},"resources":{"cpu_millis":100,"memory_bytes":5},"constraints":"zone=a,!gpu","strategy":"least_loaded","restart":"on_failure","on_disconnect":"at_least_once","stop_grace_seconds":3}"#;
    let toml = "name = \"web\"\ncommand = \"/bin/sh\"\nargs = [\"-c\"]\nconstraints = \"zone!=a\"\n[env]\nA = \"b\"\n[resources]\ncpu_millis = 1\n";
    let bodies = [
        (0, spec),
        (1, toml),
        (2, r#"{"name":"box","labels":{"zone":"a"}}"#),
        (3, r#"{"name":"e","url":"tcp://h:2375"}"#),
        (3, r#"{"name":"e","url":"unix:///var/run/docker.sock"}"#),
        (4, r#"{"name":"t","role":"viewer","expires_in_seconds":60}"#),
        (5, r#"{"role":"runner","uses":3,"expires_in_seconds":null}"#),
        (6, "quorate_abc_def"),
        (7, "zone=a,gpu,!old,x!=y"),
        (7, "web-1"),
        (8, r#"{"cidrs":["10.0.0.0/24","fd00::/120"],"ports":[7997]}"#),
        (8, r#"{"cidrs":["::1"]}"#),
        (9, r#"{"fingerprint":"00"}"#),
    ];
    let bodies = bodies
        .into_iter()
        .map(|(kind, text): (u8, &str)| [&[kind], text.as_bytes()].concat());
    let key = IDEMPOTENCY_KEY;
    let params = [
        "/api/v1/configs/a%2Db?consistency=stale&min_revision=3\nif-none-match:\"1\", W/\"2\"".to_owned(),
        "/api/v1/configs/a?limit=10&continue=AXdlYg&selector=zone%3Da".to_owned(),
        format!(
            "/api/v1/configs/a\nif-match:\"7\", \"9\"\n{key}:abc\ncontent-type:text/plain; charset=utf-8"
        ),
        "/api/v1/agents/a/start\nif-match:*\ncontent-type:application/json".to_owned(),
    ];
    (bodies.collect(), params.map(String::into_bytes).into())
}
