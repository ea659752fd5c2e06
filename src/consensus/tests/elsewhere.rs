//! What other managers hold beside the state.

use super::*;
use crate::model::{ContainerId, Millis, RoundTrip, Sample, Sampled, Sight};

/// What each manager of these tests holds: one sample of the container of its own number, and that one's
/// session.
#[derive(Debug)]
pub(super) struct Own(pub ManagerId);

impl Held for Own {
    fn samples(&self, container: ContainerId, since: Millis) -> Vec<Sampled> {
        held(self.0, container, since)
    }

    fn sight(&self) -> Sight {
        Sight {
            sessions: vec![(ContainerId(self.0), Some(RoundTrip(self.0)))],
            ..Sight::default()
        }
    }
}

fn held(id: ManagerId, container: ContainerId, since: Millis) -> Vec<Sampled> {
    let sample = Sample {
        cpu_millis: id,
        ..Sample::default()
    };
    let own = (container.0 == id).then_some(Sampled { at: since, sample });
    own.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_manager_is_asked_and_who_does_not_answer_is_named() {
    let net = Net::default();
    let mut managers = three(&net).await;
    let (two, since) = (ContainerId(2), Millis(77));
    for (asked, other) in [(0, 3), (2, 1)] {
        let found = managers[asked].running.samples_elsewhere(two, since).await;
        let answered = [(2, held(2, two, since)), (other, vec![])].into();
        assert_eq!((found.answered, found.unanswered), (answered, vec![]));
    }
    // Nobody asks himself.
    let found = managers[1].running.samples_elsewhere(two, since).await;
    assert!(found.answered.values().all(Vec::is_empty), "{found:?}");

    managers.remove(1).stop(&net).await;
    let found = managers[0].running.samples_elsewhere(two, since).await;
    assert_eq!(
        (found.answered, found.unanswered),
        ([(3, vec![])].into(), vec![2])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_manager_tells_what_it_sees_of_the_others_and_of_its_sessions() {
    let net = Net::default();
    let managers = three(&net).await;
    let known = |sight: &Sight| sight.managers.iter().all(|(_, trip)| trip.is_some());
    eventually("all round trips are known", || {
        managers.iter().all(|manager| known(&manager.running.sight()))
    })
    .await;
    let elsewhere = managers[0].running.sights_elsewhere().await;
    assert!(elsewhere.unanswered.is_empty());
    let ids: Vec<_> = elsewhere.answered.keys().copied().collect();
    assert_eq!(ids, [2, 3]);
    for (id, sight) in elsewhere.answered {
        let others: Vec<_> = sight.managers.iter().map(|(other, _)| *other).collect();
        let expected: Vec<_> = (1..=3).filter(|other| *other != id).collect();
        assert_eq!(others, expected);
        assert!(known(&sight), "{sight:?}");
        assert_eq!(sight.sessions, [(ContainerId(id), Some(RoundTrip(id)))]);
    }
}
