//! The latest observation of each placement: what sessions tell the managers.
//!
//! Level-triggered: a newer observation replaces the older one, and whoever opens a session tells all
//! of them, so that nothing depends on a single report arriving.

use std::sync::Arc;

use imbl::OrdMap;
use tokio::sync::watch;

use crate::model::{PlacementId, session::PlacementReport};

/// All latest reports, by placement.
pub(super) type Latest = OrdMap<PlacementId, Arc<PlacementReport>>;

/// Where agents' tasks put what they observe. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Reports(watch::Sender<Latest>);

impl Reports {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Latest::new()))
    }

    /// Puts an observation in the place of the earlier one.
    pub(super) fn put(&self, report: PlacementReport) {
        self.0.send_if_modified(|latest| {
            let news = latest.get(&report.placement).is_none_or(|known| **known != report);
            if news {
                tracing::info!(
                    replica = %report.replica, epoch = report.epoch, state = ?report.state, "{}", report.reason
                );
                latest.insert(report.placement, Arc::new(report));
            }
            news
        });
    }

    /// Forgets a placement.
    pub(super) fn forget(&self, placement: PlacementId) {
        self.0
            .send_if_modified(|latest| latest.remove(&placement).is_some());
    }

    pub(super) fn latest(&self) -> Latest {
        self.0.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Latest> {
        self.0.subscribe()
    }
}

/// What `now` has that `told` has not.
pub(super) fn news(told: &Latest, now: &Latest) -> Vec<PlacementReport> {
    let unchanged = |report: &Arc<PlacementReport>| {
        told.get(&report.placement)
            .is_some_and(|t| Arc::ptr_eq(t, report))
    };
    let fresh = now.values().filter(|report| !unchanged(report));
    fresh.map(|report| (**report).clone()).collect()
}
