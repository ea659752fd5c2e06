//! What streams into containers are for, and who may open the connection that carries them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ContainerId;

/// What a runner does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamService {
    /// Sends back what comes: measures the way to a container.
    Echo,
}

/// The header of a stream, from manager to manager and from a manager to a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHeader {
    /// The container it leads to.
    pub container: ContainerId,
    /// What is to be done with it there.
    pub service: StreamService,
}

/// The first frame on a stream, from the side that accepted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamAnswer {
    /// What follows is the service's.
    Open,
    /// The manager that was asked does not hold the container's session.
    NoSession,
    /// The stream leads nowhere.
    Refused {
        /// Why, for a person to act on.
        reason: String,
    },
}

/// Lets one runner open one connection for streams, once.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamTicket(pub [u8; 16]);

impl fmt::Debug for StreamTicket {
    /// Not the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamTicket")
    }
}
