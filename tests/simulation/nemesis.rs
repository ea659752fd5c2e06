//! The troubles: what they do, when they come and how they end.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use quorate::{consensus::First, model::ManagerId};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use turmoil::Sim;

use crate::{
    manager, net,
    plan::Trouble,
    storage::{End, Storage},
    world::{Order, Shared, Standing},
};

/// How the network is cut at the moment; one cut at a time.
#[derive(Debug)]
enum Cut {
    /// Nothing passes between the two sides.
    Between(Vec<String>, Vec<String>),
    /// The same, and what is sent arrives when it ends.
    Held(Vec<String>, Vec<String>),
    /// Nothing passes in this direction.
    OneWay(String, String),
}

/// Makes trouble, as a seed has it.
pub struct Nemesis {
    rng: StdRng,
    next: u64,
    cut: Option<(u64, Cut)>,
    slow_links: Vec<(u64, String, String)>,
    slow_disks: Vec<(u64, ManagerId)>,
    wiped: bool,
    /// Whom it ordered to be removed.
    leaving: BTreeSet<ManagerId>,
    directories: u64,
}

impl Nemesis {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed ^ 0x6e65_6d65),
            // A cluster first forms.
            next: 600,
            cut: None,
            slow_links: Vec::new(),
            slow_disks: Vec::new(),
            wiped: false,
            leaving: BTreeSet::new(),
            directories: 1_000,
        }
    }

    /// Lets it do what is due now.
    pub fn step(&mut self, sim: &mut Sim, world: &Shared) {
        let now = world.borrow().now;
        self.end_what_is_over(sim, world, now);
        if now >= self.next {
            let (trouble, every) = {
                let world = world.borrow();
                (
                    *world.plan.troubles.choose(&mut self.rng).expect("never empty"),
                    world.plan.every,
                )
            };
            self.next = now + self.rng.random_range(every / 4..=every);
            self.make(trouble, sim, world);
        }
        restart(sim, world, now);
        self.let_join(sim, world);
    }

    /// Ends every trouble at once.
    pub fn heal(&mut self, sim: &mut Sim, world: &Shared) {
        self.end_what_is_over(sim, world, u64::MAX);
        for node in world.borrow().nodes.values() {
            node.storage.live_on();
        }
        restart(sim, world, u64::MAX);
    }

    /// What still happens after the heal: who died or was allowed to join just before it comes.
    pub fn after(&mut self, sim: &mut Sim, world: &Shared) {
        restart(sim, world, u64::MAX);
        self.let_join(sim, world);
    }

    /// Makes this trouble now, for one of the running managers.
    pub fn make(&mut self, trouble: Trouble, sim: &mut Sim, world: &Shared) {
        let Some(one) = world.borrow().running().choose(&mut self.rng).copied() else {
            return;
        };
        match trouble {
            Trouble::Kill => self.crash(&[one], End::Process, sim, world),
            Trouble::Power => self.crash(&[one], End::Power, sim, world),
            Trouble::PowerAll => {
                let all = world.borrow().running();
                self.crash(&all, End::Power, sim, world);
            }
            Trouble::StorageDeath => {
                let calls = self.rng.random_range(0..60);
                let mut world = world.borrow_mut();
                world.node(one).storage.die_in(calls);
                world.note(format!("m{one} storage dies in {calls} calls"));
            }
            Trouble::Partition | Trouble::LeaderAlone | Trouble::OneWay => {
                self.cut_network(trouble, one, sim, world);
            }
            Trouble::SlowLink => self.slow_link(one, sim, world),
            Trouble::SlowDisk => self.slow_disk(one, world),
            Trouble::Transfer => {
                world.borrow_mut().happened.transfers += 1;
                order(world, one, Order::Transfer);
            }
            Trouble::Membership => self.change_members(one, world),
            Trouble::Wipe => self.wipe(one, sim, world),
        }
    }

    fn crash(&mut self, who: &[ManagerId], how: End, sim: &mut Sim, world: &Shared) {
        for id in who {
            let down = self.rng.random_range(20..1500);
            let mut here = world.borrow_mut();
            here.note(format!("m{id} ends: {how:?}, for {down} ms"));
            match how {
                End::Process => here.happened.kills += 1,
                End::Power => here.happened.power_cuts += 1,
            }
            let until = here.now + down;
            drop(here);
            stop(*id, how, until, &mut self.rng, sim, world);
        }
    }

    fn cut_network(&mut self, trouble: Trouble, one: ManagerId, sim: &mut Sim, world: &Shared) {
        if self.cut.is_some() {
            return;
        }
        let mut here = world.borrow_mut();
        let all: Vec<ManagerId> = here.nodes.keys().copied().collect();
        let alone = match trouble {
            Trouble::LeaderAlone => here.leader().unwrap_or(one),
            _ => one,
        };
        let mut side: BTreeSet<_> = [alone].into();
        if trouble == Trouble::Partition && all.len() > 3 && self.rng.random_bool(0.5) {
            side.extend(all.choose(&mut self.rng));
        }
        let names = |within: bool| -> Vec<String> {
            let ids = all.iter().filter(|id| side.contains(id) == within);
            ids.map(|id| net::name(*id)).collect()
        };
        let (a, b) = (names(true), names(false));
        let Some(other) = b.choose(&mut self.rng).cloned() else {
            return;
        };
        let cut = match trouble {
            Trouble::OneWay => {
                here.happened.one_way += 1;
                Cut::OneWay(net::name(alone), other)
            }
            _ if here.plan.drops => Cut::Between(a, b),
            _ => Cut::Held(a, b),
        };
        if trouble != Trouble::OneWay {
            here.happened.partitions += 1;
        }
        let last = self.rng.random_range(200..3000);
        here.note(format!("cut for {last} ms: {cut:?}"));
        match &cut {
            Cut::Between(a, b) => pairs(a, b, |a, b| sim.partition(a, b)),
            Cut::Held(a, b) => pairs(a, b, |a, b| sim.hold(a, b)),
            Cut::OneWay(from, to) => sim.partition_oneway(from.as_str(), to.as_str()),
        }
        self.cut = Some((here.now + last, cut));
    }

    fn slow_link(&mut self, one: ManagerId, sim: &mut Sim, world: &Shared) {
        let mut here = world.borrow_mut();
        let others: Vec<_> = here.nodes.keys().copied().filter(|id| *id != one).collect();
        let Some(other) = others.choose(&mut self.rng) else {
            return;
        };
        let (a, b) = (net::name(one), net::name(*other));
        let (most, last) = (self.rng.random_range(20..300), self.rng.random_range(300..3000));
        here.note(format!("{a} and {b} slow, {most} ms, for {last} ms"));
        here.happened.slow_links += 1;
        sim.set_link_max_message_latency(a.as_str(), b.as_str(), Duration::from_millis(most));
        self.slow_links.push((here.now + last, a, b));
    }

    fn slow_disk(&mut self, one: ManagerId, world: &Shared) {
        let mut here = world.borrow_mut();
        let (most, last) = (self.rng.random_range(20..400), self.rng.random_range(300..3000));
        here.note(format!("m{one} has a slow disk, {most} ms, for {last} ms"));
        here.happened.slow_disks += 1;
        here.node(one).slowness.store(most, Ordering::Relaxed);
        self.slow_disks.push((here.now + last, one));
    }

    /// A further manager, or one less.
    fn change_members(&mut self, one: ManagerId, world: &Shared) {
        let members: Vec<_> = world.borrow().truth.members().into_iter().collect();
        if members.is_empty() {
            return;
        }
        if members.len() > 3 {
            if let Some(who) = members.choose(&mut self.rng) {
                world.borrow_mut().happened.removals += 1;
                self.leaving.insert(*who);
                order(world, one, Order::Remove(*who));
            }
        } else if world.borrow().nodes.len() < 9 {
            self.directories += 1;
            let incarnation = self.directories;
            order(world, one, Order::Allocate { incarnation });
        }
    }

    /// Takes all data from one manager, once a run: with two it would be right to lose something. For the same
    /// reason not while another one may be on its way out.
    fn wipe(&mut self, one: ManagerId, sim: &mut Sim, world: &Shared) {
        let whole = world.borrow().serving().len();
        if self.wiped || whole < 3 || !world.borrow().serving().contains(&one) {
            return;
        }
        let loses = |id| world.borrow().truth.members().contains(id);
        if !world.borrow().truth.spares(one) || self.leaving.iter().any(loses) {
            return;
        }
        self.wiped = true;
        stop(one, End::Process, 0, &mut self.rng, sim, world);
        self.directories += 1;
        let mut here = world.borrow_mut();
        here.note(format!("m{one} loses all its data"));
        here.happened.wipes += 1;
        let (until, plant, incarnation) = (here.now + 200, here.plant, self.directories);
        let node = here.node(one);
        node.storage = Storage::new(plant);
        node.incarnation = incarnation;
        node.wiped = true;
        node.seen = crate::checks::Seen::default();
        node.standing = Standing::Down(until);
    }

    /// Starts managers that were given an id.
    fn let_join(&mut self, sim: &mut Sim, world: &Shared) {
        let joining = std::mem::take(&mut world.borrow_mut().to_join);
        for (id, incarnation) in joining {
            let mut here = world.borrow_mut();
            if here.nodes.contains_key(&id) {
                continue;
            }
            let known = here
                .truth
                .members()
                .into_iter()
                .map(|id| (id, net::info(id)))
                .collect();
            here.add(id, incarnation, First::Join(known));
            here.happened.joins += 1;
            here.note(format!("m{id} comes to join"));
            drop(here);
            host(sim, world, id);
        }
    }

    fn end_what_is_over(&mut self, sim: &mut Sim, world: &Shared, now: u64) {
        if let Some((_, cut)) = self.cut.take_if(|(until, _)| *until <= now) {
            world.borrow_mut().note(format!("no more {cut:?}"));
            match &cut {
                Cut::Between(a, b) => pairs(a, b, |a, b| sim.repair(a, b)),
                Cut::Held(a, b) => pairs(a, b, |a, b| sim.release(a, b)),
                Cut::OneWay(from, to) => sim.repair_oneway(from.as_str(), to.as_str()),
            }
        }
        let latency = Duration::from_millis(world.borrow().plan.latency);
        for (_, a, b) in self.slow_links.extract_if(.., |(until, ..)| *until <= now) {
            sim.set_link_max_message_latency(a.as_str(), b.as_str(), latency);
            world.borrow_mut().note(format!("{a} and {b} as before"));
        }
        for (_, id) in self.slow_disks.extract_if(.., |(until, _)| *until <= now) {
            let mut here = world.borrow_mut();
            let usual = here.plan.disk;
            here.node(id).slowness.store(usual, Ordering::Relaxed);
        }
    }
}

fn pairs(a: &[String], b: &[String], each: impl Fn(&str, &str)) {
    a.iter().for_each(|a| b.iter().for_each(|b| each(a, b)));
}

/// Hands an order to a running manager.
pub fn order(world: &Shared, to: ManagerId, order: Order) {
    let mut here = world.borrow_mut();
    here.note(format!("m{to} is asked: {order:?}"));
    if let Some(live) = &here.node(to).live {
        // It may have ended: then nobody obeys.
        let _ = live.orders.send(order);
    }
}

/// Puts a manager's machine into the network.
pub fn host(sim: &mut Sim, world: &Shared, id: ManagerId) {
    let world = world.clone();
    sim.host(net::name(id), move || manager::run(world.clone(), id));
}

/// Ends a manager; it is started again at `until`.
pub fn stop(id: ManagerId, how: End, until: u64, rng: &mut StdRng, sim: &mut Sim, world: &Shared) {
    let storage = {
        let mut here = world.borrow_mut();
        let node = here.node(id);
        node.live = None;
        node.standing = Standing::Down(until);
        node.storage.clone()
    };
    sim.crash(net::name(id));
    let before = storage.lost();
    storage.end(how, rng);
    world.borrow_mut().happened.lost_changes += storage.lost() - before;
}

/// Starts again whoever was down long enough.
fn restart(sim: &mut Sim, world: &Shared, now: u64) {
    let due: Vec<_> = {
        let here = world.borrow();
        let down = |standing: &Standing| matches!(standing, Standing::Down(until) if *until <= now);
        here.nodes
            .iter()
            .filter(|(_, node)| down(&node.standing))
            .map(|(id, _)| *id)
            .collect()
    };
    for id in due {
        let mut here = world.borrow_mut();
        here.node(id).standing = Standing::Running;
        here.note(format!("m{id} starts"));
        drop(here);
        sim.bounce(net::name(id));
    }
}
