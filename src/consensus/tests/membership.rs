//! Managers that come, go and may not come back.

use super::*;

/// Lets manager `id` in, through those at two addresses, and waits until it votes.
async fn join(net: &Net, at: &Manager, id: ManagerId, known: &[ManagerId]) -> Manager {
    let allocate = ClusterCommand::AllocateManager {
        token: JoinTokenId(2),
        incarnation: 100 + id,
    };
    // Leadership may change hands meanwhile, and leave the outcome unknown: with its key it is asked again.
    let key = RequestKey {
        principal: TokenId(1),
        key: format!("allocate-{id}"),
        fingerprint: id,
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let reply = loop {
        let command = Command::Cluster(allocate.clone());
        match at
            .consensus
            .propose(crate::command::Principal::Manager, Some(key.clone()), command)
            .await
        {
            Ok(reply) => break reply,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(reply.result, Ok(Outcome::ManagerAllocated(id)));
    let known = known.iter().map(|id| (*id, info(*id))).collect();
    let dir = Arc::new(TempDir::new().unwrap());
    let joined = Manager::start(net, id, 100 + id, dir, First::Join(known)).await;
    eventually("it votes", || {
        let managers = joined.consensus.status().managers;
        managers.get(&id).is_some_and(|m| m.voter)
    })
    .await;
    joined
}

/// Removes manager `id`; a leader that is removed hands leadership over first, and may leave the outcome unknown.
async fn remove(at: &Manager, id: ManagerId) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while at.consensus.status().managers.contains_key(&id) {
        let removed = at.consensus.remove_manager(id).await;
        assert!(removed.is_ok() || Instant::now() < deadline, "{removed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_is_promoted_and_a_removed_manager_is_refused() {
    let net = Net::default();
    let mut managers = three(&net).await;
    let joined = join(&net, &managers[1], 4, &[2, 3]).await;
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
    let known = vec![(2, info(2)), (3, info(3))];
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

/// Nobody at the addresses it knows is who it was; it must learn all the same that it is known with the
/// data it lost, and a new one finds its way in through the same addresses.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_founder_whose_peers_were_replaced_is_told() {
    let net = Net::default();
    let mut managers = three(&net).await;
    for (old, new) in [(3, 4), (2, 5)] {
        let joined = join(&net, &managers[0], new, &[1]).await;
        remove(&managers[0], old).await;
        let place = managers.iter().position(|m| m.consensus.id() == old).unwrap();
        managers.remove(place).stop(&net).await;
        let mut listeners = net.listeners.lock().unwrap();
        let successor = listeners[&info(new).peer].clone();
        listeners.insert(info(old).peer, successor);
        drop(listeners);
        managers.push(joined);
    }
    managers.remove(0).stop(&net).await;
    let peers = (1..=3).map(|id| (id, info(id))).collect();
    let empty = Arc::new(TempDir::new().unwrap());
    let mut wiped = Manager::start(&net, 1, 999, empty, First::Form(peers)).await;
    let why = timeout(Duration::from_secs(20), wiped.fatal.recv()).await;
    let why = why.expect("it waits for ever").unwrap();
    assert!(why.contains("its data were lost"), "{why}");
    let sixth = join(&net, &managers[0], 6, &[2, 3]).await;
    sixth.put("k", "v").await.unwrap();
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
