//! All streams of a connection: what a frame changes, and what is to be sent next. No I/O, no task.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::Waker,
};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::{
    Limits, Role, StreamError,
    flow::Flow,
    frame::{CUT_READING, CUT_SENDING, Head, Kind, MAX_CREDIT, MAX_HEADER_BYTES, MAX_REASON, Violation, Why},
};

/// Cuts that may wait to be sent. Whoever makes this side owe more of them does not read.
const CUTS: usize = 1024;

/// Opens that are refused without one between that was not, until the connection is closed: who opens reads
/// the settings and knows how many there may be.
const REFUSALS: u32 = 1024;

/// What the other side allows.
#[derive(Debug, Clone, Copy)]
struct Settings {
    streams: u32,
    credit: u32,
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub reason: Arc<str>,
    /// Whether the other side is to be told.
    pub tell: bool,
}

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    role: Role,
    theirs: Option<Settings>,
    flows: BTreeMap<u32, Flow>,
    /// The next stream that this side opens.
    next: u32,
    /// The last one that the other side opened.
    newest: u32,
    incoming: u32,
    outgoing: u32,
    refused: u32,
    /// Bytes that windows may still grow by.
    pool: u32,
    accepted: VecDeque<(u32, Bytes)>,
    cuts: VecDeque<Head>,
    /// Streams that have something to send, in turn.
    ready: VecDeque<u32>,
    end: Option<End>,
    /// Since when there is no stream.
    empty: Instant,
}

impl Table {
    pub fn new(role: Role, limits: Limits, now: Instant) -> Self {
        let promised = limits.incoming.saturating_add(limits.outgoing);
        let promised = promised.saturating_mul(limits.window);
        Self {
            role,
            theirs: None,
            flows: BTreeMap::new(),
            next: role.first(),
            newest: 0,
            incoming: 0,
            outgoing: 0,
            refused: 0,
            pool: limits.bytes.saturating_sub(promised),
            accepted: VecDeque::new(),
            cuts: VecDeque::new(),
            ready: VecDeque::new(),
            end: None,
            empty: now,
            limits,
        }
    }

    /// The first frame.
    pub fn settings(&self) -> Head {
        Head::new(Kind::Settings, self.limits.incoming, self.limits.window)
    }

    /// Opens a stream, or `None` until the other side has told what it allows.
    pub fn open(&mut self, header: &Bytes, now: Instant) -> Option<Result<u32, StreamError>> {
        if let Some(end) = &self.end {
            return Some(Err(StreamError::Closed(end.reason.clone())));
        }
        if header.len() > MAX_HEADER_BYTES {
            return Some(Err(StreamError::Header(header.len())));
        }
        let theirs = self.theirs?;
        let limit = theirs.streams.min(self.limits.outgoing);
        if self.outgoing >= limit || self.cuts.len() >= CUTS || self.next > u32::MAX - 2 {
            return Some(Err(StreamError::TooMany(limit)));
        }
        let id = self.next;
        self.next += 2;
        self.outgoing += 1;
        let mut flow = Flow::new(self.limits.window, theirs.credit, now);
        flow.opening = Some(header.clone());
        self.flows.insert(id, flow);
        self.queue(id);
        Some(Ok(id))
    }

    /// The next stream that the other side has opened.
    pub fn accept(&mut self) -> Option<Result<(u32, Bytes), StreamError>> {
        match (self.accepted.pop_front(), &self.end) {
            (_, Some(end)) => Some(Err(StreamError::Closed(end.reason.clone()))),
            (Some(accepted), None) => Some(Ok(accepted)),
            (None, None) => None,
        }
    }

    /// Takes a frame, and adds whoever waited for it to `woken`.
    pub fn take(
        &mut self,
        head: Head,
        body: &[u8],
        now: Instant,
        woken: &mut Vec<Waker>,
    ) -> Result<(), Violation> {
        if (head.kind == Kind::Settings) == self.theirs.is_some() {
            return Err(Violation::Settings);
        }
        let id = head.id;
        match head.kind {
            Kind::Settings => {
                if head.number > MAX_CREDIT {
                    return Err(Violation::Credit(0));
                }
                self.theirs = Some(Settings {
                    streams: head.id,
                    credit: head.number,
                });
            }
            Kind::Open => self.opened(id, body, now)?,
            Kind::Data => {
                if let Some(flow) = self.flow(id)? {
                    woken.extend(flow.data(id, body)?);
                    flow.active = now;
                }
            }
            Kind::Credit => {
                if let Some(flow) = self.flow(id)? {
                    flow.credit(id, head.number)?;
                    self.queue(id);
                }
            }
            Kind::End => {
                if let Some(flow) = self.flow(id)? {
                    woken.extend(flow.end(id)?);
                }
            }
            Kind::Cut => {
                let (ways, why) = head.cuts();
                if let Some(flow) = self.flow(id)? {
                    woken.extend((ways & CUT_SENDING != 0).then(|| flow.cut_in(why)).flatten());
                    woken.extend((ways & CUT_READING != 0).then(|| flow.cut_out(why)).flatten());
                }
            }
            Kind::Alive => {}
            Kind::Close => {
                let reason = words(body);
                self.close(&format!("the other side closed it: {reason}"), false, woken);
            }
        }
        Ok(())
    }

    /// The other side opened a stream.
    fn opened(&mut self, id: u32, header: &[u8], now: Instant) -> Result<(), Violation> {
        if id % 2 != self.role.other().first() % 2 || id <= self.newest {
            return Err(Violation::Turn(id));
        }
        self.newest = id;
        if self.incoming >= self.limits.incoming {
            self.refused += 1;
            if self.refused > REFUSALS || self.cuts.len() >= CUTS {
                return Err(Violation::TooManyOpens);
            }
            self.cuts
                .push_back(Head::cut(id, CUT_SENDING | CUT_READING, Why::Full));
            return Ok(());
        }
        self.refused = 0;
        self.incoming += 1;
        let credit = self.theirs.map_or(0, |theirs| theirs.credit);
        self.flows.insert(id, Flow::new(self.limits.window, credit, now));
        self.accepted.push_back((id, Bytes::copy_from_slice(header)));
        Ok(())
    }

    /// A stream that a frame is for; `None` when it is over on this side, and the frame was under way.
    fn flow(&mut self, id: u32) -> Result<Option<&mut Flow>, Violation> {
        let was = match self.is_own(id) {
            true => id < self.next,
            false => id <= self.newest,
        };
        if id == 0 || !was {
            return Err(Violation::Never(id));
        }
        Ok(self.flows.get_mut(&id))
    }

    fn is_own(&self, id: u32) -> bool {
        id % 2 == self.role.first() % 2
    }

    /// Lets a stream have its turn, if it has something to send.
    fn queue(&mut self, id: u32) {
        if let Some(flow) = self.flows.get_mut(&id)
            && !flow.queued
            && flow.has_news()
        {
            flow.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Acts on a stream that its user holds. `None` when the connection is over and left nothing of it.
    pub fn with<T>(&mut self, id: u32, now: Instant, act: impl FnOnce(&mut Flow) -> Option<T>) -> Option<T> {
        let flow = self.flows.get_mut(&id)?;
        let done = act(flow);
        if done.is_some() {
            flow.active = now;
            flow.give_credit(self.limits.widest, &mut self.pool);
        }
        self.queue(id);
        done
    }

    /// The stream is not used any more.
    pub fn leave(&mut self, id: u32, why: Why, now: Instant) {
        let Some(flow) = self.flows.remove(&id) else {
            return;
        };
        self.pool += flow.window - self.limits.window;
        match self.is_own(id) {
            true => self.outgoing -= 1,
            false => self.incoming -= 1,
        }
        if self.flows.is_empty() {
            self.empty = now;
        }
        let sending = if flow.is_written() { CUT_SENDING } else { 0 };
        let reading = if flow.is_read() { CUT_READING } else { 0 };
        // The other side knows nothing of a stream whose opening was not sent.
        if flow.opening.is_none() && sending | reading != 0 && self.end.is_none() {
            self.cuts.push_back(Head::cut(id, sending | reading, why));
        }
    }

    /// Puts what is to be sent into `out` until it holds about `size` bytes, each stream in its turn.
    pub fn send(&mut self, out: &mut BytesMut, size: usize, now: Instant, woken: &mut Vec<Waker>) {
        while let Some(cut) = self.cuts.pop_front() {
            cut.put(out);
        }
        while out.len() < size
            && let Some(id) = self.ready.pop_front()
        {
            // It may be gone meanwhile.
            if let Some(flow) = self.flows.get_mut(&id) {
                flow.queued = false;
                woken.extend(flow.send(id, now, out));
                self.queue(id);
            }
        }
    }

    /// Cuts streams on which nothing moved, and ends the connection if there was none for long.
    pub fn tick(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        for (id, flow) in &mut self.flows {
            if now - flow.active < self.limits.stream_idle || !(flow.is_read() || flow.is_written()) {
                continue;
            }
            let sending = if flow.is_written() { CUT_SENDING } else { 0 };
            let reading = if flow.is_read() { CUT_READING } else { 0 };
            woken.extend(flow.cut_in(Why::Idle));
            woken.extend(flow.cut_out(Why::Idle));
            // What was not opened there needs no cut.
            if flow.opening.take().is_none() {
                self.cuts.push_back(Head::cut(*id, sending | reading, Why::Idle));
            }
        }
        if self.flows.is_empty() && now - self.empty >= self.limits.idle {
            self.close("it was not used", true, woken);
        }
    }

    /// Whether there is something to send.
    pub fn has_news(&self) -> bool {
        !self.cuts.is_empty() || !self.ready.is_empty()
    }

    pub fn has_streams(&self) -> bool {
        !self.flows.is_empty()
    }

    /// Ends all streams. The first reason counts.
    pub fn close(&mut self, reason: &str, tell: bool, woken: &mut Vec<Waker>) {
        if self.end.is_some() {
            return;
        }
        self.end = Some(End {
            reason: reason.into(),
            tell,
        });
        self.accepted.clear();
        self.cuts.clear();
        self.ready.clear();
        self.flows.values_mut().for_each(|flow| flow.wake(woken));
    }

    pub fn ended(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Bytes that have arrived and were not read.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn received(&self) -> usize {
        self.flows.values().map(Flow::received).sum()
    }

    /// Bytes of memory of all streams' buffers.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.flows.values().map(Flow::held).sum()
    }
}

/// The other side's words, cut and on one line.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MAX_REASON)]);
    text.chars().filter(|c| !c.is_control()).collect()
}
