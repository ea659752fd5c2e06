//! The projection to Redis, and reads from it.
//!
//! Optional. The leader keeps in Redis what other programs may want to read without asking a manager, and any
//! manager answers `?consistency=cached` from there. Redis is a copy and nothing else: nothing is ever read
//! from it to decide anything, and with Redis dead, slow, emptied or full of garbage every other answer is the
//! same as without it.
//!
//! # What other programs find
//!
//! Each key begins with `<prefix>:<cluster id>:`, by default `quorate:<cluster id>:`; `GET
//! /api/v1/cluster/status` tells the id. These names stay.
//!
//! | key | type | what |
//! |---|---|---|
//! | `meta` | hash | the mark: `revision`, up to which everything is written; `time`, when that was last so, in ms since the epoch by Redis's clock (set anew every second); `cluster`; `manager`, who wrote it; and what the guards need: `writer`, `floor`, `count:<kind>` |
//! | `container:<id>`, `agent:<id>`, `engine:<id>` | hash | `json`: the object exactly as `GET /api/v1/…` shows it; `revision`, of the state that it was written from; `member`, its place in the list; `stamp`, the revision in 20 digits |
//! | `placement:<agent id>` | hash | the same for where an agent is placed; there is none for one that is nowhere |
//! | `containers`, `engines` | sorted set | all scores 0; members `<id as 16 hex digits> <id>`, so `ZRANGEBYLEX` gives them in the API's order |
//! | `agents`, `placements` | sorted set | the same with members `<name> <agent id>` |
//! | `health` | hash | `json`: the cluster's health as the leader sees it; `revision` |
//! | `changes` | channel | one message for each change: `{"kind":"agent","id":"a-…","revision":7,"removed":false}` |
//!
//! A reader takes `json` of a key (`HGET quorate:<id>:agent:a-… json`), or walks a list. While `meta` has no
//! `revision`, what is there is not complete. Between two marks single objects may be newer than the mark,
//! never older. Messages tell where to look, and may be lost like all of Redis's; `revision` tells what was.
//! Only the managers may write below the prefix: what anybody else writes there is overwritten or removed.
//! Keys are not spread over a Redis Cluster; one Redis, or a primary with replicas, is what this is for.
//!
//! # What holds
//!
//! - Nothing old is written over anything newer, and nothing that was removed comes back, whoever leads or
//!   believes to (`writer`).
//! - The projection holds one version of the state and one batch; a slow Redis makes it skip versions.
//! - Emptied, restarted or damaged, Redis is filled again; a sweep finds what nobody told (`lead`,
//!   `projection`).
//! - A cached read waits for a moment only, and says where its answer is from (`reader`).
//!
//! Left out: configs, tokens and everything secret are never written to Redis.

mod figures;
mod items;
mod keys;
mod lead;
mod link;
mod projection;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{figures::Figures, lead::Leading, link::Link};
pub use self::{
    figures::fell_back,
    items::Shapes,
    keys::{Kind, order_of},
    link::{Settings, SettingsError},
    reader::{Found, Miss, Reader},
};
use crate::{consensus::Consensus, model::Revision};

/// How the projection of one manager stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Another manager leads, or none.
    #[default]
    Following,
    /// It begins.
    Connecting,
    /// Everything is being written.
    Filling,
    /// Redis shows the cluster.
    Current,
    /// Redis can't be reached or does not answer.
    Down,
}

impl Phase {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Following => "following",
            Self::Connecting => "connecting",
            Self::Filling => "filling",
            Self::Current => "current",
            Self::Down => "down",
        }
    }
}

/// How far the projection of one manager is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// What Redis is known to show.
    pub revision: Option<Revision>,
    /// Why it is not current.
    pub detail: String,
}

/// The tasks of one manager.
#[derive(Debug)]
pub struct Cache {
    reader: Reader,
    tasks: JoinSet<()>,
}

impl Cache {
    /// Begins to project whenever this manager leads, and to read, until `shutdown`.
    ///
    /// # Errors
    /// [`SettingsError`]. That Redis can't be reached is none.
    pub fn start(
        settings: Settings,
        consensus: Consensus,
        shapes: Arc<dyn Shapes>,
        shutdown: CancellationToken,
    ) -> Result<Self, SettingsError> {
        let link = Link::new(&settings)?;
        let figures = Figures::new();
        let (progress, watched) = watch::channel(Progress::default());
        let reader = Reader::new(&settings, watched);
        let keep = reader.clone().keep(link.clone(), figures.clone());
        let leading = Leading {
            consensus,
            link,
            settings,
            shapes,
            figures,
            progress,
        };
        let mut tasks = JoinSet::new();
        let end = shutdown.clone();
        tasks.spawn(async move {
            end.run_until_cancelled(keep).await;
        });
        tasks.spawn(async move {
            shutdown.run_until_cancelled(leading.run()).await;
        });
        Ok(Self { reader, tasks })
    }

    /// Where cached reads ask.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Waits until the tasks have ended after the shutdown.
    pub async fn stopped(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the cache panicked");
            }
        }
    }
}
