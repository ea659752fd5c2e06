//! What runners measured in the last hour, in memory, at the manager that held their sessions.
//!
//! A sample never enters the log, and dies with this manager. What was taken stays for its hour also when
//! the session has moved on, so that several managers may each have a part of it. Figures of sessions that
//! are open now are shown among the metrics. A manager knows since when it has held a session, and so whether
//! another one may have a part.
//!
//! Memory: a sample takes 32 bytes here, an hour of one container 22.5 KiB, and 5,000 containers whose
//! sessions all are with one manager 110 MiB; over three managers 37 MiB each. A runner that sends more
//! often than it should gains nothing: what comes too soon is dropped.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    model::{ContainerId, Millis, Name, Sample, SampleHistory, Sampled},
    telemetry::{CONTAINER_CPU, CONTAINER_MEMORY, CONTAINERS_UNSHOWN},
};

/// How long samples are kept.
const KEPT: Duration = Duration::from_secs(3600);

/// Runners measure every 5 s; what follows sooner than this is dropped.
const APART: Duration = Duration::from_secs(4);

/// Samples of one container at most: an hour of them.
const MOST: usize = 720;

/// Room is made for so many at a time.
const STEP: usize = 60;

/// Containers whose samples are kept at most: as many as there can be sessions.
const CONTAINERS: usize = 20_000;

/// Between looks for containers of which nothing is of use any more.
const TIDY: Duration = Duration::from_secs(60);

/// Containers that are shown among the metrics at most.
const SHOWN: usize = 1_000;

/// A page of memory, in bytes: the unit in which memory is kept.
const PAGE: u64 = 4 << 10;

/// The unit in which disks are kept, in bytes.
const DISK_UNIT: u64 = 1 << 20;

/// The unit in which rates are kept, in bytes a second.
const RATE_UNIT: u64 = 16;

/// A sample as it is kept. Figures beyond a field's end are kept as its end.
#[derive(Debug, Clone, Copy)]
struct Kept {
    /// Seconds since the Unix epoch.
    at: u32,
    cpu_millis: u32,
    memory_pages: u32,
    disk_units: u32,
    /// Read, written, received, sent.
    rates: [u32; 4],
}

impl Kept {
    fn new(at: Millis, sample: &Sample) -> Self {
        let short = |figure: u64, unit: u64| u32::try_from(figure.div_ceil(unit)).unwrap_or(u32::MAX);
        let rates = [
            sample.disk_read_rate,
            sample.disk_write_rate,
            sample.receive_rate,
            sample.send_rate,
        ];
        Self {
            at: u32::try_from(at.0 / 1000).unwrap_or(u32::MAX),
            cpu_millis: short(sample.cpu_millis, 1),
            memory_pages: short(sample.memory_bytes, PAGE),
            disk_units: short(sample.disk_used_bytes, DISK_UNIT),
            rates: rates.map(|rate| short(rate, RATE_UNIT)),
        }
    }

    fn at(&self) -> Millis {
        Millis(u64::from(self.at) * 1000)
    }

    fn sampled(&self) -> Sampled {
        let [read, written, received, sent] = self.rates.map(|rate| u64::from(rate) * RATE_UNIT);
        Sampled {
            at: self.at(),
            sample: Sample {
                cpu_millis: self.cpu_millis.into(),
                memory_bytes: u64::from(self.memory_pages) * PAGE,
                disk_used_bytes: u64::from(self.disk_units) * DISK_UNIT,
                disk_read_rate: read,
                disk_write_rate: written,
                receive_rate: received,
                send_rate: sent,
            },
        }
    }
}

/// One container's samples, the oldest first.
#[derive(Debug, Default)]
struct Ring {
    taken: VecDeque<Kept>,
    /// Only while sessions of it are open here.
    open: Option<OpenHere>,
}

/// A container's sessions here; one may be open before the last one has ended.
#[derive(Debug)]
struct OpenHere {
    /// The container's name.
    name: Name,
    /// How many there are.
    sessions: usize,
    /// Since when there always was one.
    since: Millis,
}

impl Ring {
    fn take(&mut self, at: Millis, sample: &Sample) {
        // This machine's clock was set back: what it dated later than now is worth nothing.
        while self.taken.back().is_some_and(|last| last.at() > at.after(APART)) {
            self.taken.pop_back();
        }
        let last = self.taken.back().map(Kept::at);
        if last.is_some_and(|last| at.since(last) < APART) {
            return;
        }
        self.forget(at);
        if self.taken.len() == MOST {
            self.taken.pop_front();
        } else if self.taken.len() == self.taken.capacity() {
            self.taken.reserve_exact(STEP);
        }
        self.taken.push_back(Kept::new(at, sample));
    }

    /// Forgets what is older than the hour before `now`.
    fn forget(&mut self, now: Millis) {
        while self
            .taken
            .front()
            .is_some_and(|oldest| now.since(oldest.at()) > KEPT)
        {
            self.taken.pop_front();
        }
    }

    /// Whether the session was here, and nowhere else, from `since` on, or for as long as samples are kept.
    fn is_whole(&self, since: Millis, now: Millis) -> bool {
        let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
        let from = since.max(Millis(now.0.saturating_sub(kept)));
        self.open.as_ref().is_some_and(|open| open.since <= from)
    }

    fn is_of_use(&mut self, now: Millis) -> bool {
        self.forget(now);
        self.open.is_some() || !self.taken.is_empty()
    }
}

/// The samples of all sessions of this manager.
#[derive(Debug, Default)]
pub struct Samples {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    rings: BTreeMap<ContainerId, Ring>,
    /// When all were last looked through for what is past its hour.
    tidied: Millis,
}

impl Held {
    /// Forgets the containers of which nothing is of use any more: their sessions are over, and their hour is.
    fn tidy(&mut self, now: Millis) {
        self.tidied = now;
        self.rings.retain(|_, ring| ring.is_of_use(now));
    }

    /// As [`Self::tidy`], now and then; this machine's clock may have been set back.
    fn tidy_if_due(&mut self, now: Millis) {
        if now.since(self.tidied).max(self.tidied.since(now)) >= TIDY {
            self.tidy(now);
        }
    }
}

impl Samples {
    /// Keeps a sample of a container whose session is open here.
    pub(super) fn take(&self, container: ContainerId, sample: &Sample) {
        self.take_at(container, now(), sample);
    }

    fn take_at(&self, container: ContainerId, at: Millis, sample: &Sample) {
        let mut held = self.lock();
        held.tidy_if_due(at);
        if let Some(ring) = held.rings.get_mut(&container) {
            ring.take(at, sample);
        }
    }

    /// What is kept of a container from `since` on.
    pub fn history(&self, container: ContainerId, since: Millis) -> SampleHistory {
        self.history_at(container, since, now())
    }

    fn history_at(&self, container: ContainerId, since: Millis, now: Millis) -> SampleHistory {
        let mut held = self.lock();
        let Some(ring) = held.rings.get_mut(&container) else {
            return SampleHistory::default();
        };
        ring.forget(now);
        let asked = ring.taken.iter().filter(|kept| kept.at() >= since);
        SampleHistory {
            samples: asked.map(Kept::sampled).collect(),
            whole: ring.is_whole(since, now),
        }
    }

    /// Makes room for the samples of a session, until what this gives is dropped.
    pub(super) fn open(self: &Arc<Self>, container: ContainerId, name: Name) -> Open {
        self.open_at(container, name, now())
    }

    fn open_at(self: &Arc<Self>, container: ContainerId, name: Name, now: Millis) -> Open {
        let mut held = self.lock();
        held.tidy_if_due(now);
        if held.rings.len() >= CONTAINERS {
            held.tidy(now);
        }
        if held.rings.len() < CONTAINERS || held.rings.contains_key(&container) {
            let ring = held.rings.entry(container).or_default();
            let others = ring.open.as_ref().map(|open| (open.sessions, open.since));
            let (others, since) = others.unwrap_or((0, now));
            ring.open = Some(OpenHere {
                name,
                sessions: others + 1,
                since,
            });
        } else {
            tracing::warn!(%container, "no room for its samples: this manager keeps those of {CONTAINERS} containers already");
        }
        drop(held);
        Open {
            samples: self.clone(),
            container,
        }
    }

    /// Figures of the containers with open sessions, in the text form of Prometheus. Containers beyond
    /// [`SHOWN`] are only counted: who scrapes many has to ask for each.
    pub fn render(&self) -> String {
        let held = self.lock();
        let latest = held
            .rings
            .iter()
            .filter_map(|(id, ring)| Some((id, &ring.open.as_ref()?.name, ring.taken.back()?)));
        let latest: Vec<_> = latest.collect();
        let mut text = String::new();
        if latest.is_empty() {
            return text;
        }
        let mut gauge = |name: &str, help: &str, of: &dyn Fn(&Kept) -> u64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (id, container, kept) in latest.iter().take(SHOWN) {
                // Ids and names are of letters, digits and a few signs that need no escape.
                let _ = writeln!(
                    text,
                    "{name}{{id=\"{id}\",container=\"{container}\"}} {}",
                    of(kept)
                );
            }
        };
        gauge(CONTAINER_CPU.0, CONTAINER_CPU.1, &|kept| kept.cpu_millis.into());
        gauge(CONTAINER_MEMORY.0, CONTAINER_MEMORY.1, &|kept| {
            kept.sampled().sample.memory_bytes
        });
        let (name, help) = CONTAINERS_UNSHOWN;
        let unshown = latest.len().saturating_sub(SHOWN);
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {unshown}"
        );
        text
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is held.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A session whose samples are taken, until it is dropped.
#[derive(Debug)]
pub(super) struct Open {
    samples: Arc<Samples>,
    container: ContainerId,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut held = self.samples.lock();
        let Some(ring) = held.rings.get_mut(&self.container) else {
            return;
        };
        // A later session of the same container may be open already.
        ring.open = ring.open.take().filter(|open| open.sessions > 1);
        if let Some(open) = &mut ring.open {
            open.sessions -= 1;
        }
        if ring.taken.is_empty() && ring.open.is_none() {
            held.rings.remove(&self.container);
        }
    }
}

#[cfg(test)]
#[path = "samples_tests.rs"]
mod tests;
