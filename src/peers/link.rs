//! The asking side of a lane: many questions under way over one connection, told apart by number.
//!
//! A link is one task that owns the connection. It dials when there is something to ask, writes all
//! that waits in one go, and hands answers to whoever asked. What matters to callers is the
//! difference between [`AskError::NotSent`] and [`AskError::Refused`], after which asking again is safe, and
//! [`AskError::Lost`], after which the other side may or may not have acted.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::BuildHasherDefault,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    AskError, BoxedStream, Channel, Dial, Lane, MAX_FRAME_BYTES, Me, Question, QuestionId, hello,
    question::{Answered, Asked, Look, decode, encode},
};
use crate::{
    model::{ManagerId, Member},
    wire::{FramedReader, FramedWriter},
};

/// Questions that may wait for the connection; more are refused at once.
const QUEUE: usize = 1024;

/// Bytes that are written in one go at most.
const WRITE_BATCH: usize = 1 << 20;

/// A question that had less time than this says nothing about the connection when it is late: on a busy
/// machine it is the rule, and dialling again would make it busier.
const TELLING: Duration = Duration::from_millis(400);

/// Room in a frame for what is not the question itself, in bytes.
const FRAME_HEAD: usize = 64;

type Outcome = Result<Bytes, AskError>;

struct Call {
    id: QuestionId,
    body: Bytes,
    answer: oneshot::Sender<Outcome>,
}

/// Whoever waits for an answer, by number. The numbers are our own, so the hash needs no secret; without
/// one a run of a simulation is the same each time.
type Waiters = HashMap<u64, oneshot::Sender<Outcome>, BuildHasherDefault<DefaultHasher>>;

/// Answers that are waited for. `None` once the connection has ended.
type Waiting = Arc<Mutex<Option<Waiters>>>;

/// Asks one manager on one lane.
#[derive(Debug)]
pub struct Link {
    calls: mpsc::Sender<Call>,
    reset: Arc<Notify>,
    /// Answers received in all, over all connections.
    received: Arc<AtomicU64>,
    /// How long the last look took, in microseconds; zero while none has been answered.
    trip: AtomicU64,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// A link that dials when it is first used. `expected` is the incarnation the target must have.
    pub fn new(dial: Arc<dyn Dial>, me: Me, lane: Lane, target: ManagerId, member: Member) -> Self {
        let (calls, queue) = mpsc::channel(QUEUE);
        let reset = Arc::new(Notify::new());
        let received = Arc::new(AtomicU64::new(0));
        let driver = Driver {
            dial,
            me,
            lane,
            target,
            member,
            reset: reset.clone(),
            received: received.clone(),
        };
        Self {
            calls,
            reset,
            received,
            trip: AtomicU64::new(0),
            task: tokio::spawn(driver.run(queue)),
        }
    }

    /// Asks for nothing but an answer, and notes how long it took. The first answer of all does not count:
    /// a connection was made for it.
    pub async fn look(&self, limit: Duration) {
        let connected = self.received.load(Ordering::Relaxed) > 0;
        let began = Instant::now();
        let answer = self.ask(&Look, limit).await;
        let took = match answer {
            Ok(_) if connected => u64::try_from(began.elapsed().as_micros())
                .unwrap_or(u64::MAX)
                .max(1),
            _ => 0,
        };
        self.trip.store(took, Ordering::Relaxed);
    }

    /// How long the last look took, if it was answered.
    pub fn round_trip(&self) -> Option<Duration> {
        match self.trip.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Asks, and waits at most `limit` for the answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask<Q: Question>(&self, question: &Q, limit: Duration) -> Result<Q::Answer, AskError> {
        let body = encode(question).map_err(AskError::NotSent)?;
        if body.len() > MAX_FRAME_BYTES - FRAME_HEAD {
            return Err(AskError::NotSent(format!(
                "{} bytes are more than a frame between managers takes",
                body.len()
            )));
        }
        let answer = self.call(Q::ID, body, limit).await?;
        decode(&answer).map_err(|error| AskError::Lost(format!("the answer makes no sense: {error}")))
    }

    async fn call(&self, id: QuestionId, body: Bytes, limit: Duration) -> Outcome {
        let before = self.received.load(Ordering::Relaxed);
        let (answer, wait) = oneshot::channel();
        self.calls
            .try_send(Call { id, body, answer })
            .map_err(|_| AskError::NotSent("the queue is full".into()))?;
        match timeout(limit, wait).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(AskError::Lost("the connection ended".into())),
            Err(_) => {
                // Nothing at all came back meanwhile: the other side hangs or the network swallows.
                // Start afresh, so that what is asked next does not wait behind it.
                if limit >= TELLING && self.received.load(Ordering::Relaxed) == before {
                    self.reset.notify_one();
                }
                Err(AskError::Lost(format!("none within {limit:?}")))
            }
        }
    }
}

struct Driver {
    dial: Arc<dyn Dial>,
    me: Me,
    lane: Lane,
    target: ManagerId,
    member: Member,
    reset: Arc<Notify>,
    received: Arc<AtomicU64>,
}

struct Connection {
    writer: FramedWriter<WriteHalf<BoxedStream>>,
    waiting: Waiting,
    reader: JoinHandle<()>,
    next: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
        end(&self.waiting, "the connection ended");
    }
}

impl Driver {
    async fn run(self, mut queue: mpsc::Receiver<Call>) {
        let mut connection: Option<Connection> = None;
        loop {
            let call = tokio::select! {
                call = queue.recv() => call,
                () = self.reset.notified() => {
                    connection = None;
                    continue;
                }
            };
            let Some(call) = call else { return };
            if connection.as_ref().is_none_or(|c| c.reader.is_finished()) {
                match self.connect().await {
                    Ok(fresh) => {
                        // What was asked of an earlier connection says nothing about this one.
                        let _ = self.reset.notified().now_or_never();
                        connection = Some(fresh);
                    }
                    Err(error) => {
                        refuse(call, &mut queue, &error);
                        connection = None;
                        continue;
                    }
                }
            }
            let Some(open) = connection.as_mut() else { continue };
            if open.write(call, &mut queue).await.is_err() {
                connection = None;
            }
        }
    }

    async fn connect(&self) -> io::Result<Connection> {
        let (lane, target) = (self.lane, self.target);
        let Member { info, incarnation } = &self.member;
        let (stream, _) = hello::open(&*self.dial, self.me, lane, target, info, Some(*incarnation)).await?;
        let Channel { reader, writer } = stream.into();
        let waiting: Waiting = Arc::new(Mutex::new(Some(Waiters::default())));
        let reader = tokio::spawn(receive(reader, waiting.clone(), self.received.clone()));
        Ok(Connection {
            writer,
            waiting,
            reader,
            next: 0,
        })
    }
}

impl Connection {
    /// Writes a question and what else waits, as one batch.
    async fn write(&mut self, first: Call, queue: &mut mpsc::Receiver<Call>) -> io::Result<()> {
        let mut next = Some(first);
        while let Some(call) = next {
            self.push(call);
            if self.writer.pending() >= WRITE_BATCH {
                break;
            }
            next = queue.try_recv().ok();
        }
        // A peer that takes nothing for this long is treated as gone.
        match timeout(Duration::from_secs(2), self.writer.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn push(&mut self, call: Call) {
        // Nobody waits for it any more: its time was over before there was a connection.
        if call.answer.is_closed() {
            return;
        }
        let Call { id, body, answer } = call;
        let number = self.next;
        self.next += 1;
        if let Err(error) = self.writer.push(&Asked { number, id, body }) {
            let _ = answer.send(Err(AskError::NotSent(error.to_string())));
            return;
        }
        let refused = match lock(&self.waiting).as_mut() {
            Some(waiting) => {
                waiting.insert(number, answer);
                None
            }
            None => Some(answer),
        };
        if let Some(answer) = refused {
            // Encoded but the reader is gone; whether it would still leave is not known here.
            let _ = answer.send(Err(AskError::Lost("the connection ended".into())));
        }
    }
}

fn refuse(first: Call, queue: &mut mpsc::Receiver<Call>, error: &io::Error) {
    let mut next = Some(first);
    while let Some(call) = next {
        let _ = call.answer.send(Err(AskError::NotSent(error.to_string())));
        next = queue.try_recv().ok();
    }
}

async fn receive(
    mut reader: FramedReader<ReadHalf<BoxedStream>>,
    waiting: Waiting,
    received: Arc<AtomicU64>,
) {
    let why = loop {
        match reader.read::<(u64, Answered)>().await {
            Ok(Some((number, answered))) => {
                received.fetch_add(1, Ordering::Relaxed);
                let answer = lock(&waiting).as_mut().and_then(|w| w.remove(&number));
                if let Some(answer) = answer {
                    // Whoever asked may have given up.
                    let _ = answer.send(match answered {
                        Answered::Done(body) => Ok(body),
                        Answered::Refused(why) => Err(AskError::Refused(why)),
                        Answered::Lost(why) => Err(AskError::Lost(why)),
                    });
                }
            }
            Ok(None) => break "the other side closed the connection".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    end(&waiting, &why);
}

/// Tells everyone who still waits that there will be no answer.
fn end(waiting: &Waiting, why: &str) {
    let left = lock(waiting).take();
    for (_, answer) in left.into_iter().flatten() {
        let _ = answer.send(Err(AskError::Lost(why.to_owned())));
    }
}

/// A panic while the map is held leaves it whole: every critical section is a single operation.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
