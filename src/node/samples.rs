//! The samples of all managers, for the API of this one.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};

use crate::{
    api::SampleSource,
    consensus::{Elsewhere, Running},
    model::{ContainerId, Millis, Sampled},
    session::Samples,
};

/// Those held here, and the way to those held elsewhere.
pub(super) struct AllSamples {
    pub here: Arc<Samples>,
    pub running: Arc<Running>,
}

impl SampleSource for AllSamples {
    fn here(&self, container: ContainerId, since: Millis) -> Vec<Sampled> {
        self.here.since(container, since)
    }

    fn elsewhere(&self, container: ContainerId, since: Millis) -> BoxFuture<'_, Elsewhere> {
        self.running.samples_elsewhere(container, since).boxed()
    }
}
