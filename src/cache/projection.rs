//! Brings Redis to a state: by what changed since the one it shows, or by all of it.

use std::{collections::VecDeque, mem, sync::Arc};

use redis::aio::MultiplexedConnection;

use super::{
    figures::Figures,
    items::{Changed, Item, Shapes, Shown, Walk, orphan, stray},
    keys::{Keys, Kind},
    writer::{BATCH_BYTES, BATCH_ITEMS, WriteError, Writer},
};
use crate::{consensus::Status, model::Revision, state::State};

/// Objects that one step of a sweep looks at, at least.
const SWEEP_STEP: usize = 1_000;

/// What Redis is known to show.
struct Held {
    writer: Writer,
    state: Arc<State>,
    /// Which process of Redis has it.
    run: Option<String>,
}

/// A sweep under way.
#[derive(Default)]
struct Sweep {
    walk: Walk,
    /// The lists that are still to be looked at after the walk, and where.
    lists: VecDeque<(Kind, Option<Vec<u8>>)>,
    /// The keys that are still to be looked at after the lists, and where.
    keys: Option<u64>,
}

/// What this manager keeps in Redis.
pub(super) struct Projection {
    keys: Keys,
    shapes: Arc<dyn Shapes>,
    figures: Figures,
    held: Option<Held>,
    sweep: Option<Sweep>,
}

impl Projection {
    pub fn new(keys: Keys, shapes: Arc<dyn Shapes>, figures: Figures) -> Self {
        Self {
            keys,
            shapes,
            figures,
            held: None,
            sweep: None,
        }
    }

    /// The revision that Redis shows, where it is known.
    pub fn revision(&self) -> Option<Revision> {
        self.held.as_ref().map(|held| held.state.revision())
    }

    /// Nothing is known of what Redis shows.
    pub fn forget(&mut self) {
        self.held = None;
        self.sweep = None;
    }

    /// Goes on with a new connection, if Redis still shows what it did.
    pub async fn resume(
        &mut self,
        connection: MultiplexedConnection,
        run: Option<String>,
    ) -> Result<(), WriteError> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        if run.is_none() || run != held.run {
            return Ok(());
        }
        match held.writer.resume(connection, held.state.revision()).await {
            Ok(writer) => self.held = Some(Held { writer, ..held }),
            Err(WriteError::Link(error)) => {
                self.held = Some(held);
                return Err(error.into());
            }
            Err(error) => tracing::info!(%error, "the projection in Redis is not as it was left"),
        }
        Ok(())
    }

    /// Writes what changed since the state that Redis shows. `false` where that is unknown.
    pub async fn follow(&mut self, state: &Arc<State>, status: &Status) -> Result<bool, WriteError> {
        let Some(held) = &mut self.held else {
            return Ok(false);
        };
        if state.revision() > held.state.revision() {
            let (newer, older) = (state.clone(), held.state.clone());
            let diff = tokio::task::spawn_blocking(move || newer.changes_since(&older));
            let Ok(changes) = diff.await else {
                self.forget();
                return Ok(false);
            };
            let mut changed = Changed::new(changes);
            let mut batch = Batch::at(state.revision());
            let shown = Shown {
                state,
                shapes: &*self.shapes,
            };
            while let Some(items) = changed.next(&shown, &held.state) {
                for item in items {
                    batch.add(item, &mut held.writer, &self.figures).await?;
                }
            }
            batch.write(&mut held.writer, &self.figures).await?;
            held.state = state.clone();
        }
        mark(&mut held.writer, &held.state, &*self.shapes, status).await?;
        Ok(true)
    }

    /// Writes everything, and takes away what is of no object. `foreign` is what bars the way and is not of
    /// this cluster's history.
    pub async fn refill(
        &mut self,
        connection: MultiplexedConnection,
        run: Option<String>,
        state: &Arc<State>,
        status: &Status,
        foreign: Option<&str>,
    ) -> Result<(), WriteError> {
        self.forget();
        self.figures.refills.increment(1);
        let mut writer = Writer::begin(connection, &self.keys, state.revision(), foreign).await?;
        let shown = Shown {
            state,
            shapes: &*self.shapes,
        };
        let (mut walk, mut batch) = (Walk::Begin, Batch::at(state.revision()));
        loop {
            let items = walk.next(&shown);
            if items.is_empty() {
                break;
            }
            for item in items {
                batch.add(item, &mut writer, &self.figures).await?;
            }
        }
        for kind in Kind::ALL {
            let mut from = None;
            loop {
                let (members, next) = writer.members(kind, from).await?;
                for item in members.iter().filter_map(|place| stray(state, kind, place)) {
                    batch.add(item, &mut writer, &self.figures).await?;
                }
                from = next;
                if from.is_none() {
                    break;
                }
            }
        }
        batch.write(&mut writer, &self.figures).await?;
        mark(&mut writer, state, &*self.shapes, status).await?;
        writer.settle();
        self.held = Some(Held {
            writer,
            state: state.clone(),
            run,
        });
        Ok(())
    }

    /// Begins to look at everything again, unless it is at it.
    pub fn begin_sweep(&mut self) {
        self.sweep.get_or_insert_default();
    }

    /// Looks at some of what Redis shows, and mends what is not as it was written.
    pub async fn sweep_on(&mut self) -> Result<(), WriteError> {
        let (Some(held), Some(sweep)) = (&mut self.held, &mut self.sweep) else {
            return Ok(());
        };
        let mut batch = Batch::at(held.state.revision());
        let shown = Shown {
            state: &held.state,
            shapes: &*self.shapes,
        };
        let mut seen = 0;
        while seen < SWEEP_STEP && sweep.walk != Walk::End {
            let items = sweep.walk.next(&shown);
            if items.is_empty() {
                sweep.lists = Kind::ALL.iter().map(|kind| (*kind, None)).collect();
                sweep.keys = Some(0);
            }
            seen += items.len();
            for item in items {
                batch.add(item, &mut held.writer, &self.figures).await?;
            }
        }
        while seen < SWEEP_STEP
            && let Some((kind, from)) = sweep.lists.pop_front()
        {
            let (members, next) = held.writer.members(kind, from).await?;
            seen += members.len();
            for item in members.iter().filter_map(|place| stray(&held.state, kind, place)) {
                batch.add(item, &mut held.writer, &self.figures).await?;
            }
            if next.is_some() {
                sweep.lists.push_front((kind, next));
            }
        }
        while seen < SWEEP_STEP
            && sweep.lists.is_empty()
            && let Some(from) = sweep.keys
        {
            let (keys, next) = held.writer.scan(from).await?;
            // A part with no key of ours was a look at others' keys.
            seen += keys.len().max(SWEEP_STEP / 5);
            let below = |key: &Vec<u8>| {
                let key = std::str::from_utf8(key).ok()?;
                orphan(&held.state, key.strip_prefix(&self.keys.prefix)?)
            };
            for item in keys.iter().filter_map(below) {
                batch.add(item, &mut held.writer, &self.figures).await?;
            }
            sweep.keys = next;
        }
        let over = sweep.walk == Walk::End && sweep.lists.is_empty() && sweep.keys.is_none();
        batch.write(&mut held.writer, &self.figures).await?;
        if over {
            self.sweep = None;
        }
        self.figures.mended.increment(batch.changed);
        if batch.changed > 0 {
            tracing::warn!(
                objects = batch.changed,
                "somebody else changed what this cluster keeps in Redis; it is mended"
            );
        }
        Ok(())
    }
}

async fn mark(
    writer: &mut Writer,
    state: &State,
    shapes: &dyn Shapes,
    status: &Status,
) -> Result<(), WriteError> {
    let counts = state.counts();
    let counts = [counts.containers, counts.agents, counts.engines, counts.placed];
    let health = shapes.health(state, status);
    writer.mark(state.revision(), status.id, &health, counts).await
}

/// Objects that go out together.
struct Batch {
    revision: Revision,
    items: Vec<Item>,
    bytes: usize,
    /// How many were not as they should be.
    changed: u64,
}

impl Batch {
    fn at(revision: Revision) -> Self {
        Self {
            revision,
            items: Vec::new(),
            bytes: 0,
            changed: 0,
        }
    }

    async fn add(&mut self, item: Item, writer: &mut Writer, figures: &Figures) -> Result<(), WriteError> {
        self.bytes += item.weight();
        self.items.push(item);
        if self.items.len() >= BATCH_ITEMS || self.bytes >= BATCH_BYTES {
            self.write(writer, figures).await?;
        }
        Ok(())
    }

    async fn write(&mut self, writer: &mut Writer, figures: &Figures) -> Result<(), WriteError> {
        self.bytes = 0;
        let wrote = writer.write(self.revision, &mem::take(&mut self.items)).await?;
        self.changed += wrote.changed;
        figures.writes.increment(wrote.changed);
        figures.refused.increment(wrote.refused);
        if wrote.refused > 0 {
            return Err(WriteError::Newer(wrote.newest));
        }
        Ok(())
    }
}
