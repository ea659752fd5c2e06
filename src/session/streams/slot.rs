//! A session's place for its second connection: none, asked for, or open.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use subtle::ConstantTimeEq;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::OpenError;
use crate::{model::StreamTicket, wire::streams::Mux};

/// How long a ticket is good, and how long the runner has to come with it.
const ASKED: Duration = Duration::from_secs(5);

/// What there is.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// The runner is asked to connect.
    Asked {
        ticket: StreamTicket,
        since: Instant,
        told: bool,
    },
    /// It came with its ticket.
    Coming {
        since: Instant,
    },
    Open(Arc<Mux>),
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::session) struct Slot {
    held: Mutex<Held>,
    changed: Notify,
    /// The session is over.
    ended: CancellationToken,
}

impl Slot {
    /// The connection. If there is none the runner is asked for it, once for all who wait: `wake` lets its
    /// session send the question.
    pub(in crate::session) async fn get(&self, wake: impl Fn()) -> Result<Arc<Mux>, OpenError> {
        let open = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // From here on no change is missed.
                changed.as_mut().enable();
                if let Some(mux) = self.open_or_ask(&wake) {
                    return mux;
                }
                changed.await;
            }
        };
        tokio::select! {
            open = timeout(ASKED, open) => {
                open.map_err(|_| OpenError::Late("the runner did not open a connection for streams"))
            }
            () = self.ended.cancelled() => Err(OpenError::SessionEnded),
        }
    }

    fn open_or_ask(&self, wake: &impl Fn()) -> Option<Arc<Mux>> {
        self.with(|held| {
            match held {
                Held::Open(mux) if mux.ended().is_none() => return Some(mux.clone()),
                Held::Asked { since, .. } | Held::Coming { since } if since.elapsed() < ASKED => {}
                _ => {
                    *held = Held::Asked {
                        ticket: StreamTicket(rand::random()),
                        since: Instant::now(),
                        told: false,
                    };
                    wake();
                }
            }
            None
        })
    }

    /// The ticket, if the runner is to be told it now.
    pub(in crate::session) fn due(&self) -> Option<StreamTicket> {
        self.with(|held| match held {
            Held::Asked { ticket, told, .. } if !*told => {
                *told = true;
                Some(*ticket)
            }
            _ => None,
        })
    }

    /// Whether this is the ticket that the runner was told. It is spent by that.
    pub(super) fn redeem(&self, shown: &StreamTicket) -> bool {
        self.with(|held| {
            let Held::Asked { ticket, since, told } = held else {
                return false;
            };
            let good = *told && since.elapsed() < ASKED && bool::from(ticket.0.ct_eq(&shown.0));
            if good {
                *held = Held::Coming {
                    since: Instant::now(),
                };
            }
            good
        })
    }

    /// The connection is there.
    pub(super) fn fill(&self, mux: Arc<Mux>) {
        self.with(|held| *held = Held::Open(mux));
        self.changed.notify_waiters();
    }

    /// The session is over, and its second connection with it.
    pub(in crate::session) fn end(&self) {
        self.ended.cancel();
    }

    /// Until then.
    pub(super) async fn over(&self) {
        self.ended.cancelled().await;
    }

    fn with<T>(&self, act: impl FnOnce(&mut Held) -> T) -> T {
        // Nothing panics while it is held.
        act(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
