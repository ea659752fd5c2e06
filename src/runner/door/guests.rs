//! Who is at the door: so many at a time, and few of one source.
//!
//! A connection that shows nothing is worth less than one that may yet: where there is no room, the oldest that
//! has not finished its handshake goes, and the newest comes in. So a crowd of silent connections keeps nobody out.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Connections at a time.
pub(super) const CONNECTIONS: usize = 16;

/// Connections of one source at a time: whoever scans has one.
const OF_ONE_SOURCE: usize = 2;

/// Whom an address stands for: with IPv6 whoever has one address has all of its network.
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// All that are inside, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    /// The number of the next one.
    next: u64,
    guests: Vec<Guest>,
}

#[derive(Debug)]
struct Guest {
    number: u64,
    source: IpAddr,
    /// Whether it has finished its handshake.
    spoke: bool,
    leave: CancellationToken,
}

/// A place inside, given back when it is dropped.
pub(super) struct Place {
    all: Arc<Guests>,
    number: u64,
    source: IpAddr,
    leave: CancellationToken,
    /// Whether another one had to go for it.
    pub crowded: bool,
}

impl Guests {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Each change is one step: fit for use whatever happened.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of this address, if there is room or can be made.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = source(address);
        let mut inside = self.inside();
        let of_it = inside.guests.iter().filter(|guest| guest.source == source);
        let many_of_it = of_it.count() >= OF_ONE_SOURCE;
        let crowded = many_of_it || inside.guests.len() >= CONNECTIONS;
        if crowded {
            let silent = |guest: &Guest| !guest.spoke && (!many_of_it || guest.source == source);
            let oldest = inside.guests.iter().position(silent)?;
            inside.guests.remove(oldest).leave.cancel();
        }
        let (number, leave) = (inside.next, CancellationToken::new());
        inside.next += 1;
        inside.guests.push(Guest {
            number,
            source,
            spoke: false,
            leave: leave.clone(),
        });
        Some(Place {
            all: self.clone(),
            number,
            source,
            leave,
            crowded,
        })
    }
}

impl Place {
    /// It has shown that it speaks, and is not sent away for another one any more.
    pub(super) fn spoke(&self) {
        let mut inside = self.all.inside();
        let mine = |guest: &&mut Guest| guest.number == self.number;
        if let Some(guest) = inside.guests.iter_mut().find(mine) {
            guest.spoke = true;
        }
    }

    /// Whose it is.
    pub(super) fn source(&self) -> IpAddr {
        self.source
    }

    /// What comes of it, unless it has to go for another one.
    pub(super) async fn stay<T>(&self, talk: impl Future<Output = T>) -> Option<T> {
        self.leave.run_until_cancelled(talk).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all
            .inside()
            .guests
            .retain(|guest| guest.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn speaking(guests: &Arc<Guests>, text: &str) -> Option<Place> {
        guests.enter(address(text)).inspect(Place::spoke)
    }

    #[test]
    fn places_are_bounded_in_all_and_by_source_and_given_back() {
        let guests = Arc::new(Guests::default());
        let first = [speaking(&guests, "10.0.0.1"), speaking(&guests, "10.0.0.1")];
        assert!(first.iter().all(Option::is_some));
        assert!(guests.enter(address("10.0.0.1")).is_none());
        let others: Vec<_> = (2..=15)
            .map(|n| speaking(&guests, &format!("10.0.0.{n}")).unwrap())
            .collect();
        assert!(guests.enter(address("10.0.0.99")).is_none());
        drop(first);
        assert!(guests.enter(address("10.0.0.99")).is_some());
        drop(others);
        assert!(guests.inside().guests.is_empty());
    }

    /// Who has a network of IPv6 had as many places as it wanted.
    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let guests = Arc::new(Guests::default());
        let _first = [
            speaking(&guests, "2001:db8::1").unwrap(),
            speaking(&guests, "2001:db8::ffff:2").unwrap(),
        ];
        assert!(guests.enter(address("2001:db8::3")).is_none());
        assert!(guests.enter(address("2001:db8:0:1::3")).is_some());
        assert_eq!(source(address("::ffff:10.0.0.1")), address("10.0.0.1"));
        assert_ne!(source(address("::ffff:10.0.0.1")), source(address("10.0.0.2")));
    }

    /// The newest was turned away, whoever it was.
    #[tokio::test]
    async fn the_oldest_that_says_nothing_goes_for_the_newest() {
        let guests = Arc::new(Guests::default());
        let spoke = speaking(&guests, "10.0.0.1").unwrap();
        let silent: Vec<_> = (2..=16)
            .map(|n| guests.enter(address(&format!("10.0.0.{n}"))).unwrap())
            .collect();
        assert!(silent.iter().all(|place| !place.crowded));
        let newest = guests.enter(address("10.0.0.99")).unwrap();
        assert!(newest.crowded);
        let gone = silent[0].stay(std::future::pending::<()>()).await;
        assert_eq!(gone, None);
        for place in [&spoke, &silent[1], &newest] {
            assert_eq!(place.stay(std::future::ready(7)).await, Some(7));
        }
        // Of one source its own goes, although others are older.
        let second = guests.enter(address("10.0.0.99")).unwrap();
        assert!(!second.leave.is_cancelled());
        let third = guests.enter(address("10.0.0.99")).unwrap();
        assert!(newest.leave.is_cancelled() && third.crowded);
    }
}
