//! A simulated manager: the product's consensus on a simulated disk and network, and its clients.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use quorate::{
    command::{ClusterCommand, Command, Outcome, RequestKey},
    consensus::{
        Clock, Consensus, Fatal, First, Options, ProposeError, Runtime, Stores, TypeConfig,
        log_store::{LogStore, TailLimits, Writer},
        snapshot_store::SnapshotStore,
    },
    model::{JoinRole, JoinToken, JoinTokenId, ManagerId, Millis, Role, Token, TokenId},
    peers::{Me, Peers},
};
use rand::{Rng, rngs::StdRng};
use tokio::{sync::mpsc, task::spawn_local, time::sleep};
use turmoil::net::TcpListener;

use crate::{
    net::{self, SimDial},
    oracle::Told,
    plant::Plant,
    storage::Storage,
    world::{Live, Order, Pace, Shared, World},
};

/// When the simulated world begins, in milliseconds of the wall clock.
const EPOCH: u64 = 1_700_000_000_000;

/// What one process starts with.
struct Start {
    incarnation: u64,
    storage: Storage,
    first: First,
    fatal: Arc<Mutex<Option<String>>>,
    pace: Pace,
    wall: Millis,
    rng: StdRng,
    seed: u64,
}

fn begin(world: &mut World, id: ManagerId) -> Start {
    let (rng, pace, seed) = (world.fork(), world.fork(), world.rng.random());
    let skew = world.plan.skew;
    let wall = EPOCH + world.now + world.rng.random_range(0..=2 * skew);
    let node = world.node(id);
    node.fatal = Arc::default();
    node.seen.begin();
    Start {
        incarnation: node.incarnation,
        storage: node.storage.clone(),
        first: node.first.clone(),
        fatal: node.fatal.clone(),
        pace: Pace {
            rng: pace,
            slowness: node.slowness.clone(),
        },
        wall: Millis(wall - skew),
        rng,
        seed,
    }
}

fn bootstrap(managers: u64) -> ClusterCommand {
    ClusterCommand::Bootstrap {
        cluster_id: "simulated".into(),
        admin: Token {
            id: TokenId(1),
            name: "admin".parse().unwrap(),
            role: Role::Admin,
            hash: [0; 32],
            expires_at: None,
            version: 0,
        },
        join: JoinToken {
            id: JoinTokenId(2),
            role: JoinRole::Manager,
            hash: [0; 32],
            expires_at: None,
            uses_left: None,
            version: 0,
        },
        next_manager: managers + 1,
    }
}

/// The process of one manager.
pub async fn run(world: Shared, id: ManagerId) -> turmoil::Result {
    let start = begin(&mut world.borrow_mut(), id);
    let told = keep_first(&start.fatal);
    let fatal: Fatal = Arc::new(move |why| told(why.to_string()));
    let end = keep_first(&start.fatal);
    let hook = Arc::new(keep_first(&start.fatal));
    let limits = TailLimits {
        entries: 64,
        bytes: 1 << 20,
    };
    let opened = LogStore::<TypeConfig>::on_disk(Arc::new(start.storage.clone()), limits, hook);
    let (log, writer) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            end(format!("the log is refused: {error:?}"));
            return Ok(());
        }
    };
    let snapshots = match SnapshotStore::open_in(Arc::new(start.storage.clone()), "snapshots".as_ref()) {
        Ok(snapshots) => Arc::new(snapshots),
        Err(error) => {
            end(format!("the snapshots are refused: {error:?}"));
            return Ok(());
        }
    };
    spawn_local(write(writer, start.pace));
    spawn_local(vouch(log.clone()));
    let me = Me {
        id,
        incarnation: start.incarnation,
    };
    let peers = Peers::new(Arc::new(SimDial(id)), me);
    let options = {
        let world = world.borrow();
        Options {
            info: net::info(id),
            stores: Stores {
                log: log.clone(),
                snapshots,
            },
            clock: Clock::starting_at(start.wall),
            raft: world.plan.raft.clone(),
            first: start.first,
            bootstrap: Some(bootstrap(world.plan.managers)),
            peers: peers.clone(),
            fatal,
        }
    };
    let mut rng = start.rng;
    // It runs for as long as it is held.
    let (consensus, _running) = match Runtime::scope(start.seed, Consensus::start(options)).await {
        Ok(started) => started,
        Err(error) => {
            end(format!("it does not start: {error:?}"));
            return Ok(());
        }
    };
    open(&world, id, &consensus, log);
    let listener = TcpListener::bind(("0.0.0.0", net::PORT)).await?;
    loop {
        let (stream, from) = listener.accept().await?;
        let Some(from) = net::who(from.ip()) else { continue };
        let (peers, seed) = (peers.clone(), rng.random());
        let serve = async move { peers.serve(Box::new(stream), from).await };
        spawn_local(Runtime::scope(seed, serve));
    }
}

/// Keeps the first reason it is given.
fn keep_first(reason: &Arc<Mutex<Option<String>>>) -> impl Fn(String) + Send + Sync + 'static {
    let reason = reason.clone();
    move |why| {
        reason.lock().unwrap().get_or_insert(why);
    }
}

/// Lets the harness and the clients in.
fn open(world: &Shared, id: ManagerId, consensus: &Consensus, log: LogStore<TypeConfig>) {
    let (orders, inbox) = mpsc::unbounded_channel();
    let mut here = world.borrow_mut();
    for _ in 0..here.plan.clients {
        let rng = here.fork();
        spawn_local(client(world.clone(), id, consensus.clone(), rng));
    }
    here.node(id).live = Some(Live {
        consensus: consensus.clone(),
        log,
        applied: consensus.watch_applied(),
        orders,
    });
    spawn_local(obey(world.clone(), id, consensus.clone(), inbox));
}

/// Runs the log's writer; each turn takes the disk a while.
async fn write(mut writer: Writer<TypeConfig>, mut pace: Pace) {
    while writer.turn_async(sleep(pace.next())).await {
        tokio::task::yield_now().await;
    }
    writer.finish();
}

/// What the watchdog's thread does in the program.
async fn vouch(log: LogStore<TypeConfig>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        log.refresh_watermark();
    }
}

async fn client(world: Shared, id: ManagerId, consensus: Consensus, mut rng: StdRng) {
    let pause = world.borrow().plan.pause;
    loop {
        sleep(Duration::from_millis(rng.random_range(1..=pause))).await;
        if world.borrow().quiet {
            continue;
        }
        if rng.random_bool(0.35) {
            read(&world, id, &consensus).await;
        } else {
            send(&world, id, &consensus, &mut rng).await;
        }
    }
}

async fn read(world: &Shared, id: ManagerId, consensus: &Consensus) {
    let (floor, plant) = {
        let world = world.borrow();
        (world.oracle.begin_read(), world.plant)
    };
    let shown = match plant {
        Plant::StaleRead => Ok(consensus.state()),
        _ => consensus.read().await,
    };
    let mut world = world.borrow_mut();
    match shown {
        Ok(state) => {
            world.oracle.end_read(floor, &state);
            world.node(id).read_at = world.now;
            world.note(format!("m{id} read at {}", state.revision()));
        }
        Err(error) => world.note(format!("m{id} read: {error}")),
    }
}

async fn send(world: &Shared, id: ManagerId, consensus: &Consensus, rng: &mut StdRng) {
    let (write, floor, plant) = {
        let mut world = world.borrow_mut();
        let write = world.oracle.next_write(rng);
        let floor = world.oracle.begin_write(&write);
        world.note(format!("m{id} write {}", write.number));
        (write, floor, world.plant)
    };
    let mut key = write.key.clone();
    if plant == Plant::KeyChanged
        && let Some(key) = &mut key
    {
        key.key = format!("{}-{}", key.key, rng.random_range(0..3));
    }
    let result = consensus
        .propose(quorate::command::Principal::Manager, key, write.command.clone())
        .await;
    let mut world = world.borrow_mut();
    let told = match result {
        Ok(reply) => {
            world.node(id).wrote_at = world.now;
            Told::Answered(reply)
        }
        Err(ProposeError::Unknown(_)) if plant != Plant::UnknownCalledFailed => Told::Unknown,
        Err(_) => Told::Failed,
    };
    world.note(format!("m{id} write {} -> {}", write.number, shown(&told)));
    let verdict = world.oracle.end_write(write, floor, told);
    world.hold(verdict);
}

fn shown(told: &Told) -> String {
    match told {
        Told::Answered(reply) => format!(
            "{}{} {:?}",
            reply.revision,
            if reply.replayed { " again" } else { "" },
            reply.result
        ),
        Told::Failed => "failed".into(),
        Told::Unknown => "unknown".into(),
    }
}

/// Does what the harness asks for, side by side.
async fn obey(world: Shared, id: ManagerId, consensus: Consensus, mut inbox: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = inbox.recv().await {
        let (world, consensus) = (world.clone(), consensus.clone());
        spawn_local(async move {
            let said = match &order {
                Order::Transfer => {
                    consensus
                        .transfer_leadership(None)
                        .map(|r| format!("{r:?}"))
                        .await
                }
                Order::Remove(who) => consensus.remove_manager(*who).map(|r| format!("{r:?}")).await,
                Order::Allocate { incarnation } => allocate(&world, &consensus, *incarnation).await,
            };
            world.borrow_mut().note(format!("m{id} {order:?} -> {said}"));
        });
    }
}

async fn allocate(world: &Shared, consensus: &Consensus, incarnation: u64) -> String {
    let allocate = ClusterCommand::AllocateManager {
        token: JoinTokenId(2),
        incarnation,
    };
    // As the product does: a retry must not take two ids.
    let key = RequestKey {
        principal: TokenId(1),
        key: format!("join-{incarnation}"),
        fingerprint: incarnation,
    };
    let reply = consensus
        .propose(
            quorate::command::Principal::Manager,
            Some(key),
            Command::Cluster(allocate),
        )
        .await;
    if let Ok(reply) = &reply
        && let Ok(Outcome::ManagerAllocated(new)) = reply.result
    {
        world.borrow_mut().to_join.push((new, incarnation));
    }
    format!("{reply:?}")
}
