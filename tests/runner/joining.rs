//! A runner that joins, and whose answer is lost.

use std::time::Duration;

use quorate::model::session::{FromManager, FromRunner};

use crate::scripted::{Cluster, Manager, Peer, Running};

/// Its request for a certificate, over the next connection.
async fn asked(manager: &Manager) -> (Peer, String) {
    let mut peer = manager.accept().await;
    let FromRunner::Enroll { csr, .. } = peer.read().await else {
        panic!("not an enrolment");
    };
    (peer, csr)
}

/// It asked for another key, and the token was spent on the first one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_without_an_answer_is_asked_again_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new();
    let manager = cluster.manager().await;
    let runner = Running::start(cluster.config(dir.path(), &[&manager]));
    let (peer, first) = asked(&manager).await;
    drop(peer);
    let (mut peer, again) = asked(&manager).await;
    assert_eq!(first, again);
    // A refusal is an answer: the managers would give it again to the same request.
    let reason = "its name is taken".to_owned();
    peer.send(FromManager::Refused { reason, retry: true }).await;
    let (mut peer, other) = asked(&manager).await;
    assert_ne!(first, other);
    let chain = cluster
        .ca
        .sign_runner(&other, &cluster.container.to_string())
        .unwrap();
    let container = cluster.container;
    peer.send(FromManager::Certificate { container, chain }).await;
    let (mut session, _) = manager.session(Duration::from_secs(8)).await;
    // It is open on the runner's side as well: one that is told to stop before that says no goodbye.
    session.desire(1, &[]).await;
    session.applied(1).await;
    runner.stop(session).await;
}
