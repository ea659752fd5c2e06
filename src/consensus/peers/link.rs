//! The asking side of a lane: many requests under way over one connection, told apart by number.
//!
//! A link is one task that owns the connection. It dials when there is something to ask, writes all
//! that waits in one go, and hands answers to whoever asked. What matters to callers is the
//! difference between [`LinkError::NotSent`], after which asking again is safe, and
//! [`LinkError::Lost`], after which the other side may or may not have acted.

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

use futures::FutureExt;
use tokio::{
    io::{ReadHalf, WriteHalf},
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{BoxedStream, Dial, Lane, MAX_FRAME_BYTES, Me, Request, Response, open};
use crate::{
    model::{ManagerId, Member},
    wire::{FramedReader, FramedWriter},
};

/// Requests that may wait for the connection; more are refused at once.
const QUEUE: usize = 1024;

/// Bytes that are written in one go at most.
const WRITE_BATCH: usize = 1 << 20;

/// A question that had less time than this says nothing about the connection when it is late: on a busy
/// machine it is the rule, and dialling again would make it busier.
const TELLING: Duration = Duration::from_millis(400);

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::consensus) enum LinkError {
    /// The request never left: it certainly had no effect.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It was sent, and the connection ended or the time ran out before the answer.
    #[error("no answer: {0}")]
    Lost(String),
}

struct Call {
    request: Request,
    answer: oneshot::Sender<Result<Response, LinkError>>,
}

/// Whoever waits for an answer, by number. The numbers are our own, so the hash needs no secret; without
/// one a run of a simulation is the same each time.
type Waiters = HashMap<u64, oneshot::Sender<Result<Response, LinkError>>, BuildHasherDefault<DefaultHasher>>;

/// Answers that are waited for. `None` once the connection has ended.
type Waiting = Arc<Mutex<Option<Waiters>>>;

/// Asks one manager on one lane.
#[derive(Debug)]
pub(in crate::consensus) struct Link {
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
        let answer = self.call(Request::Look, limit).await;
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
    pub async fn call(&self, request: Request, limit: Duration) -> Result<Response, LinkError> {
        let before = self.received.load(Ordering::Relaxed);
        let (answer, wait) = oneshot::channel();
        self.calls
            .try_send(Call { request, answer })
            .map_err(|_| LinkError::NotSent("the queue is full".into()))?;
        match timeout(limit, wait).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(LinkError::Lost("the connection ended".into())),
            Err(_) => {
                // Nothing at all came back meanwhile: the other side hangs or the network swallows.
                // Start afresh, so that what is asked next does not wait behind it.
                if limit >= TELLING && self.received.load(Ordering::Relaxed) == before {
                    self.reset.notify_one();
                }
                Err(LinkError::Lost(format!("none within {limit:?}")))
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
        let expected = Some(self.member.incarnation);
        let (stream, _) = open(
            &*self.dial,
            self.me,
            self.lane,
            self.target,
            &self.member.info,
            expected,
        )
        .await?;
        let (read, write) = tokio::io::split(stream);
        let waiting: Waiting = Arc::new(Mutex::new(Some(Waiters::default())));
        let reader = tokio::spawn(receive(
            FramedReader::new(read, MAX_FRAME_BYTES),
            waiting.clone(),
            self.received.clone(),
        ));
        Ok(Connection {
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
            waiting,
            reader,
            next: 0,
        })
    }
}

impl Connection {
    /// Writes a request and what else waits, as one batch.
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
        let number = self.next;
        self.next += 1;
        if let Err(error) = self.writer.push(&(number, &call.request)) {
            let _ = call.answer.send(Err(LinkError::NotSent(error.to_string())));
            return;
        }
        let refused = match lock(&self.waiting).as_mut() {
            Some(waiting) => {
                waiting.insert(number, call.answer);
                None
            }
            None => Some(call.answer),
        };
        if let Some(answer) = refused {
            // Encoded but the reader is gone; whether it would still leave is not known here.
            let _ = answer.send(Err(LinkError::Lost("the connection ended".into())));
        }
    }
}

fn refuse(first: Call, queue: &mut mpsc::Receiver<Call>, error: &io::Error) {
    let mut next = Some(first);
    while let Some(call) = next {
        let _ = call.answer.send(Err(LinkError::NotSent(error.to_string())));
        next = queue.try_recv().ok();
    }
}

async fn receive(
    mut reader: FramedReader<ReadHalf<BoxedStream>>,
    waiting: Waiting,
    received: Arc<AtomicU64>,
) {
    let why = loop {
        match reader.read::<(u64, Response)>().await {
            Ok(Some((number, response))) => {
                received.fetch_add(1, Ordering::Relaxed);
                let answer = lock(&waiting).as_mut().and_then(|w| w.remove(&number));
                if let Some(answer) = answer {
                    let _ = answer.send(Ok(response));
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
        let _ = answer.send(Err(LinkError::Lost(why.to_owned())));
    }
}

/// A panic while the map is held leaves it whole: every critical section is a single operation.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
