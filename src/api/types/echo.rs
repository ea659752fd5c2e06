//! The way to a container, measured.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{ContainerId, Name};

/// The most bytes that one call sends.
pub const MAX_ECHO_BYTES: u64 = 1 << 30;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EchoRequest {
    /// Bytes, 1 GiB at most.
    pub bytes: u64,
}

/// How long they took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EchoView {
    /// The container.
    #[schema(value_type = String)]
    pub container: ContainerId,
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// So many bytes went there and came back, and were the same.
    pub bytes: u64,
    /// Until the runner had taken the stream, in microseconds. The first one opens a connection.
    pub opened_micros: u64,
    /// From then until all bytes were back, in microseconds.
    pub took_micros: u64,
}
