//! The list of a container's placements on its way to the runner: specs first, each once, then the list in
//! parts. A list that has begun is sent whole, so that one gets through however often there is another.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    model::{
        AgentId, AgentSpec, ContainerId, Generation, Revision,
        session::{Assignment, FromManager, LIST_PART},
    },
    state::State,
};

use super::desired::assignments;

/// What a session has told, and is telling, of its container's placements.
#[derive(Default)]
pub(super) struct Lists {
    /// The list that was begun last.
    told: Option<Vec<Assignment>>,
    /// The specs that the runner has once that list is whole.
    specs: BTreeSet<(AgentId, Generation)>,
    under_way: Option<UnderWay>,
}

/// A list of which not all is sent.
struct UnderWay {
    revision: Revision,
    specs: VecDeque<(AgentId, Generation, Arc<AgentSpec>)>,
    /// How much of the list is sent.
    sent: usize,
}

impl Lists {
    /// Whether the first list was begun.
    pub(super) fn begun(&self) -> bool {
        self.told.is_some()
    }

    /// Whether a list was begun and is not sent whole.
    pub(super) fn under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins with the list as it is in a state, if it is another one than before. None may be under way.
    pub(super) fn begin(&mut self, state: &State, id: ContainerId) {
        let list = assignments(state, id);
        if self.told.as_ref() == Some(&list) {
            return;
        }
        let (mut named, mut specs) = (BTreeSet::new(), VecDeque::new());
        for assignment in &list {
            let key = (assignment.replica.agent, assignment.generation);
            if !named.insert(key) || self.specs.contains(&key) {
                continue;
            }
            // No command changes a spec: the agent's is that of all its placements.
            if let Some(agent) = state.agent(key.0) {
                specs.push_back((key.0, key.1, agent.spec.clone()));
            }
        }
        self.specs = named;
        self.told = Some(list);
        self.under_way = Some(UnderWay {
            revision: state.revision(),
            specs,
            sent: 0,
        });
    }

    /// The next frame of the list that is under way.
    pub(super) fn next(&mut self) -> Option<FromManager> {
        let (Some(under_way), Some(list)) = (&mut self.under_way, &self.told) else {
            return None;
        };
        if let Some((agent, generation, spec)) = under_way.specs.pop_front() {
            return Some(FromManager::Spec {
                agent,
                generation,
                spec,
            });
        }
        let rest = list.get(under_way.sent..).unwrap_or_default();
        let part = rest.get(..LIST_PART).unwrap_or(rest);
        under_way.sent += part.len();
        let frame = FromManager::Desired {
            revision: under_way.revision,
            placements: part.to_vec(),
            last: part.len() == rest.len(),
        };
        if part.len() == rest.len() {
            self.under_way = None;
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Desired, session::MAX_FRAME_BYTES},
        state::bench::StateBench,
    };

    const ID: ContainerId = ContainerId(1);

    /// The frames of the next list.
    fn frames(lists: &mut Lists, bench: &StateBench) -> Vec<FromManager> {
        lists.begin(&bench.state, ID);
        std::iter::from_fn(|| lists.next()).collect()
    }

    /// How many specs and parts there are, and how many placements.
    fn counted(frames: &[FromManager]) -> (usize, usize, usize) {
        let specs = |frame: &&FromManager| matches!(frame, FromManager::Spec { .. });
        let specs = frames.iter().take_while(specs).count();
        let mut placements = 0;
        for (at, frame) in frames.iter().enumerate().skip(specs) {
            let FromManager::Desired {
                placements: part,
                last,
                ..
            } = frame
            else {
                panic!("{frame:?}");
            };
            assert_eq!(*last, at + 1 == frames.len());
            placements += part.len();
        }
        (specs, frames.len() - specs, placements)
    }

    #[test]
    fn a_spec_is_sent_once_while_lists_name_it() {
        let mut bench = StateBench::with_containers(1);
        let mut lists = Lists::default();
        assert_eq!(
            counted(&frames(&mut lists, &bench)),
            (0, 1, 0),
            "the first one comes even if it is empty"
        );
        for n in 1..=2 {
            bench.waiting(n, "", 0);
            assert!(bench.place(n, 1));
        }
        assert_eq!(counted(&frames(&mut lists, &bench)), (2, 1, 2));
        assert_eq!(frames(&mut lists, &bench), []);
        bench.desire(1, Desired::Stopped).unwrap();
        assert_eq!(counted(&frames(&mut lists, &bench)), (0, 1, 2), "it has them");
        bench.report(1, 1, crate::model::AgentState::Stopped).unwrap();
        assert_eq!(counted(&frames(&mut lists, &bench)), (0, 1, 1));
        bench.desire(1, Desired::Running).unwrap();
        assert!(bench.place(1, 1));
        assert_eq!(
            counted(&frames(&mut lists, &bench)),
            (1, 1, 2),
            "the list before did not name it"
        );
    }

    /// Above 4 MiB the last placed agents once did not start, and nothing but a line in a log said so.
    #[test]
    fn five_thousand_large_specs_are_told_in_frames_that_fit() {
        const COUNT: usize = 5_000;
        let mut bench = StateBench::with_containers(1);
        bench.unchecked = true;
        for n in 1..=COUNT as u64 {
            bench
                .deploy(n, |spec| spec.args = vec!["x".repeat(8 << 10)])
                .unwrap();
            assert!(bench.place(n, 1));
        }
        bench.state.check().unwrap();
        let frames = frames(&mut Lists::default(), &bench);
        assert_eq!(counted(&frames), (COUNT, COUNT / LIST_PART, COUNT));
        for frame in frames {
            let mut bytes = bytes::BytesMut::new();
            crate::wire::encode(&frame, &mut bytes, MAX_FRAME_BYTES / 16).unwrap();
        }
    }
}
