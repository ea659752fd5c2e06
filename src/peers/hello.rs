//! The first two frames of a connection. Their form never changes: they have to be understood by every
//! version there will be.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{BoxedStream, Dial, Me, Members, Standing, io_error};
use crate::{
    model::{ManagerId, Mismatch, PeerInfo, Versions},
    wire,
};

/// The versions of what managers say to each other after the hello.
pub(super) const SPOKEN: Versions = Versions::only(6);

/// How long dialling and the first two frames may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(1);

/// The largest hello, and the largest answer to it, in bytes.
const MAX_HELLO: usize = 1024;
const MAX_WELCOME: usize = 4096;

/// What a connection is for. Numbers are added and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lane(u8);

impl Lane {
    /// Pipelined log entries; nothing else.
    pub const APPEND: Self = Self(0);
    /// Heartbeats, votes, handing over leadership.
    pub const CONTROL: Self = Self(1);
    /// Snapshots.
    pub const SNAPSHOT: Self = Self(2);
    /// All other questions between members.
    pub const FORWARD: Self = Self(3);
    /// Questions of a manager that is no member yet.
    pub const JOIN: Self = Self(4);
    /// Streams into containers, multiplexed.
    pub const STREAMS: Self = Self(5);

    /// Whether a manager that the membership here does not have may use it. A member that is behind may
    /// not know a later one yet, which may be the leader it needs: only what asks for effects here is
    /// refused. Pre-votes keep a removed manager harmless.
    fn serves_strangers(self) -> bool {
        matches!(self, Self::APPEND | Self::CONTROL | Self::SNAPSHOT | Self::JOIN)
    }
}

/// The first frame of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    versions: Versions,
    from: ManagerId,
    incarnation: u64,
    to: ManagerId,
    lane: Lane,
}

#[cfg(feature = "fuzzing")]
impl Hello {
    /// One of manager 1 to manager 3.
    pub fn sample(lane: Lane) -> Self {
        Self {
            versions: SPOKEN,
            from: 1,
            incarnation: 2,
            to: 3,
            lane,
        }
    }
}

/// The answer to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Welcome {
    /// The connection is open.
    Open {
        /// The data directory of who answers.
        incarnation: u64,
        /// The version that both sides speak from here on.
        version: u16,
    },
    /// It is not, and why. Trying again may help.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Connects, says hello and checks who answers; gives that one's incarnation too.
pub(super) async fn open(
    dial: &dyn Dial,
    me: Me,
    lane: Lane,
    target: ManagerId,
    info: &PeerInfo,
    expected: Option<u64>,
) -> io::Result<(BoxedStream, u64)> {
    let handshake = async {
        let mut stream = dial.dial(info.peer.clone()).await?;
        let hello = Hello {
            versions: SPOKEN,
            from: me.id,
            incarnation: me.incarnation,
            to: target,
            lane,
        };
        wire::write_frame(&mut stream, &hello, MAX_HELLO)
            .await
            .map_err(io_error)?;
        match wire::read_frame(&mut stream, MAX_WELCOME)
            .await
            .map_err(io_error)?
        {
            Some(Welcome::Open { version, .. }) if !SPOKEN.has(version) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("manager {target} answers in version {version}, which was not offered"),
            )),
            Some(Welcome::Open { incarnation, .. }) if expected.is_none_or(|e| e == incarnation) => {
                Ok((stream, incarnation))
            }
            Some(Welcome::Open { .. }) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "manager {target} answers with another data directory than the cluster knows: remove it and join it again as a new manager"
                ),
            )),
            Some(Welcome::Refused { reason }) => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason))
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    timeout(HANDSHAKE, handshake)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Who has been let in, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guest {
    pub from: ManagerId,
    pub lane: Lane,
}

/// Reads the hello of a manager whose certificate was issued for `authenticated`, and answers it. `None`
/// when the connection is not to be served.
pub(super) async fn receive(
    stream: &mut BoxedStream,
    me: Me,
    members: Option<&dyn Members>,
    authenticated: ManagerId,
) -> Option<Guest> {
    let hello: Hello = match timeout(HANDSHAKE, wire::read_frame(stream, MAX_HELLO)).await {
        Ok(Ok(Some(hello))) => hello,
        Ok(Err(error)) if error.is_violation() => {
            tracing::warn!(peer = authenticated, %error, "a peer connection did not begin with a hello");
            return None;
        }
        _ => return None,
    };
    let answer = match check(me, members, &hello, authenticated) {
        Ok(version) => Welcome::Open {
            incarnation: me.incarnation,
            version,
        },
        Err(reason) => Welcome::Refused { reason },
    };
    let sent = timeout(HANDSHAKE, wire::write_frame(stream, &answer, MAX_WELCOME)).await;
    if let Welcome::Refused { reason } = answer {
        tracing::warn!(peer = authenticated, %reason, "refused a manager");
        return None;
    }
    matches!(sent, Ok(Ok(()))).then_some(Guest {
        from: hello.from,
        lane: hello.lane,
    })
}

/// The version to speak, or why this connection must not be served.
fn check(
    me: Me,
    members: Option<&dyn Members>,
    hello: &Hello,
    authenticated: ManagerId,
) -> Result<u16, String> {
    let (from, to, lane) = (hello.from, hello.to, hello.lane);
    let version = Versions::common(SPOKEN, hello.versions).map_err(|mismatch| {
        let first = match mismatch {
            Mismatch::TheyAreOlder => from,
            Mismatch::WeAreOlder => me.id,
        };
        format!(
            "manager {from} speaks peer versions {}, manager {} speaks {SPOKEN}: upgrade manager {first} first",
            hello.versions, me.id
        )
    })?;
    if from != authenticated {
        return Err(format!(
            "a certificate of manager {authenticated} can't speak as manager {from}"
        ));
    }
    // One that comes in knows addresses only: whoever has the place of a removed manager by now can
    // tell it where it stands, and let it in.
    if to != me.id && lane != Lane::JOIN {
        return Err(format!(
            "this is manager {}, not {to}: check the peer addresses",
            me.id
        ));
    }
    match members.map_or(Standing::Unformed, |members| members.standing(from)) {
        Standing::Member { incarnation } if incarnation != hello.incarnation && lane != Lane::JOIN => {
            Err(format!(
                "manager {from} is known with another data directory: its data were lost, so it can't come back as itself; remove it and join it as a new manager"
            ))
        }
        Standing::Stranger if !lane.serves_strangers() => {
            Err(format!("manager {from} is not a member of this cluster"))
        }
        _ => Ok(version),
    }
}
