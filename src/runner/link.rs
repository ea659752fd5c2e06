//! Connections to managers: dial, TLS, frames, joining.

use std::{path::Path, sync::Arc};

use rustls::ClientConfig;
use serde::Serialize;
use tokio::{
    io::{ReadHalf, WriteHalf, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    error::SessionError,
    identity::Identity,
    pace::{ANSWER, DIAL, WRITE},
};
use crate::{
    model::session::{FromManager, FromRunner, Hello, MAX_FRAME_BYTES, PROTOCOL},
    security::{self, JoinToken, KeyRequest, SecurityError, Trust},
    wire::{FramedReader, FramedWriter},
};

/// A connection to one manager.
pub(super) struct Link {
    pub reader: FramedReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: FramedWriter<WriteHalf<TlsStream<TcpStream>>>,
}

impl Link {
    /// Connects.
    pub(super) async fn open(address: &str, tls: Arc<ClientConfig>) -> Result<Self, SessionError> {
        let stream = dial(address, tls).await?;
        Ok(Self::over(stream))
    }

    fn over(stream: TlsStream<TcpStream>) -> Self {
        let (read, write) = split(stream);
        Self {
            reader: FramedReader::new(read, MAX_FRAME_BYTES),
            writer: FramedWriter::new(write, MAX_FRAME_BYTES),
        }
    }

    /// Sends one frame.
    pub(super) async fn send(&mut self, frame: &FromRunner) -> Result<(), SessionError> {
        self.send_all(std::slice::from_ref(frame)).await
    }

    /// Sends frames together.
    pub(super) async fn send_all<T: Serialize>(&mut self, frames: &[T]) -> Result<(), SessionError> {
        for frame in frames {
            self.writer.push(frame)?;
        }
        let silent = SessionError::Silent {
            what: "take what was sent",
            after: WRITE,
        };
        Ok(timeout(WRITE, self.writer.flush()).await.map_err(|_| silent)??)
    }

    /// The answer to the first frame.
    pub(super) async fn answer(&mut self) -> Result<FromManager, SessionError> {
        let silent = SessionError::Silent {
            what: "answer",
            after: ANSWER,
        };
        let frame = timeout(ANSWER, self.reader.read()).await.map_err(|_| silent)??;
        match frame.ok_or(SessionError::Closed)? {
            FromManager::Refused { reason, retry } => Err(SessionError::Refused { reason, retry }),
            other => Ok(other),
        }
    }

    /// Says that nothing follows, and waits until the manager has taken note of it by closing too.
    pub(super) async fn close(mut self) {
        if timeout(WRITE, self.writer.close()).await.is_ok() {
            let drained = async { while let Ok(Some(_)) = self.reader.read::<FromManager>().await {} };
            // The manager notices the end of the session by itself, only later.
            let _ = timeout(ANSWER, drained).await;
        }
    }
}

pub(super) async fn dial(
    address: &str,
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, SessionError> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(tls)
            .connect(security::manager_name(), stream)
            .await
    };
    let silent = SessionError::Silent {
        what: "answer the call",
        after: DIAL,
    };
    timeout(DIAL, connect)
        .await
        .map_err(|_| silent)?
        .map_err(|error| {
            if security::out_of_date(&error) {
                SessionError::Date(error)
            } else {
                SessionError::Dial(error)
            }
        })
}

/// What this runner asks to have signed. It is the same request until there is an answer: managers answer an
/// enrolment that is asked again as they did the first time, so an answer that is lost costs no second use of a
/// token, which may have no second one.
#[derive(Default)]
pub(super) struct Asking(Option<([u8; 32], KeyRequest)>);

impl Asking {
    /// The request to make with this token; another token's is another enrolment.
    fn with(&mut self, token: &JoinToken) -> Result<&KeyRequest, SecurityError> {
        let of = token.hash();
        let kept = self.0.take().filter(|(before, _)| *before == of);
        let kept = match kept {
            Some(kept) => kept,
            None => (of, KeyRequest::generate()?),
        };
        Ok(&self.0.insert(kept).1)
    }

    fn answered(&mut self) {
        self.0 = None;
    }
}

/// A connection to a manager that is known by the CA that a join token pins. Nothing was said over it yet.
pub(super) struct Pinned {
    link: Link,
    trust: Trust,
}

impl Pinned {
    /// Connects.
    pub(super) async fn dial(address: &str, token: &JoinToken) -> Result<Self, SessionError> {
        let stream = dial(address, security::pinned_client(token.ca())?).await?;
        let trust = security::pinned_ca(stream.get_ref().1, token.ca())?;
        let link = Link::over(stream);
        Ok(Self { link, trust })
    }

    /// Joins: a certificate for a new key, and who this container is from now on.
    pub(super) async fn enroll(
        mut self,
        token: &JoinToken,
        hello: Hello,
        dir: &Path,
        asking: &mut Asking,
    ) -> Result<Identity, SessionError> {
        let request = asking.with(token)?;
        let key = request.key_pem.clone();
        let enroll = FromRunner::Enroll {
            protocol: PROTOCOL,
            token: token.to_string(),
            csr: request.csr_pem.clone(),
            hello,
        };
        self.link.send(&enroll).await?;
        let answer = self.link.answer().await;
        // A refusal is kept as an answer too: asked again, it would be given again.
        if let Err(SessionError::Refused { .. }) = answer {
            asking.answered();
        }
        let FromManager::Certificate { container, chain } = answer? else {
            return Err(SessionError::Unexpected("something else than a certificate"));
        };
        let identity = Identity::keep(dir, container, self.trust.pem(), chain, key)?;
        asking.answered();
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::security::{Ca, Fingerprint};

    #[tokio::test]
    async fn a_clock_that_is_off_is_told_from_a_stranger() {
        const DAY: Duration = Duration::from_secs(86_400);
        let (ca, other) = (Ca::generate("ca").unwrap(), Ca::generate("other").unwrap());
        let now = SystemTime::now();
        let dialled = async |issuer: &Ca, issued: SystemTime| {
            let leaf = issuer.issue_manager_at(1, &[], issued).unwrap();
            let acceptor = TlsAcceptor::from(security::session_server(&leaf, issuer.trust()).unwrap());
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await };
            let client = security::session_client(ca.trust(), None).unwrap();
            tokio::join!(dial(&address, client), accept).0.map(drop)
        };
        dialled(&ca, now).await.unwrap();
        for issued in [now + 3 * DAY, now - 400 * DAY] {
            let error = dialled(&ca, issued).await.unwrap_err();
            assert!(matches!(error, SessionError::Date(_)), "{error:?}");
        }
        let error = dialled(&other, now).await.unwrap_err();
        assert!(matches!(error, SessionError::Dial(_)), "{error:?}");
    }

    #[test]
    fn a_request_is_the_same_until_it_is_answered_and_another_for_another_token() {
        let token = || JoinToken::generate(Fingerprint::of(&[1].as_slice().into())).unwrap();
        let (one, two) = (token(), token());
        let mut asking = Asking::default();
        let mut with = |token: &JoinToken| asking.with(token).unwrap().csr_pem.clone();
        let first = with(&one);
        assert_eq!(first, with(&one));
        let other = with(&two);
        assert_ne!(first, other);
        assert_eq!(other, with(&two));
        asking.answered();
        assert_ne!(other, asking.with(&two).unwrap().csr_pem);
    }
}
