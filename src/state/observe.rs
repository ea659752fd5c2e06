//! What engines tell of their containers.
//!
//! News is older than the entry that carries it: a container that was dead when the engine looked
//! may have been started again since. A report of death therefore names the revision that was
//! applied before the engine looked (`as_of`), and only ends a start of the runner that had connected
//! by then: that process was alive before and its container dead after, so it is dead for certain.

use std::sync::Arc;

use super::{
    Decision, State,
    container::vacant,
    quota::{MAX_CONTAINERS, bounded},
};
use crate::{
    command::{Kind, Outcome, Rejection},
    model::{Container, ContainerState, EngineId, EngineRef, Found, FoundState, Labels, Name, Revision},
};

/// How much of an engine's id tells two containers of one name apart.
const DIGITS: usize = 8;

impl State {
    /// Whether what an engine tells would change anything: most of a resync does not, and then
    /// nothing needs to be written.
    pub fn observation_matters(&self, engine: EngineId, as_of: Revision, one: &Found) -> bool {
        let mut trial = self.clone();
        trial.observe_one(engine, as_of, one);
        !trial.containers.ptr_eq(&self.containers)
    }

    pub(super) fn observe(&mut self, engine: EngineId, as_of: Revision, found: &[Found]) -> Decision {
        if !self.engines.contains_key(&engine) {
            return Err(Rejection::NotFound {
                kind: Kind::Engine,
                name: engine.to_string(),
            });
        }
        for one in found {
            self.observe_one(engine, as_of, one);
        }
        Ok(Outcome::Done)
    }

    fn observe_one(&mut self, engine: EngineId, as_of: Revision, one: &Found) {
        let known = self.index.engine_containers.get(&one.container);
        match known.and_then(|id| self.containers.get(id)).cloned() {
            Some(known) => self.observe_known(known, engine, as_of, one),
            None if one.state == FoundState::Dead => {}
            None => self.observe_new(engine, one),
        }
    }

    fn observe_known(&mut self, known: Arc<Container>, engine: EngineId, as_of: Revision, one: &Found) {
        // The same engine may be watched twice, and another one may lie: the first to tell is believed.
        if known.engine.as_ref().is_some_and(|place| place.engine != engine) {
            return;
        }
        let mut met = (*known).clone();
        met.engine = Some(EngineRef {
            engine,
            container: one.container.clone(),
        });
        met.image = Some(bounded(&one.image));
        met.labels = merge_labels(&one.labels, &known.labels);
        if let Some(networks) = &one.networks {
            met.networks = networks.clone();
        }
        met.health = one.health.unwrap_or(met.health);
        let known = if met == *known {
            known
        } else {
            self.replace_container(&known, met)
        };
        match one.state {
            FoundState::Dead if known.started <= as_of => {
                self.bury(&known, &format!("its engine reports it {}", bounded(&one.detail)));
            }
            FoundState::Paused if known.state == ContainerState::Ready => {
                self.set_container(
                    &known,
                    ContainerState::Suspect,
                    false,
                    "its engine reports it paused",
                );
            }
            FoundState::Dead | FoundState::Paused | FoundState::Running => {}
        }
    }

    fn observe_new(&mut self, engine: EngineId, one: &Found) {
        let place = EngineRef {
            engine,
            container: one.container.clone(),
        };
        let named = self
            .index
            .container_names
            .get(&one.name)
            .and_then(|id| self.containers.get(id))
            .cloned();
        if let Some(old) = named.as_ref().filter(|old| awaits(old)) {
            let reason = "found on its engine; its runner has not joined yet";
            // An operator's word for whoever comes stands; what a dead one said of itself does not.
            let labels = if old.fenced {
                merge_labels(&old.labels, &one.labels)
            } else {
                merge_labels(&one.labels, &old.labels)
            };
            let again = Container {
                engine: Some(place),
                engine_container: Some(one.container.clone()),
                image: Some(bounded(&one.image)),
                networks: one.networks.clone().unwrap_or_default(),
                health: one.health.unwrap_or_default(),
                adoption: None,
                labels,
                ..vacant(old, ContainerState::Registered, reason)
            };
            self.replace_container(old, again);
            return;
        }
        let name = if named.is_some() {
            distinct(&one.name, &one.container, DIGITS).unwrap_or_else(|| one.name.clone())
        } else {
            one.name.clone()
        };
        let taken = self.containers.contains_key(&one.id) || self.index.container_names.contains_key(&name);
        // Both can only meet by chance; the next resync brings another id. Over the bound, the rest of
        // what the engine tells still counts, deaths above all.
        if taken || self.containers.len() >= MAX_CONTAINERS {
            return;
        }
        let reason = "found on an engine; its runner has not joined yet";
        let mut container = self.blank_container(one.id, name, ContainerState::Candidate, reason);
        container.engine = Some(place);
        container.engine_container = Some(one.container.clone());
        container.image = Some(bounded(&one.image));
        container.networks = one.networks.clone().unwrap_or_default();
        container.health = one.health.unwrap_or_default();
        container.labels = one.labels.clone();
        self.insert_container(container);
    }

    /// After an engine was removed: its candidates go, its containers no longer belong to it.
    pub(super) fn forget_candidates(&mut self, engine: EngineId) {
        let of_engine = |c: &&Arc<Container>| c.engine.as_ref().is_some_and(|e| e.engine == engine);
        let members: Vec<_> = self.containers.values().filter(of_engine).cloned().collect();
        for known in members {
            if known.state == ContainerState::Candidate {
                self.drop_container(&known);
            } else {
                let mut left = (*known).clone();
                left.leave_engine();
                self.replace_container(&known, left);
            }
        }
    }
}

/// Whether a container found under a record's name is the one the record waits for: an operator
/// registered the name for whoever comes, or the container that had it is proven dead.
fn awaits(old: &Container) -> bool {
    let promised = old.state == ContainerState::Registered && !old.enrolled && old.engine_container.is_none();
    promised || old.fenced
}

/// A name that another container may have, told apart by so many hexadecimal digits of this one's id or key;
/// `None` if that has none.
pub(super) fn distinct(name: &Name, theirs: &str, digits: usize) -> Option<Name> {
    let tail = theirs.chars().filter(char::is_ascii_hexdigit).take(digits);
    let tail = tail.collect::<String>().to_ascii_lowercase();
    let head: String = name.chars().take(58_usize.saturating_sub(digits)).collect();
    format!("{head}-{tail}").parse().ok()
}

/// `first`, with what `second` says winning.
pub(super) fn merge_labels(first: &Labels, second: &Labels) -> Labels {
    let own = |labels: &Labels| {
        labels
            .iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect::<Vec<_>>()
    };
    let merged: std::collections::BTreeMap<_, _> = own(first).into_iter().chain(own(second)).collect();
    Labels::lenient(merged)
}
