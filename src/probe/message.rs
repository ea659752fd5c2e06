//! The messages: postcard in frames of at most [`FRAME_BYTES`](super::FRAME_BYTES).
//!
//! The first of each side begins with its version and keeps its form for ever, so that another version is
//! told as one.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{FRAME_BYTES, ProbeError};
use crate::{model::Name, wire};

/// Random bytes of one side, so that no proof is ever good twice.
pub type Nonce = [u8; 32];

/// The manager's first word.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    pub protocol: u32,
    pub nonce: Nonce,
}

/// The runner's.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Tell {
    /// Another version is spoken here.
    Version(u32),
    /// Who listens.
    Runner {
        /// What it calls itself.
        name: Name,
        /// The public half of the join token it holds.
        token: Option<u64>,
        nonce: Nonce,
    },
}

/// What the manager says then.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Say {
    /// Its proof that it knows the token.
    Prove([u8; 32]),
    /// Where to join, and with what.
    Invite {
        /// Session addresses.
        managers: Vec<String>,
        /// A join token for a runner that has none.
        token: Option<String>,
    },
}

/// What the runner says then.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Its own proof.
    Proved([u8; 32]),
    /// It follows the invitation.
    Taken,
    /// It does not: the manager's proof, or the invitation, is not good.
    Refused(Refusal),
}

/// Why a runner follows no invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The proof is wrong.
    Unproven,
    /// It holds a token and wants a proof, or holds none and was given none.
    Token,
    /// The token is for a CA that is not the one in its configuration.
    OtherCa,
    /// It follows another invitation just now.
    Busy,
    /// The addresses are none.
    Addresses,
}

impl Refusal {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unproven => "the proof is not made with its join token",
            Self::Token => "it wants a proof for the join token it holds, or a good token if it holds none",
            Self::OtherCa => {
                "the token is for another cluster than the one whose CA its configuration names as `probe.ca`"
            }
            Self::Busy => "it follows another invitation just now; try again in some seconds",
            Self::Addresses => "the managers' addresses are not usable",
        }
    }
}

/// Reads the next message.
///
/// # Errors
/// `Io` also at the end of the stream; `Garbage`.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, ProbeError> {
    let message = wire::read_frame(stream, FRAME_BYTES).await?;
    message.ok_or_else(|| ProbeError::Io(std::io::ErrorKind::UnexpectedEof.into()))
}

/// Sends a message.
///
/// # Errors
/// `Io`.
pub async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> Result<(), ProbeError> {
    Ok(wire::write_frame(stream, message, FRAME_BYTES).await?)
}
