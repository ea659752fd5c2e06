//! What large values may cost.

use futures::future::join_all;

use super::*;
use crate::{
    command::AgentCommand,
    model::{AgentId, AgentSpec},
};

/// Entries of a quarter of a megabyte each filled memory and disk until 200,000 of them were there.
#[tokio::test(flavor = "multi_thread")]
async fn large_values_make_a_snapshot_due_and_the_log_is_cut() {
    let net = Net::default();
    let dir = Arc::new(TempDir::new().unwrap());
    let settings = RaftSettings {
        snapshot_every: 1_000_000,
        keep_logs: 1_000_000,
        ..settings()
    };
    let first = First::Form([(1, info(1))].into());
    let one = Manager::start_with(&net, 1, 101, dir, first, settings).await;
    let value = "x".repeat(256 << 10);
    let cut = || {
        let snapshots = std::fs::read_dir(one.dir.path().join("snapshots")).unwrap();
        snapshots.count() > 0
    };
    // A snapshot is looked for after 256 MiB; so much more is written in no second.
    let mut written = 0_u64;
    while !cut() {
        let puts = (0..16).map(|i| {
            let name = format!("k{i}");
            let (one, value) = (&one, &value);
            async move { one.put(&name, value).await.unwrap() }
        });
        written += join_all(puts).await.len() as u64 * value.len() as u64;
        assert!(written < 4 << 30, "{written} bytes, and still no snapshot");
    }
    assert!(written > 200 << 20, "after {written} bytes already");
    // What is left comes back whole, over a log whose beginning is gone.
    eventually("the log's beginning is gone", || one.running.first_index() > 1).await;
    let dir = one.stop(&net).await;
    let again = Manager::start(&net, 1, 101, dir, First::Form([(1, info(1))].into())).await;
    assert_eq!(again.get("k7").await.as_deref(), Some(value.as_str()));
}

/// An agent whose spec takes about so many bytes.
fn deploy(n: u64, bytes: usize) -> Command {
    let mut spec: AgentSpec =
        serde_json::from_str(&format!(r#"{{"name": "a{n}", "command": "sleep"}}"#)).unwrap();
    spec.args = vec!["x".repeat(1000); bytes / 1000];
    Command::Agent(AgentCommand::Deploy {
        id: AgentId(n),
        spec: spec.into(),
    })
}

/// Every command but a config's counted as a kilobyte: a batch of large specs was over what a frame holds, and was
/// offered again until all its requests failed; and what the leader had taken could not be replicated.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_specs_through_a_follower_are_replicated() {
    let net = Net::default();
    let managers = three(&net).await;
    let follower = &managers[(leader(&managers) + 1) % managers.len()];
    let large = MAX_PROPOSAL_BYTES - 4096;
    let deploys = (0..120).map(|n| {
        follower
            .consensus
            .propose(crate::command::Principal::Manager, None, deploy(n, large))
    });
    let mut taken = 0;
    for reply in join_all(deploys).await {
        match reply {
            Ok(reply) => {
                assert!(reply.result.is_ok(), "{reply:?}");
                taken += 1;
            }
            // What this manager holds at a time is bounded, and its disk may be slow.
            Err(ProposeError::Overloaded | ProposeError::Unknown(_) | ProposeError::NotTaken(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(taken > 0);
    // All of them have all of it, and go on.
    let revision = follower.consensus.read().await.unwrap().revision();
    for manager in &managers {
        eventually("it has caught up", || {
            manager.consensus.state().revision() >= revision
        })
        .await;
    }
    follower.put("after", "all").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_never_be_replicated_is_refused_at_the_door() {
    let net = Net::default();
    let managers = three(&net).await;
    for manager in &managers {
        let refused = manager
            .consensus
            .propose(
                crate::command::Principal::Manager,
                None,
                deploy(1, MAX_PROPOSAL_BYTES),
            )
            .await;
        assert!(
            matches!(refused, Err(ProposeError::TooLarge { bytes }) if bytes > MAX_PROPOSAL_BYTES),
            "{refused:?}"
        );
    }
    managers[0].put("after", "all").await.unwrap();
}
