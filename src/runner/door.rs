//! Where a runner that has not joined waits to be found by a scan (see [`probe`](crate::probe)).
//!
//! It is open only while the runner has no usable certificate. What comes through it is bounded: so many
//! connections at a time, so many of one address, so many bytes and seconds each. The rest is closed at once.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Runner, RunnerError, complain_of, join_token, link};
use crate::{
    config::{Address, RunnerConfig},
    probe::{self, Host, Invitation, ProbeError},
    security::{self, Fingerprint, JoinToken},
};

/// Connections at a time.
const CONNECTIONS: usize = 16;

/// Connections of one address at a time: whoever scans has one.
const OF_ONE_ADDRESS: usize = 2;

/// Between two log lines of one kind.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// How long one invitation may be followed before another one gets its turn.
const FOLLOW: Duration = Duration::from_secs(15);

/// Pause after a failed accept.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// An open door.
pub(super) struct Door {
    invitations: mpsc::Receiver<Invitation>,
    /// Aborted when it is dropped, and all connections with it.
    _accepting: JoinSet<()>,
}

impl Door {
    /// Listens, if the configuration says so.
    pub(super) async fn open(
        config: &RunnerConfig,
        token: Option<JoinToken>,
    ) -> Result<Option<Self>, RunnerError> {
        let Some(address) = &config.probe.listen else {
            return Ok(None);
        };
        let leaf = security::probe_key(&config.data_dir)?;
        let unusable = |key: &'static str, reason: String| RunnerError::config(key, reason);
        let ca = config
            .probe
            .ca
            .as_ref()
            .map(|text| text.to_ascii_lowercase().parse::<Fingerprint>());
        let ca = ca.transpose().map_err(|e| unusable("probe.ca", format!("{e}")))?;
        let key = leaf
            .fingerprint()
            .ok_or_else(|| unusable("data_dir", "its probe.pem holds no certificate".into()))?;
        let host = Host {
            name: config.name.parse().map_err(|e| RunnerError::config("name", e))?,
            key,
            token,
            ca,
        };
        let acceptor = TlsAcceptor::from(security::probe_server(&leaf)?);
        let listener = listen(address).await?;
        match &host.token {
            Some(_) => tracing::info!(%address, "waits for a scan that proves to know its join token"),
            None => tracing::info!(%address, fingerprint = %host.key, "waits to be found and approved"),
        }
        let (invite, invitations) = mpsc::channel(1);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, acceptor, Arc::new(host), invite));
        Ok(Some(Self {
            invitations,
            _accepting: accepting,
        }))
    }

    /// The next invitation; never, when there is no door.
    pub(super) async fn invitation(door: &mut Option<Self>) -> Invitation {
        if let Some(door) = door
            && let Some(invitation) = door.invitations.recv().await
        {
            return invitation;
        }
        std::future::pending().await
    }
}

impl Runner {
    /// Keeps the door open as long as this runner has not joined, and closed from then on.
    pub(super) async fn mind(
        &self,
        door: &mut Option<Door>,
        config: &RunnerConfig,
    ) -> Result<(), RunnerError> {
        let joined = self.identity.as_ref().is_some_and(|known| !known.expired());
        if joined {
            *door = None;
        } else if door.is_none() {
            let had_one = self.identity.is_some();
            let token = match config.has_join_token() {
                true => Some(join_token(config, had_one)?),
                false => None,
            };
            *door = Door::open(config, token).await?;
        }
        Ok(())
    }

    /// Joins where an invitation says. What it says is believed once a manager of the CA that the token
    /// pins has let this runner in: until then a failure costs nothing but time.
    pub(super) async fn follow(&mut self, invitation: Invitation, shutdown: &CancellationToken) {
        let Invitation { managers, token } = invitation;
        let until = Instant::now() + FOLLOW;
        for address in &managers {
            tracing::info!(manager = %address, "follows an invitation");
            let joining = link::enroll(address, &token, self.hello(None, Vec::new()), &self.dir);
            let joining = shutdown.run_until_cancelled(timeout_at(until, joining));
            let Some(joined) = joining.await else { return };
            match joined {
                Ok(Ok(identity)) => {
                    self.identity = Some(identity);
                    self.managers.learn(managers.clone());
                    self.managers.turn_to(address);
                    return;
                }
                Ok(Err(error)) => complain_of(address, &error),
                Err(_) => {
                    tracing::warn!("the invitation led nowhere within {FOLLOW:?}; waits for another one");
                    return;
                }
            }
        }
    }
}

async fn listen(address: &Address) -> Result<TcpListener, RunnerError> {
    let bound = TcpListener::bind((address.host(), address.port())).await;
    bound.map_err(|error| {
        RunnerError::config(
            "probe.listen",
            format!("can't listen on {address}: {error}; set it to a free address of this machine"),
        )
    })
}

/// Who is inside: connections by address.
#[derive(Debug, Default)]
struct Inside(Mutex<HashMap<IpAddr, usize>>);

/// A place inside, given back when it is dropped.
struct Place {
    inside: Arc<Inside>,
    address: IpAddr,
}

impl Inside {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // Holds only numbers: fit for use whatever happened.
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = inside.get(&address).copied().unwrap_or(0);
        if inside.values().sum::<usize>() >= CONNECTIONS || of_it >= OF_ONE_ADDRESS {
            return None;
        }
        inside.insert(address, of_it + 1);
        Some(Place {
            inside: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.inside.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inside.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(inside.remove(&self.address)),
        }
    }
}

/// Whether a log line of some kind is due.
#[derive(Default)]
struct Due(Option<Instant>);

impl Due {
    fn now(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    host: Arc<Host>,
    invite: mpsc::Sender<Invitation>,
) {
    let inside = Arc::new(Inside::default());
    let (mut full, mut failed, mut odd) = (Due::default(), Due::default(), Due::default());
    let mut talks: JoinSet<(IpAddr, Result<(), ProbeError>)> = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(Ok((address, ended))) = talks.join_next() => {
                if let Err(error) = ended {
                    complain(&mut odd, address, &error);
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, from)) => match inside.enter(from.ip()) {
                Some(place) => {
                    let (acceptor, host, invite) = (acceptor.clone(), host.clone(), invite.clone());
                    talks.spawn(async move {
                        let ended = talk(stream, acceptor, &host, &invite).await;
                        drop(place);
                        (from.ip(), ended)
                    });
                }
                None if full.now() => {
                    tracing::warn!(%from, "turned a connection to the probe port away: too many at a time");
                }
                None => {}
            },
            Err(error) => {
                if failed.now() {
                    tracing::warn!(%error, "can't accept a connection to the probe port");
                }
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Looking and going again is what scans do; the rest is worth a line.
fn complain(due: &mut Due, address: IpAddr, error: &ProbeError) {
    match error {
        ProbeError::Io(_) => tracing::debug!(%address, %error, "a connection to the probe port ended"),
        _ if due.now() => tracing::warn!(%address, %error, "a connection to the probe port came to nothing"),
        _ => {}
    }
}

async fn talk(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    host: &Host,
    invite: &mpsc::Sender<Invitation>,
) -> Result<(), ProbeError> {
    let talk = async {
        stream.set_nodelay(true)?;
        let mut stream = acceptor.accept(stream).await?;
        // One at a time: the one that is followed just now is not overtaken.
        let take = |invitation| invite.try_send(invitation).is_ok();
        let ended = probe::answer(&mut stream, host, take).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
        ended
    };
    timeout(probe::TALK, talk).await.unwrap_or(Err(ProbeError::Slow))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_by_address_and_given_back() {
        let inside = Arc::new(Inside::default());
        let address = |n: u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, n));
        let first = [inside.enter(address(1)), inside.enter(address(1))];
        assert!(first.iter().all(Option::is_some));
        assert!(inside.enter(address(1)).is_none());
        let others: Vec<_> = (2..=15).map(|n| inside.enter(address(n)).unwrap()).collect();
        assert!(inside.enter(address(99)).is_none());
        drop(first);
        assert!(inside.enter(address(99)).is_some());
        drop(others);
        assert!(inside.0.lock().unwrap().is_empty());
    }
}
