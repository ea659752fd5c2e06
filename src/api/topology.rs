//! `/api/v1/cluster/topology`: what there is and who reaches whom, with measured round trips.
//!
//! What is registered comes from the state, and with it who holds which session. Round trips are held by each
//! manager for itself: the one that is asked asks the others, and names who did not answer.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    App,
    problem::Problem,
    types::{AgentNode, ContainerNode, EngineNode, ManagerEdge, ManagerNode, NetworkNode, Topology},
};
use crate::{
    consensus::Status,
    model::{Container, ContainerId, Engine, EngineId, ManagerId, Neighbours, RoundTrip},
    security::Action,
    state,
};

const TOPOLOGY: &[&str] = &["consistency", "min_revision"];

/// The cluster as a graph: managers, engines, networks, containers and agents, with round trips.
#[utoipa::path(get, path = "/api/v1/cluster/topology", tag = "cluster",
    params(
        ("consistency" = Option<String>, Query, description = "of what is registered: `linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
    ),
    responses((status = 200, body = Topology)))]
pub(super) async fn topology(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let view = app.view(&call.params(TOPOLOGY)?).await?;
    let others = app.peer_queries().neighbours_of_others().await;
    let mut neighbours = others.answered;
    neighbours.insert(app.consensus().id(), app.peer_queries().neighbours_here());
    let topology = draw(
        &view.state,
        &app.consensus().status(),
        neighbours,
        others.unanswered,
    );
    Ok(view.json(&topology))
}

/// Who sees it, and how far away.
type Seen = (ManagerId, Option<RoundTrip>);

fn draw(
    state: &state::State,
    status: &Status,
    neighbours: BTreeMap<ManagerId, Neighbours>,
    unanswered: Vec<ManagerId>,
) -> Topology {
    let mut reaches: BTreeMap<ManagerId, Vec<ManagerEdge>> = BTreeMap::new();
    let mut engines: BTreeMap<EngineId, Seen> = BTreeMap::new();
    let mut sessions: BTreeMap<ContainerId, Seen> = BTreeMap::new();
    for (by, seen) in neighbours {
        let edges = seen.managers.into_iter().map(|(manager, trip)| ManagerEdge {
            manager,
            round_trip_micros: trip,
        });
        reaches.insert(by, edges.collect());
        // A manager that was deposed a moment ago may still watch.
        for (id, trip) in seen.engines {
            if status.leader == Some(by) || !engines.contains_key(&id) {
                engines.insert(id, (by, Some(trip)));
            }
        }
        // A session that moved may be with its former manager for a moment still; the record names the new one.
        for (id, trip) in seen.sessions {
            let holder = state.container(id).and_then(|container| container.holder());
            if holder == Some(by) || !sessions.contains_key(&id) {
                sessions.insert(id, (by, trip));
            }
        }
    }
    let managers = status.managers.values().map(|manager| ManagerNode {
        id: manager.id,
        api: manager.info.api.clone(),
        voter: manager.voter,
        healthy: manager.healthy,
        reaches: reaches.remove(&manager.id).unwrap_or_default(),
    });
    let mut networks = networks(state);
    Topology {
        revision: state.revision(),
        leader: status.leader,
        managers: managers.collect(),
        engines: state
            .engines()
            .map(|engine| {
                let networks = networks.remove(&engine.id).unwrap_or_default();
                engine_node(engine, engines.get(&engine.id), networks)
            })
            .collect(),
        containers: state
            .containers(None)
            .map(|container| {
                let silent = container.holder().filter(|holder| unanswered.contains(holder));
                let session = sessions.remove(&container.id);
                let session = session.or_else(|| silent.map(|holder| (holder, None)));
                container_node(state, container, session)
            })
            .collect(),
        unanswered,
    }
}

/// The networks that registered containers are connected to, of each engine and by name.
fn networks(state: &state::State) -> BTreeMap<EngineId, Vec<NetworkNode>> {
    let mut all: BTreeMap<(EngineId, &str), Vec<ContainerId>> = BTreeMap::new();
    for container in state.containers(None) {
        let Some(place) = &container.engine else { continue };
        for network in container.networks.iter() {
            all.entry((place.engine, network)).or_default().push(container.id);
        }
    }
    let mut networks: BTreeMap<EngineId, Vec<NetworkNode>> = BTreeMap::new();
    for ((engine, name), containers) in all {
        let name = name.to_owned();
        networks
            .entry(engine)
            .or_default()
            .push(NetworkNode { name, containers });
    }
    networks
}

fn engine_node(engine: &Engine, seen: Option<&Seen>, networks: Vec<NetworkNode>) -> EngineNode {
    EngineNode {
        id: engine.id,
        name: engine.name.clone(),
        url: engine.url.clone(),
        state: engine.state,
        watched_by: seen.map(|(by, _)| *by),
        round_trip_micros: seen.and_then(|(_, trip)| *trip),
        networks,
    }
}

fn container_node(state: &state::State, container: &Container, session: Option<Seen>) -> ContainerNode {
    let agents = state.placements_in(container.id).filter_map(|placement| {
        let agent = state.agent(placement.replica.agent)?;
        Some(AgentNode {
            id: agent.id,
            name: agent.spec.name.clone(),
            state: placement.state,
        })
    });
    ContainerNode {
        id: container.id,
        name: container.name.clone(),
        state: container.state,
        engine: container.engine.as_ref().map(|place| place.engine),
        session: session.map(|(holder, _)| holder),
        round_trip_micros: session.and_then(|(_, trip)| trip),
        agents: agents.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{Command, ContainerCommand},
        model::Resources,
        state::bench::{StateBench, connect},
    };

    const BOX: ContainerId = ContainerId(1);

    /// Who is shown to hold the session of a container whose record names manager 2, and how far away it is.
    fn session(seen: &[(ManagerId, Option<u64>)], silent: &[ManagerId]) -> Option<(ManagerId, Option<u64>)> {
        let mut bench = StateBench::with_containers(1);
        let mut moved = connect(BOX.0, 1, None, Resources::default());
        if let Command::Container(ContainerCommand::Connect { manager, .. }) = &mut moved {
            *manager = 2;
        }
        bench.apply(moved).unwrap();
        let neighbours = seen.iter().map(|(by, trip)| {
            let sessions = vec![(BOX, trip.map(RoundTrip))];
            let seen = Neighbours {
                sessions,
                ..Neighbours::default()
            };
            (*by, seen)
        });
        let neighbours = neighbours.collect();
        let topology = draw(&bench.state, &Status::default(), neighbours, silent.to_vec());
        let shown = &topology.containers[0];
        let micros = shown.round_trip_micros.map(|RoundTrip(micros)| micros);
        shown.session.map(|holder| (holder, micros))
    }

    #[test]
    fn a_session_is_with_the_manager_that_the_record_names() {
        let from_one_to_two = [(1, Some(70)), (2, None)];
        assert_eq!(session(&from_one_to_two, &[]), Some((2, None)));
        let from_two_to_three = [(2, None), (3, Some(70))];
        assert_eq!(session(&from_two_to_three, &[]), Some((2, None)), "for a moment");
        assert_eq!(session(&[(3, Some(70))], &[]), Some((3, Some(70))));
        assert_eq!(session(&[], &[]), None, "manager 2 has answered that it has none");
        assert_eq!(session(&[], &[2]), Some((2, None)), "manager 2 does not answer");
        assert_eq!(session(&[], &[1]), None);
    }
}
