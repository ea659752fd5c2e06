//! What goes into the log, into snapshots and over the wire comes back as it was.

use std::{collections::BTreeSet, fmt::Debug};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde::{Serialize, de::DeserializeOwned};

use super::{commands::proposal, *};
use crate::{
    command::{ClusterCommand, ConfigCommand, DiscoveryCommand, Kind},
    model::{ScanId, TokenId},
};

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = postcard::to_stdvec(value).unwrap();
    let (back, rest): (T, _) = postcard::take_from_bytes(&bytes).unwrap();
    assert_eq!(&back, value);
    assert!(rest.is_empty(), "{value:?}");
    // Cut short it is never taken for something else.
    for length in 0..bytes.len() {
        assert!(postcard::from_bytes::<T>(&bytes[..length]).is_err(), "{value:?}");
    }
}

/// Every kind of command; a new one does not compile until it stands here, and then has to be generated.
pub(super) const COMMANDS: usize = 35;

pub(super) fn number(command: &Command) -> usize {
    use {
        AgentCommand as A, ClusterCommand as U, ConfigCommand as G, ContainerCommand as C,
        DiscoveryCommand as D, EngineCommand as E,
    };
    match command {
        Command::Cluster(U::Bootstrap { .. }) => 0,
        Command::Cluster(U::AllocateManager { .. }) => 1,
        Command::Cluster(U::RetireManager(_)) => 2,
        Command::Cluster(U::CreateToken(_)) => 3,
        Command::Cluster(U::RevokeToken(_)) => 4,
        Command::Cluster(U::CreateJoinToken(_)) => 5,
        Command::Cluster(U::RevokeJoinToken(_)) => 6,
        Command::Config(G::Put { .. }) => 7,
        Command::Config(G::Delete { .. }) => 8,
        Command::Container(C::Enroll { .. }) => 9,
        Command::Container(C::Register { .. }) => 10,
        Command::Container(C::Connect { .. }) => 11,
        Command::Container(C::Judge { .. }) => 12,
        Command::Container(C::Leave { .. }) => 13,
        Command::Container(C::Observe { .. }) => 14,
        Command::Container(C::Remove { .. }) => 15,
        Command::Agent(A::Deploy { .. }) => 16,
        Command::Agent(A::SetDesired { .. }) => 17,
        Command::Agent(A::Place(_)) => 18,
        Command::Agent(A::Report { .. }) => 19,
        Command::Engine(E::Add { .. }) => 20,
        Command::Engine(E::Remove { .. }) => 21,
        Command::Engine(E::SetState { .. }) => 22,
        Command::Cluster(U::OpenBreaker { .. }) => 23,
        Command::Cluster(U::CloseBreaker { .. }) => 24,
        Command::Cluster(U::LiftBreaker { .. }) => 25,
        Command::Container(C::Cordon { .. }) => 26,
        Command::Container(C::Uncordon { .. }) => 27,
        Command::Container(C::Assess { .. }) => 28,
        Command::Container(C::Approve { .. }) => 29,
        Command::Discovery(D::Scan { .. }) => 30,
        Command::Discovery(D::Progress { .. }) => 31,
        Command::Discovery(D::End { .. }) => 32,
        Command::Discovery(D::Cancel { .. }) => 33,
        Command::Container(C::Adopt { .. }) => 34,
    }
}

#[test]
fn every_command_comes_back() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..2_000 {
        let (_, _, proposal) = proposal().new_tree(&mut runner).unwrap().current();
        seen.insert(number(&proposal.command));
        comes_back(&proposal);
    }
    assert_eq!(seen, (0..COMMANDS).collect(), "some are never generated");
}

/// Each outcome; a new one does not compile until it is numbered below.
fn outcomes() -> Vec<Outcome> {
    let all = vec![
        Outcome::Done,
        Outcome::ConfigPut { created: true },
        Outcome::ManagerAllocated(u64::MAX),
        Outcome::Enrolled(ContainerId(1)),
        Outcome::AgentDeployed(AgentId(2)),
        Outcome::Placed {
            made: 3,
            refused: u32::MAX,
        },
        Outcome::EngineAdded(EngineId(4)),
        Outcome::TokenCreated(TokenId(5)),
        Outcome::JoinTokenCreated(JoinTokenId(6)),
        Outcome::ScanAsked(ScanId(7)),
    ];
    let number = |outcome: &Outcome| match outcome {
        Outcome::Done => 0,
        Outcome::ConfigPut { .. } => 1,
        Outcome::ManagerAllocated(_) => 2,
        Outcome::Enrolled(_) => 3,
        Outcome::AgentDeployed(_) => 4,
        Outcome::Placed { .. } => 5,
        Outcome::EngineAdded(_) => 6,
        Outcome::TokenCreated(_) => 7,
        Outcome::JoinTokenCreated(_) => 8,
        Outcome::ScanAsked(_) => 9,
    };
    assert!(all.iter().map(number).eq(0..all.len()));
    all
}

/// Each rejection; a new one does not compile until it is numbered below.
fn rejections() -> Vec<Rejection> {
    let (kind, name) = (Kind::JoinToken, "n".to_owned());
    let all = vec![
        Rejection::NotFound {
            kind,
            name: name.clone(),
        },
        Rejection::Exists { kind, name },
        Rejection::Condition { current: Some(7) },
        Rejection::Busy("why".into()),
        Rejection::Refused(String::new()),
        Rejection::Quota("\u{e9}".into()),
        Rejection::KeyReused,
    ];
    let number = |rejection: &Rejection| match rejection {
        Rejection::NotFound { .. } => 0,
        Rejection::Exists { .. } => 1,
        Rejection::Condition { .. } => 2,
        Rejection::Busy(_) => 3,
        Rejection::Refused(_) => 4,
        Rejection::Quota(_) => 5,
        Rejection::KeyReused => 6,
    };
    assert!(all.iter().map(number).eq(0..all.len()));
    all
}

#[test]
fn every_reply_comes_back() {
    let results = outcomes().into_iter().map(Ok);
    for result in results.chain(rejections().into_iter().map(Err)) {
        for replayed in [false, true] {
            comes_back(&Reply {
                revision: 300,
                replayed,
                result: result.clone(),
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// A snapshot is one form of one state: what is read writes the same bytes, and cut short it is refused.
    #[test]
    fn every_snapshot_comes_back(entries in proptest::collection::vec(proposal(), 1..60)) {
        let mut state = State::default();
        for (revision, (_, term, proposal)) in (1..).zip(&entries) {
            state.apply(revision, *term, proposal);
        }
        let bytes = super::property::bytes(&state);
        let back = State::read_from(&*bytes).unwrap();
        prop_assert_eq!(super::property::bytes(&back), bytes.clone());
        prop_assert_eq!(&back.index, &state.index);
        for length in (0..bytes.len()).step_by(7) {
            prop_assert!(State::read_from(&bytes[..length]).is_err());
        }
    }
}
