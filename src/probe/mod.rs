//! What a manager and a runner that has not joined say to each other when a scan finds the runner.
//!
//! ```text
//!  manager (dials)                                         runner (listens, until it has joined)
//!     ── TLS 1.3; the runner shows a key of its own, nobody trusts anybody ──
//!     Ask { version, nonce }                        ──>
//!                                                   <──    Tell { name, token's id or none, nonce }
//!     Prove { HMAC(K, "manager", transcript) }      ──>    checks it
//!                    checks it                      <──    Proved { HMAC(K, "runner", transcript, theirs) }
//!     Invite { managers' addresses }                ──>
//!                                                   <──    Taken, and joins there as any runner does
//! ```
//!
//! `K` is made of the hash of the join token's secret: the runner computes it, managers keep it. The
//! transcript holds both nonces, the version, the token's id, the runner's name and key, and a secret of the
//! TLS connection ([`crate::security::channel_binding`]). A runner without a token says so and is noted as a
//! candidate. Once an operator has approved its key, a manager dials again, makes sure that it meets that
//! key, and the invitation carries a join token for this one runner.
//!
//! # What an attacker on the network can and can't do
//!
//! - *Who scans* learns of a runner that listens: its name, its key, the public half of its token. Without
//!   the token's hash it can't make a runner take an invitation. Even with the hash it could not take the
//!   runner over: the runner joins over TLS that its token pins to the cluster's CA.
//! - *Who pretends to be a runner* gets one HMAC that is bound to its own connection, which is good for
//!   nothing, and becomes a candidate at most. Proof alone lets nobody in: the token is still shown when joining.
//! - *Who stands in the middle* has two connections with different secrets, so no proof made over one holds
//!   over the other.
//! - *A runner without a token* can't tell a manager from anybody else by a secret. It takes an invitation
//!   only with a token for the CA that its configuration names (`probe.ca`, which is no secret): whoever else
//!   invites it makes it dial an address where TLS then fails, and no more: several invitations are looked at
//!   at a time, one of a source, each for a few seconds, and only one that leads to a manager is followed.
//!   With `probe.trust_first` it follows whoever comes first; that is for networks where nobody else is.
//! - *Who approves a candidate* approves a key. A candidate that calls itself like another container gets
//!   its own record and never that one's.
//! - *Who floods* the port costs the runner a few handshakes at a time: connections are bounded in number, in
//!   all and by source, in bytes and in time, and those that say nothing go first. Who speaks, from many
//!   sources, can keep a scan from getting through. Who answers on every address of a network fills the table of candidates, which is small and
//!   bounded, and nothing else.
//!
//! It leaves out: which addresses are looked at and how fast (`control`), and joining itself (`runner`, `session`).

mod answer;
mod connect;
mod dial;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod message;
mod open_engine;
mod proof;
#[cfg(test)]
mod tests;

use std::{io, time::Duration};

pub use self::{
    answer::{Host, Invitation, answer},
    dial::{Opened, Prober, Seen},
};
use crate::{security::SecurityError, wire::WireError};

/// The version of the messages.
const PROTOCOL: u32 = 1;

/// For a connection to be made, of a scan. In a network nearby it takes milliseconds; a lost first packet is
/// sent again after a second.
const CONNECT: Duration = Duration::from_secs(2);

/// For all that is said over it, on either side.
pub const TALK: Duration = Duration::from_secs(5);

/// Bytes of a message, at most: the longest is an invitation.
const FRAME_BYTES: usize = 16 << 10;

/// Managers in an invitation, at most.
const MAX_MANAGERS: usize = 32;

/// Bytes of a manager's address, at most.
const MAX_ADDRESS_BYTES: usize = 300;

/// Why a talk came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody is there, or the connection broke.
    #[error("nothing answers there, or the connection broke")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("it did not say what it should within {TALK:?}")]
    Slow,
    /// Another program.
    #[error("what answers there is no runner that waits to join")]
    Foreign,
    /// The other side breaks the rules.
    #[error("it does not keep to the protocol")]
    Garbage(#[source] WireError),
    /// The other side broke them in a way that decodes.
    #[error("it said what nobody says there: {0}")]
    Unexpected(&'static str),
    /// The versions differ.
    #[error(
        "it speaks version {theirs} of the protocol, this side version {PROTOCOL}: upgrade the older one"
    )]
    Version {
        /// The other side's.
        theirs: u32,
    },
    /// Somebody without the token.
    #[error("it could not prove that it holds the join token")]
    Unproven,
    /// The key is not the one that was asked for.
    #[error("it shows another key than the one that was found: scan again, and look whose it is")]
    OtherKey,
    /// Nobody needs to approve it.
    #[error("it holds a join token by now and is let in by that: scan again")]
    HasToken,
    /// The other side does not want it.
    #[error("it refused: {0}")]
    Refused(&'static str),
    /// Keys and certificates.
    #[error("TLS can't be used")]
    Security(#[from] SecurityError),
}

impl From<WireError> for ProbeError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Io(error) => Self::Io(error),
            other => Self::Garbage(other),
        }
    }
}
