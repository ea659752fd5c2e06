//! Samples that other managers hold.

use super::*;
use crate::model::{ContainerId, Millis, Sample, Sampled};

/// What each manager of these tests holds: one sample of the container of its own number.
pub(super) fn held(id: ManagerId, container: ContainerId, since: Millis) -> Vec<Sampled> {
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
