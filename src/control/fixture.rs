//! A replicated state of one process, for tests: what is proposed is applied at once.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::{Deps, LivenessTable, Replica, Scanning};
use crate::{
    command::{Command, Loop, Reply},
    consensus::{Leadership, ProposeError},
    engine::EngineAccess,
    model::{ContainerId, FoundState, Revision},
    plan::Windows,
    probe::Prober,
    state::{State, bench::StateBench},
};

pub(super) use crate::state::bench::TERM;

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
    bench: Mutex<StateBench>,
    proposed: Mutex<Vec<Command>>,
    applied: watch::Sender<Revision>,
    leadership: watch::Sender<Option<Leadership>>,
    failing: watch::Sender<bool>,
}

impl Alone {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                bench: Mutex::default(),
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
        self.change(|bench| bench.reply(None, command))
    }

    /// Changes the state at once.
    fn change<T>(&self, change: impl FnOnce(&mut StateBench) -> T) -> T {
        let mut bench = self.inner.bench.lock().unwrap();
        let changed = change(&mut bench);
        let revision = bench.revision;
        drop(bench);
        self.inner.applied.send_replace(revision);
        changed
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
        self.change(|bench| {
            if bench.state.container(id).is_none() {
                bench.register(id.0, &format!("c{}", id.0)).unwrap();
            }
            bench.connect(id.0, boot, None).unwrap();
        });
    }

    /// Its engine reports it paused.
    pub(super) fn pause(&self, id: ContainerId) {
        self.change(|bench| bench.observe_known(id.0, FoundState::Paused, None));
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
        self.change(|bench| bench.waiting(id, constraints, 0));
    }
}

impl Replica for Alone {
    async fn propose(&self, _: Loop, command: Command) -> Result<Reply, ProposeError> {
        tokio::task::yield_now().await;
        self.inner.proposed.lock().unwrap().push(command.clone());
        if *self.inner.failing.borrow() {
            return Err(ProposeError::NotTaken("no leader".into()));
        }
        Ok(self.apply(command))
    }

    fn state(&self) -> Arc<State> {
        Arc::new(self.inner.bench.lock().unwrap().state.clone())
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
