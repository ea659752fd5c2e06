//! The writing side of the guards: one writer at a time, and nothing old over anything newer.
//!
//! Each call is one script, which Redis runs whole or not at all, and which looks first whether its writer is
//! still the one. Two things bar what is late: the **writer**, a random word that the last to begin left in
//! `meta` (a connection that broke goes on under a new one, so that what was under way on it comes to
//! nothing), and the **floor**, the highest revision that anybody has written at.

use std::{sync::LazyLock, time::Duration};

use data_encoding::HEXLOWER;
use redis::{FromRedisValue, Script, ScriptInvocation, Value, aio::MultiplexedConnection};

use super::{
    items::{Content, Item},
    keys::{Keys, Kind, after, stamp},
    link::{LinkError, told},
};
use crate::model::{ManagerId, Revision};

/// How long one script may take.
pub(super) const CALL: Duration = Duration::from_secs(2);

/// Objects and bytes in one script: Redis does nothing else meanwhile, which is a millisecond or two.
pub(super) const BATCH_ITEMS: usize = 200;
pub(super) const BATCH_BYTES: usize = 512 << 10;

/// Places of a list that are looked at at once.
const MEMBERS: usize = 500;
/// A name, a space and an id are shorter.
const LONGEST_MEMBER: usize = 100;

macro_rules! script {
    ($name:ident, $file:literal) => {
        static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));
    };
}

script!(BEGIN, "lua/begin.lua");
script!(RESUME, "lua/resume.lua");
script!(WRITE, "lua/write.lua");
script!(MARK, "lua/mark.lua");
script!(MEMBERS_OF, "lua/members.lua");

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// Another writer began, or all is gone.
    #[error("what was written is gone, or somebody else writes")]
    Lost,
    /// Something newer is there: its stamp.
    #[error("something newer is there already, of revision {0}")]
    Newer(String),
    /// A list is not what was written.
    #[error("the list of {0}s is not as it was written")]
    Damaged(String),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// What a script did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Wrote {
    /// Objects that were not as they should be.
    pub changed: u64,
    /// Objects that are newer than what was to be written.
    pub refused: u64,
    /// The newest of these.
    pub newest: String,
}

/// Who writes.
#[derive(Debug)]
pub(super) struct Writer {
    connection: MultiplexedConnection,
    keys: Keys,
    /// The word in `meta`.
    word: String,
    /// Passes over what objects say of themselves: they are not of this history.
    force: bool,
}

impl Writer {
    /// Becomes the writer at a revision. `foreign` is a floor that this cluster has never reached.
    pub async fn begin(
        connection: MultiplexedConnection,
        keys: &Keys,
        revision: Revision,
        foreign: Option<&str>,
    ) -> Result<Self, WriteError> {
        let mut writer = Self {
            connection,
            keys: keys.clone(),
            word: fresh_word(),
            force: foreign.is_some(),
        };
        let mut call = BEGIN.key(keys.meta());
        call.arg(&keys.cluster)
            .arg(&writer.word)
            .arg(stamp(revision))
            .arg(foreign.unwrap_or_default());
        writer.run(&call).await?;
        Ok(writer)
    }

    /// Goes on with a new connection where this writer had written all up to `revision`.
    pub async fn resume(
        &self,
        connection: MultiplexedConnection,
        revision: Revision,
    ) -> Result<Self, WriteError> {
        let mut writer = Self {
            connection,
            keys: self.keys.clone(),
            word: fresh_word(),
            force: false,
        };
        let mut call = RESUME.key(self.keys.meta());
        call.arg(&self.word).arg(&writer.word).arg(revision);
        writer.run(&call).await?;
        Ok(writer)
    }

    /// From here on objects are believed what they say.
    pub fn settle(&mut self) {
        self.force = false;
    }

    /// Writes objects as they are at a revision.
    pub async fn write(&mut self, revision: Revision, items: &[Item]) -> Result<Wrote, WriteError> {
        if items.is_empty() {
            return Ok(Wrote::default());
        }
        let mut call = WRITE.key(self.keys.meta());
        call.arg(&self.keys.prefix)
            .arg(&self.word)
            .arg(stamp(revision))
            .arg(if self.force { "1" } else { "" });
        for item in items {
            call.arg(item.kind.name()).arg(&item.id).arg(&item.member);
            match &item.content {
                Content::Json(json) => call.arg(json),
                Content::Absent => call.arg(""),
                Content::Unlisted => call.arg("-"),
            };
        }
        let answer = self.run(&call).await?;
        let number = |at: usize| {
            answer
                .get(at)
                .and_then(|value| u64::from_redis_value_ref(value).ok())
        };
        Ok(Wrote {
            changed: number(0).ok_or(LinkError::Garbage)?,
            refused: number(1).ok_or(LinkError::Garbage)?,
            newest: answer.get(2).map(text).unwrap_or_default(),
        })
    }

    /// Says that everything is written up to a revision, of which there are so many.
    pub async fn mark(
        &mut self,
        revision: Revision,
        manager: ManagerId,
        health: &[u8],
        counts: [usize; 4],
    ) -> Result<(), WriteError> {
        let mut call = MARK.key(self.keys.meta());
        call.arg(&self.keys.prefix)
            .arg(&self.word)
            .arg(stamp(revision))
            .arg(manager)
            .arg(health)
            .arg(&self.keys.cluster);
        for (kind, count) in Kind::ALL.iter().zip(counts) {
            call.arg(kind.name()).arg(count);
        }
        self.run(&call).await.map(|_| ())
    }

    /// A part of a list, and where the next one begins.
    pub async fn members(
        &mut self,
        kind: Kind,
        from: Option<Vec<u8>>,
    ) -> Result<(Vec<Vec<u8>>, Option<Vec<u8>>), WriteError> {
        let mut call = MEMBERS_OF.key(self.keys.list(kind));
        let bound = from.unwrap_or_else(|| after(None).into_bytes());
        call.arg(bound).arg(MEMBERS).arg(LONGEST_MEMBER);
        let values: Vec<Value> = call
            .invoke_async(&mut self.connection)
            .await
            .map_err(|error| told(error, CALL))?;
        let mut values = values.into_iter();
        let bytes = |value: Value| Vec::<u8>::from_redis_value(value).map_err(|_| LinkError::Garbage);
        let last = bytes(values.next().ok_or(LinkError::Garbage)?)?;
        let count = values
            .next()
            .and_then(|value| usize::from_redis_value(value).ok());
        let next = (count.ok_or(LinkError::Garbage)? >= MEMBERS).then(|| [b"(".as_slice(), &last].concat());
        let members: Result<Vec<_>, _> = values.map(bytes).collect();
        Ok((members?, next))
    }

    /// Some of the keys below the prefix, and where to go on; nowhere at the end.
    pub async fn scan(&mut self, from: u64) -> Result<(Vec<Vec<u8>>, Option<u64>), WriteError> {
        let mut scan = redis::cmd("SCAN");
        // Nothing in a prefix or an id is a pattern.
        scan.arg(from).arg("MATCH").arg(format!("{}*", self.keys.prefix));
        let (next, keys): (u64, Vec<Vec<u8>>) = scan
            .arg("COUNT")
            .arg(MEMBERS)
            .query_async(&mut self.connection)
            .await
            .map_err(|error| told(error, CALL))?;
        Ok((keys, (next != 0).then_some(next)))
    }

    /// Runs a script and reads the first word of what it says.
    async fn run(&mut self, call: &ScriptInvocation<'_>) -> Result<Vec<Value>, WriteError> {
        let values: Vec<Value> = call
            .invoke_async(&mut self.connection)
            .await
            .map_err(|error| told(error, CALL))?;
        let mut values = values.into_iter();
        let first = values.next().as_ref().map(text).unwrap_or_default();
        let second =
            |mut values: std::vec::IntoIter<Value>| values.next().as_ref().map(text).unwrap_or_default();
        match first.as_str() {
            "ok" => Ok(values.collect()),
            "lost" => Err(WriteError::Lost),
            "newer" => Err(WriteError::Newer(second(values))),
            "damaged" => Err(WriteError::Damaged(second(values))),
            _ => Err(LinkError::Garbage.into()),
        }
    }
}

fn text(value: &Value) -> String {
    String::from_redis_value_ref(value).unwrap_or_default()
}

fn fresh_word() -> String {
    HEXLOWER.encode(&rand::random::<[u8; 16]>())
}
