//! The latest observation of each agent: what sessions tell the managers.
//!
//! Level-triggered: a newer observation replaces the older one, and whoever opens a session tells all
//! of them, so that nothing depends on a single report arriving.

use std::sync::Arc;

use imbl::OrdMap;
use tokio::sync::watch;

use crate::model::{AgentId, session::AgentReport};

/// All latest reports, by agent.
pub(super) type Latest = OrdMap<AgentId, Arc<AgentReport>>;

/// Where agents' tasks put what they observe. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Reports(watch::Sender<Latest>);

impl Reports {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Latest::new()))
    }

    /// Puts an observation in the place of the earlier one.
    pub(super) fn put(&self, report: AgentReport) {
        self.0.send_if_modified(|latest| {
            let news = latest.get(&report.agent).is_none_or(|known| **known != report);
            if news {
                tracing::info!(
                    agent = %report.agent, epoch = report.epoch, state = ?report.state, "{}", report.reason
                );
                latest.insert(report.agent, Arc::new(report));
            }
            news
        });
    }

    /// Forgets an agent.
    pub(super) fn forget(&self, agent: AgentId) {
        self.0.send_if_modified(|latest| latest.remove(&agent).is_some());
    }

    pub(super) fn latest(&self) -> Latest {
        self.0.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Latest> {
        self.0.subscribe()
    }
}

/// What `now` has that `told` has not.
pub(super) fn news(told: &Latest, now: &Latest) -> Vec<AgentReport> {
    let unchanged =
        |report: &Arc<AgentReport>| told.get(&report.agent).is_some_and(|t| Arc::ptr_eq(t, report));
    let fresh = now.values().filter(|report| !unchanged(report));
    fresh.map(|report| (**report).clone()).collect()
}
