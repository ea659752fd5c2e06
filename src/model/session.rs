//! What a runner and a manager say to each other over a session.
//!
//! Frames are postcard. The first one offers the versions that the runner speaks, and the welcome says which
//! of them the session is in. Where there is none that both speak, the manager says which side to upgrade
//! first; the runner keeps its agents and tries again.
//!
//! So that any version understands the first frame of any other, its beginning stays for ever: which of the
//! first three variants of [`FromRunner`] it is, and then the versions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    AgentId, AgentSpec, AgentState, Assessment, Capabilities, ContainerId, Generation, Labels, ManagerId,
    Name, PeerInfo, PlacementId, PlacementRole, ReplicaId, Resources, Revision, Sample, StreamTicket,
    Versions, named::named,
};

/// The versions of these types that are spoken here.
pub const PROTOCOL: Versions = Versions::only(5);

/// Placements in one part of a list, at most.
pub const LIST_PART: usize = 1_000;

/// The largest session frame, in bytes.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// From the runner to the manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromRunner {
    /// First frame of a runner without a certificate: who it wants to be, and the proof.
    Enroll {
        /// [`PROTOCOL`] of the runner.
        protocol: Versions,
        /// The join token as text.
        token: String,
        /// A certificate signing request, PEM. The key never leaves the runner.
        csr: String,
        /// Who it is.
        hello: Hello,
    },
    /// First frame of a manager that joins the cluster; it has no certificate yet.
    JoinManager {
        /// [`PROTOCOL`] of the manager.
        protocol: Versions,
        /// The join token as text, for the role manager.
        token: String,
        /// Its data directory's random number.
        incarnation: u64,
    },
    /// First frame of a runner with a certificate.
    Hello {
        /// [`PROTOCOL`] of the runner.
        protocol: Versions,
        /// Who it is.
        hello: Hello,
    },
    /// Liveness: sent each second (±10 %).
    Heartbeat {
        /// Grows by one with each heartbeat of this start of the runner, over all its sessions.
        seq: u64,
        /// The revision of the last list of placements that was put into effect.
        applied: Revision,
    },
    /// What became of a placement.
    Report(PlacementReport),
    /// Asks for a fresh certificate.
    Renew {
        /// A certificate signing request, PEM.
        csr: String,
    },
    /// The runner leaves on purpose; its agents are stopped.
    Goodbye,
    /// The runner looked at its container again and found something else than it told before.
    Assessed(Assessment),
    /// What is in use in the container; each 5 s.
    Sample(Sample),
    /// An echo, back as it came.
    Echo {
        /// Its number.
        number: u64,
    },
    /// First frame of a runner's second connection, which was asked for over its session.
    Streams {
        /// The container's id.
        container: ContainerId,
        /// Which start of the runner.
        boot: u64,
        /// As it was told in the session.
        ticket: StreamTicket,
    },
}

/// Who a runner is, said at the start of each session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Hello {
    /// The container's name.
    pub name: Name,
    /// Changes with each start of the runner.
    pub boot: u64,
    /// The engine's own id of the container the runner finds itself in.
    pub engine_container: Option<String>,
    /// Labels of the runner's configuration.
    #[serde(default)]
    pub labels: Labels,
    /// What the runner found out.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// What the container can host.
    #[serde(default)]
    pub resources: Resources,
    /// What the runner found when it last looked, if it has looked yet.
    pub assessment: Option<Assessment>,
    /// The placements the runner holds right now, so that the manager's picture is made whole at once.
    #[serde(default)]
    pub placements: Vec<PlacementReport>,
}

named!(
    Hello,
    omit & [
        "engine_container",
        "labels",
        "capabilities",
        "resources",
        "assessment",
        "placements"
    ]
);

/// What the runner observed of one placement under one epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacementReport {
    /// The placement.
    pub placement: PlacementId,
    /// Whose it is.
    pub replica: ReplicaId,
    /// The epoch it was observed under.
    pub epoch: Revision,
    /// The generation of the spec it was observed under.
    pub generation: Generation,
    /// What was observed.
    pub state: AgentState,
    /// Why, for a person to act on.
    pub reason: String,
    /// Starts after the first one in this placement.
    pub restarts: u32,
}

/// From the manager to the runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromManager {
    /// The certificate that was asked for, and who the runner is from now on.
    Certificate {
        /// The container's id.
        container: ContainerId,
        /// The chain, PEM, leaf first.
        chain: String,
    },
    /// A manager may join under this id, with the CA's key to issue itself a certificate.
    Admitted {
        /// Its id, for ever.
        id: ManagerId,
        /// The CA's key, PEM. Its certificate is the one the token pins.
        ca_key: String,
        /// The managers there are.
        managers: Vec<(ManagerId, PeerInfo)>,
    },
    /// The session is open.
    Welcome {
        /// The version that both sides speak from here on.
        version: u16,
        /// The container's id.
        container: ContainerId,
        /// Session addresses of all managers, to reconnect to.
        managers: Vec<String>,
        /// How long the runner's exclusive agents may go on without an acknowledged heartbeat, in
        /// milliseconds, counted from the sending of the last acknowledged one.
        fence_after_ms: u64,
    },
    /// A heartbeat was counted by a leader that a quorum confirmed afterwards.
    HeartbeatAck {
        /// The heartbeat.
        seq: u64,
    },
    /// To be sent back at once.
    Echo {
        /// Its number.
        number: u64,
    },
    /// What a generation of an agent is to run. It comes before the list that first names it, and once in a
    /// session for as long as each list names it: both sides forget what the last whole list does not name.
    Spec {
        /// The agent.
        agent: AgentId,
        /// Which generation of its spec this is.
        generation: Generation,
        /// What to run.
        spec: Arc<AgentSpec>,
    },
    /// A part of the list of all placements that this container shall have. The runner puts a list into
    /// effect once it is whole; what is not in it shall not run. Other frames may come between its parts.
    Desired {
        /// The revision the list was read at, the same in all its parts; grows.
        revision: Revision,
        /// Placements, at most [`LIST_PART`].
        placements: Vec<Assignment>,
        /// Whether the list is whole with this part.
        last: bool,
    },
    /// The session is over, and why; a runner shows it to the operator.
    Refused {
        /// Why, and what to do.
        reason: String,
        /// Whether trying again can help.
        retry: bool,
    },
    /// The runner is to open a second connection to this manager, for streams.
    OpenStreams {
        /// To show there.
        ticket: StreamTicket,
    },
    /// Answers the first frame of the second connection. What follows on it are streams.
    StreamsOpen,
}

/// A placement that a container shall have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The placement.
    pub placement: PlacementId,
    /// Whose it is.
    pub replica: ReplicaId,
    /// The epoch it runs under.
    pub epoch: Revision,
    /// The generation of the agent's spec that it runs.
    pub generation: Generation,
    /// What it is to its replica.
    pub role: PlacementRole,
    /// Whether it shall run; otherwise it is to be stopped and reported.
    pub run: bool,
}
