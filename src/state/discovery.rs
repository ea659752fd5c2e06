//! Network scans, the candidates they find, and their approval.
//!
//! A scan is asked for by a command and run by the leader, which says how far it is by commands: so every
//! manager can be asked for one, shows it and cancels it, and a new leader finds out which scan its
//! predecessor left behind. That one is called interrupted and is not begun again by itself.
//!
//! What a scan meets is bounded: there are so many candidates and findings, and no more, and one host gives few
//! of the latter. A scan that looked everywhere takes away those of its places that it did not meet again, but
//! for candidates that an operator has approved.
//!
//! What a candidate calls itself proves nothing and takes nothing: a part of its key is always in its name.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    Decision, Index, State,
    observe::distinct,
    quota::{MAX_CONTAINERS, MAX_TOKENS, bounded, room},
};
use crate::{
    command::{ContainerCommand, DiscoveryCommand, Kind, Outcome, Rejection},
    model::{
        Container, ContainerId, ContainerState, Finding, FindingKind, Met, Name, Scan, ScanCount, ScanId,
        ScanState,
    },
};

/// Scans that wait or run.
pub const MAX_SCANS_UNDER_WAY: usize = 8;
/// Scans that are over and still shown.
const MAX_SCANS_OVER: usize = 16;
/// Candidates that scans have found.
pub const MAX_CANDIDATES: usize = 256;
/// Findings of scans.
pub const MAX_FINDINGS: usize = 256;
/// Findings of scans at one address.
const MAX_FINDINGS_THERE: usize = 4;

/// How much of a key is in its candidate's name: more than anybody finds a second key for.
const DIGITS: usize = 16;

impl State {
    pub(super) fn decide_discovery(&mut self, command: &DiscoveryCommand) -> Decision {
        match command {
            DiscoveryCommand::Scan { id, plan, scheduled } => {
                let under_way = self.scans.values().filter(|scan| !scan.state.is_over()).count();
                if under_way >= MAX_SCANS_UNDER_WAY {
                    return Err(Rejection::Quota(format!(
                        "{under_way} scans wait or run already: let one end, or cancel it"
                    )));
                }
                if self.scans.contains_key(id) {
                    return Err(Rejection::Exists {
                        kind: Kind::Scan,
                        name: id.to_string(),
                    });
                }
                let scan = Scan {
                    id: *id,
                    plan: plan.clone(),
                    scheduled: *scheduled,
                    state: ScanState::Waiting,
                    reason: "waits for the leader".into(),
                    count: ScanCount::default(),
                    term: 0,
                    seen: Vec::new(),
                    asked: self.revision,
                    version: self.revision,
                    asked_at: self.now,
                    ended_at: None,
                };
                self.scans.insert(*id, Arc::new(scan));
                Ok(Outcome::ScanAsked(*id))
            }
            DiscoveryCommand::Progress {
                id,
                term,
                count,
                met,
                findings,
            } => self.note_progress(*id, *term, *count, met, findings),
            DiscoveryCommand::End {
                id,
                term,
                state,
                complete,
                reason,
            } => {
                self.of_this_term(*id, *term)?;
                self.end_scan(*id, *state, *complete, reason)
            }
            DiscoveryCommand::Cancel { id } => {
                let scan = self.scan_under_way(*id)?;
                self.close_scan(&scan, ScanState::Cancelled, "an operator cancelled it");
                Ok(Outcome::Done)
            }
        }
    }

    fn scan_under_way(&self, id: ScanId) -> Result<Arc<Scan>, Rejection> {
        let scan = self.scans.get(&id).ok_or_else(|| Rejection::NotFound {
            kind: Kind::Scan,
            name: id.to_string(),
        })?;
        if scan.state.is_over() {
            return Err(Rejection::Busy(format!("scan {id} is over: {}", scan.reason)));
        }
        Ok(scan.clone())
    }

    fn of_this_term(&self, id: ScanId, term: u64) -> Result<(), Rejection> {
        if term == self.term {
            return Ok(());
        }
        Err(Rejection::Busy(format!(
            "scan {id} was run in term {term}, which is over"
        )))
    }

    fn note_progress(
        &mut self,
        id: ScanId,
        term: u64,
        count: ScanCount,
        met: &[Met],
        findings: &[Finding],
    ) -> Decision {
        self.of_this_term(id, term)?;
        let known = self.scan_under_way(id)?;
        if known.term != 0 && known.term != term {
            return Err(Rejection::Busy(format!(
                "scan {id} was begun by an earlier leader"
            )));
        }
        let mut scan = (*known).clone();
        scan.state = ScanState::Running;
        scan.reason = "the leader looks".into();
        scan.term = term;
        scan.count = ScanCount {
            done: count.done.min(scan.plan.total()),
            ..count
        };
        scan.version = self.revision;
        for one in met {
            if let Some(candidate) = self.meet(one)
                && !scan.seen.contains(&candidate)
            {
                scan.seen.push(candidate);
            }
        }
        self.scans.insert(id, Arc::new(scan));
        for finding in findings {
            self.insert_finding(id, finding);
        }
        Ok(Outcome::Done)
    }

    /// A runner without a token is a candidate, known by its key. Over the bound the rest is not taken in:
    /// whoever can answer on many addresses must not fill the registry.
    fn meet(&mut self, met: &Met) -> Option<ContainerId> {
        let address = met.address.to_string();
        let known = self.index.fingerprints.get(&met.fingerprint);
        if let Some(known) = known.and_then(|id| self.containers.get(id)).cloned() {
            if known.address.as_ref() != Some(&address) {
                let moved = Container {
                    address: Some(address),
                    ..(*known).clone()
                };
                self.replace_container(&known, moved);
            }
            return Some(known.id);
        }
        let full = self.index.fingerprints.len() >= MAX_CANDIDATES || self.containers.len() >= MAX_CONTAINERS;
        if full || self.containers.contains_key(&met.id) {
            return None;
        }
        let name = self.name_of(met)?;
        let reason = "found by a scan, without a join token: approve it by its fingerprint, or remove it";
        let mut container = self.blank_container(met.id, name, ContainerState::Candidate, reason);
        container.address = Some(address);
        container.fingerprint = Some(met.fingerprint.clone());
        self.insert_container(container);
        Some(met.id)
    }

    /// Its own word and a part of its key. Whoever has that name already must not hide it: then its id.
    fn name_of(&self, met: &Met) -> Option<Name> {
        let names = [
            distinct(&met.name, &met.fingerprint, DIGITS),
            met.id.to_string().parse().ok(),
        ];
        let free = |name: &Name| !self.index.container_names.contains_key(name);
        names.into_iter().flatten().find(free)
    }

    fn insert_finding(&mut self, scan: ScanId, finding: &Finding) {
        if !self.findings.contains_key(&finding.address) && !self.make_room(finding) {
            return;
        }
        let finding = Finding {
            detail: bounded(&finding.detail),
            scan,
            seen_at: self.now,
            ..finding.clone()
        };
        self.findings.insert(finding.address, Arc::new(finding));
    }

    /// Whether there is room for one more. Strangers can look odd by the hundred; an engine that is open to all
    /// is worth more than any of them, and takes one's place.
    fn make_room(&mut self, finding: &Finding) -> bool {
        let there = |address: IpAddr| SocketAddr::new(address, 0)..=SocketAddr::new(address, u16::MAX);
        let host = finding.address.ip();
        let victim = if self.findings.range(there(host)).count() >= MAX_FINDINGS_THERE {
            Some(least(self.findings.range(there(host))))
        } else if self.findings.len() >= MAX_FINDINGS {
            Some(least(self.findings.iter()))
        } else {
            None
        };
        match victim {
            None => true,
            Some(Some(victim)) if finding.kind == FindingKind::OpenEngine => {
                self.findings.remove(&victim);
                true
            }
            Some(_) => false,
        }
    }

    fn end_scan(&mut self, id: ScanId, state: ScanState, complete: bool, reason: &str) -> Decision {
        let scan = self.scan_under_way(id)?;
        match state {
            ScanState::Done if scan.term == self.term => {
                if complete {
                    self.forget_unseen(&scan);
                }
            }
            ScanState::Interrupted if scan.state == ScanState::Running => {}
            _ => {
                return Err(Rejection::Busy(format!(
                    "scan {id} can't go from {:?} to {state:?}",
                    scan.state
                )));
            }
        }
        self.close_scan(&scan, state, reason);
        Ok(Outcome::Done)
    }

    /// What a whole scan did not meet again is there no longer. Who was approved may be on its way in.
    fn forget_unseen(&mut self, scan: &Scan) {
        let unseen = |id: &ContainerId| {
            let candidate = self.containers.get(id)?;
            let place: SocketAddr = candidate.address.as_ref()?.parse().ok()?;
            let gone = candidate.invited.is_none() && scan.plan.covers(place) && !scan.seen.contains(id);
            gone.then(|| candidate.clone())
        };
        let gone: Vec<_> = self.index.fingerprints.values().filter_map(unseen).collect();
        for candidate in gone {
            self.drop_container(&candidate);
        }
        let kept = self
            .findings
            .iter()
            .filter(|(place, finding)| finding.scan == scan.id || !scan.plan.covers(**place));
        self.findings = kept.map(|(place, finding)| (*place, finding.clone())).collect();
    }

    fn close_scan(&mut self, scan: &Scan, state: ScanState, reason: &str) {
        let over = Scan {
            state,
            reason: bounded(reason),
            seen: Vec::new(),
            version: self.revision,
            ended_at: Some(self.now),
            ..scan.clone()
        };
        self.scans.insert(scan.id, Arc::new(over));
        let over = self.scans.values().filter(|scan| scan.state.is_over());
        let mut over: Vec<_> = over.map(|scan| (scan.version, scan.id)).collect();
        over.sort_unstable();
        let many = over.len().saturating_sub(MAX_SCANS_OVER);
        for (_, id) in &over[..many] {
            self.scans.remove(id);
        }
    }

    /// Makes the join token of a candidate, in place of the one of an earlier approval.
    pub(super) fn approve(&mut self, command: &ContainerCommand) -> Decision {
        let ContainerCommand::Approve {
            id,
            fingerprint,
            token,
            condition,
        } = command
        else {
            return Ok(Outcome::Done);
        };
        let known = self.known_container(*id)?;
        condition.check(Some(known.version))?;
        let name = &known.name;
        let Some(theirs) = known.fingerprint.as_deref() else {
            return Err(Rejection::Busy(if known.state == ContainerState::Candidate {
                format!(
                    "candidate `{name}` was found on an engine, not by a scan: its runner joins with a join token"
                )
            } else {
                format!("container `{name}` is no candidate: there is nothing to approve")
            }));
        };
        if theirs != fingerprint {
            return Err(Rejection::Busy(format!(
                "candidate `{name}` has another key now, {theirs}: look whose it is before you approve it"
            )));
        }
        room(self.join_tokens.len(), MAX_TOKENS, "join tokens")?;
        if self.join_tokens.contains_key(&token.id) {
            return Err(Rejection::Exists {
                kind: Kind::JoinToken,
                name: token.id.to_string(),
            });
        }
        if let Some(former) = known.invited {
            self.join_tokens.remove(&former);
        }
        self.insert_join_token(token);
        let approved = Container {
            invited: Some(token.id),
            reason: "approved; its runner has not joined yet".into(),
            ..(*known).clone()
        };
        self.replace_container(&known, approved);
        Ok(Outcome::JoinTokenCreated(token.id))
    }

    /// A scan.
    pub fn scan(&self, id: ScanId) -> Option<&Arc<Scan>> {
        self.scans.get(&id)
    }

    /// All scans that are known, in no particular order.
    pub fn scans(&self) -> impl Iterator<Item = &Arc<Scan>> {
        self.scans.values()
    }

    /// What scans met that somebody should know of, by address.
    pub fn findings(&self) -> impl Iterator<Item = &Arc<Finding>> {
        self.findings.values()
    }

    /// How many candidates scans have found.
    pub fn candidates(&self) -> usize {
        self.index.fingerprints.len()
    }
}

/// The finding that is missed least: of strangers, the one that was met longest ago.
fn least<'a>(findings: impl Iterator<Item = (&'a SocketAddr, &'a Arc<Finding>)>) -> Option<SocketAddr> {
    let strangers = findings.filter(|(_, finding)| finding.kind != FindingKind::OpenEngine);
    let oldest = strangers.min_by_key(|(place, finding)| (finding.seen_at, **place));
    oldest.map(|(place, _)| *place)
}

impl Index {
    pub(super) fn note_candidate(&mut self, container: &Container) {
        if let Some(key) = &container.fingerprint {
            self.fingerprints.insert(key.clone(), container.id);
        }
        for token in container.tokens() {
            self.invitations.insert(token, container.id);
        }
    }

    pub(super) fn forget_candidate(&mut self, container: &Container) {
        if let Some(key) = &container.fingerprint {
            self.fingerprints.remove(key);
        }
        for token in container.tokens() {
            self.invitations.remove(&token);
        }
    }
}
