//! What elections and heartbeats must not do.

use super::*;

/// Heartbeats of the settings that these tests run with, twenty a second.
const SOME_HEARTBEATS: Duration = Duration::from_secs(1);

/// Each heartbeat was a connection of its own, with all that TLS costs: a busy machine did not get one
/// made within the 50 ms that a heartbeat has, so leaders fell one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_and_read_rounds_make_no_connections() {
    let net = Net::default();
    let managers = three(&net).await;
    // Everything that is ever dialled is by then, and the links between followers are open too.
    let mut before = net.dials.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(SOME_HEARTBEATS).await;
        let now = net.dials.load(Ordering::Relaxed);
        if now == before {
            break;
        }
        assert!(
            now < 100,
            "{now} connections among three managers, and still more"
        );
        before = now;
    }
    for manager in &managers {
        manager.consensus.read().await.unwrap();
    }
    let made = net.dials.load(Ordering::Relaxed) - before;
    // A follower's first question to the leader may open its way there.
    assert!(made <= 2, "{made} connections for three reads");
    // Raft ends its stream to a follower that has caught up, so nearly every small write begins one.
    let before = net.dials.load(Ordering::Relaxed);
    for n in 0..20 {
        managers[leader(&managers)]
            .put("k", &n.to_string())
            .await
            .unwrap();
    }
    let made = net.dials.load(Ordering::Relaxed) - before;
    assert!(made <= 2, "{made} connections for twenty writes");
}

/// A leader that was killed may have lost entries of its term which the others acknowledged. Going on in
/// that term it gave their places to other entries, and one manager's state differed from then on.
#[tokio::test]
async fn a_leader_that_comes_back_does_not_lead_on_in_its_old_term() {
    let net = Net::default();
    let first = || First::Form([(1, info(1))].into());
    let dir = Arc::new(TempDir::new().unwrap());
    let one = Manager::start(&net, 1, 101, dir, first()).await;
    one.put("k", "v").await.unwrap();
    let term = one.consensus.status().term;
    let dir = one.stop(&net).await;
    let again = Manager::start(&net, 1, 101, dir, first()).await;
    again.put("k", "w").await.unwrap();
    let now = again.consensus.status().term;
    assert!(now > term, "it leads in term {now}, and led in {term} before");
}

/// Two leaders of one term: whatever a leader says of its term, another one could say too.
#[test]
fn a_manager_that_voted_in_a_term_votes_for_nobody_else_in_it() {
    use openraft::vote::{RaftLeaderId, RaftVote};
    let vote = |id| types::Vote::from_leader_id(RaftLeaderId::new(5, id), false);
    assert!(PartialOrd::partial_cmp(&vote(2), &vote(1)).is_none());
}
