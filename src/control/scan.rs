//! Runs the scans that the state asks for, one at a time, and asks for those of the configuration.
//!
//! What is met goes into the log at most once a second, with how far the scan is. A scan that was cancelled
//! is left at once, with all its connections. One that another loop began, of a former leader or of this one
//! before it panicked, is called interrupted: what that one had met is in the state, and where it was is not
//! known here.
//!
//! A scan is *complete* when it dialled every place and wrote down all that it met. Only then does its end say
//! anything about what it did not meet: a manager out of descriptors or without a way into a network would
//! otherwise declare everything there gone.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Replica, scan_pace::Pace};
use crate::{
    command::{Command, DiscoveryCommand, Loop},
    model::{
        ContainerId, Finding, FindingKind, JoinRole, JoinTokenId, Met, Scan, ScanCount, ScanId, ScanPlan,
        ScanState, SecretHash,
    },
    probe::{ProbeError, Prober, Seen},
    state::{MAX_CANDIDATES, MAX_FINDINGS, State},
};

/// Places looked at at a time. Those that answer nothing take two seconds each.
const AT_ONCE: usize = 512;

/// Between two reports of one scan.
const REPORT: Duration = Duration::from_secs(1);

/// The state is looked at at least this often.
const LOOK: Duration = Duration::from_secs(5);

/// The state is looked at this often at most.
const BREATH: Duration = Duration::from_millis(100);

/// Of a visit that panicked.
const FAILED: &str = "the visit failed inside the manager; its log says how";

/// What one report holds at most: keeps an entry well below the log's row size.
const REPORTED: usize = 64;

/// How networks are looked at.
#[derive(Debug, Clone)]
pub struct Scanning {
    /// What to look at again and again.
    plan: Option<ScanPlan>,
    interval: Duration,
    rate: u32,
    prober: Prober,
}

impl Scanning {
    /// Looks at `plan` each `interval`, and at whatever is asked for, at `rate` places a second.
    pub fn new(prober: Prober, plan: Option<ScanPlan>, interval: Duration, rate: u32) -> Self {
        Self {
            plan,
            interval,
            rate,
            prober,
        }
    }
}

pub(super) async fn run<R: Replica>(replica: R, scanning: Scanning, term: u64) {
    let mut applied = replica.watch_applied();
    let mut due = Instant::now();
    loop {
        applied.mark_unchanged();
        let state = replica.state();
        interrupt_left(&replica, &state, term).await;
        let waiting = state.scans().filter(|scan| scan.state == ScanState::Waiting);
        let next = waiting.min_by_key(|scan| scan.asked).cloned();
        drop(state);
        if let Some(scan) = next {
            Run::new(&replica, &scanning, &scan, term).run_whole().await;
            if scan.scheduled {
                due = Instant::now() + scanning.interval;
            }
            continue;
        }
        if let Some(plan) = &scanning.plan
            && due <= Instant::now()
        {
            due = Instant::now() + scanning.interval;
            let command = DiscoveryCommand::Scan {
                id: ScanId(rand::random()),
                plan: plan.clone(),
                scheduled: true,
            };
            report(&replica, command).await;
            continue;
        }
        // Many changes are looked at together, and a refusal that stays is not asked for in a circle.
        sleep(BREATH).await;
        let pause = match &scanning.plan {
            Some(_) => LOOK.min(due.saturating_duration_since(Instant::now())),
            None => LOOK,
        };
        // The sender lives as long as the replica, which this loop holds; a time-out is the period.
        let _ = timeout(pause, applied.changed()).await;
    }
}

/// Scans that are said to run are over: between two looks of this loop none does.
async fn interrupt_left<R: Replica>(replica: &R, state: &State, term: u64) {
    let left = |scan: &&Arc<Scan>| scan.state == ScanState::Running;
    let left: Vec<ScanId> = state.scans().filter(left).map(|scan| scan.id).collect();
    for id in left {
        let end = DiscoveryCommand::End {
            id,
            term,
            state: ScanState::Interrupted,
            complete: false,
            reason: "whoever ran it does so no more: what it found stays; scan again for the rest".into(),
        };
        report(replica, end).await;
    }
}

async fn report<R: Replica>(replica: &R, command: DiscoveryCommand) -> bool {
    match replica.propose(Loop::Scan, Command::Discovery(command)).await {
        Ok(reply) => match reply.result {
            Ok(_) => return true,
            Err(rejection) => tracing::debug!(%rejection, "a scan's news were refused"),
        },
        Err(error) => tracing::warn!(%error, "a scan's news were not confirmed"),
    }
    false
}

/// One scan.
struct Run<'a, R> {
    replica: &'a R,
    scanning: &'a Scanning,
    scan: &'a Scan,
    term: u64,
    count: ScanCount,
    met: Vec<Met>,
    findings: Vec<Finding>,
    gaps: Gaps,
    /// The visits that are under way, and where. They end with the run.
    visits: JoinSet<Seen>,
    under_way: HashMap<task::Id, SocketAddr>,
}

/// What keeps a scan from being complete.
#[derive(Debug, Default)]
struct Gaps {
    /// Places that were not looked at.
    unlooked: u64,
    /// Why the first of them was not.
    why: Option<String>,
    /// Whether there was no room for something that was met.
    dropped: bool,
}

impl Gaps {
    fn unlooked(&mut self, why: String) {
        self.unlooked += 1;
        self.why = self.why.take().or(Some(why));
    }

    fn none(&self) -> bool {
        self.unlooked == 0 && !self.dropped
    }

    fn words(&self) -> String {
        let looked = match &self.why {
            Some(why) => format!("could not look at {} places ({why})", self.unlooked),
            None => "looked everywhere".to_owned(),
        };
        let dropped = match self.dropped {
            true => ", met more than there is room for",
            false => "",
        };
        let kept = match self.none() {
            true => "",
            false => ", and keeps what it did not meet again",
        };
        format!("{looked}{dropped}{kept}")
    }
}

impl<'a, R: Replica> Run<'a, R> {
    fn new(replica: &'a R, scanning: &'a Scanning, scan: &'a Scan, term: u64) -> Self {
        Self {
            replica,
            scanning,
            scan,
            term,
            count: ScanCount::default(),
            met: Vec::new(),
            findings: Vec::new(),
            gaps: Gaps::default(),
            visits: JoinSet::new(),
            under_way: HashMap::new(),
        }
    }

    async fn run_whole(mut self) {
        let (id, total) = (self.scan.id, self.scan.plan.total());
        tracing::info!(scan = %id, networks = self.scan.plan.cidrs().len(), ports = ?self.scan.plan.ports(), total, "a scan begins");
        let replica = self.replica;
        let mut applied = replica.watch_applied();
        let wanted = |state: &State| state.scan(id).is_some_and(|scan| !scan.state.is_over());
        let looking = async {
            self.look().await;
            while !self.tell().await {
                // No quorum, say. What was found is worth waiting for.
                sleep(REPORT).await;
            }
            self
        };
        tokio::select! {
            run = looking => run.end().await,
            () = async {
                while wanted(&replica.state()) {
                    if applied.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            } => tracing::info!(scan = %id, "a scan was ended"),
        }
    }

    async fn end(self) {
        let ScanCount {
            done,
            proven,
            candidates,
            findings,
        } = self.count;
        let looked = self.gaps.words();
        let words = format!(
            "{looked}: {proven} runners proved their join token, {candidates} wait for approval, {findings} findings"
        );
        tracing::info!(scan = %self.scan.id, done, "a scan is done: {words}");
        let end = DiscoveryCommand::End {
            id: self.scan.id,
            term: self.term,
            state: ScanState::Done,
            complete: self.gaps.none(),
            reason: words,
        };
        while !report(self.replica, end.clone()).await {
            let state = self.replica.state();
            if state.scan(self.scan.id).is_none_or(|scan| scan.state.is_over()) {
                return;
            }
            sleep(REPORT).await;
        }
    }

    /// Looks at every place; reports meanwhile.
    async fn look(&mut self) {
        // At once, so that it is seen to run.
        self.tell().await;
        let prober = self.scanning.prober.clone();
        let mut pace = Pace::new(self.scanning.rate, Instant::now());
        let mut places = self.scan.plan.places().peekable();
        let mut next_report = Instant::now() + REPORT;
        loop {
            while self.visits.len() < AT_ONCE && places.peek().is_some() && pace.take(Instant::now()) {
                let Some(place) = places.next() else { break };
                let visit = visit(self.replica.clone(), prober.clone(), place);
                self.under_way.insert(self.visits.spawn(visit).id(), place);
            }
            if places.peek().is_none() && self.visits.is_empty() {
                return;
            }
            tokio::select! {
                Some(ended) = self.visits.join_next_with_id() => self.ended(ended),
                () = sleep_until(pace.next()), if self.visits.len() < AT_ONCE && places.peek().is_some() => {}
                () = sleep_until(next_report) => {
                    self.tell().await;
                    next_report = Instant::now() + REPORT;
                }
            }
        }
    }

    /// One visit that failed inside this manager is one place that was not looked at, and no more.
    fn ended(&mut self, ended: Result<(task::Id, Seen), JoinError>) {
        let (task, seen) = match ended {
            Ok((task, seen)) => (task, Some(seen)),
            Err(error) => (error.id(), None),
        };
        let Some(place) = self.under_way.remove(&task) else {
            return;
        };
        match seen {
            Some(seen) => self.note(place, seen),
            None => {
                self.count.done += 1;
                self.gaps.unlooked(FAILED.to_owned());
                self.find(place, FindingKind::OddRunner, FAILED.to_owned());
            }
        }
    }

    fn note(&mut self, place: SocketAddr, seen: Seen) {
        self.count.done += 1;
        let id = self.scan.id;
        match seen {
            Seen::Nothing => {}
            Seen::NotLooked { why } => self.gaps.unlooked(why),
            Seen::Proven { name, invited } => {
                self.count.proven += 1;
                match invited {
                    Ok(()) => {
                        tracing::info!(scan = %id, %place, %name, "a runner proved its join token and was told where to join");
                    }
                    Err(error) => {
                        tracing::info!(scan = %id, %place, %name, %error, "a runner proved its join token and does not follow");
                    }
                }
            }
            Seen::Candidate { name, key } => {
                self.count.candidates += 1;
                if self.met.len() >= MAX_CANDIDATES {
                    self.gaps.dropped = true;
                    return;
                }
                self.met.push(Met {
                    id: ContainerId(rand::random()),
                    name,
                    address: place,
                    fingerprint: key.to_string(),
                });
            }
            Seen::Foreign { name } => self.find(
                place,
                FindingKind::ForeignRunner,
                format!("runner `{name}` holds a join token that is not, or no longer, good here"),
            ),
            Seen::Odd(error) => self.find(place, FindingKind::OddRunner, odd(&error)),
            Seen::OpenEngine { version } => {
                tracing::warn!(scan = %self.scan.id, %place, "a Docker Engine is open to anybody");
                self.find(place, FindingKind::OpenEngine, format!("Docker Engine {version}"));
            }
        }
    }

    fn find(&mut self, place: SocketAddr, kind: FindingKind, detail: String) {
        self.count.findings += 1;
        if self.findings.len() >= MAX_FINDINGS {
            self.gaps.dropped = true;
            // Strangers must not hide what is open to anybody.
            let lesser = |finding: &Finding| finding.kind != FindingKind::OpenEngine;
            match self.findings.iter().position(lesser) {
                Some(at) if kind == FindingKind::OpenEngine => drop(self.findings.remove(at)),
                _ => return,
            }
        }
        self.findings.push(Finding {
            address: place,
            kind,
            detail,
            scan: self.scan.id,
            seen_at: Default::default(), // set by apply
        });
    }

    /// Writes down what is new. What was not taken is offered again with the next report.
    async fn tell(&mut self) -> bool {
        loop {
            let met = self.met[..self.met.len().min(REPORTED)].to_vec();
            let findings = self.findings[..self.findings.len().min(REPORTED)].to_vec();
            let (told, found) = (met.len(), findings.len());
            let progress = DiscoveryCommand::Progress {
                id: self.scan.id,
                term: self.term,
                count: self.count,
                met,
                findings,
            };
            if !report(self.replica, progress).await {
                return false;
            }
            self.met.drain(..told);
            self.findings.drain(..found);
            if self.met.is_empty() && self.findings.is_empty() {
                return true;
            }
        }
    }
}

/// In our words only: what the other side said may be anything.
fn odd(error: &ProbeError) -> String {
    format!("something that speaks like a runner: {error}")
}

async fn visit<R: Replica>(replica: R, prober: Prober, place: SocketAddr) -> Seen {
    let known = |token| usable(&replica.state(), JoinTokenId(token));
    prober.visit(place, known, replica.session_addresses()).await
}

/// The hash of a runners' join token that is good now.
fn usable(state: &State, id: JoinTokenId) -> Option<SecretHash> {
    let token = state.join_token(id)?;
    let expired = token.expires_at.is_some_and(|at| at <= state.now());
    let good = token.role == JoinRole::Runner && !expired && token.uses_left != Some(0);
    good.then_some(token.hash)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
