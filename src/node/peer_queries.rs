//! What this manager holds beside the state, and the way to what the others hold.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use serde::{Deserialize, Serialize};

use crate::{
    api::PeerQueries,
    control::EngineTrips,
    model::{ContainerId, ManagerId, Millis, Neighbours, RoundTrip, SampleHistory},
    peers::{Answers, Lane, Peers, Question, QuestionId},
    session::{Roster, Samples},
};

/// For each manager to answer, a connection included.
const ANSWER: Duration = Duration::from_secs(1);

/// The samples that a manager holds of a container, from a moment on.
#[derive(Debug, Serialize, Deserialize)]
struct AskSamples {
    container: ContainerId,
    since: Millis,
}

impl Question for AskSamples {
    const ID: QuestionId = QuestionId(51);
    type Answer = SampleHistory;
}

/// What a manager sees of its neighbours.
#[derive(Debug, Serialize, Deserialize)]
struct AskNeighbours;

impl Question for AskNeighbours {
    const ID: QuestionId = QuestionId(52);
    type Answer = Neighbours;
}

/// What this manager holds.
#[derive(Debug)]
pub(super) struct Local {
    pub samples: Arc<Samples>,
    pub roster: Arc<Roster>,
    pub engines: Arc<EngineTrips>,
    peers: Peers,
}

impl Local {
    /// From here on other managers are answered.
    pub fn start(peers: Peers) -> Arc<Self> {
        let local = Arc::new(Self {
            samples: Arc::default(),
            roster: Arc::default(),
            engines: Arc::default(),
            peers: peers.clone(),
        });
        peers.answer(Lane::FORWARD, &local, |local, _, ask: AskSamples| async move {
            Ok(local.samples.history(ask.container, ask.since))
        });
        peers.answer(Lane::FORWARD, &local, |local, _, AskNeighbours| async move {
            Ok(local.neighbours_here())
        });
        local
    }
}

impl PeerQueries for Local {
    fn samples_of(
        &self,
        managers: BTreeSet<ManagerId>,
        container: ContainerId,
        since: Millis,
    ) -> BoxFuture<'_, Answers<SampleHistory>> {
        let (me, question) = (self.peers.me().id, AskSamples { container, since });
        async move {
            let others = managers.iter().copied().filter(|id| *id != me);
            let mut answers = self.peers.ask_each(others, &question, ANSWER).await;
            if managers.contains(&me) {
                answers
                    .answered
                    .insert(me, self.samples.history(container, since));
            }
            answers
        }
        .boxed()
    }

    fn neighbours_here(&self) -> Neighbours {
        let managers = self.peers.round_trips().into_iter();
        let engines = self.engines.all().into_iter();
        Neighbours {
            managers: managers
                .map(|(id, trip)| (id, trip.map(RoundTrip::from)))
                .collect(),
            engines: engines.map(|(id, took)| (id, RoundTrip::from(took))).collect(),
            sessions: self.roster.open(),
        }
    }

    fn neighbours_of_others(&self) -> BoxFuture<'_, Answers<Neighbours>> {
        self.peers.ask_others(&AskNeighbours, ANSWER).boxed()
    }
}
