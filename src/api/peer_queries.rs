//! What managers hold in memory beside the state, as the API asks for it.

use futures::future::BoxFuture;

use crate::{
    model::{ContainerId, Millis, Neighbours, Sampled},
    peers::Answers,
};

/// Asks this manager, and the others, for what is not in the state.
pub trait PeerQueries: Send + Sync {
    /// The samples that this manager holds of a container, from a moment on.
    fn samples_here(&self, container: ContainerId, since: Millis) -> Vec<Sampled>;
    /// Those that the others hold.
    fn samples_of_others(
        &self,
        container: ContainerId,
        since: Millis,
    ) -> BoxFuture<'_, Answers<Vec<Sampled>>>;
    /// What this manager sees of its neighbours.
    fn neighbours_here(&self) -> Neighbours;
    /// What the others see.
    fn neighbours_of_others(&self) -> BoxFuture<'_, Answers<Neighbours>>;
}
