//! Following one engine for as long as somebody listens.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage};
use futures::{
    FutureExt as _,
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt as _},
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep, sleep_until},
};

use super::{
    EngineNews,
    connection::{CallError, Connection},
    found::{self, Meaning},
};
use crate::model::EngineUrl;

/// A full list this often.
const RESYNC: Duration = Duration::from_secs(30);

/// A second list soon after the first: by then the stream of events is surely open at the engine's
/// end, which nothing in its answer tells.
const SECOND_LIST: Duration = Duration::from_secs(1);

/// Pauses between attempts to reach an engine: they double from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Nobody listens any more.
struct Unheard;

/// Watches one engine and tells `on`, until nobody listens there. `resync` asks for a list now.
pub async fn watch(url: EngineUrl, on: mpsc::Sender<EngineNews>, resync: Arc<Notify>) {
    let mut pause = RETRY.0;
    loop {
        let mut watched = false;
        let ended = match Connection::open(&url).await {
            Ok(connection) => {
                Follower::new(&connection, &on)
                    .follow(&resync, &mut watched)
                    .await
            }
            Err(error) => Ok(error),
        };
        let Ok(error) = ended else { return };
        let reason = format!("{url}: {error}");
        if on.send(EngineNews::Unreachable { reason }).await.is_err() {
            return;
        }
        if watched {
            pause = RETRY.0;
        }
        tokio::select! {
            () = on.closed() => return,
            () = sleep(pause.mul_f64(rand::random_range(0.7..1.3))) => {}
        }
        pause = (pause * 2).min(RETRY.1);
    }
}

/// When a list was asked for, and how long the engine took to answer a ping before, and what was in it.
type Listed = (Instant, Result<(Duration, Vec<ContainerSummary>), CallError>);
type Listing<'a> = BoxFuture<'a, Listed>;

/// An inspection: of what, asked when and after which event, and the answer.
struct Inspected {
    container: String,
    asked_at: Instant,
    event: u64,
    answer: Result<ContainerInspectResponse, CallError>,
}

/// One connection being followed.
struct Follower<'a> {
    connection: &'a Connection,
    on: &'a mpsc::Sender<EngineNews>,
    listing: Option<Listing<'a>>,
    inspections: FuturesUnordered<BoxFuture<'a, Inspected>>,
    /// The latest event about each container, by its number, since the last list was asked for.
    newer: BTreeMap<String, u64>,
    events: u64,
    next_list: Instant,
    lists: u64,
}

impl<'a> Follower<'a> {
    fn new(connection: &'a Connection, on: &'a mpsc::Sender<EngineNews>) -> Self {
        Self {
            connection,
            on,
            listing: None,
            inspections: FuturesUnordered::new(),
            newer: BTreeMap::new(),
            events: 0,
            next_list: Instant::now(),
            lists: 0,
        }
    }

    /// Follows until the engine fails, and says how it did.
    async fn follow(mut self, resync: &Notify, watched: &mut bool) -> Result<CallError, Unheard> {
        let mut events = self.connection.events();
        loop {
            let idle = self.listing.is_none();
            tokio::select! {
                // Events first: a death among them should not wait for anything.
                biased;
                () = self.on.closed() => return Err(Unheard),
                event = events.next() => match event {
                    Some(Ok(event)) => self.hear(event).await?,
                    Some(Err(error)) => return Ok(error),
                    None => return Ok(CallError::StreamEnded),
                },
                Some(inspected) = self.inspections.next() => self.inspected(inspected).await?,
                (asked_at, list) = wait(&mut self.listing) => match list {
                    Ok((round_trip, list)) => {
                        self.listed(asked_at, round_trip, list).await?;
                        *watched = true;
                    }
                    Err(error) => return Ok(error),
                },
                () = sleep_until(self.next_list), if idle => self.list(),
                () = resync.notified(), if idle => self.list(),
            }
        }
    }

    async fn hear(&mut self, event: EventMessage) -> Result<(), Unheard> {
        let at = Instant::now();
        self.events += 1;
        match found::of_event(event) {
            Some(Meaning::Now(found)) => {
                self.newer.insert(found.container.clone(), self.events);
                self.tell(EngineNews::Told { at, found }).await
            }
            Some(Meaning::Ask(container)) => {
                self.newer.insert(container.clone(), self.events);
                let (connection, event) = (self.connection, self.events);
                let inspect = async move {
                    let answer = connection.inspect(&container).await;
                    Inspected {
                        container,
                        asked_at: at,
                        event,
                        answer,
                    }
                };
                self.inspections.push(inspect.boxed());
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn inspected(&mut self, inspected: Inspected) -> Result<(), Unheard> {
        let Inspected {
            container,
            asked_at,
            event,
            answer,
        } = inspected;
        // Something happened to it while the engine was asked: that is the newer word.
        if self.newer.get(&container).is_some_and(|latest| *latest != event) {
            return Ok(());
        }
        match answer.map(found::of_inspection) {
            Ok(Some(found)) => self.tell(EngineNews::Told { at: asked_at, found }).await,
            Ok(None) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            // A list settles it, and says whether the engine answers at all.
            Err(_) => {
                self.next_list = Instant::now();
                Ok(())
            }
        }
    }

    fn list(&mut self) {
        let (connection, asked_at) = (self.connection, Instant::now());
        self.newer.clear();
        self.lists += 1;
        self.next_list = asked_at + if self.lists == 1 { SECOND_LIST } else { RESYNC };
        let ask = async move {
            let round_trip = connection.ping().await?;
            Ok((round_trip, connection.list().await?))
        };
        self.listing = Some(ask.map(move |answer| (asked_at, answer)).boxed());
    }

    async fn listed(
        &mut self,
        asked_at: Instant,
        round_trip: Duration,
        list: Vec<ContainerSummary>,
    ) -> Result<(), Unheard> {
        let newer: BTreeSet<String> = self.newer.keys().cloned().collect();
        let found = list.into_iter().filter_map(found::of_summary);
        let found = found.filter(|one| !newer.contains(&one.container)).collect();
        self.tell(EngineNews::Listed {
            asked_at,
            round_trip,
            found,
            newer,
        })
        .await
    }

    async fn tell(&mut self, news: EngineNews) -> Result<(), Unheard> {
        self.on.send(news).await.map_err(|_| Unheard)
    }
}

/// Waits for the list that is under way, for ever if none is, and takes it.
async fn wait(listing: &mut Option<Listing<'_>>) -> Listed {
    let answer = match listing {
        Some(listing) => listing.await,
        None => return pending().await,
    };
    *listing = None;
    answer
}
