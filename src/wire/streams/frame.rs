//! The frames of a multiplexed connection: nine bytes of head, and a body for some kinds.
//!
//! ```text
//! | kind u8 | stream u32 | number u32 | body |
//! ```
//!
//! | kind | stream | number | body |
//! |---|---|---|---|
//! | settings, first and once | streams that the other side may open | credit that each of them begins with | |
//! | open | its id | bytes of the header | the header |
//! | data | its id | bytes | the bytes |
//! | credit | its id | bytes that may follow | |
//! | end | its id | 0 | |
//! | cut | its id | which ways, and why | |
//! | alive | 0 | 0 | |
//! | close | 0 | bytes of the reason | the reason, text |

use bytes::{BufMut, BytesMut};

/// Bytes of a head.
pub(super) const HEAD: usize = 9;

/// Bytes of data in one frame at most: after that it is another stream's turn.
pub(super) const CHUNK: usize = 16 << 10;

/// Bytes of a stream's header at most.
pub const MAX_HEADER_BYTES: usize = 4 << 10;

/// Bytes of the reason for a close at most.
pub(super) const MAX_REASON: usize = 512;

/// The most credit that a stream can have.
pub(super) const MAX_CREDIT: u32 = 1 << 30;

/// A bit of a cut's number: nothing more is sent.
pub(super) const CUT_SENDING: u32 = 1;

/// A bit of a cut's number: nothing more is read.
pub(super) const CUT_READING: u32 = 2;

/// What no correct peer sends. The connection is closed because of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// There is no such kind of frame.
    #[error("it sent a frame of the unknown kind {0}")]
    Kind(u8),
    /// A body is longer than its kind allows.
    #[error("it sent {what} of {size} bytes, the limit is {limit}")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// Announced.
        size: u32,
        /// Allowed.
        limit: usize,
    },
    /// A frame without data or credit, which is of no use but to keep this side busy.
    #[error("it sent an empty frame for stream {0}")]
    Empty(u32),
    /// The first frame is something else, or a later one is settings.
    #[error("it did not begin with its settings, or sent them again")]
    Settings,
    /// More credit than a stream can have.
    #[error("it gave more credit for stream {0} than a stream can have")]
    Credit(u32),
    /// More data than there was credit for.
    #[error("it sent more on stream {0} than it had credit for")]
    Overrun(u32),
    /// A stream's id is not one that it may open, or not greater than the one before.
    #[error("it opened stream {0} out of turn")]
    Turn(u32),
    /// A frame for a stream that never was.
    #[error("it sent a frame for stream {0}, which was never opened")]
    Never(u32),
    /// Something came after the end of a stream.
    #[error("it went on with stream {0} after its end")]
    AfterEnd(u32),
    /// It opens streams although it is told that there is no room.
    #[error("it goes on opening streams although there is no room for them")]
    TooManyOpens,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Settings = 1,
    Open,
    Data,
    Credit,
    End,
    Cut,
    Alive,
    Close,
}

/// Why a stream was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Its user dropped it before the end.
    Dropped,
    /// Nothing moved for too long.
    Idle,
    /// There was no room for it.
    Full,
    /// Its header was not understood.
    Header,
}

impl Why {
    fn code(self) -> u32 {
        match self {
            Self::Dropped => 0,
            Self::Idle => 1,
            Self::Full => 2,
            Self::Header => 3,
        }
    }

    /// Codes of later versions count as a plain drop.
    fn of(code: u32) -> Self {
        match code {
            1 => Self::Idle,
            2 => Self::Full,
            3 => Self::Header,
            _ => Self::Dropped,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Dropped => "the stream was cut by the other end",
            Self::Idle => "the stream was cut: nothing moved on it for too long",
            Self::Full => "the stream was refused: the other end has too many",
            Self::Header => "the stream was refused: the other end does not understand its header",
        }
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub kind: Kind,
    pub id: u32,
    pub number: u32,
}

impl Head {
    pub fn new(kind: Kind, id: u32, number: u32) -> Self {
        Self { kind, id, number }
    }

    pub fn cut(id: u32, ways: u32, why: Why) -> Self {
        Self::new(Kind::Cut, id, ways | why.code() << 8)
    }

    /// Which ways a cut closes, and why.
    pub fn cuts(self) -> (u32, Why) {
        (
            self.number & (CUT_SENDING | CUT_READING),
            Why::of(self.number >> 8),
        )
    }

    pub fn put(self, out: &mut BytesMut) {
        out.put_u8(self.kind as u8);
        out.put_u32(self.id);
        out.put_u32(self.number);
    }

    /// Reads a head; a length that is not allowed is refused before its bytes are awaited.
    pub fn parse(bytes: [u8; HEAD]) -> Result<Self, Violation> {
        let [kind, a, b, c, d, e, f, g, h] = bytes;
        let (id, number) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        let kind = match kind {
            1 => Kind::Settings,
            2 => Kind::Open,
            3 => Kind::Data,
            4 => Kind::Credit,
            5 => Kind::End,
            6 => Kind::Cut,
            7 => Kind::Alive,
            8 => Kind::Close,
            other => return Err(Violation::Kind(other)),
        };
        let bound = |what, limit| match number as usize > limit {
            true => Err(Violation::TooLong {
                what,
                size: number,
                limit,
            }),
            false => Ok(()),
        };
        match kind {
            Kind::Open => bound("the header of a stream", MAX_HEADER_BYTES)?,
            Kind::Data => bound("data", CHUNK)?,
            Kind::Close => bound("the reason for a close", MAX_REASON)?,
            _ => {}
        }
        if matches!(kind, Kind::Data | Kind::Credit) && number == 0 {
            return Err(Violation::Empty(id));
        }
        Ok(Self { kind, id, number })
    }

    /// Bytes of the body.
    pub fn body(self) -> usize {
        match self.kind {
            Kind::Open | Kind::Data | Kind::Close => self.number as usize,
            _ => 0,
        }
    }
}
