//! Why an agent waits: what the filters said of all containers, in one sentence.

use super::fleet::Fleet;
use crate::state::fit::{self, Needs, Why};

/// How many containers each filter refused.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals<'a>(Vec<(Why<'a>, usize)>);

impl<'a> Refusals<'a> {
    /// Counts one more.
    pub(super) fn add(&mut self, why: Why<'a>) {
        for (known, count) in &mut self.0 {
            if known.merge(&why) {
                *count += 1;
                return;
            }
        }
        self.0.push((why, 1));
    }

    fn total(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Each filter in the order of the pipeline, with how many it refused.
    fn sentence(&self) -> String {
        let mut groups = self.0.clone();
        groups.sort_unstable();
        let parts: Vec<_> = groups.iter().map(|(why, count)| why.of_several(*count)).collect();
        parts.join(", ")
    }
}

/// Why agents that need this fit nowhere.
pub(super) fn reason<'a>(needs: Needs<'a>, fleet: &Fleet<'a>) -> String {
    let mut refusals = fleet.closed().clone();
    if fleet.is_closed() {
        return match refusals.0.as_slice() {
            [] => "no container has joined yet".into(),
            [(Why::NotReady { .. }, _)] => format!("no container is ready: {}", refusals.sentence()),
            _ => format!("no container takes agents: {}", refusals.sentence()),
        };
    }
    for (_, host) in fleet.hosts() {
        let offer = host.offer();
        if let Err(why) = fit::suited(needs, offer).and_then(|()| fit::left(needs, offer)) {
            refusals.add(why);
        }
    }
    let total = refusals.total();
    let containers = if total == 1 { "container" } else { "containers" };
    format!("{total} {containers}: {}", refusals.sentence())
}
