//! `quorate cluster topology`: the graph as text.

use super::{
    Failure,
    output::{Output, or_dash, print, word},
};
use crate::{
    client::types::{ContainerNode, EngineNode, ManagerNode, Topology},
    model::{EngineId, RoundTrip},
};

/// Draws it for people, or shows it as data.
pub(super) fn show(topology: &Topology, output: &Output) -> Result<(), Failure> {
    if !output.is_table() {
        return output.value(topology);
    }
    print(drawn(topology).as_bytes())?;
    if !topology.unanswered.is_empty() {
        let silent: Vec<_> = topology.unanswered.iter().map(u64::to_string).collect();
        eprintln!(
            "manager {} did not answer: its round trips are missing",
            silent.join(", ")
        );
    }
    Ok(())
}

fn drawn(topology: &Topology) -> String {
    let mut lines = Vec::new();
    lines.push("managers".to_owned());
    for (last, manager) in ends(&topology.managers) {
        draw_manager(
            &mut lines,
            branch(last),
            manager,
            topology.leader == Some(manager.id),
        );
    }
    for engine in &topology.engines {
        draw_engine(&mut lines, engine);
        draw_containers(&mut lines, topology, Some(engine.id));
        draw_networks(&mut lines, topology, engine);
    }
    if topology
        .containers
        .iter()
        .any(|container| container.engine.is_none())
    {
        lines.push("\ncontainers of no engine".to_owned());
        draw_containers(&mut lines, topology, None);
    }
    lines.push(String::new());
    lines.join("\n")
}

fn draw_manager(lines: &mut Vec<String>, branch: &str, manager: &ManagerNode, leads: bool) {
    let what = match (leads, manager.voter, manager.healthy) {
        (true, _, _) => "leads",
        (_, _, false) => "silent",
        (_, true, true) => "follows",
        (_, false, true) => "joins",
    };
    let reaches: Vec<_> = manager
        .reaches
        .iter()
        .map(|edge| format!("{} in {}", edge.manager, trip(edge.round_trip_micros)))
        .collect();
    let reaches = if reaches.is_empty() {
        String::new()
    } else {
        format!(", reaches {}", reaches.join(", "))
    };
    lines.push(format!("{branch} {} {} {what}{reaches}", manager.id, manager.api));
}

fn draw_engine(lines: &mut Vec<String>, engine: &EngineNode) {
    let state = word(&engine.state);
    let watched = engine.watched_by.map_or_else(String::new, |manager| {
        format!(
            ", answers manager {manager} in {}",
            trip(engine.round_trip_micros)
        )
    });
    lines.push(format!(
        "\nengine {} {} {state}{watched}",
        engine.name, engine.url
    ));
}

fn draw_containers(lines: &mut Vec<String>, topology: &Topology, engine: Option<EngineId>) {
    let here: Vec<_> = topology
        .containers
        .iter()
        .filter(|c| c.engine == engine)
        .collect();
    for (last, container) in ends(&here) {
        draw_container(lines, last, container);
    }
}

fn draw_networks(lines: &mut Vec<String>, topology: &Topology, engine: &EngineNode) {
    for network in &engine.networks {
        let connected = topology
            .containers
            .iter()
            .filter(|container| network.containers.contains(&container.id));
        let names: Vec<_> = connected.map(|container| container.name.as_str()).collect();
        lines.push(format!("network {} connects {}", network.name, names.join(", ")));
    }
}

fn draw_container(lines: &mut Vec<String>, last: bool, container: &ContainerNode) {
    let state = word(&container.state);
    let session = container.session.map_or_else(String::new, |manager| {
        format!(
            ", session with manager {manager} in {}",
            trip(container.round_trip_micros)
        )
    });
    lines.push(format!("{} {} {state}{session}", branch(last), container.name));
    let stem = if last { "   " } else { "│  " };
    for (last, agent) in ends(&container.agents) {
        let state = word(&agent.state);
        lines.push(format!("{stem}{} {} {state}", branch(last), agent.name));
    }
}

/// Each with whether it is the last.
fn ends<T>(all: &[T]) -> impl Iterator<Item = (bool, &T)> {
    all.iter().enumerate().map(|(at, one)| (at + 1 == all.len(), one))
}

fn branch(last: bool) -> &'static str {
    if last { "└─" } else { "├─" }
}

fn trip(micros: Option<RoundTrip>) -> String {
    or_dash(micros.map(|RoundTrip(micros)| format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::types::{AgentNode, ManagerEdge, NetworkNode},
        model::{AgentId, AgentState, ContainerId, ContainerState, EngineState},
    };

    #[test]
    fn the_graph_is_drawn_as_trees() {
        let manager = |id, voter, reaches| ManagerNode {
            id,
            api: format!("10.0.0.{id}:7800"),
            voter,
            healthy: true,
            reaches,
        };
        let container = |id, name: &str, engine: Option<u64>, session| ContainerNode {
            id: ContainerId(id),
            name: name.parse().unwrap(),
            state: ContainerState::Ready,
            engine: engine.map(EngineId),
            session,
            round_trip_micros: session.map(|_| RoundTrip(1_234)),
            agents: Vec::new(),
        };
        let mut inside = container(1, "inside", Some(5), Some(1));
        inside.agents.push(AgentNode {
            id: AgentId(7),
            name: "web".parse().unwrap(),
            state: AgentState::Running,
        });
        let edge = ManagerEdge {
            manager: 2,
            round_trip_micros: Some(RoundTrip(250)),
        };
        let topology = Topology {
            revision: 9,
            leader: Some(1),
            managers: vec![manager(1, true, vec![edge]), manager(2, false, vec![])],
            engines: vec![EngineNode {
                id: EngineId(5),
                name: "docker".parse().unwrap(),
                url: "unix:///run/docker.sock".parse().unwrap(),
                state: EngineState::Connected,
                watched_by: Some(1),
                round_trip_micros: Some(RoundTrip(800)),
                networks: vec![NetworkNode {
                    name: "app_default".to_owned(),
                    containers: vec![ContainerId(1)],
                }],
            }],
            containers: vec![inside, container(2, "lone", None, None)],
            unanswered: vec![],
        };
        let expected = "\
managers
├─ 1 10.0.0.1:7800 leads, reaches 2 in 0.25 ms
└─ 2 10.0.0.2:7800 joins

engine docker unix:///run/docker.sock connected, answers manager 1 in 0.80 ms
└─ inside ready, session with manager 1 in 1.23 ms
   └─ web running
network app_default connects inside

containers of no engine
└─ lone ready
";
        assert_eq!(drawn(&topology), expected);
    }
}
