//! What the silence of a container's runner means.

use std::time::Duration;

use super::Mass;
use crate::model::{Container, ContainerState};

/// How long a runner may be silent, on the leader's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// From here on it gets no new placement.
    pub suspect: Duration,
    /// From here on it is lost: `at_least_once` agents are replaced.
    pub lost: Duration,
    /// From here on its runner has stopped its exclusive agents by its own clock, so they are
    /// replaced. Must be longer than the runner's own limit.
    pub fence: Duration,
    /// From when on a silence is one of many, and makes nobody lost.
    pub mass: Mass,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            suspect: Duration::from_secs(3),
            lost: Duration::from_secs(6),
            fence: Duration::from_secs(10),
            mass: Mass::default(),
        }
    }
}

impl Windows {
    /// How long heartbeats must have been coming again before a container is trusted again: one that
    /// was on its way when the container was paused is not a sign of life.
    pub fn settle(&self) -> Duration {
        self.suspect / 3
    }
}

/// What a silence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It answers.
    Ready,
    /// It may be gone.
    Suspect,
    /// It is gone, and its exclusive agents may still run.
    Lost,
    /// It is gone, and its exclusive agents have stopped.
    Fenced,
}

/// What a silence of this length means.
pub fn verdict(silence: Duration, windows: &Windows) -> Health {
    if silence >= windows.fence {
        Health::Fenced
    } else if silence >= windows.lost {
        Health::Lost
    } else if silence >= windows.suspect {
        Health::Suspect
    } else {
        Health::Ready
    }
}

/// A change of a container's state that its silence or its return calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// `Ready`, `Suspect` or `Lost`.
    pub state: ContainerState,
    /// Whether exclusive agents may be replaced.
    pub fenced: bool,
    /// Why, for a person to read.
    pub reason: String,
}

/// What a container's `silence` calls for. `back_for` is how long its heartbeats have been coming
/// again since it stopped being ready; zero when they have not. While too many are silent with it
/// (`one_of_many`) it goes no further than suspect.
///
/// A container that waits for its first session, or whose runner is proven dead, is not judged:
/// only a new session makes it ready.
pub fn judge(
    container: &Container,
    silence: Duration,
    back_for: Duration,
    one_of_many: bool,
    windows: &Windows,
) -> Option<Judgement> {
    if container.boot == 0 {
        return None;
    }
    let now = match container.state {
        ContainerState::Candidate | ContainerState::Registered => return None,
        ContainerState::Ready => Health::Ready,
        ContainerState::Suspect => Health::Suspect,
        ContainerState::Lost if container.fenced => Health::Fenced,
        ContainerState::Lost => Health::Lost,
    };
    let silent = || format!("no heartbeat for {:.1} s", silence.as_secs_f64());
    let furthest = if one_of_many {
        Health::Suspect
    } else {
        Health::Fenced
    };
    let (state, fenced, reason) = match verdict(silence, windows).min(furthest) {
        Health::Ready if now > Health::Ready && back_for >= windows.settle() => (
            ContainerState::Ready,
            false,
            "its heartbeats come again".to_owned(),
        ),
        next if next <= now => return None,
        Health::Fenced => (ContainerState::Lost, true, silent()),
        Health::Lost => (ContainerState::Lost, false, silent()),
        Health::Suspect | Health::Ready => (ContainerState::Suspect, false, silent()),
    };
    Some(Judgement {
        state,
        fenced,
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ContainerId, state::bench::StateBench};

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn silence_is_judged_by_the_windows() {
        let windows = Windows::default();
        for (silence, expected) in [
            (Duration::from_millis(2_999), Health::Ready),
            (secs(3), Health::Suspect),
            (Duration::from_millis(5_999), Health::Suspect),
            (secs(6), Health::Lost),
            (Duration::from_millis(9_999), Health::Lost),
            (secs(10), Health::Fenced),
        ] {
            assert_eq!(verdict(silence, &windows), expected, "{silence:?}");
        }
    }

    fn judged(container: &Container, silence: u64, back_for: u64) -> Option<(ContainerState, bool)> {
        let judged = judge(
            container,
            secs(silence),
            secs(back_for),
            false,
            &Windows::default(),
        );
        judged.map(|j| (j.state, j.fenced))
    }

    #[test]
    fn one_of_many_is_suspect_and_no_more_but_comes_back() {
        let mut bench = StateBench::default();
        bench.ready_with(1, "", 1000);
        let mut container = (**bench.state.container(ContainerId(1)).unwrap()).clone();
        let among_many = |container: &Container, silence, back_for| {
            let judged = judge(
                container,
                secs(silence),
                secs(back_for),
                true,
                &Windows::default(),
            );
            judged.map(|j| (j.state, j.fenced))
        };
        assert_eq!(
            among_many(&container, 60, 0),
            Some((ContainerState::Suspect, false))
        );
        container.state = ContainerState::Suspect;
        assert_eq!(among_many(&container, 60, 0), None);
        container.state = ContainerState::Lost;
        assert_eq!(among_many(&container, 60, 0), None, "not fenced either");
        assert_eq!(among_many(&container, 0, 1), Some((ContainerState::Ready, false)));
    }

    #[test]
    fn a_container_goes_down_step_by_step_or_at_once_and_comes_back() {
        let mut bench = StateBench::default();
        bench.ready_with(1, "", 1000);
        let mut container = (**bench.state.container(ContainerId(1)).unwrap()).clone();
        assert_eq!(judged(&container, 0, 0), None);
        assert_eq!(judged(&container, 4, 0), Some((ContainerState::Suspect, false)));
        assert_eq!(judged(&container, 60, 0), Some((ContainerState::Lost, true)));

        container.state = ContainerState::Suspect;
        assert_eq!(judged(&container, 4, 0), None);
        assert_eq!(judged(&container, 7, 0), Some((ContainerState::Lost, false)));
        assert_eq!(judged(&container, 0, 0), None, "one late heartbeat is no return");
        assert_eq!(judged(&container, 0, 1), Some((ContainerState::Ready, false)));

        container.state = ContainerState::Lost;
        assert_eq!(judged(&container, 7, 0), None);
        assert_eq!(judged(&container, 11, 0), Some((ContainerState::Lost, true)));
        container.fenced = true;
        assert_eq!(judged(&container, 99, 0), None);
        assert_eq!(judged(&container, 0, 2), Some((ContainerState::Ready, false)));
    }

    #[test]
    fn who_has_no_runner_is_not_judged() {
        let mut bench = StateBench::default();
        bench.ready_with(1, "", 1000);
        let mut container = (**bench.state.container(ContainerId(1)).unwrap()).clone();
        container.boot = 0;
        container.state = ContainerState::Lost;
        container.fenced = true;
        assert_eq!(
            judged(&container, 0, 9),
            None,
            "a heartbeat of the dead counts for nothing"
        );
        container.state = ContainerState::Registered;
        assert_eq!(judged(&container, 99, 0), None);
    }
}
