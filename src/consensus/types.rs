//! The types raft is made of here.

use openraft::{
    SnapshotMeta as RaftSnapshotMeta,
    alias::{CommittedLeaderIdOf, LogIdOf, StoredMembershipOf, VoteOf},
};

use super::{snapshot_store::SnapshotFile, state_machine::StateMachine};
use crate::{
    command::{Proposal, Reply},
    model::{ManagerId, Member},
};

openraft::declare_raft_types!(
    /// Raft over our proposals and replies.
    pub TypeConfig:
        D = Proposal,
        R = Reply,
        NodeId = ManagerId,
        Node = Member,
        // One leader a term, as in Raft itself: whatever compares terms relies on it. Openraft's default
        // lets a second one be elected within a term.
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, ManagerId>,
        AsyncRuntime = super::runtime::Runtime,
);

/// The raft core's handle.
pub(super) type Raft = openraft::Raft<TypeConfig, StateMachine>;
pub(super) type LogId = LogIdOf<TypeConfig>;
pub(super) type Vote = VoteOf<TypeConfig>;
pub(super) type StoredMembership = StoredMembershipOf<TypeConfig>;
pub(super) type SnapshotMeta = RaftSnapshotMeta<CommittedLeaderIdOf<TypeConfig>, ManagerId, Member>;
pub(super) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;
