//! Invitations whose managers have not shown yet that they are of the cluster that the token is for.
//!
//! A runner without a token of its own can't tell who invites it, so an invitation is worth nothing until TLS,
//! pinned to the CA that its token names, has met a manager. That gets a few seconds. Meanwhile the next ones
//! are looked at beside it: several at a time, one of a source, and where there are too many the oldest goes.
//! Whoever invites into nowhere thus keeps nobody else out.

use std::{net::IpAddr, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::super::{error::SessionError, link::Pinned};
use crate::{probe::Invitation, security::JoinToken};

/// For all managers of an invitation together.
pub(super) const PROVE: Duration = Duration::from_secs(3);

/// A manager that has not answered for so long has the next one dialled beside it.
const NEXT: Duration = Duration::from_millis(300);

/// Invitations at a time.
pub(super) const AT_ONCE: usize = 8;

/// An invitation, and the connection to a manager that is what it should be.
pub(in crate::runner) struct Proven {
    pub invitation: Invitation,
    /// The manager's address.
    pub at: String,
    pub link: Pinned,
}

/// An invitation that led to no manager, and whose it was.
pub(super) struct Unproven {
    pub source: IpAddr,
}

type Proof = Result<Proven, Unproven>;

/// What is under way, the oldest first.
#[derive(Default)]
pub(super) struct Proving {
    tasks: JoinSet<Proof>,
    waiting: Vec<(IpAddr, AbortHandle)>,
}

impl Proving {
    /// Looks where an invitation leads, in place of the last one of this source.
    pub(super) fn begin(&mut self, source: IpAddr, invitation: Invitation) {
        self.waiting.retain(|(_, task)| !task.is_finished());
        let same = self.waiting.iter().position(|(from, _)| *from == source);
        let full = self.waiting.len() >= AT_ONCE;
        if let Some(at) = same.or(full.then_some(0)) {
            self.waiting.remove(at).1.abort();
        }
        let task = self.tasks.spawn(async move {
            let proven = timeout(PROVE, prove(invitation)).await;
            proven.ok().flatten().ok_or(Unproven { source })
        });
        self.waiting.push((source, task));
    }

    /// The next one that is over; `None` when none is under way.
    pub(super) async fn next(&mut self) -> Option<Proof> {
        loop {
            // The others had to go.
            if let Ok(proof) = self.tasks.join_next().await? {
                return Some(proof);
            }
        }
    }
}

/// Dials the managers, one a little after the other, up to the first that is one.
async fn prove(invitation: Invitation) -> Option<Proven> {
    let mut rest = invitation.managers.iter();
    let mut dials = FuturesUnordered::new();
    loop {
        match rest.next() {
            Some(address) => dials.push(dial(address.clone(), invitation.token.clone())),
            None if dials.is_empty() => return None,
            None => {}
        }
        let more = !rest.as_slice().is_empty();
        tokio::select! {
            Some((at, met)) = dials.next() => match met {
                Ok(link) => return Some(Proven { invitation, at, link }),
                Err(error) => tracing::debug!(manager = %at, %error, "an invitation does not lead there"),
            },
            () = sleep(NEXT), if more => {}
        }
    }
}

async fn dial(at: String, token: JoinToken) -> (String, Result<Pinned, SessionError>) {
    let met = Pinned::dial(&at, &token).await;
    (at, met)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::security::{self, Ca};

    fn from(n: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, n).into()
    }

    /// An address where connections are taken and nothing is ever said.
    async fn nowhere() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (listener, address)
    }

    /// A manager as far as TLS goes, at an address.
    async fn manager(ca: &Ca) -> (JoinSet<()>, String) {
        let (listener, address) = nowhere().await;
        let leaf = ca.issue_manager(1, &[]).unwrap();
        let acceptor = TlsAcceptor::from(security::session_server(&leaf, ca.trust()).unwrap());
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = acceptor.accept(stream).await;
            }
        });
        (task, address)
    }

    fn invitation(managers: &[&String], ca: &Ca) -> Invitation {
        Invitation {
            managers: managers.iter().map(ToString::to_string).collect(),
            token: JoinToken::generate(ca.fingerprint()).unwrap(),
        }
    }

    /// Whoever invited into nowhere first had the runner for itself, again and again.
    #[tokio::test]
    async fn invitations_into_nowhere_keep_nobody_out() {
        security::install_crypto();
        let (ca, other) = (Ca::generate("one").unwrap(), Ca::generate("two").unwrap());
        let (_nobody, nowhere) = nowhere().await;
        let (_manager, address) = manager(&ca).await;
        let mut proving = Proving::default();
        for n in 0..20 {
            proving.begin(from(n), invitation(&[&nowhere], &ca));
        }
        let mut tell = |managers: &[&String], ca: &Ca| proving.begin(from(99), invitation(managers, ca));
        // Of one source the newest counts.
        tell(&[&nowhere], &ca);
        tell(&[&nowhere, &address], &ca);
        assert!(proving.waiting.len() <= AT_ONCE);
        let Some(Ok(proven)) = proving.next().await else {
            panic!("another one came first");
        };
        assert_eq!(proven.at, address);

        // A manager of another cluster than the token's proves nothing.
        proving.begin(from(100), invitation(&[&address], &other));
        let Some(Err(unproven)) = proving.next().await else {
            panic!("believed");
        };
        assert_eq!(unproven.source, from(100));
    }

    #[tokio::test]
    async fn what_leads_nowhere_is_over_in_time() {
        security::install_crypto();
        let ca = Ca::generate("one").unwrap();
        let (_nobody, nowhere) = nowhere().await;
        let mut proving = Proving::default();
        // One after the other they would take longer than all of them may.
        proving.begin(from(1), invitation(&[&nowhere; 16], &ca));
        let over = timeout(PROVE + NEXT * 8, proving.next()).await;
        let over = over.expect("still looked at");
        assert!(matches!(over, Some(Err(_))));
        assert!(proving.next().await.is_none());
    }
}
