//! The search for an order: Wing and Gong's algorithm as Lowe improved it, with a memory of what was tried.
//!
//! Beginnings and ends stand in a line. From its head on, the first operation that has begun and can happen now is
//! taken out of the line and done; an end that is met before its operation was done means that some choice was wrong,
//! and the last one is taken back. Which operations are done, together with the value they left, decides what can
//! follow, so a pair that was tried once is not tried again (Horn and Kroening, "Faster linearizability checking via
//! P-compositionality", 2015).
//!
//! Three things of our own. An operation without an end has no end in the line, and the search is over when all that
//! have one are done. It is done only where the next operation needs its value: one that is overwritten before anybody
//! looks may as well never have happened, so an order that has it is an order without it; without this rule, each
//! uncertain operation would double the search. And a read that can happen now is done now and never taken back
//! alone, as it changes nothing.

use std::collections::HashSet;

use super::{Effect, Step};

/// How much may be spent on one register.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Steps of the search.
    pub steps: u64,
    /// Pairs that are remembered; each takes a bit an operation and some 100 bytes.
    pub memory: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            steps: 50_000_000,
            memory: 2_000_000,
        }
    }
}

/// What the search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is an order.
    Order,
    /// There is none.
    NoOrder,
    /// The budget is spent, and it is not known.
    GaveUp,
}

/// Which steps are done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Box<[u64]>);

impl Done {
    fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into())
    }

    fn set(&mut self, step: usize) {
        self.0[step / 64] |= 1 << (step % 64);
    }

    fn clear(&mut self, step: usize) {
        self.0[step / 64] &= !(1 << (step % 64));
    }
}

/// A place in the line.
#[derive(Debug, Clone, Copy)]
enum Place {
    Begins(usize),
    Ends,
    /// Before the first and after the last.
    Edge,
}

/// Beginnings and ends by index, linked so that taking out and putting back cost nothing.
struct Line {
    places: Vec<Place>,
    next: Vec<usize>,
    before: Vec<usize>,
    /// Where each step begins and ends.
    of: Vec<(usize, Option<usize>)>,
}

/// The place before the first.
const HEAD: usize = 0;

impl Line {
    fn new(steps: &[Step]) -> Self {
        let mut moments: Vec<(u64, Place, usize)> = Vec::with_capacity(steps.len() * 2);
        for (number, step) in steps.iter().enumerate() {
            moments.push((step.from, Place::Begins(number), number));
            moments.extend(step.to.map(|to| (to, Place::Ends, number)));
        }
        moments.sort_by_key(|(index, _, _)| *index);
        let count = moments.len() + 2;
        let mut line = Self {
            places: vec![Place::Edge; count],
            next: (1..=count).collect(),
            before: (0..count).map(|place| place.saturating_sub(1)).collect(),
            of: vec![(HEAD, None); steps.len()],
        };
        for (number, (_, place, step)) in moments.into_iter().enumerate() {
            line.places[number + 1] = place;
            match place {
                Place::Begins(_) => line.of[step].0 = number + 1,
                _ => line.of[step].1 = Some(number + 1),
            }
        }
        line
    }

    fn first(&self) -> usize {
        self.next[HEAD]
    }

    fn take_out(&mut self, step: usize) {
        let (begins, ends) = self.of[step];
        for place in [Some(begins), ends].into_iter().flatten() {
            let (before, next) = (self.before[place], self.next[place]);
            self.next[before] = next;
            self.before[next] = before;
        }
    }

    /// Puts back the step that was taken out last.
    fn put_back(&mut self, step: usize) {
        let (begins, ends) = self.of[step];
        for place in [ends, Some(begins)].into_iter().flatten() {
            let (before, next) = (self.before[place], self.next[place]);
            self.next[before] = place;
            self.before[next] = place;
        }
    }
}

/// What the next operation meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct State {
    value: u32,
    /// Whether it was left by an operation without an end, and nobody looked yet.
    unseen: bool,
}

impl State {
    fn after(self, step: &Step) -> Option<Self> {
        if self.unseen && matches!(step.effect, Effect::Write(_)) {
            return None;
        }
        let value = step.effect.on(self.value)?;
        Some(Self {
            value,
            unseen: step.to.is_none() && !is_read(step),
        })
    }
}

/// Looks for an order of the steps, of which the register does not exist at first.
pub fn search(steps: &[Step], budget: &Budget) -> Found {
    let mut line = Line::new(steps);
    let mut done = Done::none(steps.len());
    let mut tried: HashSet<(Done, State)> = HashSet::new();
    // What was done, and the state before it.
    let mut taken: Vec<(usize, State)> = Vec::new();
    let mut left = steps.iter().filter(|step| step.to.is_some()).count();
    let (mut state, mut at, mut spent) = (State::default(), line.first(), 0);
    while left > 0 {
        spent += 1;
        if spent > budget.steps || tried.len() > budget.memory {
            return Found::GaveUp;
        }
        if let Place::Begins(step) = line.places[at] {
            at = line.next[at];
            let Some(after) = state.after(&steps[step]) else {
                continue;
            };
            done.set(step);
            let changes = !is_read(&steps[step]);
            if changes && !tried.insert((done.clone(), after)) {
                done.clear(step);
                continue;
            }
            taken.push((step, state));
            line.take_out(step);
            left -= usize::from(steps[step].to.is_some());
            (state, at) = (after, line.first());
            continue;
        }
        // An end whose operation is not done can't be passed.
        loop {
            let Some((step, before)) = taken.pop() else {
                return Found::NoOrder;
            };
            state = before;
            done.clear(step);
            line.put_back(step);
            left += usize::from(steps[step].to.is_some());
            if !is_read(&steps[step]) {
                at = line.next[line.of[step].0];
                break;
            }
        }
    }
    Found::Order
}

fn is_read(step: &Step) -> bool {
    matches!(step.effect, Effect::Read(_))
}
