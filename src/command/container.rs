//! Commands about containers.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::model::{
    Assessment, Capabilities, ContainerId, ContainerState, EngineId, Found, JoinToken, JoinTokenId, Labels,
    ManagerId, Name, Resources, Revision,
};

/// A change of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ContainerCommand {
    /// A runner showed a join token and wants to be this container.
    Enroll {
        /// The id a new record gets.
        id: ContainerId,
        /// The join token that was shown.
        token: JoinTokenId,
        /// The name it asks for.
        name: Name,
        /// The engine's own id of its container.
        engine_container: Option<String>,
    },
    /// An operator registers a container before its runner comes.
    Register {
        /// The id the record gets.
        id: ContainerId,
        /// Its name.
        name: Name,
        /// Its labels.
        labels: Labels,
    },
    /// A runner with a certificate opened a session.
    Connect {
        /// Which container.
        id: ContainerId,
        /// Changes with each start of the runner.
        boot: u64,
        /// The manager that it was opened with.
        manager: ManagerId,
        /// Where the session came from.
        address: String,
        /// The engine's own id of its container.
        engine_container: Option<String>,
        /// Labels of the runner's configuration.
        labels: Labels,
        /// What the runner found out.
        capabilities: Capabilities,
        /// What it can host.
        resources: Resources,
    },
    /// What the leader's liveness clock says of a container's runner. Never forwarded to a later
    /// leader: that one may have acknowledged heartbeats which this verdict knows nothing of.
    Judge {
        /// Which container.
        id: ContainerId,
        /// The container's version the verdict was made on; another one refuses it.
        version: Revision,
        /// The term of the leader that judges; an entry of another term refuses it.
        term: u64,
        /// `Ready`, `Suspect` or `Lost`.
        state: ContainerState,
        /// Whether its exclusive agents are proven unable to act; only with `Lost`.
        fenced: bool,
        /// Why.
        reason: String,
    },
    /// A runner said goodbye: it stopped its agents and starts none again.
    Leave {
        /// Which container.
        id: ContainerId,
        /// The start of the runner that leaves; a later one is left alone.
        boot: u64,
    },
    /// An engine told about its containers.
    Observe {
        /// Which engine.
        engine: EngineId,
        /// A revision that was applied here before the engine looked. A runner that first connected
        /// after it may be younger than the news, so its container is not declared dead by it.
        as_of: Revision,
        /// What it told; what is not in it is left alone.
        found: Vec<Found>,
    },
    /// Forgets a container.
    Remove {
        /// Which.
        id: ContainerId,
        /// What must hold before.
        condition: Condition,
    },
    /// No new agents go there; those that are there stay.
    Cordon {
        /// Which.
        id: ContainerId,
        /// Why, for a person to read.
        reason: String,
        /// What must hold before.
        condition: Condition,
    },
    /// New agents may go there again.
    Uncordon {
        /// Which.
        id: ContainerId,
        /// What must hold before.
        condition: Condition,
    },
    /// A runner looked at its container and found something else than before. Of a start's looks the
    /// latest counts, however often and in whichever order they arrive.
    Assess {
        /// Which container.
        id: ContainerId,
        /// The start of the runner that looked; another one refuses it.
        boot: u64,
        /// What it found.
        assessment: Assessment,
    },
    /// An operator lets a candidate in that a scan found: its runner is handed this join token, which
    /// is good for this record alone.
    Approve {
        /// Which.
        id: ContainerId,
        /// The key that the operator approves; another one refuses it.
        fingerprint: String,
        /// The join token.
        token: JoinToken,
        /// What must hold before.
        condition: Condition,
    },
    /// What the leader has done, or could not do, to bring a runner into a container that has none.
    Adopt {
        /// Which.
        id: ContainerId,
        /// The term of the leader that does it; an entry of another term refuses it.
        term: u64,
        /// The engine's own id of it; if the record has come to stand for another one, this is refused.
        engine_container: String,
        /// What the runner that is about to be started joins with.
        token: Option<JoinToken>,
        /// Whether a runner is there now.
        adopted: bool,
        /// What was done, or why it can't be done.
        reason: String,
    },
}
