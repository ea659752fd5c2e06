//! The guards, on a real redis-server: by hand, and with two leaders in any order.

#[path = "../../tests/support/redis.rs"]
mod server;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use proptest::prelude::*;
use redis::aio::MultiplexedConnection;
use serde_json::json;

use self::server::RedisServer;
use super::{
    items::{Changed, Item, Shapes, Shown, Walk, stray},
    keys::{Keys, Kind, stamp},
    writer::{WriteError, Writer},
};
use crate::{
    command::{Command, Condition, ContainerCommand, Proposal},
    consensus::Status,
    model::{Agent, Container, ContainerId, Engine, Millis, Revision},
    state::State,
};

struct Plain;

impl Shapes for Plain {
    fn container(&self, _: &State, container: &Container) -> Vec<u8> {
        let shown = json!({"version": container.version, "cordoned": container.cordoned});
        shown.to_string().into_bytes()
    }

    fn agent(&self, _: &State, _: &Agent) -> Vec<u8> {
        unreachable!("there are none")
    }

    fn engine(&self, _: &State, _: &Engine) -> Vec<u8> {
        unreachable!("there are none")
    }

    fn placement(&self, _: &State, _: &Agent) -> Option<Vec<u8>> {
        None
    }

    fn health(&self, _: &State, _: &Status) -> Vec<u8> {
        b"{}".to_vec()
    }
}

/// What is done to one of a few containers.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Register,
    Cordon,
    Remove,
}

/// The states after each of some deeds, from the empty one on.
fn history(deeds: &[(u64, Deed)]) -> Vec<Arc<State>> {
    let mut state = State::default();
    let mut states = vec![Arc::new(state.clone())];
    for (revision, (n, deed)) in (1..).zip(deeds) {
        let id = ContainerId(*n);
        let command = match deed {
            Deed::Register => ContainerCommand::Register {
                id,
                name: format!("box-{n}").parse().unwrap(),
                labels: Default::default(),
            },
            Deed::Cordon => ContainerCommand::Cordon {
                id,
                reason: format!("at {revision}"),
                condition: Condition::Any,
            },
            Deed::Remove => ContainerCommand::Remove {
                id,
                condition: Condition::Any,
            },
        };
        let proposal = Proposal {
            at: Millis::default(),
            by: crate::command::Principal::Manager,
            key: None,
            command: Command::Container(command),
        };
        // Some are refused, which is as good.
        let _ = state.apply(revision, 1, &proposal);
        states.push(Arc::new(state.clone()));
    }
    states
}

fn shown(state: &State) -> Shown<'_> {
    Shown {
        state,
        shapes: &Plain,
    }
}

fn all(state: &State) -> Vec<Item> {
    let mut walk = Walk::default();
    let parts = std::iter::from_fn(|| Some(walk.next(&shown(state))).filter(|part| !part.is_empty()));
    parts.flatten().collect()
}

/// Each container in Redis: its stamp and its JSON.
type Objects = BTreeMap<String, (String, String)>;

/// What is in Redis, and the floor.
async fn look(connection: &mut MultiplexedConnection, keys: &Keys) -> (Objects, String) {
    let mut objects = Objects::new();
    let pattern = format!("{}container:*", keys.prefix);
    let found: Vec<String> = redis::cmd("KEYS")
        .arg(pattern)
        .query_async(connection)
        .await
        .unwrap();
    for key in found {
        let fields = redis::cmd("HMGET").arg(&key).arg("stamp").arg("json").to_owned();
        let fields: (String, String) = fields.query_async(connection).await.unwrap();
        objects.insert(key[keys.prefix.len() + "container:".len()..].to_owned(), fields);
    }
    let mut floor = redis::cmd("HGET");
    let floor: Option<String> = floor
        .arg(keys.meta())
        .arg("floor")
        .query_async(connection)
        .await
        .unwrap();
    (objects, floor.unwrap_or_default())
}

/// A leader that does one script at a time.
struct Leader {
    connection: MultiplexedConnection,
    writer: Option<Writer>,
    /// The state that it has, and the one that it has written.
    at: usize,
    base: Option<usize>,
    todo: VecDeque<Vec<Item>>,
}

impl Leader {
    async fn step(&mut self, keys: &Keys, states: &[Arc<State>]) {
        let state = &states[self.at];
        let revision = state.revision();
        let done = match &mut self.writer {
            None => match Writer::begin(self.connection.clone(), keys, revision, None).await {
                Ok(writer) => {
                    self.writer = Some(writer);
                    self.base = None;
                    self.todo = all(state).chunks(2).map(<[Item]>::to_vec).collect();
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Some(writer) => match self.todo.pop_front() {
                Some(items) => writer.write(revision, &items).await.map(drop),
                None if self.base == Some(self.at) => Ok(()),
                None => finish(writer, state).await.map(|()| self.base = Some(self.at)),
            },
        };
        match done {
            Ok(()) => {}
            Err(WriteError::Lost | WriteError::Newer(_) | WriteError::Damaged(_)) => {
                self.writer = None;
                self.todo.clear();
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Gets to know newer states, unless it is in the middle of writing one.
    fn advance(&mut self, by: usize, states: &[Arc<State>]) {
        let (Some(base), true) = (self.base, self.todo.is_empty()) else {
            if self.writer.is_none() {
                self.at = (self.at + by).min(states.len() - 1);
            }
            return;
        };
        self.at = (self.at + by).min(states.len() - 1);
        let (older, newer) = (&states[base], &states[self.at]);
        let mut changed = Changed::new(newer.changes_since(older));
        self.todo = std::iter::from_fn(|| changed.next(&shown(newer), older)).collect();
    }
}

async fn finish(writer: &mut Writer, state: &State) -> Result<(), WriteError> {
    for kind in Kind::ALL {
        let (places, _) = writer.members(kind, None).await?;
        let strays: Vec<_> = places
            .iter()
            .filter_map(|place| stray(state, kind, place))
            .collect();
        writer.write(state.revision(), &strays).await?;
    }
    writer
        .mark(state.revision(), 1, b"{}", [state.counts().containers, 0, 0, 0])
        .await
}

/// Whatever two leaders do in whatever order: nothing is written below the floor, which never sinks; what
/// stands at a stamp is what was so at that revision; and the newest state is what stays.
async fn interleaved(server: &RedisServer, deeds: &[(u64, Deed)], steps: &[(bool, usize)]) {
    let _: redis::Value = server.command(&["FLUSHALL"]).await;
    let keys = Keys::new("quorate", "two");
    let states = history(deeds);
    let mut connection = server.connect().await;
    let leader = |connection: &MultiplexedConnection| Leader {
        connection: connection.clone(),
        writer: None,
        at: 0,
        base: None,
        todo: VecDeque::new(),
    };
    let mut leaders = [leader(&connection), leader(&connection)];
    let (mut before, mut floor) = look(&mut connection, &keys).await;
    for (first, by) in steps {
        let leader = &mut leaders[usize::from(*first)];
        match by {
            0 => leader.step(&keys, &states).await,
            by => leader.advance(*by, &states),
        }
        let (after, floor_now) = look(&mut connection, &keys).await;
        assert!(floor_now >= floor, "the floor sank from {floor} to {floor_now}");
        for (id, (stamp, json)) in &after {
            if before.get(id).is_none_or(|(_, known)| known != json) {
                assert!(*stamp >= floor, "{id} was written at {stamp}, below {floor}");
            }
            let at: usize = stamp.parse().unwrap();
            let then = states[at].container(id.parse().unwrap()).unwrap();
            assert_eq!(json.as_bytes(), Plain.container(&states[at], then));
        }
        (before, floor) = (after, floor_now);
    }
    let newest = &mut leaders[0];
    newest.writer = None;
    newest.base = None;
    newest.todo.clear();
    newest.at = states.len() - 1;
    while newest.base.is_none() {
        newest.step(&keys, &states).await;
    }
    let last = &states[states.len() - 1];
    let expected: BTreeMap<_, _> = last
        .containers(None)
        .map(|container| (container.id.to_string(), Plain.container(last, container)))
        .collect();
    let (found, _) = look(&mut connection, &keys).await;
    let found: BTreeMap<_, _> = found
        .into_iter()
        .map(|(id, (_, json))| (id, json.into_bytes()))
        .collect();
    assert_eq!(found, expected);
}

fn deeds() -> impl Strategy<Value = Vec<(u64, Deed)>> {
    let deed = prop_oneof![Just(Deed::Register), Just(Deed::Cordon), Just(Deed::Remove)];
    prop::collection::vec((0..4_u64, deed), 1..30)
}

#[test]
fn two_leaders_in_any_order_end_at_the_newest() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let steps = prop::collection::vec(
        (any::<bool>(), prop_oneof![3 => Just(0_usize), 1 => 1..4_usize]),
        0..60,
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
    runner
        .run(&(deeds(), steps), |(deeds, steps)| {
            runtime.block_on(interleaved(&server, &deeds, &steps));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_late_write_of_an_old_leader_is_refused_by_each_guard() {
    let server = RedisServer::start();
    let keys = Keys::new("quorate", "one");
    let states = history(&[
        (1, Deed::Register),
        (1, Deed::Cordon),
        (1, Deed::Remove),
        (1, Deed::Register),
    ]);
    let mut connection = server.connect().await;
    let begin = async |revision: Revision| Writer::begin(server.connect().await, &keys, revision, None).await;
    let mut old = begin(2).await.unwrap();
    old.write(2, &all(&states[2])).await.unwrap();
    let mut new = begin(4).await.unwrap();
    new.write(4, &all(&states[4])).await.unwrap();

    // Another writer began.
    assert!(matches!(
        old.write(2, &all(&states[2])).await,
        Err(WriteError::Lost)
    ));
    // To begin again takes a state that is not older.
    assert!(matches!(begin(3).await, Err(WriteError::Newer(floor)) if floor == stamp(4)));
    // Under the new writer's own word.
    assert!(matches!(
        new.write(2, &all(&states[2])).await,
        Err(WriteError::Newer(_))
    ));
    // With nothing left but what the object says.
    let _: redis::Value = server.command(&["HDEL", &keys.meta(), "floor"]).await;
    let wrote = new.write(2, &all(&states[2])).await.unwrap();
    assert_eq!((wrote.changed, wrote.refused, wrote.newest), (0, 1, stamp(4)));
    // What a broken connection left under way.
    new.write(4, &[]).await.unwrap();
    new.mark(4, 1, b"{}", [1, 0, 0, 0]).await.unwrap();
    let resumed = new.resume(server.connect().await, 4).await.unwrap();
    assert!(matches!(
        new.write(4, &all(&states[4])).await,
        Err(WriteError::Lost)
    ));
    let mut resumed = resumed;

    // What is removed does not come back.
    let states = history(&[
        (1, Deed::Register),
        (2, Deed::Register),
        (1, Deed::Remove),
        (2, Deed::Remove),
    ]);
    let _: redis::Value = server.command(&["FLUSHALL"]).await;
    assert!(matches!(
        resumed.write(4, &all(&states[1])).await,
        Err(WriteError::Lost)
    ));
    let mut writer = begin(2).await.unwrap();
    writer.write(2, &all(&states[2])).await.unwrap();
    let mut changed = Changed::new(states[4].changes_since(&states[2]));
    while let Some(items) = changed.next(&shown(&states[4]), &states[2]) {
        writer.write(4, &items).await.unwrap();
    }
    assert!(matches!(
        writer.write(2, &all(&states[2])).await,
        Err(WriteError::Newer(_))
    ));
    assert!(look(&mut connection, &keys).await.0.is_empty());
}
