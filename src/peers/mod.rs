//! Connections between managers, and the questions that managers ask each other over them.
//!
//! A connection serves one purpose, its [`Lane`], so that a snapshot or a large batch never delays a
//! heartbeat. It begins with a hello: which manager, with which data directory, wants which manager, and
//! which versions it speaks. Both sides refuse a manager whose incarnation differs from the one the
//! membership holds: its data were wiped, and its votes and acknowledgements of before with them.
//!
//! What is said on a lane is none of this module's business. Whoever has something to say registers it with
//! [`Peers`]:
//!
//! - a [`Question`] has a number, a form and the form of its answer. Whoever can answer it registers with
//!   [`Peers::answer`]; any manager asks one other with [`Peers::ask`], some with [`Peers::ask_each`], or all
//!   others with [`Peers::ask_others`]. Many questions share a connection, and answers come as they are ready.
//! - A lane may also be handed over as a byte stream, with [`Peers::take`] on one side and
//!   [`Peers::connect`] on the other.
//!
//! The streams come from a [`Dial`] and go to [`Peers::serve`]: TLS over TCP in the real program, anything
//! else in a simulation. Who the managers are comes from [`Members`], which consensus implements.

mod hello;
mod link;
mod links;
mod question;
mod serve;
mod services;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

pub use self::{
    hello::Lane,
    link::Link,
    question::{Answers, AskError, Question, QuestionId},
};
use self::{links::Links, services::Services};
use crate::{
    model::{ManagerId, Member, PeerInfo},
    wire::{FramedReader, FramedWriter, WireError},
};

#[cfg(feature = "fuzzing")]
pub use self::{
    hello::{Hello, Welcome},
    question::{Answered, Asked},
};

/// The largest frame between managers, in bytes: a batch of entries, each with a config of up to 256 KiB.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// Any two-way byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A stream whose other end is known.
pub type BoxedStream = Box<dyn Stream>;

/// Opens authenticated streams to other managers.
pub trait Dial: Debug + Send + Sync + 'static {
    /// Connects to the peer address of a manager.
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<BoxedStream>>;
}

/// What the membership here says of a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no membership yet.
    Unformed,
    /// It is a member, with this data directory.
    Member {
        /// Its data directory's random number.
        incarnation: u64,
    },
    /// There is a membership, without it.
    Stranger,
}

/// Who the managers are, as far as is known here.
pub trait Members: Send + Sync + 'static {
    /// What the membership says of one.
    fn standing(&self, id: ManagerId) -> Standing;
    /// All of them but this one.
    fn others(&self) -> BTreeMap<ManagerId, Member>;
}

/// This manager's side of every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Me {
    /// Its id.
    pub id: ManagerId,
    /// Its data directory's random number.
    pub incarnation: u64,
}

/// A connection on which both sides speak in frames.
pub struct Channel {
    /// What comes in.
    pub reader: FramedReader<ReadHalf<BoxedStream>>,
    /// What goes out.
    pub writer: FramedWriter<WriteHalf<BoxedStream>>,
}

impl From<BoxedStream> for Channel {
    fn from(stream: BoxedStream) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self {
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
        }
    }
}

/// The ways to all other managers, and what this one answers them. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    dial: Arc<dyn Dial>,
    me: Me,
    services: Services,
    /// Weak, as consensus holds these peers itself.
    members: OnceLock<Weak<dyn Members>>,
    /// The ways for what can't wait, kept open.
    control: Links,
    /// The ways for all other questions, made when there is one.
    forward: Links,
}

impl Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers")
            .field("me", &self.shared.me)
            .finish_non_exhaustive()
    }
}

impl Peers {
    /// No connection is made before there is something to say.
    pub fn new(dial: Arc<dyn Dial>, me: Me) -> Self {
        Self {
            shared: Arc::new(Shared {
                control: Links::new(dial.clone(), me, Lane::CONTROL),
                forward: Links::new(dial.clone(), me, Lane::FORWARD),
                dial,
                me,
                services: Services::default(),
                members: OnceLock::new(),
            }),
        }
    }

    /// This manager.
    pub fn me(&self) -> Me {
        self.shared.me
    }

    /// Says who knows the managers. Until then, and after that one is gone, there are none.
    pub fn set_members<T: Members>(&self, members: &Arc<T>) {
        let members: Arc<dyn Members> = members.clone();
        // A second one would be the same: there is one consensus a manager.
        let _ = self.shared.members.set(Arc::downgrade(&members));
    }

    fn members(&self) -> Option<Arc<dyn Members>> {
        self.shared.members.get()?.upgrade()
    }

    /// All other managers, as the membership here has them.
    pub fn others(&self) -> BTreeMap<ManagerId, Member> {
        self.members().map(|members| members.others()).unwrap_or_default()
    }

    /// The way to `target` for what can't wait, as long as it is the same manager at the same address.
    pub fn control(&self, target: ManagerId, member: &Member) -> Arc<Link> {
        self.shared.control.to(target, member)
    }

    /// A connection of its own for questions to `target`.
    pub fn link(&self, lane: Lane, target: ManagerId, member: Member) -> Link {
        Link::new(self.shared.dial.clone(), self.shared.me, lane, target, member)
    }

    /// Connects to `target`, which must have the data directory that the membership holds.
    ///
    /// # Errors
    /// When it can't be reached, refuses, or is another one.
    pub async fn connect(&self, lane: Lane, target: ManagerId, member: &Member) -> io::Result<BoxedStream> {
        let expected = Some(member.incarnation);
        let opened = hello::open(
            &*self.shared.dial,
            self.me(),
            lane,
            target,
            &member.info,
            expected,
        )
        .await?;
        Ok(opened.0)
    }

    /// The incarnation of whoever lives at the address of `target`.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn incarnation_at(&self, target: ManagerId, info: &PeerInfo) -> io::Result<u64> {
        let opened = hello::open(&*self.shared.dial, self.me(), Lane::JOIN, target, info, None).await?;
        Ok(opened.1)
    }

    /// Asks one other manager.
    ///
    /// # Errors
    /// [`AskError`]: a manager that is not a member is not asked.
    pub async fn ask<Q: Question>(
        &self,
        target: ManagerId,
        question: &Q,
        limit: Duration,
    ) -> Result<Q::Answer, AskError> {
        let others = self.others();
        let Some(member) = others.get(&target) else {
            return Err(AskError::NotSent(format!("manager {target} is no other member")));
        };
        self.shared.forward.keep_only(|id| others.contains_key(id));
        self.shared.forward.to(target, member).ask(question, limit).await
    }

    /// Asks all other managers at once, each with the same time.
    pub async fn ask_others<Q: Question + Sync>(&self, question: &Q, limit: Duration) -> Answers<Q::Answer> {
        self.ask_each(self.others().into_keys(), question, limit).await
    }

    /// Asks some other managers at once, each with the same time.
    pub async fn ask_each<Q: Question + Sync>(
        &self,
        targets: impl IntoIterator<Item = ManagerId>,
        question: &Q,
        limit: Duration,
    ) -> Answers<Q::Answer> {
        let asked = targets.into_iter().map(async |id| {
            let answer = self.ask(id, question, limit).await;
            (id, answer)
        });
        let mut answers = Answers::default();
        for (id, answer) in join_all(asked).await {
            match answer {
                Ok(answer) => drop(answers.answered.insert(id, answer)),
                Err(error) => {
                    tracing::debug!(manager = id, %error, "a manager did not answer");
                    answers.unanswered.push(id);
                }
            }
        }
        answers
    }

    /// Answers a question of other managers that comes on `lane`, for as long as `owner` lives.
    ///
    /// An error is a refusal: it says that nothing was done, and why.
    pub fn answer<Q, T, F>(
        &self,
        lane: Lane,
        owner: &Arc<T>,
        answer: impl Fn(Arc<T>, ManagerId, Q) -> F + Send + Sync + 'static,
    ) where
        Q: Question,
        T: Send + Sync + 'static,
        F: Future<Output = Result<Q::Answer, String>> + Send + 'static,
    {
        self.shared.services.answer(lane, owner, answer);
    }

    /// Takes over the connections of other managers on `lane`, for as long as `owner` lives.
    pub fn take<T, F>(
        &self,
        lane: Lane,
        owner: &Arc<T>,
        take: impl Fn(Arc<T>, ManagerId, BoxedStream) -> F + Send + Sync + 'static,
    ) where
        T: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.shared.services.take(lane, owner, take);
    }

    /// How long the last look took at each other manager that answered it.
    pub fn round_trips(&self) -> BTreeMap<ManagerId, Option<Duration>> {
        let trips = self.shared.control.round_trips();
        let others = self.others().into_keys();
        others.map(|id| (id, trips.get(&id).copied())).collect()
    }

    /// Keeps the ways open that can't wait to be made, for ever.
    pub async fn keep_open(&self) {
        self.shared.control.keep_open(|| self.others()).await;
    }
}

/// As an error of a stream.
pub fn io_error(error: WireError) -> io::Error {
    match error {
        WireError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
