//! What managers hold in memory beside the state, as the API asks for it.

use futures::future::BoxFuture;

use crate::{
    consensus::Elsewhere,
    model::{ContainerId, Millis, Sampled, Sight},
};

/// What this manager holds beside the state, and the others do.
pub trait Beside: Send + Sync {
    /// The samples that this manager holds of a container, from a moment on.
    fn samples_here(&self, container: ContainerId, since: Millis) -> Vec<Sampled>;
    /// Those that the others hold.
    fn samples_elsewhere(
        &self,
        container: ContainerId,
        since: Millis,
    ) -> BoxFuture<'_, Elsewhere<Vec<Sampled>>>;
    /// What this manager sees of its neighbours.
    fn sight_here(&self) -> Sight;
    /// What the others see.
    fn sights_elsewhere(&self) -> BoxFuture<'_, Elsewhere<Sight>>;
}
