//! Where a runner that has not joined waits to be found by a scan (see [`probe`](crate::probe)).
//!
//! It is open only while the runner has no usable certificate. What comes through it is bounded: so many
//! connections at a time, few of one source, so many bytes and seconds each ([`guests`]). An invitation is
//! followed once it has led to a manager of the cluster that its token is for ([`proving`]).

mod guests;
mod proving;

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::{
    guests::{CONNECTIONS, Guests, Place},
    proving::{PROVE, Proven, Proving},
};
use super::{Runner, RunnerError, error::SessionError, join_token, link::Pinned};
use crate::{
    config::{Address, RunnerConfig},
    probe::{self, Host, Invitation, ProbeError},
    security::{self, Fingerprint, JoinToken},
};

/// Between two log lines of one kind.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// How long one invitation may be followed before another one gets its turn: its cluster may choose a leader
/// meanwhile, or a manager take the answer with it into its grave.
const FOLLOW: Duration = Duration::from_secs(30);

/// Between two tries to join by one invitation.
const FOLLOW_AGAIN: Duration = Duration::from_secs(1);

/// Pause after a failed accept.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// An open door.
pub(super) struct Door {
    invitations: mpsc::Receiver<Proven>,
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
        let (invite, invitations) = mpsc::channel(proving::AT_ONCE);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, acceptor, Arc::new(host), invite));
        Ok(Some(Self {
            invitations,
            _accepting: accepting,
        }))
    }

    /// The next invitation that leads somewhere; never, when there is no door.
    pub(super) async fn invitation(door: &mut Option<Self>) -> Proven {
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

    /// Joins where an invitation says. What else it says is believed once a manager has let this runner in:
    /// until then a failure costs nothing but time.
    pub(super) async fn follow(&mut self, proven: Proven, shutdown: &CancellationToken) {
        let following = timeout(FOLLOW, self.join_by(proven));
        if let Some(Err(_)) = shutdown.run_until_cancelled(following).await {
            tracing::warn!("the invitation led nowhere within {FOLLOW:?}; waits for another one");
        }
    }

    /// Asks one manager after the other, with the same request, so that an answer that was lost is had from
    /// the next one.
    async fn join_by(&mut self, proven: Proven) {
        let Proven {
            invitation: Invitation { managers, token },
            at,
            link,
        } = proven;
        let mut link = Some(link);
        let first = managers.iter().position(|address| *address == at).unwrap_or(0);
        for address in managers.iter().cycle().skip(first) {
            tracing::info!(manager = %address, "follows an invitation");
            let pinned = match link.take() {
                Some(pinned) => Ok(pinned),
                None => Pinned::dial(address, &token).await,
            };
            let hello = self.hello(None, Vec::new());
            let joined = match pinned {
                Ok(pinned) => pinned.enroll(&token, hello, &self.dir, &mut self.asking).await,
                Err(error) => Err(error),
            };
            match joined {
                Ok(identity) => {
                    self.identity = Some(identity);
                    self.managers.learn(managers.clone());
                    self.managers.turn_to(address);
                    return;
                }
                Err(error) => {
                    error.complain(address);
                    if let SessionError::Refused { retry: false, .. } = error {
                        return;
                    }
                }
            }
            sleep(FOLLOW_AGAIN).await;
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

/// The log lines of the door, each kind by itself.
#[derive(Default)]
struct Lines {
    full: Due,
    failed: Due,
    odd: Due,
    nowhere: Due,
    lost: Due,
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, host: Arc<Host>, invite: mpsc::Sender<Proven>) {
    let guests = Arc::new(Guests::default());
    let (bring, mut brought) = mpsc::channel(CONNECTIONS);
    let mut proving = Proving::default();
    let mut due = Lines::default();
    let mut talks: JoinSet<(IpAddr, Result<(), ProbeError>)> = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(Ok((address, ended))) = talks.join_next() => {
                if let Err(error) = ended {
                    complain(&mut due.odd, address, &error);
                }
                continue;
            }
            Some((source, invitation)) = brought.recv() => {
                proving.begin(source, invitation);
                continue;
            }
            Some(proof) = proving.next() => {
                match proof {
                    Ok(proven) => {
                        if invite.try_send(proven).is_err() && due.lost.now() {
                            tracing::warn!("an invitation came to nothing: as many as can wait are waiting");
                        }
                    }
                    Err(unproven) if due.nowhere.now() => {
                        let source = unproven.source;
                        tracing::warn!(%source, "an invitation led to no manager of its cluster within {PROVE:?}");
                    }
                    Err(_) => {}
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, from)) => {
                let place = guests.enter(from.ip());
                if place.as_ref().is_none_or(|place| place.crowded) && due.full.now() {
                    tracing::warn!(%from, "turned a connection to the probe port away, the oldest that says nothing or else the newest: too many at a time");
                }
                let Some(place) = place else { continue };
                let (acceptor, host, bring) = (acceptor.clone(), host.clone(), bring.clone());
                talks.spawn(async move {
                    let talk = talk(stream, acceptor, &host, &place, &bring);
                    // Who had to go for another one is no news.
                    let ended = place.stay(talk).await.unwrap_or(Ok(()));
                    (from.ip(), ended)
                });
            }
            Err(error) => {
                if due.failed.now() {
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
    place: &Place,
    bring: &mpsc::Sender<(IpAddr, Invitation)>,
) -> Result<(), ProbeError> {
    let talk = async {
        stream.set_nodelay(true)?;
        let mut stream = acceptor.accept(stream).await?;
        place.spoke();
        let take = |invitation| bring.try_send((place.source(), invitation)).is_ok();
        let ended = probe::answer(&mut stream, host, take).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
        ended
    };
    timeout(probe::TALK, talk).await.unwrap_or(Err(ProbeError::Slow))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::probe::{Prober, Seen};

    /// A door without a token, open to whoever invites.
    async fn open() -> (SocketAddr, Fingerprint, mpsc::Receiver<Proven>, JoinSet<()>) {
        security::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let leaf = security::probe_key(dir.path()).unwrap();
        let key = leaf.fingerprint().unwrap();
        let host = Host {
            name: "box".parse().unwrap(),
            key,
            token: None,
            ca: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(security::probe_server(&leaf).unwrap());
        let (invite, invitations) = mpsc::channel(proving::AT_ONCE);
        let mut task = JoinSet::new();
        task.spawn(accept(listener, acceptor, Arc::new(host), invite));
        (place, key, invitations, task)
    }

    /// Two connections that said nothing kept every scan from their address out until their time was up.
    #[tokio::test]
    async fn silent_connections_keep_no_scan_out() {
        let (place, key, _invitations, _task) = open().await;
        let mut silent = TcpStream::connect(place).await.unwrap();
        let _second = TcpStream::connect(place).await.unwrap();
        let prober = Prober::new().unwrap();
        let seen = prober.visit(place, |_| None, Vec::new()).await;
        assert!(
            matches!(&seen, Seen::Candidate { key: shown, .. } if *shown == key),
            "{seen:?}"
        );
        let gone = timeout(probe::TALK, silent.read(&mut [0; 1])).await;
        assert!(matches!(gone, Ok(Ok(0) | Err(_))), "{gone:?}");
    }

    /// The one who invited first had the runner for itself for a quarter of a minute.
    #[tokio::test]
    async fn an_invitation_into_nowhere_does_not_keep_the_next_one_out() {
        let (place, key, mut invitations, _task) = open().await;
        let ca = security::Ca::generate("one").unwrap();
        let leaf = ca.issue_manager(1, &[]).unwrap();
        let manager = TlsAcceptor::from(security::session_server(&leaf, ca.trust()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let prober = Prober::new().unwrap();
        for listener in [&nowhere, &listener] {
            let opened = prober.again(place, &key.to_string()).await.unwrap();
            let managers = vec![listener.local_addr().unwrap().to_string()];
            let token = JoinToken::generate(ca.fingerprint()).unwrap().to_string();
            opened.invite(managers, Some(token)).await.unwrap();
        }
        let met = async { manager.accept(listener.accept().await.unwrap().0).await.unwrap() };
        let both = async { tokio::join!(met, invitations.recv()) };
        let (_stream, proven) = timeout(PROVE * 3, both).await.expect("not followed");
        let at = listener.local_addr().unwrap().to_string();
        assert_eq!(proven.unwrap().at, at);
    }
}
