//! What managers hold in memory beside the state, as the API asks for it.

use std::collections::BTreeSet;

use futures::future::BoxFuture;

use crate::{
    model::{ContainerId, ManagerId, Millis, Neighbours, SampleHistory},
    peers::Answers,
};

/// Asks this manager, and the others, for what is not in the state.
pub trait PeerQueries: Send + Sync {
    /// The samples that some managers hold of a container, from a moment on; this one may be among them.
    fn samples_of(
        &self,
        managers: BTreeSet<ManagerId>,
        container: ContainerId,
        since: Millis,
    ) -> BoxFuture<'_, Answers<SampleHistory>>;
    /// What this manager sees of its neighbours.
    fn neighbours_here(&self) -> Neighbours;
    /// What the others see.
    fn neighbours_of_others(&self) -> BoxFuture<'_, Answers<Neighbours>>;
}
