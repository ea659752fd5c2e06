//! Joining with tokens, good and bad.

use super::*;

#[track_caller]
fn assert_refused(answer: FromManager, retry: bool, words: &str) {
    let (reason, again) = refusal(answer);
    assert!(reason.contains(words), "{reason}");
    assert_eq!(again, retry, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_with_a_good_token_gets_its_certificate() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let identity = runner.leaf.identity().unwrap();
    assert_eq!(identity.name, runner.id.to_string());
    assert_eq!(identity.role, security::PeerRole::Runner);
    let container = bench.container(runner.id);
    assert_eq!(container.name.to_string(), "box-1");
    assert_eq!(container.state, crate::model::ContainerState::Registered);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_refused_for_good_and_leave_nothing() {
    let bench = Bench::start().await;
    assert_refused(bench.enroll("box", "qjt_x").await, false, "no join token");

    let foreign = Ca::generate("other").unwrap();
    let foreign = JoinToken::generate(foreign.fingerprint()).unwrap();
    assert_refused(
        bench.enroll("box", &foreign.to_string()).await,
        false,
        "another cluster",
    );

    let unknown = JoinToken::generate(bench.ca.fingerprint()).unwrap();
    assert_refused(
        bench.enroll("box", &unknown.to_string()).await,
        false,
        "not valid",
    );

    let known = bench.token(JoinRole::Runner, None, None).await;
    let forged = JoinToken::from_secret(known.id(), [7; 32], bench.ca.fingerprint());
    assert_refused(bench.enroll("box", &forged.to_string()).await, false, "not valid");

    let expired = bench.token(JoinRole::Runner, Some(Millis(1)), None).await;
    assert_refused(
        bench.enroll("box", &expired.to_string()).await,
        false,
        "has expired",
    );

    let role = bench.token(JoinRole::Manager, None, None).await;
    assert_refused(
        bench.enroll("box", &role.to_string()).await,
        false,
        "another role",
    );

    assert_eq!(bench.consensus.state().containers(None).count(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_spent_by_use_and_not_by_a_bad_request() {
    let bench = Bench::start().await;
    let token = bench.token(JoinRole::Runner, None, Some(1)).await.to_string();
    let unsigned = FromRunner::Enroll {
        protocol: PROTOCOL,
        token: token.clone(),
        csr: "nonsense".into(),
        hello: hello("box-1", 1),
    };
    assert_refused(bench.ask(unsigned).await, false, "certificate request");
    let good = bench.enroll("box-1", &token).await;
    assert!(matches!(good, FromManager::Certificate { .. }), "{good:?}");
    assert_refused(bench.enroll("box-2", &token).await, false, "is used up");
    bench.stop().await;
}

/// The token was spent with the first answer, so a runner that lost it could never join.
#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_that_is_asked_again_is_answered_again_and_costs_nothing() {
    let bench = Bench::start().await;
    let token = bench.token(JoinRole::Runner, None, Some(1)).await;
    let (ours, theirs) = (KeyRequest::generate().unwrap(), KeyRequest::generate().unwrap());
    let ask = |csr: &str| {
        bench.ask(FromRunner::Enroll {
            protocol: PROTOCOL,
            token: token.to_string(),
            csr: csr.to_owned(),
            hello: hello("box-1", 1),
        })
    };
    let joined = |answer: FromManager| match answer {
        FromManager::Certificate { container, chain } => {
            // It is for the same key.
            Leaf::from_pem(&chain, &ours.key_pem).unwrap();
            container
        }
        other => panic!("not joined: {other:?}"),
    };
    let first = joined(ask(&ours.csr_pem).await);
    assert_eq!(joined(ask(&ours.csr_pem).await), first);
    // With the token alone nobody gets in.
    assert_refused(ask(&theirs.csr_pem).await, false, "used up");
    // A token that is for one record is gone with its use.
    let revoke = ClusterCommand::RevokeJoinToken(JoinTokenId(token.id()));
    bench.propose(Command::Cluster(revoke)).await.result.unwrap();
    assert_eq!(joined(ask(&ours.csr_pem).await), first);
    assert_refused(ask(&theirs.csr_pem).await, false, "not valid");
    assert_eq!(bench.consensus.state().containers(None).count(), 1);
    // A record that is gone has no certificate.
    bench.remove(first).await;
    assert_refused(ask(&ours.csr_pem).await, false, "not valid");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_use_may_become_free_later() {
    let bench = Bench::start().await;
    let runner = bench.runner("box-1").await;
    let _session = bench.session(&runner, 5).await;
    let token = bench.token(JoinRole::Runner, None, None).await.to_string();
    assert_refused(bench.enroll("box-1", &token).await, true, "not proven stopped");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_asks_twice_gets_the_same_id() {
    let bench = Bench::start().await;
    let token = bench.token(JoinRole::Manager, None, Some(1)).await;
    let ask = |token: &JoinToken, incarnation| {
        bench.ask(FromRunner::JoinManager {
            protocol: PROTOCOL,
            token: token.to_string(),
            incarnation,
        })
    };
    let mut answers = Vec::new();
    let runners = bench.token(JoinRole::Runner, None, None).await;
    assert_refused(ask(&runners, 77).await, false, "another role");
    let first = ask(&token, 77).await;
    let FromManager::Admitted { id, ca_key, managers } = &first else {
        panic!("not admitted: {first:?}");
    };
    assert_eq!(*id, 2);
    assert!(Ca::from_parts(bench.ca.trust().clone(), ca_key).is_ok());
    assert_eq!(managers[0].1.session, "session-1");
    assert!(bench.consensus.state().may_join(2, 77));
    answers.push(ask(&token, 88).await);
    for answer in answers {
        assert_refused(answer, false, "used up");
    }

    let many = bench.token(JoinRole::Manager, None, None).await;
    let one = ask(&many, 99).await;
    assert_eq!(one, ask(&many, 99).await);
    assert_ne!(one, ask(&many, 100).await);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_cluster_is_founded_everybody_is_put_off() {
    let bench = Bench::start_with(false).await;
    let token = JoinToken::generate(bench.ca.fingerprint()).unwrap().to_string();
    assert_refused(bench.enroll("box", &token).await, true, "not founded");
    let manager = FromRunner::JoinManager {
        protocol: PROTOCOL,
        token,
        incarnation: 1,
    };
    assert_refused(bench.ask(manager).await, true, "not founded");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_other_versions_alone_is_told_which_side_to_upgrade_and_may_try_again() {
    let bench = Bench::start().await;
    let manager = |protocol| FromRunner::JoinManager {
        protocol,
        token: String::new(),
        incarnation: 1,
    };
    let (later, earlier) = (Versions::only(900), Versions::only(1));
    assert_refused(
        bench.ask(manager(later)).await,
        true,
        "upgrade this manager first",
    );
    assert_refused(
        bench.ask(manager(earlier)).await,
        true,
        "upgrade what dials first",
    );

    // A later version's frame has fields that nobody knows here.
    let tls = security::pinned_client(bench.ca.fingerprint()).unwrap();
    let mut peer = bench.connect(tls).await;
    peer.writer.send(&(0_u32, later, [9_u8; 32])).await.unwrap();
    let (reason, retry) = peer.refused().await;
    assert!(reason.contains("upgrade this manager") && retry, "{reason}");
    bench.stop().await;
}
