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
    Endpoint, EngineNews,
    connection::{CallError, Connection},
    found::{self, Meaning},
};
use crate::model::{Found, FoundState};

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
pub async fn watch(endpoint: Endpoint, on: mpsc::Sender<EngineNews>, resync: Arc<Notify>) {
    let mut pause = RETRY.0;
    loop {
        let mut watched = false;
        let ended = match Connection::open(&endpoint).await {
            Ok(connection) => {
                Follower::new(&connection, &on)
                    .follow(&resync, &mut watched)
                    .await
            }
            Err(error) => Ok(error),
        };
        let Ok(error) = ended else { return };
        let reason = format!("{}: {error}", endpoint.url);
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
    /// Asked because of a network: life and death have events of their own, which say more.
    moved: bool,
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
    /// Containers that are ours: of the others, networks tell nothing that matters.
    ours: BTreeSet<String>,
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
            ours: BTreeSet::new(),
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
                if found.state == FoundState::Dead {
                    // A start brings it back; meanwhile its end takes it off its networks, one by one.
                    self.ours.remove(&found.container);
                }
                self.newer.insert(found.container.clone(), self.events);
                self.tell(EngineNews::Told { at, found }).await
            }
            Some(Meaning::Ask(container)) => {
                self.ask(container, false, at);
                Ok(())
            }
            Some(Meaning::Moved(container)) => {
                if self.ours.contains(&container) {
                    self.ask(container, true, at);
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Asks the engine about a container of which an event was heard at `at`.
    fn ask(&mut self, container: String, moved: bool, at: Instant) {
        self.newer.insert(container.clone(), self.events);
        let (connection, event) = (self.connection, self.events);
        let inspect = async move {
            let answer = connection.inspect(&container).await;
            Inspected {
                container,
                moved,
                asked_at: at,
                event,
                answer,
            }
        };
        self.inspections.push(inspect.boxed());
    }

    async fn inspected(&mut self, inspected: Inspected) -> Result<(), Unheard> {
        let Inspected {
            container,
            moved,
            asked_at,
            event,
            answer,
        } = inspected;
        // Something happened to it while the engine was asked: that is the newer word.
        if self.newer.get(&container).is_some_and(|latest| *latest != event) {
            return Ok(());
        }
        match answer.map(found::of_inspection) {
            Ok(Some(found)) if moved && found.state == FoundState::Dead => Ok(()),
            Ok(Some(found)) => {
                if found.state != FoundState::Dead {
                    self.ours.insert(found.container.clone());
                }
                self.tell(EngineNews::Told { at: asked_at, found }).await
            }
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
        let mut found: Vec<Found> = list.into_iter().filter_map(found::of_summary).collect();
        found.retain(|one| !newer.contains(&one.container));
        self.ours.retain(|container| newer.contains(container));
        let alive = found.iter().filter(|one| one.state != FoundState::Dead);
        self.ours.extend(alive.map(|one| one.container.clone()));
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
