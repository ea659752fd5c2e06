//! What must hold when managers are away, and when all of them start again.

use super::*;

/// The managers but these, each stopped.
async fn stop_all(net: &Net, managers: Vec<Manager>) -> Vec<(ManagerId, Arc<TempDir>)> {
    let mut stopped = Vec::new();
    for manager in managers {
        stopped.push((manager.consensus.id(), manager.stop(net).await));
    }
    stopped
}

async fn start_again(net: &Net, stopped: Vec<(ManagerId, Arc<TempDir>)>) -> Vec<Manager> {
    let peers: BTreeMap<_, _> = (1..=3).map(|id| (id, info(id))).collect();
    let mut managers = Vec::new();
    for (id, dir) in stopped {
        managers.push(Manager::start(net, id, 100 + id, dir, First::Form(peers.clone())).await);
    }
    managers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_alone_answers_no_linearizable_read() {
    let net = Net::default();
    let mut managers = three(&net).await;
    managers[0].put("k", "v").await.unwrap();
    let follower = managers.remove((leader(&managers) + 1) % 3);
    stop_all(&net, managers).await;
    let read = follower.consensus.read().await;
    assert!(matches!(read, Err(ReadError::NoQuorum(_))), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_to_have_had_no_effect_never_takes_one() {
    let net = Net::default();
    let mut managers = three(&net).await;
    managers[0].put("k", "before").await.unwrap();
    let last = managers.remove(leader(&managers));
    let stopped = stop_all(&net, managers).await;
    // It leads, so it appends this, and then waits for a quorum in vain.
    let write = last.put("k", "after").await.unwrap_err();
    let mut managers = start_again(&net, stopped).await;
    managers.push(last);
    // Written behind it, so that it has been decided when this is read.
    let deadline = Instant::now() + Duration::from_secs(20);
    while managers[0].put("other", "v").await.is_err() {
        assert!(Instant::now() < deadline, "no writes");
    }
    let value = managers[0].get("k").await;
    match write {
        ProposeError::Unknown(_) => {}
        other => assert_eq!(value.as_deref(), Some("before"), "{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_after_all_managers_started_again() {
    let net = Net::default();
    let managers = three(&net).await;
    // Several snapshots and a purge, and entries behind the last snapshot.
    for i in 0..1350 {
        managers[i % 3].put(&format!("k{i}"), "v").await.unwrap();
    }
    let stopped = stop_all(&net, managers).await;
    let managers = start_again(&net, stopped).await;
    for manager in &managers {
        let deadline = Instant::now() + Duration::from_secs(20);
        let state = loop {
            match manager.consensus.read().await {
                Ok(state) => break state,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let missing: Vec<_> = (0..1350)
            .filter(|i| state.config(&format!("k{i}")).is_none())
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(manager.consensus.status().managers.len(), 3);
    }
}

/// The term of whoever leads, once somebody does in a later one than `after`.
async fn term_of_leader(managers: &[Manager], after: u64) -> u64 {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let leads = |m: &Manager| m.consensus.watch_leadership().borrow().map(|l| l.term);
        match managers.iter().filter_map(leads).max() {
            Some(term) if term > after => return term,
            _ => assert!(Instant::now() < deadline, "nobody leads after term {after}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_do_not_go_back_when_all_managers_start_again() {
    let net = Net::default();
    let managers = three(&net).await;
    let mut before = term_of_leader(&managers, 0).await;
    for _ in 0..10 {
        // Never to the leader itself, which has most of its own log.
        managers[0].consensus.transfer_leadership(None).await.unwrap();
        before = term_of_leader(&managers, before).await;
    }
    let stopped = stop_all(&net, managers).await;
    let managers = start_again(&net, stopped).await;
    // The last one has just started: its first word counts too.
    let told = managers[2].consensus.status().term;
    assert!(told >= before, "{before}, then {told}");
    let after = term_of_leader(&managers, 0).await;
    assert!(after > before, "{before}, then {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_away_is_not_dialed_without_a_pause() {
    let net = Net::default();
    let mut managers = three(&net).await;
    let away = managers.remove((leader(&managers) + 1) % 3);
    away.stop(&net).await;
    let before = net.dials.load(Ordering::Relaxed);
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        managers[0].put("k", "v").await.unwrap();
    }
    let dials = net.dials.load(Ordering::Relaxed) - before;
    // Heartbeats dial twenty times a second, entries when their pause is over.
    assert!(dials < 200, "{dials} dials within a second");
}

/// A batch that waits when raft ends is answered, each proposal of it: nothing panics on the way.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_when_raft_ends_is_answered() {
    let net = Net::default();
    let mut managers = three(&net).await;
    managers[0].put("k", "v").await.unwrap();
    let last = managers.remove(leader(&managers));
    stop_all(&net, managers).await;
    let raft = &last.running.core.raft;
    let index = || raft.metrics().borrow_watched().last_log_index;
    let before = index();
    let writes: Vec<_> = (0..8)
        .map(|i| {
            let consensus = last.consensus.clone();
            let write = put(&format!("k{i}"), "v", Condition::Any);
            tokio::spawn(async move {
                consensus
                    .propose(crate::command::Principal::Manager, None, write)
                    .await
            })
        })
        .collect();
    eventually("all of them wait", || index() >= before.map(|index| index + 8)).await;
    raft.shutdown().await.unwrap();
    for write in writes {
        let answer = write.await.unwrap().unwrap_err().to_string();
        assert!(
            !answer.contains("this manager stopped"),
            "whoever offered it broke down: {answer}"
        );
    }
}
