//! Managers that come, go and may not come back.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_is_promoted_and_a_removed_manager_is_refused() {
    let net = Net::default();
    let mut managers = three(&net).await;
    let allocate = ClusterCommand::AllocateManager {
        token: JoinTokenId(2),
        incarnation: 104,
    };
    let reply = managers[1]
        .consensus
        .propose(None, Command::Cluster(allocate))
        .await
        .unwrap();
    assert_eq!(reply.result, Ok(Outcome::ManagerAllocated(4)));
    let known = vec![(2, info(2)), (3, info(3))];
    let dir = Arc::new(TempDir::new().unwrap());
    let joined = Manager::start(&net, 4, 104, dir, First::Join(known.clone())).await;
    eventually("it votes", || {
        joined
            .consensus
            .status()
            .managers
            .get(&4)
            .is_some_and(|m| m.voter)
    })
    .await;
    managers[0].consensus.remove_manager(4).await.unwrap();
    eventually("it is gone", || {
        !managers[0].consensus.status().managers.contains_key(&4)
    })
    .await;
    let mut joined = joined;
    let why = joined.fatal.recv().await.unwrap();
    assert!(why.contains("was removed from its cluster"), "{why}");
    joined.stop(&net).await;
    // Its id is spent: neither with its old data nor with new data may it come back under it.
    let dir = Arc::new(TempDir::new().unwrap());
    let mut again = Manager::start(&net, 4, 104, dir, First::Join(known)).await;
    let why = again.fatal.recv().await.unwrap();
    assert!(why.contains("no right to join"), "{why}");
    managers.remove(0).put("k", "v").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_manager_may_not_come_back_as_itself() {
    let net = Net::default();
    let mut managers = three(&net).await;
    let gone = managers.remove(2);
    gone.stop(&net).await;
    let peers = (1..=3).map(|id| (id, info(id))).collect();
    let empty = Arc::new(TempDir::new().unwrap());
    let mut wiped = Manager::start(&net, 3, 999, empty, First::Form(peers)).await;
    let why = wiped.fatal.recv().await.unwrap();
    assert!(why.contains("its data were lost"), "{why}");
    managers[0].put("k", "v").await.unwrap();
    assert!(
        wiped.consensus.state().cluster_id().is_none(),
        "it was given the log all the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quorum_is_not_removed() {
    let net = Net::default();
    let mut managers = three(&net).await;
    let at = leader(&managers);
    eventually("all are heard", || {
        managers[at]
            .consensus
            .status()
            .managers
            .values()
            .all(|m| m.healthy)
    })
    .await;
    let down = managers.remove((at + 1) % 3);
    let down_id = down.consensus.id();
    down.stop(&net).await;
    let at = leader(&managers);
    let other = managers[1 - at].consensus.id();
    eventually("it is seen to be down", || {
        managers[at]
            .consensus
            .status()
            .managers
            .get(&down_id)
            .is_some_and(|m| !m.healthy)
    })
    .await;
    let refused = managers[at].consensus.remove_manager(other).await;
    assert!(
        matches!(refused, Err(MembershipError::QuorumAtRisk(_))),
        "{refused:?}"
    );
    managers[at].consensus.remove_manager(down_id).await.unwrap();
}

/// It was heard a moment ago, and would have counted. A change that needs it can't be taken back.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_has_just_died_does_not_count_for_the_quorum() {
    let net = Net::default();
    let mut managers = three(&net).await;
    let at = leader(&managers);
    let down = managers.remove((at + 1) % 3);
    let down_id = down.consensus.id();
    let at = at - usize::from((at + 1) % 3 < at);
    let other = managers[1 - at].consensus.id();
    down.stop(&net).await;
    let refused = managers[at].consensus.remove_manager(other).await;
    assert!(
        matches!(refused, Err(MembershipError::QuorumAtRisk(_))),
        "{refused:?}"
    );
    managers[at].put("k", "v").await.unwrap();
    managers[at].consensus.remove_manager(down_id).await.unwrap();
}

/// Raft has no place for a leader that is no member: one that was removed while it led could neither lead on
/// nor, after a power cut of all, be elected to commit what it alone had.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_hands_over_before_it_is_removed() {
    let net = Net::default();
    let mut managers = three(&net).await;
    let at = leader(&managers);
    let id = managers[at].consensus.id();
    let term = managers[at].consensus.status().term;
    managers[at].consensus.remove_manager(id).await.unwrap();
    let mut old = managers.remove(at);
    let why = old.fatal.recv().await.unwrap();
    assert!(why.contains("was removed from its cluster"), "{why}");
    for manager in &managers {
        let status = manager.consensus.status();
        assert!(!status.managers.contains_key(&id), "{status:?}");
        let metrics = manager.running.core.raft.metrics();
        let changed_by = metrics
            .borrow_watched()
            .membership_config
            .log_id()
            .map(|id| id.committed_leader_id().term);
        assert_eq!(
            changed_by,
            Some(term + 1),
            "another one led the change, by a transfer"
        );
        manager.put("k", "v").await.unwrap();
    }
}
