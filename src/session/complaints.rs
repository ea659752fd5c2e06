//! Log lines about strangers: one an address and minute, so that nobody fills the log from outside.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const EACH: Duration = Duration::from_secs(60);

/// Addresses remembered at most; beyond them nobody else is complained about for a while.
const ADDRESSES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Mutex<HashMap<IpAddr, Instant>>,
}

impl Complaints {
    /// Whether a line about this address is due; if so, the next one is due in a minute.
    pub(super) fn due(&self, address: IpAddr) -> bool {
        self.due_at(address, Instant::now())
    }

    fn due_at(&self, address: IpAddr, now: Instant) -> bool {
        // Holds only times: fit for use whatever happened.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: &Instant| now.saturating_duration_since(*at) < EACH;
        if last.get(&address).is_some_and(recent) {
            return false;
        }
        if last.len() >= ADDRESSES {
            last.retain(|_, at| recent(at));
        }
        if last.len() >= ADDRESSES {
            return false;
        }
        last.insert(address, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_address_is_complained_about_once_a_minute() {
        let complaints = Complaints::default();
        let (one, two) = (
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv4Addr::BROADCAST),
        );
        let start = Instant::now();
        assert!(complaints.due_at(one, start));
        assert!(!complaints.due_at(one, start + EACH / 2));
        assert!(complaints.due_at(two, start + EACH / 2));
        assert!(complaints.due_at(one, start + EACH));
    }

    #[test]
    fn many_addresses_take_bounded_memory() {
        let complaints = Complaints::default();
        let start = Instant::now();
        for n in 0..2 * ADDRESSES as u32 {
            complaints.due_at(Ipv4Addr::from(n).into(), start);
        }
        assert_eq!(complaints.last.lock().unwrap().len(), ADDRESSES);
        assert!(complaints.due_at(Ipv4Addr::BROADCAST.into(), start + EACH));
    }
}
