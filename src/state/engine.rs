//! Engines: add, remove, state.

use std::sync::Arc;

use super::{
    Decision, State,
    quota::{MAX_ENGINES, bounded, room},
};
use crate::{
    command::{EngineCommand, Kind, Outcome, Rejection},
    model::{Engine, EngineId, EngineState},
};

impl State {
    pub(super) fn decide_engine(&mut self, command: &EngineCommand) -> Decision {
        match command {
            EngineCommand::Add { id, name, url } => {
                room(self.engines.len(), MAX_ENGINES, "engines")?;
                let exists = |name: String| {
                    Err(Rejection::Exists {
                        kind: Kind::Engine,
                        name,
                    })
                };
                if self.index.engine_names.contains_key(name) || self.engines.contains_key(id) {
                    return exists(name.to_string());
                }
                if let Some(other) = self.engines.values().find(|e| e.url == *url) {
                    return exists(format!("{} ({url})", other.name));
                }
                let engine = Engine {
                    id: *id,
                    name: name.clone(),
                    url: url.clone(),
                    state: EngineState::Unknown,
                    reason: "added; not reached yet".into(),
                    version: self.revision,
                    added_at: self.now,
                };
                self.index.engine_names.insert(name.clone(), *id);
                self.engines.insert(*id, Arc::new(engine));
                Ok(Outcome::EngineAdded(*id))
            }
            EngineCommand::Remove { id, condition } => {
                let engine = self.known_engine(*id)?;
                condition.check(Some(engine.version))?;
                self.index.engine_names.remove(&engine.name);
                self.engines.remove(id);
                self.forget_candidates(*id);
                Ok(Outcome::Done)
            }
            EngineCommand::SetState { id, state, reason } => {
                let engine = self.known_engine(*id)?;
                if engine.state == *state && engine.reason == *reason {
                    return Ok(Outcome::Done);
                }
                let changed = Engine {
                    state: *state,
                    reason: bounded(reason),
                    version: self.revision,
                    ..(*engine).clone()
                };
                self.engines.insert(*id, Arc::new(changed));
                Ok(Outcome::Done)
            }
        }
    }

    fn known_engine(&self, id: EngineId) -> Result<Arc<Engine>, Rejection> {
        self.engines.get(&id).cloned().ok_or_else(|| Rejection::NotFound {
            kind: Kind::Engine,
            name: id.to_string(),
        })
    }

    /// An engine by id.
    pub fn engine(&self, id: EngineId) -> Option<&Arc<Engine>> {
        self.engines.get(&id)
    }

    /// An engine by name or id.
    pub fn find_engine(&self, name_or_id: &str) -> Option<&Arc<Engine>> {
        let id = match self.index.engine_names.get(name_or_id) {
            Some(id) => *id,
            None => name_or_id.parse().ok()?,
        };
        self.engines.get(&id)
    }

    /// All engines, by id.
    pub fn engines(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.engines.values()
    }
}
