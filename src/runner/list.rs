//! The list of placements as it arrives: specs, then the list in parts.
//!
//! Whatever is out of order ends the session, and the next one begins with everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::error::SessionError;
use crate::model::{AgentId, AgentSpec, Generation, Revision, session::Assignment};

/// Placements of one container, and specs besides those that its list names, at most.
const MAX: usize = 100_000;

/// A placement that shall be here, with what it is to run.
pub(super) type Listed = (Assignment, Arc<AgentSpec>);

/// What has arrived in one session.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    specs: BTreeMap<(AgentId, Generation), Arc<AgentSpec>>,
    revision: Revision,
    parts: Vec<Assignment>,
}

impl Arriving {
    /// Takes what a generation of an agent is to run.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn spec(
        &mut self,
        agent: AgentId,
        generation: Generation,
        spec: Arc<AgentSpec>,
    ) -> Result<(), SessionError> {
        self.specs.insert((agent, generation), spec);
        if self.specs.len() > 2 * MAX {
            return Err(SessionError::Unexpected("too many specs"));
        }
        Ok(())
    }

    /// Takes a part of a list, and gives the list if it is whole.
    ///
    /// # Errors
    /// When it is not part of the list that is arriving, too long, or names a spec that did not come.
    pub(super) fn part(
        &mut self,
        revision: Revision,
        placements: Vec<Assignment>,
        last: bool,
    ) -> Result<Option<Vec<Listed>>, SessionError> {
        if !self.parts.is_empty() && self.revision != revision {
            return Err(SessionError::Unexpected("a part of another list"));
        }
        self.revision = revision;
        self.parts.extend(placements);
        if self.parts.len() > MAX {
            return Err(SessionError::Unexpected("a list of too many placements"));
        }
        if !last {
            return Ok(None);
        }
        let named = |one: &Assignment| (one.replica.agent, one.generation);
        let parts = std::mem::take(&mut self.parts);
        let keep: BTreeSet<_> = parts.iter().map(named).collect();
        self.specs.retain(|key, _| keep.contains(key));
        let whole = parts.into_iter().map(|one| {
            let spec = self.specs.get(&named(&one));
            let spec = spec.ok_or(SessionError::Unexpected(
                "a list that names a spec that did not come",
            ))?;
            Ok((one, spec.clone()))
        });
        whole.collect::<Result<_, _>>().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PlacementId, PlacementRole, ReplicaId};

    fn assigned(n: u64, generation: Generation) -> Assignment {
        Assignment {
            placement: PlacementId(n),
            replica: ReplicaId {
                agent: AgentId(n),
                ordinal: 1,
            },
            epoch: 5,
            generation,
            role: PlacementRole::Active,
            run: true,
        }
    }

    fn spec() -> Arc<AgentSpec> {
        Arc::new(serde_json::from_value(serde_json::json!({"name": "a", "command": "sh"})).unwrap())
    }

    #[test]
    fn a_list_is_whole_with_its_last_part() {
        let mut arriving = Arriving::default();
        for n in 1..=2 {
            arriving.spec(AgentId(n), 1, spec()).unwrap();
        }
        assert_eq!(arriving.part(7, vec![assigned(1, 1)], false).unwrap(), None);
        let whole = arriving.part(7, vec![assigned(2, 1)], true).unwrap().unwrap();
        let ids: Vec<_> = whole.iter().map(|(one, _)| one.placement.0).collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(
            arriving
                .part(8, vec![assigned(2, 1)], true)
                .unwrap()
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let mut arriving = Arriving::default();
        arriving.spec(AgentId(1), 1, spec()).unwrap();
        arriving.part(7, vec![assigned(1, 1)], false).unwrap();
        arriving.part(8, vec![], true).unwrap_err();

        let mut arriving = Arriving::default();
        arriving.spec(AgentId(1), 1, spec()).unwrap();
        arriving.part(7, vec![assigned(1, 2)], true).unwrap_err();

        // What a whole list does not name is forgotten, as the manager knows.
        let mut arriving = Arriving::default();
        arriving.spec(AgentId(1), 1, spec()).unwrap();
        arriving.part(7, vec![], true).unwrap();
        arriving.part(8, vec![assigned(1, 1)], true).unwrap_err();
    }
}
