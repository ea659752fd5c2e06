//! One run: a seed, its troubles, the heal, and the verdict.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use turmoil::{Builder, Sim};

use crate::{
    checks::{self, Leaders},
    nemesis::{self, Nemesis},
    net,
    oracle::Counts,
    plan::{Plan, Trouble},
    plant::Plant,
    storage::End,
    world::{Happened, Shared, Standing, World},
};

/// How long, in milliseconds of simulated time, a healed cluster may take to serve through every member
/// and to settle.
const WITHIN: u64 = 10_000;

/// So long before the heal, in milliseconds, one manager is killed if chance has broken nothing by then.
const LATE: u64 = 1_000;

/// What a run showed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub seed: u64,
    pub verdict: Result<(), String>,
    pub ticks: u64,
    #[serde(skip)]
    pub trace: String,
    pub counts: Counts,
    pub happened: Happened,
    /// From the heal until every member served and was settled, in milliseconds.
    pub recovered: u64,
}

impl Report {
    /// Of a run of which nothing is known but that it went wrong.
    pub fn broken(seed: u64, why: String) -> Self {
        Self {
            seed,
            verdict: Err(why),
            ticks: 0,
            trace: String::new(),
            counts: Counts::default(),
            happened: Happened::default(),
            recovered: 0,
        }
    }
}

/// Runs a seed: `ticks` milliseconds of trouble, then the heal.
pub fn run_here(seed: u64, ticks: u64, plant: Plant) -> Report {
    let plan = Plan::of(seed);
    let world: Shared = Rc::new(RefCell::new(World::new(plan, plant, seed)));
    let mut sim = build(seed, &world);
    // A panic anywhere in a manager ends its runtime, and so this.
    let ran = catch_unwind(AssertUnwindSafe(|| drive(seed, ticks, &mut sim, &world)));
    let (verdict, recovered) = match ran {
        Ok(Ok(recovered)) => (Ok(()), recovered),
        Ok(Err(why)) => (Err(why), 0),
        Err(panic) => {
            // What is left of it is in no state to be taken down.
            std::mem::forget(sim);
            let why = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            (Err(format!("panic: {}", why.unwrap_or_default())), 0)
        }
    };
    let mut here = world.borrow_mut();
    if let Err(why) = &verdict {
        here.note(why);
    }
    Report {
        seed,
        verdict,
        ticks: here.now,
        trace: std::mem::take(&mut here.trace),
        counts: here.oracle.counts,
        happened: here.happened,
        recovered,
    }
}

fn build(seed: u64, world: &Shared) -> Sim<'static> {
    let latency = Duration::from_millis(world.borrow().plan.latency);
    let mut sim = Builder::new()
        .epoch(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .simulation_duration(Duration::from_secs(3600))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::ZERO)
        .max_message_latency(latency)
        .tcp_capacity(1 << 16)
        // A dial that is given up keeps its port.
        .ephemeral_ports(8_000..=65_535)
        .enable_random_order()
        .rng_seed(seed)
        .build();
    let ids: Vec<_> = world.borrow().nodes.keys().copied().collect();
    for id in ids {
        nemesis::host(&mut sim, world, id);
    }
    sim
}

fn drive(seed: u64, ticks: u64, sim: &mut Sim, world: &Shared) -> Result<u64, String> {
    let mut nemesis = Nemesis::new(seed);
    let mut rng = StdRng::seed_from_u64(seed ^ 0xd1e);
    let mut leaders = Leaders::default();
    let mut tick = |sim: &mut Sim| -> Result<(), String> {
        sim.step().map_err(|error| format!("the simulation: {error}"))?;
        let mut here = world.borrow_mut();
        here.now += 1;
        let dialled = net::dialled();
        if dialled.len() > net::TOO_OFTEN {
            here.hold(Err(format!("{} dials within a tick", dialled.len())));
        }
        dialled.into_iter().for_each(|line| here.note(line));
        let verdict = checks::step(&mut here, &mut leaders);
        here.hold(verdict);
        drop(here);
        see_ends(&mut rng, sim, world);
        world.borrow().broken.clone().map_or(Ok(()), Err)
    };
    while world.borrow().now < ticks {
        nemesis.step(sim, world);
        let now = world.borrow().now;
        if now + LATE == ticks && world.borrow().happened.broke() == 0 {
            nemesis.make(Trouble::Kill, sim, world);
        }
        tick(sim)?;
    }
    world.borrow_mut().note("heals");
    let healed = world.borrow().now;
    if world.borrow().plant == Plant::NeverHealed {
        sim.partition("m1", "m2");
        sim.partition("m1", "m3");
    }
    nemesis.heal(sim, world);
    loop {
        nemesis.after(sim, world);
        tick(sim)?;
        let mut here = world.borrow_mut();
        here.quiet = here.quiet || all_serve(&here, healed);
        if here.quiet && settled(&here) {
            checks::all_equal(&mut here)?;
            let recovered = here.now - healed;
            here.note(format!("settled after {recovered} ms"));
            proves_something(&here)?;
            return Ok(recovered);
        }
        if here.now > healed + WITHIN {
            return Err(format!(
                "not recovered {WITHIN} ms after the heal: {}",
                standing(&here)
            ));
        }
    }
}

/// Whether a write and a read were answered through every member since the heal.
fn all_serve(world: &World, healed: u64) -> bool {
    let serving = world.serving();
    !serving.is_empty()
        && serving.iter().all(|id| {
            let node = &world.nodes[id];
            node.wrote_at > healed && node.read_at > healed
        })
}

/// Whether every member has applied the same, all of it, and no change of members is half done.
fn settled(world: &World) -> bool {
    let newest = world.truth.end().checked_sub(1);
    let level = |id| {
        let node: &crate::world::Node = &world.nodes[id];
        node.live.is_some() && node.seen.revision() == newest
    };
    world.truth.is_settled() && world.serving().iter().all(level)
}

fn standing(world: &World) -> String {
    let serving = world.serving();
    let each = world.nodes.iter().map(|(id, node)| {
        format!(
            "m{id} {:?}{} serving: {} wrote at {} read at {} applied {:?}",
            node.standing,
            if node.wiped { " wiped" } else { "" },
            serving.contains(id),
            node.wrote_at,
            node.read_at,
            node.seen.revision(),
        )
    });
    format!(
        "{} committed; {}",
        world.truth.end(),
        each.collect::<Vec<_>>().join("; ")
    )
}

/// Looks after managers that said they must end.
fn see_ends(rng: &mut StdRng, sim: &mut Sim, world: &Shared) {
    let ended: Vec<_> = {
        let here = world.borrow();
        let why = |node: &crate::world::Node| node.fatal.lock().unwrap().clone();
        let running = here.nodes.iter().filter(|(_, n)| n.standing == Standing::Running);
        running
            .filter_map(|(id, node)| why(node).map(|why| (*id, why)))
            .collect()
    };
    for (id, why) in ended {
        let mut here = world.borrow_mut();
        here.note(format!("m{id} ends itself: {why}"));
        let (died, wiped) = (here.node(id).storage.is_dead(), here.node(id).wiped);
        let (incarnation, founders) = (here.node(id).incarnation, here.plan.managers);
        let removed = here.truth.lost_member(id) || here.truth.is_retired(id, incarnation, founders);
        let now = here.now;
        drop(here);
        if died {
            world.borrow_mut().happened.storage_deaths += 1;
            nemesis::stop(id, End::Power, now + 300, rng, sim, world);
        } else if wiped || removed {
            nemesis::stop(id, End::Process, 0, rng, sim, world);
            world.borrow_mut().node(id).standing = Standing::Gone;
        } else {
            let wrong = format!("m{id} ended itself: {why}");
            world.borrow_mut().hold(Err(wrong));
        }
    }
}

/// A run in which nothing happened must not count as a good one.
fn proves_something(world: &World) -> Result<(), String> {
    let (counts, happened) = (world.oracle.counts, world.happened);
    if counts.written < world.now / 1_000 || counts.read < world.now / 2_500 {
        return Err(format!("this proves nothing: {counts:?} in {} ms", world.now));
    }
    if happened.broke() == 0 || happened.leaders == 0 || happened.full_checks == 0 {
        return Err(format!("this proves nothing: {happened:?}"));
    }
    Ok(())
}
