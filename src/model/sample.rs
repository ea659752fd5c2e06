//! What is in use in a container at a moment, as its runner measures it. Never in the log.

use serde::{Deserialize, Serialize};

use super::Millis;

/// What is in use in a container. Where its control group does not say, it is of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Processor time since the sample before, in thousandths of a processor.
    pub cpu_millis: u64,
    /// Bytes of memory, without what the kernel would give back first.
    pub memory_bytes: u64,
    /// Bytes in use on the disk that the runner's data directory is on.
    pub disk_used_bytes: u64,
    /// Bytes read from disks, a second.
    pub disk_read_rate: u64,
    /// Bytes written to disks, a second.
    pub disk_write_rate: u64,
    /// Bytes received from the network, a second.
    pub receive_rate: u64,
    /// Bytes sent to the network, a second.
    pub send_rate: u64,
}

/// What a manager holds of a container's samples from a moment on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleHistory {
    /// The samples, the oldest first.
    pub samples: Vec<Sampled>,
    /// Whether nobody else can have any: this manager has held the container's session all the time.
    pub whole: bool,
}

/// A sample, and when a manager took it in by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// When.
    pub at: Millis,
    /// What.
    pub sample: Sample,
}
