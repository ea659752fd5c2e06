//! A replicated state of one process, for tests: what is proposed is applied at once.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{Deps, LivenessTable, Replica, Scanning};
use crate::{
    command::{AgentCommand, Command, ContainerCommand, Proposal, Reply},
    consensus::{Leadership, ProposeError},
    engine::EngineAccess,
    model::{AgentId, AgentSpec, Capabilities, ContainerId, Labels, Millis, Resources, Revision},
    plan::Windows,
    probe::Prober,
    state::State,
};

pub(super) const TERM: u64 = 3;

/// No scans but those that are asked for.
pub(super) fn scanning() -> Scanning {
    Scanning::new(
        Prober::new().unwrap(),
        None,
        std::time::Duration::from_secs(300),
        1_000,
    )
}

#[derive(Clone)]
pub(super) struct Alone {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<Arc<State>>,
    proposed: Mutex<Vec<Command>>,
    applied: watch::Sender<Revision>,
    leadership: watch::Sender<Option<Leadership>>,
    failing: watch::Sender<bool>,
}

impl Alone {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::default(),
                proposed: Mutex::default(),
                applied: watch::Sender::new(0),
                leadership: watch::Sender::new(None),
                failing: watch::Sender::new(false),
            }),
        }
    }

    pub(super) fn lead(&self, leads: bool) {
        self.inner
            .leadership
            .send_replace(leads.then_some(Leadership { term: TERM }));
    }

    pub(super) fn fail(&self, failing: bool) {
        self.inner.failing.send_replace(failing);
    }

    /// Applies a command that did not come from a loop.
    pub(super) fn apply(&self, command: Command) -> Reply {
        let mut state = self.inner.state.lock().unwrap();
        let mut next = (**state).clone();
        let revision = next.revision() + 1;
        let proposal = Proposal {
            at: Millis(revision),
            key: None,
            command,
        };
        let reply = next.apply(revision, TERM, &proposal);
        next.check().unwrap();
        *state = Arc::new(next);
        drop(state);
        self.inner.applied.send_replace(revision);
        reply
    }

    /// What the loops proposed so far.
    pub(super) fn proposed(&self) -> Vec<Command> {
        self.inner.proposed.lock().unwrap().clone()
    }

    /// Waits until the state is as wanted.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let mut applied = self.watch_applied();
        let reached = async {
            while !wanted(&self.state()) {
                applied.changed().await.unwrap();
            }
        };
        let limit = std::time::Duration::from_secs(20);
        if tokio::time::timeout(limit, reached).await.is_err() {
            panic!("never {what}: {:#?}", self.state());
        }
    }

    pub(super) fn ready(&self, id: ContainerId, boot: u64) {
        if self.state().container(id).is_none() {
            self.apply(Command::Container(ContainerCommand::Register {
                id,
                name: format!("c{}", id.0).parse().unwrap(),
                labels: Labels::default(),
            }))
            .result
            .unwrap();
        }
        self.apply(Command::Container(ContainerCommand::Connect {
            id,
            boot,
            address: "127.0.0.1:1".into(),
            engine_container: None,
            labels: Labels::default(),
            capabilities: Capabilities::default(),
            resources: Resources {
                cpu_millis: 1_000,
                memory_bytes: 1 << 30,
            },
        }))
        .result
        .unwrap();
    }

    /// Its engine reports it paused.
    pub(super) fn pause(&self, id: ContainerId) {
        let engine = crate::model::EngineId(1);
        self.apply(Command::Engine(crate::command::EngineCommand::Add {
            id: engine,
            name: "e".parse().unwrap(),
            url: "unix:///nowhere".parse().unwrap(),
        }));
        let known = self.state().container(id).unwrap().clone();
        let connect = ContainerCommand::Connect {
            id,
            boot: known.boot,
            address: "127.0.0.1:1".into(),
            engine_container: Some("ab12".into()),
            labels: Labels::default(),
            capabilities: Capabilities::default(),
            resources: known.resources,
        };
        self.apply(Command::Container(connect)).result.unwrap();
        let found = crate::model::Found {
            id: ContainerId(99),
            container: "ab12".into(),
            name: known.name.clone(),
            image: String::new(),
            labels: Labels::default(),
            networks: None,
            health: None,
            state: crate::model::FoundState::Paused,
            detail: "paused".into(),
        };
        self.apply(Command::Container(ContainerCommand::Observe {
            engine,
            as_of: 0,
            found: vec![found],
        }))
        .result
        .unwrap();
    }

    /// A change that no loop cares about.
    pub(super) fn put_config(&self) {
        let put = crate::command::ConfigCommand::Put {
            name: "k".parse().unwrap(),
            content_type: "text/plain".into(),
            value: bytes::Bytes::new(),
            condition: crate::command::Condition::Any,
        };
        self.apply(Command::Config(put)).result.unwrap();
    }

    pub(super) fn deploy(&self, id: u64, constraints: &str) {
        let spec: AgentSpec = serde_json::from_value(serde_json::json!({
            "name": format!("a{id}"), "command": "/bin/true", "constraints": constraints,
        }))
        .unwrap();
        self.apply(Command::Agent(AgentCommand::Deploy {
            id: AgentId(id),
            spec,
        }))
        .result
        .unwrap();
    }
}

impl Replica for Alone {
    async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        tokio::task::yield_now().await;
        self.inner.proposed.lock().unwrap().push(command.clone());
        if *self.inner.failing.borrow() {
            return Err(ProposeError::NotTaken("no leader".into()));
        }
        Ok(self.apply(command))
    }

    fn state(&self) -> Arc<State> {
        self.inner.state.lock().unwrap().clone()
    }

    fn watch_applied(&self) -> watch::Receiver<Revision> {
        self.inner.applied.subscribe()
    }

    fn watch_leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.inner.leadership.subscribe()
    }

    fn session_addresses(&self) -> Vec<String> {
        vec!["127.0.0.1:1".into()]
    }
}

/// What loops stand on in tests, where no engine is reached.
pub(super) fn deps(table: Arc<LivenessTable>, windows: Windows) -> Deps {
    Deps {
        table,
        windows,
        engines: EngineAccess::new("/nowhere".into()),
        trips: Arc::default(),
        scanning: scanning(),
        adopter: None,
    }
}
