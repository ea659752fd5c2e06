//! Any command, from a small world, so that they meet.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    command::{ClusterCommand, ConfigCommand, DiscoveryCommand, Loop, Principal},
    model::{
        Desired, DisconnectPolicy, EngineState, Finding, FindingKind, HealthStatus, Met, Networks, Role,
        ScanCount, ScanId, ScanPlan, ScanState, Token, TokenId,
    },
};

fn id() -> impl Strategy<Value = u64> {
    1..5u64
}

fn name() -> impl Strategy<Value = crate::model::Name> {
    id().prop_map(|n| format!("n{n}").parse().unwrap())
}

fn theirs() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(id().prop_map(|n| format!("{n}{n}")))
}

/// Guesses that often are right: revisions are small in these runs.
fn revision() -> impl Strategy<Value = Revision> {
    0..60u64
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Any),
        1 => Just(Condition::Exists),
        1 => Just(Condition::Absent),
        1 => revision().prop_map(|v| Condition::Version(vec![v])),
    ]
}

fn agent_state() -> impl Strategy<Value = AgentState> {
    use AgentState::*;
    proptest::sample::select(vec![
        Pending, Assigned, Starting, Running, Stopping, Stopped, Failed,
    ])
}

fn container_state() -> impl Strategy<Value = ContainerState> {
    use ContainerState::*;
    proptest::sample::select(vec![Candidate, Registered, Ready, Suspect, Lost])
}

/// A command with its free choices; `fit` makes those that must match the state match it, mostly.
fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => config().prop_map(Command::Config),
        6 => container().prop_map(Command::Container),
        6 => agent().prop_map(Command::Agent),
        1 => engine().prop_map(Command::Engine),
        1 => cluster().prop_map(Command::Cluster),
        1 => breaker().prop_map(Command::Cluster),
        1 => discovery().prop_map(Command::Discovery),
    ]
}

fn config() -> impl Strategy<Value = ConfigCommand> {
    prop_oneof![
        (name(), ".{0,9}", condition()).prop_map(|(name, value, condition)| ConfigCommand::Put {
            name,
            content_type: "text/plain".into(),
            value: Bytes::from(value),
            condition,
        }),
        (name(), condition()).prop_map(|(name, condition)| ConfigCommand::Delete { name, condition }),
    ]
}

fn connect() -> impl Strategy<Value = ContainerCommand> {
    (id(), 0..3u64, theirs()).prop_map(|(n, boot, engine_container)| ContainerCommand::Connect {
        id: ContainerId(n),
        boot,
        manager: n % 3 + 1,
        address: "10.0.0.1:1".into(),
        engine_container,
        labels: Labels::default(),
        capabilities: Capabilities::default(),
        resources: Resources {
            cpu_millis: 100,
            memory_bytes: 0,
        },
    })
}

fn observe() -> impl Strategy<Value = ContainerCommand> {
    use FoundState::{Dead, Paused, Running};
    let state = proptest::sample::select(vec![Running, Running, Dead, Paused]);
    let health = proptest::option::of(proptest::sample::select(vec![
        HealthStatus::Healthy,
        HealthStatus::Unhealthy,
    ]));
    let networks = proptest::option::of(id().prop_map(|n| Networks::lenient([format!("net{n}")])));
    let told = (state, health, networks);
    let one = (id(), id(), id(), told).prop_map(|(n, theirs, name, (state, health, networks))| Found {
        id: ContainerId(n),
        health,
        networks,
        ..found(&format!("{theirs}{theirs}"), &format!("n{name}"), state)
    });
    let found = proptest::collection::vec(one, 0..3);
    (1..3u64, revision(), found).prop_map(|(engine, as_of, found)| ContainerCommand::Observe {
        engine: EngineId(engine),
        as_of,
        found,
    })
}

/// Some are beyond all bounds.
fn assessment() -> impl Strategy<Value = Assessment> {
    (0..5u64, any::<u64>(), ".{0,9}").prop_map(|(number, figure, text)| Assessment {
        number,
        kernel: text.clone(),
        disk_bytes: figure,
        disk_free_bytes: figure.rotate_left(7),
        interpreters: [(text.clone(), text.clone())].into(),
        declared: vec![text; 2],
        ..Assessment::default()
    })
}

fn container() -> impl Strategy<Value = ContainerCommand> {
    let judge = (id(), revision(), container_state(), any::<bool>(), 0..9u64);
    prop_oneof![
        2 => (1..9u64, name(), theirs()).prop_map(|(n, name, engine_container)| ContainerCommand::Enroll {
            id: ContainerId(n), token: TOKEN, name, engine_container,
        }),
        1 => (id(), name()).prop_map(|(n, name)| ContainerCommand::Register {
            id: ContainerId(n), name, labels: Labels::default(),
        }),
        4 => connect(),
        5 => judge.prop_map(|(n, version, state, fenced, term)| ContainerCommand::Judge {
            id: ContainerId(n), version, term: term.max(TERM), state, fenced, reason: "why".into(),
        }),
        3 => observe(),
        1 => (id(), 0..3u64).prop_map(|(n, boot)| ContainerCommand::Leave { id: ContainerId(n), boot }),
        1 => (id(), condition()).prop_map(|(n, condition)| ContainerCommand::Remove {
            id: ContainerId(n), condition,
        }),
        1 => (id(), condition()).prop_map(|(n, condition)| ContainerCommand::Cordon {
            id: ContainerId(n), reason: "why".into(), condition,
        }),
        2 => (id(), condition()).prop_map(|(n, condition)| ContainerCommand::Uncordon {
            id: ContainerId(n), condition,
        }),
        2 => (id(), 0..3u64, assessment()).prop_map(|(n, boot, assessment)| ContainerCommand::Assess {
            id: ContainerId(n), boot, assessment,
        }),
        1 => (id(), 1..3u64, id(), condition()).prop_map(|(n, key, t, condition)| ContainerCommand::Approve {
            id: ContainerId(n), fingerprint: key.to_string(), condition,
            token: JoinToken { id: JoinTokenId(10 + t), ..token(Some(1)) },
        }),
        2 => (id(), 0..3u64, any::<bool>(), 0..9u64).prop_map(|(n, token, adopted, term)| ContainerCommand::Adopt {
            id: ContainerId(n), term: term.max(TERM), engine_container: "11".into(), token: ticket(token), adopted,
            reason: "why".into(),
        }),
    ]
}

fn discovery() -> impl Strategy<Value = DiscoveryCommand> {
    let scan = || (1..4u64).prop_map(ScanId);
    let term = || prop_oneof![3 => Just(TERM), 1 => Just(TERM + 1)];
    let place = |n: u64| format!("10.0.0.{n}:7").parse().unwrap();
    let met = (1..9u64, name(), id(), 1..3u64).prop_map(move |(n, name, at, key)| Met {
        id: ContainerId(n),
        name,
        address: place(at),
        fingerprint: key.to_string(),
    });
    let finding = id().prop_map(move |at| Finding {
        address: place(at),
        kind: FindingKind::OpenEngine,
        detail: "28.0".into(),
        scan: ScanId(0),
        seen_at: Millis(0),
    });
    let news = (
        proptest::collection::vec(met, 0..3),
        proptest::collection::vec(finding, 0..2),
    );
    let end = prop_oneof![Just(ScanState::Done), Just(ScanState::Interrupted)];
    prop_oneof![
        3 => (scan(), any::<bool>()).prop_map(|(id, scheduled)| DiscoveryCommand::Scan {
            id, scheduled, plan: ScanPlan::new(vec!["10.0.0.0/30".parse().unwrap()], Some(vec![7])).unwrap(),
        }),
        4 => (scan(), term(), 0..9u64, news).prop_map(|(id, term, done, (met, findings))| {
            let count = ScanCount { done, ..ScanCount::default() };
            DiscoveryCommand::Progress { id, term, count, met, findings }
        }),
        2 => (scan(), term(), end, any::<bool>()).prop_map(|(id, term, state, complete)| DiscoveryCommand::End {
            id, term, state, complete, reason: "why".into(),
        }),
        1 => scan().prop_map(|id| DiscoveryCommand::Cancel { id }),
    ]
}

fn agent() -> impl Strategy<Value = AgentCommand> {
    let deploy =
        (1..9u64, any::<bool>(), 0..60u64, 0..4u32).prop_map(|(n, exclusive, cpu_millis, replicas)| {
            let json = serde_json::json!({"name": format!("a{}", n % 7), "command": "/bin/true"});
            let mut spec: AgentSpec = serde_json::from_value(json).unwrap();
            spec.resources.cpu_millis = cpu_millis;
            // One is the rule, none is refused.
            spec.replicas = [1, 1, 0, 3][replicas as usize];
            if !exclusive {
                spec.on_disconnect = DisconnectPolicy::AtLeastOnce;
            }
            AgentCommand::Deploy {
                id: AgentId(n),
                spec: spec.into(),
            }
        });
    let desired = proptest::sample::select(vec![Desired::Running, Desired::Stopped, Desired::Removed]);
    let report = (id(), revision(), agent_state()).prop_map(|(n, epoch, state)| PlacementReport {
        placement: PlacementId(n),
        replica: replica(n),
        epoch,
        generation: 1,
        state,
        reason: "seen".into(),
        restarts: 1,
    });
    let reports = proptest::collection::vec(report, 1..3);
    prop_oneof![
        2 => deploy,
        2 => (id(), desired, condition()).prop_map(|(n, desired, condition)| AgentCommand::SetDesired {
            id: AgentId(n), desired, condition,
        }),
        4 => proptest::collection::vec(binding(), 1..3).prop_map(AgentCommand::Place),
        3 => (id(), 0..3u64, reports).prop_map(|(c, boot, reports)| AgentCommand::Report {
            container: ContainerId(c), boot, reports,
        }),
    ]
}

fn binding() -> impl Strategy<Value = Binding> {
    (id(), 1..4u32, revision(), id()).prop_map(|(n, ordinal, after, c)| Binding {
        replica: ReplicaId {
            ordinal,
            ..replica(n)
        },
        after,
        generation: 1,
        container: ContainerId(c),
    })
}

fn engine() -> impl Strategy<Value = EngineCommand> {
    prop_oneof![
        3 => (1..3u64).prop_map(|n| EngineCommand::Add {
            id: EngineId(n),
            name: format!("e{n}").parse().unwrap(),
            url: format!("tcp://h{n}:1").parse().unwrap(),
        }),
        1 => (1..3u64, condition()).prop_map(|(n, condition)| EngineCommand::Remove {
            id: EngineId(n), condition,
        }),
        1 => (1..3u64).prop_map(|n| EngineCommand::SetState {
            id: EngineId(n), state: EngineState::Connected, reason: "answers".into(),
        }),
    ]
}

/// What an adopted runner joins with; none for zero.
pub(super) fn ticket(id: u64) -> Option<JoinToken> {
    (id != 0).then(|| JoinToken {
        id: JoinTokenId(100 + id),
        expires_at: Some(Millis(1 << 40)),
        ..token(Some(1))
    })
}

pub(super) fn token(uses_left: Option<u32>) -> JoinToken {
    JoinToken {
        id: TOKEN,
        role: JoinRole::Runner,
        hash: [0; 32],
        expires_at: None,
        uses_left,
        version: 0,
    }
}

fn cluster() -> impl Strategy<Value = ClusterCommand> {
    prop_oneof![
        8 => Just(ClusterCommand::CreateJoinToken(token(None))),
        2 => Just(ClusterCommand::CreateJoinToken(token(Some(2)))),
        2 => Just(ClusterCommand::CreateJoinToken(manager_token())),
        2 => Just(ClusterCommand::RevokeJoinToken(TOKEN)),
        2 => id().prop_map(|incarnation| ClusterCommand::AllocateManager {
            token: MANAGER_TOKEN, incarnation,
        }),
        1 => id().prop_map(ClusterCommand::RetireManager),
        1 => (id(), any::<bool>()).prop_map(|(n, admin)| ClusterCommand::CreateToken(api_token(n, admin))),
        1 => id().prop_map(|n| ClusterCommand::RevokeToken(TokenId(n))),
        1 => id().prop_map(|n| ClusterCommand::Bootstrap {
            cluster_id: "c".into(),
            admin: api_token(n, true),
            join: manager_token(),
            // Above all that can have been allocated before.
            next_manager: 1_000,
        }),
    ]
}

fn breaker() -> impl Strategy<Value = ClusterCommand> {
    let open = (revision(), 0..9u64, 0..9u32, revision());
    prop_oneof![
        2 => open.prop_map(|(version, term, silent, since)| ClusterCommand::OpenBreaker {
            term: term.max(TERM), version, silent, fleet: silent * 2, since, reason: "why".into(),
        }),
        1 => (revision(), 0..9u64).prop_map(|(version, term)| ClusterCommand::CloseBreaker {
            term: term.max(TERM), version,
        }),
        1 => condition().prop_map(|condition| ClusterCommand::LiftBreaker { condition }),
    ]
}

const MANAGER_TOKEN: JoinTokenId = JoinTokenId(2);

fn manager_token() -> JoinToken {
    JoinToken {
        id: MANAGER_TOKEN,
        role: JoinRole::Manager,
        ..token(None)
    }
}

fn api_token(n: u64, admin: bool) -> Token {
    Token {
        id: TokenId(n),
        name: format!("t{n}").parse().unwrap(),
        role: if admin { Role::Admin } else { Role::Viewer },
        hash: [1; 32],
        expires_at: (n > 3).then_some(Millis(n)),
        version: 0,
    }
}

fn principal() -> impl Strategy<Value = Principal> {
    let from = any::<std::net::IpAddr>();
    prop_oneof![
        Just(Principal::Manager),
        Just(Principal::Loop(Loop::Scan)),
        (id(), proptest::option::of(from.clone())).prop_map(|(n, from)| Principal::Token {
            id: TokenId(n),
            name: format!("t{n}").parse().unwrap(),
            from,
        }),
        (id(), from.clone()).prop_map(|(n, from)| Principal::Newcomer {
            token: JoinTokenId(n),
            from,
        }),
        (id(), from).prop_map(|(n, from)| Principal::Runner {
            container: ContainerId(n),
            from,
        }),
    ]
}

pub(super) fn proposal() -> impl Strategy<Value = (bool, u64, Proposal)> {
    let key = proptest::option::weighted(0.2, (id(), 0..2u64));
    (any::<[bool; 2]>(), 0..100_000_000u64, principal(), key, command()).prop_map(
        |(fit, at, by, key, command)| {
            let key = key.map(|(n, fingerprint)| RequestKey {
                principal: TokenId(1),
                key: n.to_string(),
                fingerprint,
            });
            // Most entries are of the term that the verdicts name.
            let term = if fit[0] || fit[1] { TERM } else { TERM + 1 };
            (
                fit[0],
                term,
                Proposal {
                    at: Millis(at),
                    by,
                    key,
                    command,
                },
            )
        },
    )
}
