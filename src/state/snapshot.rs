//! The snapshot form of the state: which section holds which table.
//!
//! A new table gets a section of its own, and nothing else changes. Whatever can be computed from the tables is not
//! in it.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::{
    State,
    events::Events,
    sections::{Reader, SnapshotError, Writer},
};
use crate::model::{Breaker, ManagerId, Millis, PlacementId, Revision, named::named};

/// What is no table.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct Head {
    revision: Revision,
    term: u64,
    objects: Revision,
    now: Millis,
    #[serde(default)]
    cluster_id: String,
    next_manager: ManagerId,
    next_placement: PlacementId,
    config_bytes: u64,
}

named!(Head, omit & ["cluster_id"]);

impl State {
    /// Writes the snapshot form. Equal states give equal bytes.
    ///
    /// # Errors
    /// Whatever the writer returns.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = Head {
            revision: self.revision,
            term: self.term,
            objects: self.objects,
            now: self.now,
            cluster_id: self.cluster_id.clone(),
            next_manager: self.next_manager,
            next_placement: self.next_placement,
            config_bytes: self.config_bytes,
        };
        let mut out = Writer::new(out);
        out.section("head", 1, true, &head)?;
        out.table("managers", 1, &self.allocated)?;
        out.table("configs", 1, &self.configs)?;
        out.table("containers", 1, &self.containers)?;
        out.table("agents", 1, &self.agents)?;
        out.table("placements", 1, &self.placements)?;
        out.table("engines", 1, &self.engines)?;
        out.table("tokens", 1, &self.tokens)?;
        out.table("join-tokens", 1, &self.join_tokens)?;
        if self.answers.len() != (0, 0) {
            out.section("answers", 1, true, &self.answers)?;
        }
        if self.breaker != Breaker::default() {
            out.section("breaker", 1, true, &self.breaker)?;
        }
        out.table("scans", 1, &self.scans)?;
        out.table("findings", 1, &self.findings)?;
        if self.events != Events::default() {
            out.section("events", 1, true, &self.events)?;
        }
        out.end()
    }

    /// Reads the snapshot form and rebuilds the indexes.
    ///
    /// # Errors
    /// When the bytes are not a state that this version knows.
    pub fn read_from(from: impl Read) -> Result<Self, SnapshotError> {
        let mut state = Self::default();
        let mut sections = Reader::new(from);
        while let Some(section) = sections.next()? {
            match section.name() {
                "head" => state.set_head(section.read(1)?),
                "managers" => state.allocated = section.table(1)?,
                "configs" => state.configs = section.table(1)?,
                "containers" => state.containers = section.table(1)?,
                "agents" => state.agents = section.table(1)?,
                "placements" => state.placements = section.table(1)?,
                "engines" => state.engines = section.table(1)?,
                "tokens" => state.tokens = section.table(1)?,
                "join-tokens" => state.join_tokens = section.table(1)?,
                "answers" => state.answers = section.read(1)?,
                "breaker" => state.breaker = section.read(1)?,
                "scans" => state.scans = section.table(1)?,
                "findings" => state.findings = section.table(1)?,
                "events" => state.events = section.read(1)?,
                _ => section.pass_over()?,
            }
        }
        sections.had("head")?;
        planted!(DropDedupOnSnapshot => state.answers = super::answers::Answers::default(););
        state.index = state.compute_index();
        Ok(state)
    }

    fn set_head(&mut self, head: Head) {
        self.revision = head.revision;
        self.term = head.term;
        self.objects = head.objects;
        self.now = head.now;
        self.cluster_id = head.cluster_id;
        self.next_manager = head.next_manager;
        self.next_placement = head.next_placement;
        self.config_bytes = head.config_bytes;
    }
}
