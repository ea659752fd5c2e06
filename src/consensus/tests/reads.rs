//! What a follower's question proves to the leader.

use super::{super::reads::confirmed, *};
use crate::model::Revision;

/// What `at` makes of a question by `from`, whose vote is `vote`.
async fn asked(at: &Manager, from: ManagerId, vote: types::Vote) -> Option<Revision> {
    let me = at.consensus.id();
    let raft = &at.running.core.raft;
    raft.with_raft_state(move |state| confirmed(state, me, from, vote))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_a_round_only_with_a_vote_for_this_leader_of_a_quorum() {
    let net = Net::default();
    let managers = three(&net).await;
    let at = leader(&managers);
    let (leading, follower) = (&managers[at], &managers[(at + 1) % 3]);
    let (me, from) = (leading.consensus.id(), follower.consensus.id());
    let written = leading.put("k", "v").await.unwrap();
    follower.get("k").await;

    let vote = follower.running.core.vote().await.unwrap();
    let index = asked(leading, from, vote).await;
    assert!(index.is_some_and(|index| index >= written), "{index:?}");

    let mut earlier = vote;
    earlier.leader_id.term -= 1;
    let mut later = vote;
    later.leader_id.term += 1;
    let mut given = vote;
    given.committed = false;
    let mut to_another = vote;
    to_another.leader_id.voted_for = from;
    for other in [earlier, later, given, to_another] {
        assert_eq!(asked(leading, from, other).await, None, "{other}");
    }
    // One who does not vote, the leader itself, and a question to one who does not lead.
    assert_eq!(asked(leading, 9, vote).await, None);
    assert_eq!(asked(leading, me, vote).await, None);
    assert_eq!(asked(follower, me, vote).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_deposed_confirms_nothing() {
    let net = Net::default();
    let managers = three(&net).await;
    let at = leader(&managers);
    let (old, next) = (&managers[at], &managers[(at + 1) % 3]);
    let vote = next.running.core.vote().await.unwrap();
    assert!(asked(old, next.consensus.id(), vote).await.is_some());
    old.consensus
        .transfer_leadership(Some(next.consensus.id()))
        .await
        .unwrap();
    eventually("the other one leads", || {
        let leads = next.consensus.status().leader;
        leads == Some(next.consensus.id()) && old.consensus.status().leader == leads
    })
    .await;
    assert_eq!(asked(old, next.consensus.id(), vote).await, None);
    let now = next.running.core.vote().await.unwrap();
    assert_eq!(asked(old, next.consensus.id(), now).await, None);
}
