//! What consensus asks other managers, and answers them.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse,
};
use serde::{Deserialize, Serialize};

use super::{
    error::{MembershipError, ProposeError},
    handle::{MembershipRequest, Status},
    types::{TypeConfig, Vote},
};
use crate::{
    command::{Proposal, Reply},
    model::{ManagerId, Member, Revision},
    peers::{Question, QuestionId},
};

/// Gives a question its number and the form of its answer.
macro_rules! question {
    ($name:ident, $id:literal, $answer:ty) => {
        impl Question for $name {
            const ID: QuestionId = QuestionId($id);
            type Answer = $answer;
        }
    };
}

/// The leader lives.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heartbeat(pub AppendEntriesRequest<TypeConfig>);
question!(Heartbeat, 10, AppendEntriesResponse<TypeConfig>);

/// A candidate asks for a vote.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskVote(pub VoteRequest<TypeConfig>);
question!(AskVote, 11, VoteResponse<TypeConfig>);

/// Whether a candidate would get a vote.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskPreVote(pub VoteRequest<TypeConfig>);
question!(AskPreVote, 12, VoteResponse<TypeConfig>);

/// The leader hands over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Transfer(pub TransferLeaderRequest<TypeConfig>);
question!(Transfer, 13, TransferLeaderResponse<TypeConfig>);

/// Proposals on their way to the leader. Each has an answer of its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Propose(pub Vec<Proposal>);
question!(Propose, 14, Vec<Result<Reply, ForwardError>>);

/// An index for reads, with the vote of the manager that asks, taken after its reads arrived.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReadIndex(pub Vote);
question!(ReadIndex, 15, Revision);

/// What the leader knows of all managers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskStatus;
question!(AskStatus, 16, Status);

/// A change of the managers on its way to the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Change(pub MembershipRequest);
question!(Change, 17, Result<(), MembershipError>);

/// What a manager knows of the one that asks, which is about to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Probe;
question!(Probe, 18, Probed);

/// A manager that is no member yet wants to be one, under the id that its certificate names.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Join {
    pub member: Member,
}
question!(Join, 19, Result<(), MembershipError>);

/// Why a forwarded proposal has no reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum ForwardError {
    /// It had no effect; another leader may take it.
    NotTaken(String),
    /// Its fate is unknown.
    Unknown(String),
}

impl From<ForwardError> for ProposeError {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::NotTaken(why) => Self::NotTaken(why),
            ForwardError::Unknown(why) => Self::Unknown(why),
        }
    }
}

/// What a manager says of itself to one that is about to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probed {
    /// Who answers: at an address that was known, another manager may live by now.
    pub id: ManagerId,
    /// Whether it has a membership.
    pub initialized: bool,
    /// The incarnation that its membership holds for the one who asks.
    pub knows: Option<u64>,
}
