//! What a control loop needs of the replicated state.

use std::{future::Future, sync::Arc};

use tokio::sync::watch;

use crate::{
    command::{Command, Loop, Principal, Reply},
    consensus::{Consensus, Leadership, ProposeError},
    model::Revision,
    state::State,
};

/// Proposes, and shows the state as it is here. [`Consensus`] in life, one process in tests.
pub trait Replica: Clone + Send + Sync + 'static {
    /// Proposes a command for a loop and waits for its answer.
    fn propose(&self, by: Loop, command: Command)
    -> impl Future<Output = Result<Reply, ProposeError>> + Send;

    /// The state as it is here, perhaps without the latest writes of configs.
    fn state(&self) -> Arc<State>;

    /// Wakes after a change of anything but configs.
    fn watch_applied(&self) -> watch::Receiver<Revision>;

    /// Wakes when this manager starts or stops leading.
    fn watch_leadership(&self) -> watch::Receiver<Option<Leadership>>;

    /// Where runners reach the managers.
    fn session_addresses(&self) -> Vec<String>;
}

impl Replica for Consensus {
    async fn propose(&self, by: Loop, command: Command) -> Result<Reply, ProposeError> {
        Self::propose(self, Principal::Loop(by), None, command).await
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.objects())
    }

    fn watch_applied(&self) -> watch::Receiver<Revision> {
        Self::watch_objects(self)
    }

    fn watch_leadership(&self) -> watch::Receiver<Option<Leadership>> {
        Self::watch_leadership(self)
    }

    fn session_addresses(&self) -> Vec<String> {
        Self::session_addresses(self)
    }
}
