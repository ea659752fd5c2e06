//! What a container shall have, read from the state.

use crate::{
    model::{Agent, ContainerId, ContainerState, Desired, Placement, Revision, session::Assignment},
    state::State,
};

use super::Refusal;

/// A container's placements as its runner is told of them, by id.
pub(super) fn assignments(state: &State, id: ContainerId) -> Vec<Assignment> {
    let placements = state.placements_in(id).filter_map(|placement| {
        let agent = state.agent(placement.replica.agent)?;
        wanted(agent, placement).then(|| Assignment {
            placement: placement.id,
            replica: placement.replica,
            epoch: placement.epoch,
            generation: placement.generation,
            role: placement.role,
            run: agent.desired == Desired::Running,
        })
    });
    placements.collect()
}

/// A placement whose process ended for good is not started again, not even by a new start of the runner,
/// which knows nothing of its end.
fn wanted(agent: &Agent, placement: &Placement) -> bool {
    agent.desired != Desired::Running || !placement.is_over()
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
    use crate::{
        model::{AgentState, PlacementId},
        state::bench::StateBench,
    };

    const ID: ContainerId = ContainerId(1);

    #[test]
    fn only_what_a_runner_can_tell_apart_makes_another_list() {
        let mut bench = StateBench::with_containers(1);
        let list = |bench: &StateBench| -> Vec<_> {
            let all = assignments(&bench.state, ID).into_iter();
            all.map(|one| (one.placement, one.epoch, one.run)).collect()
        };
        bench.waiting(7, "", 0);
        assert!(bench.place(7, 1));
        let epoch = bench.revision;
        let first = PlacementId(1);
        assert_eq!(list(&bench), [(first, epoch, true)]);
        bench.report(1, 7, AgentState::Running).unwrap();
        assert_eq!(list(&bench), [(first, epoch, true)]);
        bench.desire(7, Desired::Stopped).unwrap();
        assert_eq!(list(&bench), [(first, epoch, false)]);
        bench.report(1, 7, AgentState::Stopped).unwrap();
        assert_eq!(list(&bench), []);
        bench.desire(7, Desired::Running).unwrap();
        assert!(bench.place(7, 1));
        assert_eq!(list(&bench), [(PlacementId(2), bench.revision, true)]);
        assert!(bench.revision > epoch);
        bench.report(1, 7, AgentState::Failed).unwrap();
        assert_eq!(list(&bench), [], "it ended for good");
    }
}
