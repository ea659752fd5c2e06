//! What a container shall have, read from the state.

use crate::{
    model::{
        Agent, AgentId, AgentState, ContainerId, ContainerState, Desired, Revision,
        session::{Assignment, MAX_FRAME_BYTES},
    },
    state::State,
};

use super::Refusal;

/// Room in a frame for what is not an assignment, in bytes.
const FRAME_HEAD: usize = 64;

/// What of an assignment can differ from one list to the next: within an epoch the spec does not.
pub(super) type Shown = (AgentId, Revision, bool);

/// A container's agents, as little of them as tells two lists apart.
pub(super) fn shown(state: &State, id: ContainerId) -> Vec<Shown> {
    let agents = state.agents_of(id).filter(|agent| wanted(agent));
    agents
        .map(|agent| (agent.id, agent.epoch, runs(&agent)))
        .collect()
}

/// A container's agents as its runner is told of them, and how many did not fit into a frame. Those
/// that were placed last are left out: what runs goes on.
pub(super) fn assignments(state: &State, id: ContainerId) -> (Vec<Assignment>, usize) {
    let mut agents: Vec<_> = state.agents_of(id).filter(|agent| wanted(agent)).collect();
    agents.sort_by_key(|agent| (agent.epoch, agent.id));
    let all = agents.len();
    let mut room = MAX_FRAME_BYTES - FRAME_HEAD;
    let mut fitting = Vec::with_capacity(all);
    for agent in agents {
        let assignment = Assignment {
            agent: agent.id,
            epoch: agent.epoch,
            run: runs(&agent),
            spec: agent.spec.clone(),
        };
        // What can't be measured can't be sent either.
        let size = postcard::experimental::serialized_size(&assignment).unwrap_or(usize::MAX);
        if size <= room {
            room -= size;
            fitting.push(assignment);
        }
    }
    let left_out = all - fitting.len();
    (fitting, left_out)
}

/// An agent whose process ended for good is not started again in this placement, not even by a new
/// start of the runner, which knows nothing of its end.
fn wanted(agent: &Agent) -> bool {
    let ended = matches!(agent.state, AgentState::Stopped | AgentState::Failed);
    agent.desired != Desired::Running || !ended
}

fn runs(agent: &Agent) -> bool {
    agent.desired == Desired::Running
}

/// Whether the state still knows the session that was opened at revision `opened`.
///
/// # Errors
/// Why the session is over.
pub(super) fn standing(state: &State, id: ContainerId, boot: u64, opened: Revision) -> Result<(), Refusal> {
    let Some(container) = state.container(id) else {
        return Err(removed(id));
    };
    if container.boot != boot {
        return Err(Refusal::for_now(if container.boot == 0 {
            format!(
                "container `{}` was taken for dead: {}",
                container.name, container.reason
            )
        } else {
            format!(
                "another start of the runner of container `{}` came later",
                container.name
            )
        }));
    }
    if container.connected > opened {
        return Err(replaced());
    }
    // The runner's next hello makes it ready at once; its heartbeats would only after a while.
    if container.state == ContainerState::Lost {
        return Err(Refusal::for_now(format!(
            "container `{}` was lost: {}",
            container.name, container.reason
        )));
    }
    Ok(())
}

pub(super) fn removed(id: ContainerId) -> Refusal {
    Refusal::for_good(format!(
        "{id} is not known to the cluster any more: it was removed, or another runner took its place; remove the runner's data directory to join anew"
    ))
}

pub(super) fn replaced() -> Refusal {
    Refusal::for_now("a later session of this container has taken this one's place")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::session::FromManager, state::bench::StateBench};

    const ID: ContainerId = ContainerId(1);

    #[test]
    fn only_what_a_runner_can_tell_apart_makes_another_list() {
        let mut bench = StateBench::with_containers(1);
        bench.waiting(7, "", 0);
        assert!(bench.place(7, 1));
        let (agent, epoch) = (AgentId(7), bench.revision);
        let list = vec![(agent, epoch, true)];
        assert_eq!(shown(&bench.state, ID), list);
        bench.report(1, 7, AgentState::Running).unwrap();
        assert_eq!(shown(&bench.state, ID), list);
        bench.desire(7, Desired::Stopped).unwrap();
        assert_eq!(shown(&bench.state, ID), [(agent, epoch, false)]);
        bench.report(1, 7, AgentState::Stopped).unwrap();
        assert_eq!(shown(&bench.state, ID), []);
        bench.desire(7, Desired::Running).unwrap();
        assert!(bench.place(7, 1));
        let again = bench.revision;
        assert!(again > epoch);
        assert_eq!(shown(&bench.state, ID), [(agent, again, true)]);
        bench.report(1, 7, AgentState::Failed).unwrap();
        assert_eq!(shown(&bench.state, ID), [], "it ended for good");
    }

    #[test]
    fn a_list_always_fits_into_a_frame_and_keeps_what_was_placed_first() {
        let mut bench = StateBench::with_containers(1);
        let large = "x".repeat(MAX_FRAME_BYTES / 3);
        // Ids against the order of placement.
        for n in [9, 8, 7] {
            bench.deploy(n, |spec| spec.args = vec![large.clone()]).unwrap();
            assert!(bench.place(n, 1));
        }
        bench.waiting(1, "", 0);
        assert!(bench.place(1, 1));
        let small = AgentId(1);
        let (agents, left_out) = assignments(&bench.state, ID);
        let ids: Vec<_> = agents.iter().map(|a| a.agent).collect();
        assert_eq!((ids, left_out), (vec![AgentId(9), AgentId(8), small], 1));
        let frame = FromManager::Desired {
            revision: u64::MAX,
            agents,
        };
        let mut bytes = bytes::BytesMut::new();
        crate::wire::encode(&frame, &mut bytes, MAX_FRAME_BYTES).unwrap();
    }
}
