//! Cached reads: a short question to Redis, and a reason whenever it can't be answered from there.
//!
//! Requests never connect. A task holds the connection; the first question that fails takes it away, so that
//! the next ones do not wait, and the task tries again, with pauses, until Redis answers.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{FromRedisValue, Script, ScriptInvocation, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    Progress,
    figures::Figures,
    keys::{Keys, Kind, after},
    lead::Backoff,
    link::{Link, Settings},
};
use crate::model::Revision;

static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/read.lua")));

/// A mark is set every second: one that is so old is of a leader that can't reach Redis, or there is none.
const OLDEST_MARK: Duration = Duration::from_secs(10);

/// The most bytes of one answer.
const LARGEST: usize = 4 << 20;

/// Questions at once; more are answered from local state.
const AT_ONCE: usize = 256;

/// How often a connection that nobody uses is tried.
const PROBE: Duration = Duration::from_secs(5);

/// Why a cached read is not answered from Redis. Each has one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// No Redis is configured.
    Off,
    /// Not connected, or it refuses.
    Down,
    /// It did not answer in time.
    Slow,
    /// Too many cached reads at once.
    Busy,
    /// Nothing, or not all, has been written there yet.
    Empty,
    /// It is another cluster's.
    Foreign,
    /// Nobody has written there for a while.
    Stalled,
    /// What is there is not what was written.
    Damaged,
    /// It does not have the object.
    Missing,
    /// The answer would be too large.
    Large,
    /// It has not got as far as the wanted revision.
    Behind,
    /// This kind of object is never there.
    NotKept,
}

impl Miss {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Down => "down",
            Self::Slow => "slow",
            Self::Busy => "busy",
            Self::Empty => "empty",
            Self::Foreign => "foreign",
            Self::Stalled => "stalled",
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Large => "large",
            Self::Behind => "behind",
            Self::NotKept => "not-kept",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "empty" => Self::Empty,
            "foreign" => Self::Foreign,
            "stalled" => Self::Stalled,
            "missing" => Self::Missing,
            "large" => Self::Large,
            _ => Self::Damaged,
        }
    }
}

/// What Redis had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Everything up to this revision is in it.
    pub revision: Revision,
    /// Whether a list goes on.
    pub more: bool,
    /// The objects, as JSON that nobody has looked at yet.
    pub items: Vec<Vec<u8>>,
}

struct Shared {
    connection: ArcSwapOption<MultiplexedConnection>,
    broken: Notify,
    places: Semaphore,
    prefix: String,
    limit: Duration,
    progress: watch::Receiver<Progress>,
}

/// Asks Redis. Cheap to clone.
#[derive(Clone)]
pub struct Reader(Arc<Shared>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(settings: &Settings, progress: watch::Receiver<Progress>) -> Self {
        Self(Arc::new(Shared {
            connection: ArcSwapOption::empty(),
            broken: Notify::new(),
            places: Semaphore::new(AT_ONCE),
            prefix: settings.prefix.clone(),
            limit: settings.read_timeout,
            progress,
        }))
    }

    /// Keeps a connection, for ever.
    pub(super) async fn keep(self, link: Link, figures: Figures) {
        let mut backoff = Backoff::default();
        figures.connected.set(0.0);
        loop {
            match link.connect(self.0.limit).await {
                Ok(connection) => {
                    self.0.connection.store(Some(Arc::new(connection)));
                    figures.connected.set(1.0);
                    tracing::info!("cached reads are answered from Redis");
                    let began = tokio::time::Instant::now();
                    self.until_broken().await;
                    self.0.connection.store(None);
                    figures.connected.set(0.0);
                    tracing::warn!("Redis does not answer: cached reads are answered from local state");
                    if began.elapsed() > PROBE {
                        backoff.reset();
                    }
                }
                Err(error) => tracing::debug!(%error, "no connection for cached reads"),
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn until_broken(&self) {
        loop {
            if timeout(PROBE, self.0.broken.notified()).await.is_ok() {
                return;
            }
            let Some(connection) = self.0.connection.load_full() else {
                return;
            };
            let mut connection = MultiplexedConnection::clone(&connection);
            if redis::cmd("PING")
                .query_async::<()>(&mut connection)
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Whether questions go to Redis now.
    pub fn connected(&self) -> bool {
        self.0.connection.load().is_some()
    }

    /// How the projection of this manager goes.
    pub fn progress(&self) -> Progress {
        self.0.progress.borrow().clone()
    }

    /// An object by its id.
    ///
    /// # Errors
    /// [`Miss`].
    pub async fn get(&self, cluster: &str, kind: Kind, id: &str) -> Result<Found, Miss> {
        self.ask(cluster, kind.name(), |call| {
            call.arg("get").arg(format!("{}:{id}", kind.name()));
        })
        .await
    }

    /// The cluster's health.
    ///
    /// # Errors
    /// [`Miss`].
    pub async fn health(&self, cluster: &str) -> Result<Found, Miss> {
        self.ask(cluster, "health", |call| {
            call.arg("get").arg("health");
        })
        .await
    }

    /// At most `limit` objects of a list from after what stands at `order`.
    ///
    /// # Errors
    /// [`Miss`].
    pub async fn list(
        &self,
        cluster: &str,
        kind: Kind,
        order: Option<&str>,
        limit: usize,
    ) -> Result<Found, Miss> {
        self.ask(cluster, kind.name(), |call| {
            call.arg("list").arg(after(order)).arg(limit);
        })
        .await
    }

    async fn ask(
        &self,
        cluster: &str,
        kind: &str,
        what: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<Found, Miss> {
        let keys = Keys::new(&self.0.prefix, cluster);
        let mut call = READ.key(keys.meta());
        call.arg(&keys.prefix)
            .arg(&keys.cluster)
            .arg(u64::try_from(OLDEST_MARK.as_millis()).unwrap_or(u64::MAX))
            .arg(LARGEST)
            .arg(kind);
        what(&mut call);
        let connection = self.0.connection.load_full().ok_or(Miss::Down)?;
        let _place = self.0.places.try_acquire().map_err(|_| Miss::Busy)?;
        let mut own = MultiplexedConnection::clone(&connection);
        let miss = match timeout(self.0.limit, call.invoke_async::<Vec<Value>>(&mut own)).await {
            Ok(Ok(values)) => return found(values),
            // A key of ours that is of another type.
            Ok(Err(error))
                if error
                    .code()
                    .is_some_and(|code| matches!(code, "ERR" | "WRONGTYPE")) =>
            {
                return Err(Miss::Damaged);
            }
            Ok(Err(error)) if !error.is_timeout() => Miss::Down,
            _ => Miss::Slow,
        };
        // Only its own: another request may have noticed, and the task have connected again.
        let current = self.0.connection.load_full();
        if current.is_some_and(|current| Arc::ptr_eq(&current, &connection)) {
            self.0.connection.store(None);
            self.0.broken.notify_one();
        }
        Err(miss)
    }
}

fn found(values: Vec<Value>) -> Result<Found, Miss> {
    let mut values = values.into_iter();
    let mut text = || {
        let value = values.next();
        value.and_then(|value| String::from_redis_value(value).ok())
    };
    match text().as_deref() {
        Some("ok") => {}
        Some(word) => return Err(Miss::of(word)),
        None => return Err(Miss::Damaged),
    }
    let revision = text().and_then(|text| text.parse().ok()).ok_or(Miss::Damaged)?;
    let more = text().as_deref() == Some("1");
    let items: Result<_, _> = values.map(Vec::<u8>::from_redis_value).collect();
    Ok(Found {
        revision,
        more,
        items: items.map_err(|_| Miss::Damaged)?,
    })
}
