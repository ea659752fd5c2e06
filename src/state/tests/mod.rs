//! The state by its commands: what each may and may not do, and that any sequence of them keeps
//! the invariants.

mod adopt;
mod agents;
mod breaker;
mod changes;
mod codec;
mod commands;
mod containers;
mod discovery;
mod engines;
mod events;
mod golden;
mod managers;
mod property;
mod replay;
mod requests;

use super::{
    State,
    bench::{Result, StateBench, TERM, TOKEN, found, replica},
};
use crate::{
    command::{
        AgentCommand, Binding, Command, Condition, ContainerCommand, EngineCommand, Outcome, Proposal,
        Rejection, Reply, RequestKey,
    },
    model::{
        AgentId, AgentSpec, AgentState, Assessment, Capabilities, Container, ContainerId, ContainerState,
        EngineId, Found, FoundState, JoinRole, JoinToken, JoinTokenId, Labels, Millis, PlacementId,
        ReplicaId, Resources, Revision, session::PlacementReport,
    },
};
