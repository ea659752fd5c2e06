//! Links that are cut: silence, not an error.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use rand::Rng;
use serde_json::json;

use super::{Effect, Fault, Field};
use crate::net::End;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// One manager hears and is heard by nobody.
    One,
    /// A minority and a majority.
    Halves,
    /// Each hears a majority, and no two the same.
    Ring,
    /// One hears everybody; the others are in two halves.
    Bridge,
    /// One is heard and does not hear, or the other way round.
    OneWay,
    /// The leader, alone.
    Leader,
    /// Clients do not reach the leader; managers do.
    Clients,
}

pub struct Partition(pub Cut);

type Links = Vec<(End, End)>;

/// Both ways.
pub fn between(some: &[u64], others: &[u64]) -> Vec<(End, End)> {
    let pairs = some
        .iter()
        .flat_map(|a| others.iter().map(move |b| (End::Seat(*a), End::Seat(*b))));
    pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

/// Each of `seats`, which stand in a circle, hears those next to it so far that it makes a majority with them.
fn ring(seats: &[u64]) -> Links {
    let count = seats.len();
    let mut cut = Vec::new();
    for (at, to) in seats.iter().enumerate() {
        // With three, one neighbour is a majority: each hears the one before it.
        let heard = if count == 3 { 1 } else { count / 2 };
        let (before, after) = (heard.div_ceil(2), heard / 2);
        for (other, from) in seats.iter().enumerate() {
            let behind = (at + count - other) % count;
            let ahead = (other + count - at) % count;
            if from != to && behind > before && ahead > after {
                cut.push((End::Seat(*from), End::Seat(*to)));
            }
        }
    }
    cut
}

impl Partition {
    /// The links to cut, among `seats`, the leader's first where one was asked for.
    fn links(&self, seats: &[u64], coin: bool) -> Links {
        let (first, rest) = (&seats[..1], &seats[1..]);
        match self.0 {
            Cut::One | Cut::Leader => between(first, rest),
            Cut::Halves => {
                let minority = (seats.len() - 1) / 2;
                between(&seats[..minority], &seats[minority..])
            }
            Cut::Ring => ring(seats),
            Cut::Bridge => {
                let half = rest.len() / 2;
                between(&rest[..half], &rest[half..])
            }
            Cut::OneWay => {
                let both = between(first, rest);
                let hears = |(from, _): &(End, End)| *from == End::Seat(seats[0]);
                both.into_iter().filter(|link| hears(link) == coin).collect()
            }
            Cut::Clients => {
                let leader = End::Seat(seats[0]);
                vec![(End::Clients, leader), (leader, End::Clients)]
            }
        }
    }
}

#[async_trait]
impl Fault for Partition {
    fn name(&self) -> &'static str {
        match self.0 {
            Cut::One => "partition-one",
            Cut::Halves => "partition-halves",
            Cut::Ring => "partition-ring",
            Cut::Bridge => "partition-bridge",
            Cut::OneWay => "partition-one-way",
            Cut::Leader => "partition-leader",
            Cut::Clients => "partition-clients",
        }
    }

    fn about(&self) -> &'static str {
        match self.0 {
            Cut::One => "a manager is cut off from the others",
            Cut::Halves => "a minority and a majority do not hear each other",
            Cut::Ring => "each manager hears a majority, no two the same one",
            Cut::Bridge => "one manager hears all others, who are in two halves",
            Cut::OneWay => "a manager is heard and does not hear, or the other way round",
            Cut::Leader => "the leader is cut off from the others, and clients reach it",
            Cut::Clients => "clients do not reach the leader, managers do",
        }
    }

    async fn strike(&self, field: &Field) -> Result<Effect> {
        let mut seats: Vec<_> = field.running().await?.iter().map(|seat| seat.number).collect();
        ensure!(seats.len() > 2, "a partition needs three managers");
        if matches!(self.0, Cut::Leader | Cut::Clients) {
            let leader = field.leader().await?.number;
            seats.retain(|seat| *seat != leader);
            seats.insert(0, leader);
        }
        let links = self.links(&seats, field.chance(|chance| chance.random()));
        let network = &field.cluster.network;
        network.cut(&links).await?;
        field.stay().await;
        let mut blocked = network.blocked().await?;
        network.mend(&links).await?;
        blocked.retain(|link| links.contains(&(link.from, link.to)));
        let count: u64 = blocked.iter().map(|link| link.count).sum();
        Ok(Effect {
            in_effect: count > 0,
            leader_due: self.0 == Cut::Leader,
            evidence: json!({"blocked": count, "links": blocked}),
            violation: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn heard(links: &Links, seats: &[u64], to: u64) -> BTreeSet<u64> {
        let hears = |from: &&u64| !links.contains(&(End::Seat(**from), End::Seat(to)));
        seats.iter().filter(hears).copied().collect()
    }

    #[test]
    fn each_in_a_ring_hears_a_majority_of_its_own() {
        for count in [3, 5, 7] {
            let seats: Vec<u64> = (1..=count).collect();
            let links = ring(&seats);
            let sets: BTreeSet<_> = seats.iter().map(|seat| heard(&links, &seats, *seat)).collect();
            assert_eq!(sets.len(), seats.len(), "two hear the same of {count}");
            for set in sets {
                assert_eq!(set.len(), seats.len() / 2 + 1, "{set:?} of {count}");
            }
        }
    }

    #[test]
    fn partitions_cut_what_they_say() {
        let seats = [1, 2, 3, 4, 5];
        let cut = |cut, coin| Partition(cut).links(&seats, coin);
        assert_eq!(heard(&cut(Cut::One, true), &seats, 1), [1].into());
        assert_eq!(heard(&cut(Cut::Halves, true), &seats, 2), [1, 2].into());
        assert_eq!(heard(&cut(Cut::Halves, true), &seats, 3), [3, 4, 5].into());
        let bridge = cut(Cut::Bridge, true);
        assert_eq!(heard(&bridge, &seats, 1).len(), 5);
        assert_eq!(heard(&bridge, &seats, 2), [1, 2, 3].into());
        let mute = cut(Cut::OneWay, true);
        assert_eq!(heard(&mute, &seats, 1).len(), 5);
        assert_eq!(heard(&mute, &seats, 2).len(), 4);
        let deaf = cut(Cut::OneWay, false);
        assert_eq!(heard(&deaf, &seats, 1), [1].into());
        assert_eq!(heard(&deaf, &seats, 2).len(), 5);
        assert!(heard(&cut(Cut::Clients, true), &seats, 2).len() == 5);
    }
}
