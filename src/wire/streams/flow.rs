//! One stream as its connection holds it: what has arrived and was not read, what is to be sent.

use std::{collections::VecDeque, io, task::Waker};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::frame::{CHUNK, Head, Kind, MAX_CREDIT, Violation, Why};

/// Bytes that a stream takes from its writer before they are sent.
pub(super) const UNSENT: usize = 4 * CHUNK;

/// An empty buffer that is larger than this is given back.
const KEEP: usize = UNSENT;

/// How far this side's direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Going,
    /// What is unsent goes out, and then the end.
    Ending,
    Ended,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Flow {
    /// Its header, until it is sent.
    pub opening: Option<Bytes>,
    received: VecDeque<u8>,
    /// Bytes that the other side may have under way and unread here together.
    pub window: u32,
    /// What is left of that to the other side, as far as it is told.
    credit: u32,
    /// Credit to tell it.
    grant: u32,
    ended: bool,
    cut_in: Option<Why>,
    reader: Option<Waker>,
    unsent: VecDeque<u8>,
    /// What the other side lets this one send.
    allowance: u32,
    sending: Sending,
    cut_out: Option<Why>,
    writer: Option<Waker>,
    /// Whether it waits for its turn to send.
    pub queued: bool,
    pub active: Instant,
}

impl Flow {
    pub fn new(window: u32, allowance: u32, now: Instant) -> Self {
        Self {
            opening: None,
            received: VecDeque::new(),
            window,
            credit: window,
            grant: 0,
            ended: false,
            cut_in: None,
            reader: None,
            unsent: VecDeque::new(),
            allowance,
            sending: Sending::Going,
            cut_out: None,
            writer: None,
            queued: false,
            active: now,
        }
    }

    /// Data arrived.
    pub fn data(&mut self, id: u32, body: &[u8]) -> Result<Option<Waker>, Violation> {
        if self.ended {
            return Err(Violation::AfterEnd(id));
        }
        // The head bounds a body to far less than 4 GiB.
        let size = body.len() as u32;
        self.credit = self.credit.checked_sub(size).ok_or(Violation::Overrun(id))?;
        // Under way when this side stopped reading.
        if self.cut_in.is_none() {
            self.received.extend(body);
        }
        Ok(self.reader.take())
    }

    /// The other side gives credit.
    pub fn credit(&mut self, id: u32, more: u32) -> Result<(), Violation> {
        let sum = self.allowance.checked_add(more);
        self.allowance = sum
            .filter(|sum| *sum <= MAX_CREDIT)
            .ok_or(Violation::Credit(id))?;
        Ok(())
    }

    /// The other side sends nothing more.
    pub fn end(&mut self, id: u32) -> Result<Option<Waker>, Violation> {
        if self.ended {
            return Err(Violation::AfterEnd(id));
        }
        self.ended = true;
        Ok(self.reader.take())
    }

    /// Nothing more arrives, and what has is not to be read: it is not the whole.
    pub fn cut_in(&mut self, why: Why) -> Option<Waker> {
        if self.ended || self.cut_in.is_some() {
            return None;
        }
        self.cut_in = Some(why);
        self.received = VecDeque::new();
        self.reader.take()
    }

    /// Nothing more can be sent.
    pub fn cut_out(&mut self, why: Why) -> Option<Waker> {
        if self.sending == Sending::Ended || self.cut_out.is_some() {
            return None;
        }
        self.cut_out = Some(why);
        self.unsent = VecDeque::new();
        self.writer.take()
    }

    /// Whether reads can still give something.
    pub fn is_read(&self) -> bool {
        !self.ended && self.cut_in.is_none()
    }

    /// Whether writes can still take something, or what they took is not all sent.
    pub fn is_written(&self) -> bool {
        self.sending != Sending::Ended && self.cut_out.is_none()
    }

    /// The connection is over: whoever waits is to look again.
    pub fn wake(&mut self, woken: &mut Vec<Waker>) {
        woken.extend(self.reader.take());
        woken.extend(self.writer.take());
    }

    /// What a reader gets, or `None` while there is nothing.
    pub fn read(&mut self, into: &mut [u8]) -> Option<io::Result<usize>> {
        if let Some(why) = self.cut_in {
            return Some(Err(io::Error::new(io::ErrorKind::ConnectionReset, why.text())));
        }
        if self.received.is_empty() {
            return self.ended.then_some(Ok(0));
        }
        let taken = io::Read::read(&mut self.received, into);
        if self.received.is_empty() && self.received.capacity() > KEEP {
            self.received = VecDeque::new();
        }
        Some(taken)
    }

    /// Gives the other side credit for what was read, once it is worth a frame, and widens the window from the
    /// `pool` of the connection: a reader that keeps up gets more under way.
    pub fn give_credit(&mut self, widest: u32, pool: &mut u32) {
        // The window bounds what was received, so it fits.
        let held = self.credit.saturating_add(self.received.len() as u32);
        let room = self.window.saturating_sub(held);
        if !self.is_read() || room < self.window / 2 {
            return;
        }
        let wider = self.window.min(widest.saturating_sub(self.window)).min(*pool);
        *pool -= wider;
        self.window += wider;
        self.credit += room + wider;
        self.grant += room + wider;
    }

    /// What a writer may give, or `None` while there is no room.
    pub fn write(&mut self, from: &[u8]) -> Option<io::Result<usize>> {
        if let Some(why) = self.cut_out {
            return Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, why.text())));
        }
        if self.sending != Sending::Going {
            let ended = "this side has ended the stream";
            return Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, ended)));
        }
        let room = UNSENT - self.unsent.len();
        let taken = from.len().min(room);
        self.unsent.extend(&from[..taken]);
        (taken > 0 || from.is_empty()).then_some(Ok(taken))
    }

    /// Ends this side's direction, or `None` until the end is on its way.
    pub fn shutdown(&mut self) -> Option<io::Result<()>> {
        if let Some(why) = self.cut_out {
            return Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, why.text())));
        }
        if self.sending == Sending::Going {
            self.sending = Sending::Ending;
        }
        (self.sending == Sending::Ended).then_some(Ok(()))
    }

    /// Bytes that have arrived and were not read.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn received(&self) -> usize {
        self.received.len()
    }

    /// Bytes of memory of its buffers.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.received.capacity() + self.unsent.capacity()
    }

    pub fn wait_to_read(&mut self, waker: &Waker) {
        self.reader = Some(waker.clone());
    }

    pub fn wait_to_write(&mut self, waker: &Waker) {
        self.writer = Some(waker.clone());
    }

    /// Whether there is something that can be sent now.
    pub fn has_news(&self) -> bool {
        let data = self.cut_out.is_none()
            && match self.unsent.is_empty() {
                true => self.sending == Sending::Ending,
                false => self.allowance > 0,
            };
        self.opening.is_some() || self.grant > 0 || data
    }

    /// Sends what is due, and one piece of data at most.
    pub fn send(&mut self, id: u32, now: Instant, out: &mut BytesMut) -> Option<Waker> {
        if let Some(header) = self.opening.take() {
            Head::new(Kind::Open, id, header.len() as u32).put(out);
            out.extend_from_slice(&header);
        }
        if self.grant > 0 {
            Head::new(Kind::Credit, id, self.grant).put(out);
            self.grant = 0;
        }
        if self.cut_out.is_some() {
            return None;
        }
        let size = self.unsent.len().min(CHUNK).min(self.allowance as usize);
        if size > 0 {
            Head::new(Kind::Data, id, size as u32).put(out);
            let (front, back) = self.unsent.as_slices();
            let cut = front.len().min(size);
            out.extend_from_slice(&front[..cut]);
            out.extend_from_slice(&back[..size - cut]);
            self.unsent.drain(..size);
            self.allowance -= size as u32;
            self.active = now;
        }
        if self.unsent.is_empty() && self.sending == Sending::Ending {
            Head::new(Kind::End, id, 0).put(out);
            self.sending = Sending::Ended;
        }
        self.writer.take()
    }
}
