//! Agents: workloads with a spec, a desired state and replicas.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    AgentId, Constraints, Generation, Labels, Millis, Name, Replica, ReplicaId, Resources, Revision,
    named::named,
};

const MAX_ARGS: usize = 256;
const MAX_ENV: usize = 256;
const MAX_TEXT: usize = 8 * 1024;
const MAX_GRACE_SECONDS: u64 = 3600;

/// Replicas of one agent, at most.
pub const MAX_REPLICAS: u32 = 1_000;

/// Why a spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The command is empty.
    #[error("`command` is empty: name the program the agent runs, such as `/usr/bin/python3`")]
    NoCommand,
    /// A field is over its bound.
    #[error("`{field}` is too large: {size}, at most {limit}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// A text with a NUL byte can't be handed to a process.
    #[error("`{0}` holds a NUL byte, which no process can be given")]
    Nul(&'static str),
    /// An environment variable's name is outside the rule.
    #[error("`{0}` is not a name of an environment variable")]
    Env(String),
    /// More replicas than one, or none.
    #[error("`replicas` is {0}: an agent has exactly one for now")]
    Replicas(u32),
}

/// How a container is chosen among those that fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The container with the smallest share of its resources in use.
    #[default]
    LeastLoaded,
    /// The container with the largest share of its resources in use (bin packing): others stay free for
    /// agents that need much.
    ResourceFit,
}

/// What the runner does when the agent's process ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Start it again, with growing pauses.
    #[default]
    Always,
    /// Start it again unless it exited with 0.
    OnFailure,
    /// Leave it.
    Never,
}

/// What may happen while the agent's container can't be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisconnectPolicy {
    /// At no moment do two copies act: it is replaced only once the old copy is proven unable to.
    #[default]
    Exclusive,
    /// Replaced as soon as its container is lost; two copies may overlap.
    AtLeastOnce,
}

/// What to run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct AgentSpec {
    /// Unique among agents.
    pub name: Name,
    /// The program, as a path inside the container or a name on its `PATH`.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment, added to the runner's clean one.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its working directory; the runner's data directory when absent.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Labels for selectors.
    #[serde(default)]
    pub labels: Labels,
    /// What it needs; a container without that much free is not chosen.
    #[serde(default)]
    pub resources: Resources,
    /// Containers must match this label selector, such as `zone=a,gpu`. It may also ask for what a runner
    /// declared or found: `capability/gpu`, `interpreter/python3`.
    #[serde(default)]
    pub constraints: Constraints,
    /// How many copies of it there are. For now there is exactly one.
    #[serde(default = "default_replicas")]
    pub replicas: u32,
    /// How a container is chosen.
    #[serde(default)]
    pub strategy: Strategy,
    /// What happens when its process ends.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// What may happen while its container can't be reached.
    #[serde(default)]
    pub on_disconnect: DisconnectPolicy,
    /// Seconds between the stop signal (SIGTERM) and SIGKILL.
    #[serde(default = "default_grace")]
    pub stop_grace_seconds: u64,
}

named!(
    AgentSpec,
    omit & [
        "args",
        "env",
        "working_dir",
        "labels",
        "resources",
        "constraints",
        "strategy",
        "restart",
        "on_disconnect"
    ]
);

fn default_replicas() -> u32 {
    1
}

fn default_grace() -> u64 {
    10
}

impl AgentSpec {
    /// About how many bytes of memory it takes. Every version of this program must count the same for the same
    /// spec, as the cluster's bound is decided by it: a field that is added counts from a cluster version on.
    pub fn bytes(&self) -> u64 {
        let text = |text: &str| (size_of::<String>() + text.len()) as u64;
        let args: u64 = self.args.iter().map(|arg| text(arg)).sum();
        let env: u64 = self.env.iter().map(|(key, value)| text(key) + text(value)).sum();
        let labels: u64 = self
            .labels
            .iter()
            .map(|(key, value)| text(key) + text(value))
            .sum();
        let fixed = [self.name.as_str(), &self.command, self.constraints.as_str()];
        let fixed = fixed.into_iter().chain(self.working_dir.as_deref());
        args + env + labels + fixed.map(text).sum::<u64>()
    }

    /// Checks what the types can't say.
    ///
    /// # Errors
    /// [`SpecError`] names the field and the bound.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.command.trim().is_empty() {
            return Err(SpecError::NoCommand);
        }
        text("command", &self.command)?;
        bounded("args", self.args.len(), MAX_ARGS)?;
        self.args.iter().try_for_each(|arg| text("args", arg))?;
        bounded("env", self.env.len(), MAX_ENV)?;
        for (key, value) in &self.env {
            if key.is_empty() || key.contains(['=', '\0']) || key.len() > 256 {
                return Err(SpecError::Env(key.chars().take(80).collect()));
            }
            text("env", value)?;
        }
        self.working_dir
            .as_deref()
            .map_or(Ok(()), |dir| text("working_dir", dir))?;
        if self.replicas != 1 {
            return Err(SpecError::Replicas(self.replicas));
        }
        bounded(
            "stop_grace_seconds",
            usize::try_from(self.stop_grace_seconds).unwrap_or(usize::MAX),
            MAX_GRACE_SECONDS as usize,
        )
    }
}

fn bounded(field: &'static str, size: usize, limit: usize) -> Result<(), SpecError> {
    if size > limit {
        Err(SpecError::TooLarge { field, size, limit })
    } else {
        Ok(())
    }
}

fn text(field: &'static str, value: &str) -> Result<(), SpecError> {
    bounded(field, value.len(), MAX_TEXT)?;
    if value.contains('\0') {
        Err(SpecError::Nul(field))
    } else {
        Ok(())
    }
}

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It runs somewhere.
    Running,
    /// It runs nowhere and stays known.
    Stopped,
    /// It runs nowhere and is forgotten once that is so.
    Removed,
}

/// What was last observed of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Waits for a container.
    Pending,
    /// Has a container, whose runner has not answered yet.
    Assigned,
    /// The runner starts it, or waits before starting it again.
    Starting,
    /// Its process runs.
    Running,
    /// The runner stops it.
    Stopping,
    /// Its process ended as wanted.
    Stopped,
    /// Its process ended and is not started again.
    Failed,
}

impl AgentState {
    /// Whether the process ended for good: it is not started again in that placement.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}

/// An agent in the registry. Where its replicas are stands in their placements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Agent {
    /// The agent's id.
    pub id: AgentId,
    /// What to run.
    pub spec: Arc<AgentSpec>,
    /// Counts the changes of the spec, from 1.
    pub generation: Generation,
    /// What the operator wants.
    pub desired: Desired,
    /// Its replicas, in the order of their ordinals, which begin with 1.
    pub replicas: Box<[Replica]>,
    /// The revision of its last change, those of its placements among them.
    pub version: Revision,
    /// Log time of its deployment.
    pub deployed_at: Millis,
}

named!(Agent, omit & []);

impl Agent {
    /// A replica by its ordinal.
    pub fn replica(&self, ordinal: u32) -> Option<&Replica> {
        self.replicas.get(place_of(ordinal)?)
    }

    /// A replica by its ordinal, to be changed.
    pub fn replica_mut(&mut self, ordinal: u32) -> Option<&mut Replica> {
        self.replicas.get_mut(place_of(ordinal)?)
    }

    /// Its replicas' ids, in order.
    pub fn replica_ids(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        let agent = self.id;
        (1..)
            .zip(0..self.replicas.len())
            .map(move |(ordinal, _)| ReplicaId { agent, ordinal })
    }
}

fn place_of(ordinal: u32) -> Option<usize> {
    usize::try_from(ordinal).ok()?.checked_sub(1)
}
