//! What this manager holds beside the state, and the way to what the others hold.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};

use crate::{
    api::Beside,
    consensus::{Elsewhere, Held, Running},
    control::EngineTrips,
    model::{ContainerId, Millis, RoundTrip, Sampled, Sight},
    session::{Roster, Samples},
};

/// Held here.
#[derive(Debug, Default)]
pub(super) struct Here {
    pub samples: Arc<Samples>,
    pub roster: Arc<Roster>,
    pub engines: Arc<EngineTrips>,
}

impl Held for Here {
    fn samples(&self, container: ContainerId, since: Millis) -> Vec<Sampled> {
        self.samples.since(container, since)
    }

    fn sight(&self) -> Sight {
        let engines = self.engines.all().into_iter();
        Sight {
            managers: Vec::new(),
            engines: engines.map(|(id, took)| (id, RoundTrip::from(took))).collect(),
            sessions: self.roster.open(),
        }
    }
}

/// Held anywhere, for the API of this manager.
pub(super) struct Everywhere {
    pub here: Arc<Here>,
    pub running: Arc<Running>,
}

impl Beside for Everywhere {
    fn samples_here(&self, container: ContainerId, since: Millis) -> Vec<Sampled> {
        self.here.samples(container, since)
    }

    fn samples_elsewhere(
        &self,
        container: ContainerId,
        since: Millis,
    ) -> BoxFuture<'_, Elsewhere<Vec<Sampled>>> {
        self.running.samples_elsewhere(container, since).boxed()
    }

    fn sight_here(&self) -> Sight {
        self.running.sight()
    }

    fn sights_elsewhere(&self) -> BoxFuture<'_, Elsewhere<Sight>> {
        self.running.sights_elsewhere().boxed()
    }
}
