//! What is in use in containers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{ContainerId, ManagerId, Millis, Name, Sample, Sampled};

/// What was in use in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerStats {
    /// The container.
    #[schema(value_type = String)]
    pub container: ContainerId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// Only samples from this moment on were asked for.
    #[schema(value_type = u64)]
    pub since: Millis,
    /// The samples of the last hour, the oldest first: `at`, `cpu_millis`, `memory_bytes`,
    /// `disk_used_bytes`, and in bytes a second `disk_read_rate`, `disk_write_rate`, `receive_rate` and
    /// `send_rate`.
    #[schema(value_type = Vec<Object>)]
    pub samples: Vec<SampleView>,
    /// The managers that had samples: each has those of the time when it held the container's session.
    #[schema(value_type = Vec<u64>)]
    pub managers: Vec<ManagerId>,
    /// The managers that did not answer in time. What they have is missing. If the manager that holds
    /// the session has held it for all the time that was asked for, no other is asked.
    #[schema(value_type = Vec<u64>)]
    pub unanswered: Vec<ManagerId>,
}

/// What was in use at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleView {
    /// When a manager took it in.
    pub at: Millis,
    /// What.
    #[serde(flatten)]
    pub sample: Sample,
}

impl From<Sampled> for SampleView {
    fn from(Sampled { at, sample }: Sampled) -> Self {
        Self { at, sample }
    }
}
