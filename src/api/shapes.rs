//! What the cache keeps, in the shapes of the API.

use serde::Serialize;

use super::{cluster, resource::Resource, types::PlacementView};
use crate::{
    cache::Shapes,
    consensus::Status,
    model::{Agent, Container, Engine},
    state::State,
};

/// The API's shapes, for the cache.
#[derive(Debug, Clone, Copy)]
pub struct ApiShapes;

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Made of strings, numbers and maps with keys of text, which always can be written as JSON; were it not
    // so, readers would find nothing in it and be answered from local state.
    serde_json::to_vec(value).unwrap_or_default()
}

impl Shapes for ApiShapes {
    fn container(&self, state: &State, container: &Container) -> Vec<u8> {
        json(&container.view(state))
    }

    fn agent(&self, state: &State, agent: &Agent) -> Vec<u8> {
        json(&agent.view(state))
    }

    fn engine(&self, state: &State, engine: &Engine) -> Vec<u8> {
        json(&engine.view(state))
    }

    fn placement(&self, state: &State, agent: &Agent) -> Option<Vec<u8>> {
        let first = agent.replica_ids().next()?;
        let placement = state.active(first)?;
        let container = placement.container;
        Some(json(&PlacementView {
            agent: agent.id,
            agent_name: agent.spec.name.clone(),
            container,
            container_name: state.container(container).map(|container| container.name.clone()),
            epoch: placement.epoch,
        }))
    }

    fn health(&self, state: &State, status: &Status) -> Vec<u8> {
        let voters = || status.managers.values().filter(|manager| manager.voter);
        let (all, healthy) = (
            voters().count(),
            voters().filter(|manager| manager.healthy).count(),
        );
        let quorum = if 2 * healthy > all {
            Ok(())
        } else {
            Err(format!(
                "the leader hears from {healthy} of {all} voters: it may not lead any more"
            ))
        };
        json(&cluster::health_of(state, status, quorum))
    }
}
