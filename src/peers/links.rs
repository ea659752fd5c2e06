//! The ways to all other managers, for one purpose each.
//!
//! Those for what can't wait (heartbeats, votes, handing over leadership) are kept open, one to each other
//! manager, and looked at twice a second. A heartbeat has 50 ms and a vote 200 ms, which on a busy machine is
//! less than a connection takes to be made: an election that begins with dialling is lost before the question
//! is asked, and so is the next one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};

use super::{Dial, Lane, Link, Me};
use crate::model::{ManagerId, Member};

/// How often each link is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A link over which nothing comes back for this long, though something was asked, is made anew.
const SILENT: Duration = Duration::from_secs(1);

/// One manager's links to the others, on one lane.
#[derive(Debug)]
pub(super) struct Links {
    dial: Arc<dyn Dial>,
    me: Me,
    lane: Lane,
    links: Mutex<BTreeMap<ManagerId, (Member, Arc<Link>)>>,
}

impl Links {
    pub fn new(dial: Arc<dyn Dial>, me: Me, lane: Lane) -> Self {
        Self {
            dial,
            me,
            lane,
            links: Mutex::default(),
        }
    }

    /// The link to `target`, as long as it is the same manager at the same address.
    pub fn to(&self, target: ManagerId, member: &Member) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, link)) = links.get(&target)
            && known == member
        {
            return link.clone();
        }
        let dial = self.dial.clone();
        let link = Arc::new(Link::new(dial, self.me, self.lane, target, member.clone()));
        links.insert(target, (member.clone(), link.clone()));
        link
    }

    /// Forgets the links to managers that are not wanted.
    pub fn keep_only(&self, wanted: impl Fn(&ManagerId) -> bool) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|id, _| wanted(id));
    }

    /// How long the last look took at those that answered it.
    pub fn round_trips(&self) -> BTreeMap<ManagerId, Duration> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let trips = links.iter().map(|(id, (_, link))| (*id, link.round_trip()));
        trips.filter_map(|(id, trip)| Some((id, trip?))).collect()
    }

    /// Keeps the links to what `members` names open, and forgets all others.
    pub async fn keep_open(&self, members: impl Fn() -> BTreeMap<ManagerId, Member>) {
        loop {
            let mut others = members();
            others.remove(&self.me.id);
            self.keep_only(|id| others.contains_key(id));
            let mut looks: FuturesUnordered<_> = others
                .iter()
                .map(|(id, member)| {
                    let link = self.to(*id, member);
                    // What is answered does not matter: a question dials, and notices silence.
                    async move { link.look(SILENT).await }
                })
                .collect();
            while looks.next().await.is_some() {}
            drop(looks);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
