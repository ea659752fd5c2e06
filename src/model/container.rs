//! Containers: remote instances that can host agents.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Adoption, Assessment, ContainerId, EngineId, JoinTokenId, Labels, ManagerId, Millis, Name, Networks,
    Revision, named::named,
};

/// Where a container stands in its life.
///
/// `candidate → registered → ready ⇄ suspect → lost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Found, not trusted: no runner has shown a join token yet.
    Candidate,
    /// Known and trusted; no session yet.
    Registered,
    /// Has a session and answers.
    Ready,
    /// Silent for a while: no new placement.
    Suspect,
    /// Silent for too long, or its engine reports it dead.
    Lost,
}

/// CPU and memory: what a container can host in all, or what an agent needs. The order is that of keys;
/// [`Resources::fits`] says what is enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Resources {
    /// Thousandths of a core.
    #[serde(default)]
    pub cpu_millis: u64,
    /// Bytes of memory.
    #[serde(default)]
    pub memory_bytes: u64,
}

named!(Resources, omit & ["cpu_millis", "memory_bytes"]);

impl Resources {
    /// Both together, saturating.
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
        }
    }

    /// What is left without `other`, never below zero.
    pub fn minus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
        }
    }

    /// The larger of each, whichever side has it.
    pub fn larger_of(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }

    /// Whether `self` fits into `room`.
    pub fn fits(self, room: Self) -> bool {
        self.cpu_millis <= room.cpu_millis && self.memory_bytes <= room.memory_bytes
    }
}

impl fmt::Display for Resources {
    /// As people write them: `500m CPU and 64 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.memory_bytes / (1 << 20);
        write!(f, "{}m CPU and {mib} MiB", self.cpu_millis)
    }
}

/// What the runner found out about its container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Capabilities {
    /// Operating system and architecture, such as `linux/x86_64`.
    #[serde(default)]
    pub platform: String,
    /// The runner's version.
    #[serde(default)]
    pub runner: String,
}

named!(Capabilities, omit & ["platform", "runner"]);

/// A container's place on a watched engine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EngineRef {
    /// The engine.
    pub engine: EngineId,
    /// The engine's own id of the container: 64 hexadecimal characters.
    pub container: String,
}

/// What the engine's own health check (Docker's `HEALTHCHECK`) says of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// It has no check, or its engine has not told.
    #[default]
    Unchecked,
    /// It has just started, and its check may still fail.
    Starting,
    /// Its check passes.
    Healthy,
    /// Its check fails: it keeps its agents and gets no new ones.
    Unhealthy,
}

/// A container in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Container {
    /// Stays the same across addresses, sessions and restarts.
    pub id: ContainerId,
    /// Unique among containers.
    pub name: Name,
    /// Where it stands.
    pub state: ContainerState,
    /// Why it is in this state, for a person to read.
    #[serde(default)]
    pub reason: String,
    /// Proven unable to act: its engine reported it dead, or its runner has stopped its exclusive
    /// agents by its own clock. Only then may an exclusive agent be replaced.
    #[serde(default)]
    pub fenced: bool,
    /// Why an operator wants no new agents in it; those that run there stay. Outlives sessions and states.
    pub cordoned: Option<String>,
    /// The revision at which it last stopped being ready; zero while it is ready or has no runner.
    #[serde(default)]
    pub silent_since: Revision,
    /// Its place on a watched engine, if it was found on one or its runner named one.
    pub engine: Option<EngineRef>,
    /// The engine's own container id as claimed by the runner; kept to meet the engine's report.
    pub engine_container: Option<String>,
    /// Where its runner was last seen, `host:port`.
    pub address: Option<String>,
    /// The key by which a scan found its runner: SHA-256 of the certificate it shows, 64 hexadecimal
    /// digits. Only of a candidate.
    pub fingerprint: Option<String>,
    /// The join token of its approval: it lets this candidate in and nobody else.
    pub invited: Option<JoinTokenId>,
    /// The image it was started from.
    pub image: Option<String>,
    /// The networks of its engine that it is connected to.
    #[serde(default)]
    pub networks: Networks,
    /// What its engine's health check says.
    #[serde(default)]
    pub health: HealthStatus,
    /// Labels of the runner's configuration and the engine.
    #[serde(default)]
    pub labels: Labels,
    /// What the runner found out about it.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// What it can host in all.
    #[serde(default)]
    pub resources: Resources,
    /// What this start of its runner found when it looked; `None` until it has.
    pub assessment: Option<Arc<Assessment>>,
    /// How far managers have come with bringing a runner into it; `None` when they have not tried, or it
    /// turned out to have one of its own.
    pub adoption: Option<Adoption>,
    /// Whether a runner holds a certificate for this id. An id belongs to one runner for ever: who
    /// takes the record over gets another id, so that the old certificate opens nothing.
    #[serde(default)]
    pub enrolled: bool,
    /// Changes with each start of its runner; a report from an earlier start is refused. Zero when
    /// no runner is known to live.
    #[serde(default)]
    pub boot: u64,
    /// The revision at which this start of its runner first connected; zero without one.
    #[serde(default)]
    pub started: Revision,
    /// The revision at which its session was opened; zero without a runner.
    #[serde(default)]
    pub connected: Revision,
    /// The manager that it was opened with; `None` without a runner. See [`Self::holder`].
    pub manager: Option<ManagerId>,
    /// The revision of its last change.
    pub version: Revision,
    /// Log time of its registration.
    pub registered_at: Millis,
}

named!(
    Container,
    omit & [
        "reason",
        "fenced",
        "cordoned",
        "silent_since",
        "engine",
        "engine_container",
        "address",
        "fingerprint",
        "invited",
        "image",
        "networks",
        "health",
        "labels",
        "capabilities",
        "resources",
        "assessment",
        "adoption",
        "enrolled",
        "boot",
        "started",
        "connected",
        "manager"
    ]
);

impl Container {
    /// The join tokens that let a runner into this record alone.
    pub fn tokens(&self) -> impl Iterator<Item = JoinTokenId> {
        let adoption = self.adoption.as_ref().and_then(|adoption| adoption.token);
        self.invited.into_iter().chain(adoption)
    }

    /// The manager that holds its session, as far as the state can tell: whoever is lost has to open
    /// another one, with any manager.
    pub fn holder(&self) -> Option<ManagerId> {
        let open = matches!(self.state, ContainerState::Ready | ContainerState::Suspect);
        self.manager.filter(|_| open)
    }

    /// What constraints find under `key`: a label, or else what its runner found.
    pub fn fact(&self, key: &str) -> Option<&str> {
        let found = || self.assessment.as_ref().and_then(|found| found.fact(key));
        self.labels.get(key).or_else(found)
    }

    /// Forgets its place on an engine, and what only that engine could tell.
    pub fn leave_engine(&mut self) {
        self.engine = None;
        self.networks = Networks::default();
        self.health = HealthStatus::Unchecked;
    }
}

/// What an engine says of a container's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundState {
    /// It runs.
    Running,
    /// It exists and can't act: paused.
    Paused,
    /// It does not run: exited, dead or removed. Proof of death.
    Dead,
}

/// What an engine told about one labelled container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Found {
    /// The id a new record gets; fixed by the proposer.
    pub id: ContainerId,
    /// The engine's own id of the container.
    pub container: String,
    /// The container's name on the engine, made to fit our rule for names.
    pub name: Name,
    /// The image it was started from.
    pub image: String,
    /// The container's labels.
    #[serde(default)]
    pub labels: Labels,
    /// The networks it is connected to; `None` when this news says nothing of them.
    pub networks: Option<Networks>,
    /// What its health check says; `None` when this news says nothing of it.
    pub health: Option<HealthStatus>,
    /// What the engine says of its process.
    pub state: FoundState,
    /// The engine's own words, such as `exited (137)`.
    #[serde(default)]
    pub detail: String,
}

named!(Found, omit & ["networks", "health", "labels", "detail"]);
