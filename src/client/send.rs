//! Sending: which manager, and what may be repeated.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, Response,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep, timeout};

use super::{Answer, Client, ClientError, Problem};

/// The largest problem that is read: one may show a config of 256 KiB, escaped at worst sixfold.
const MAX_PROBLEM_BYTES: usize = 2 << 20;

/// How long a problem's body may take to arrive.
const PROBLEM_WITHIN: Duration = Duration::from_secs(2);

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The pause after all managers were tried.
const PAUSE: Duration = Duration::from_millis(100);

/// What may be done when it is not known whether a manager took a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It is repeated: it changes nothing, or has an idempotency key.
    Always,
    /// It is only repeated when nobody took it.
    UntilTaken,
}

/// A request, ready to be sent more than once.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub method: Method,
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    pub repeat: Repeat,
    /// How long one manager may take to answer, if that is longer than for others.
    pub within: Duration,
    /// Whether its idempotency key was made here, and not chosen by the caller.
    pub own_key: bool,
}

impl Outgoing {
    pub fn read(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            repeat: Repeat::Always,
            within: Duration::ZERO,
            own_key: false,
        }
    }

    /// A write with a fresh idempotency key.
    pub fn write(method: Method, path: impl Into<String>) -> Self {
        let key = format!("{:032x}", rand::random::<u128>());
        // Hexadecimal digits are visible ASCII.
        let key = HeaderValue::try_from(key).unwrap_or(HeaderValue::from_static("0"));
        Self {
            method,
            own_key: true,
            ..Self::read(path)
        }
        .header(KEY, key)
    }

    /// With a key of the caller's choice in place of the one made here.
    pub fn key(mut self, key: HeaderValue) -> Self {
        self.own_key = false;
        self.header(KEY, key)
    }

    /// Without the key made here: from now on nobody can tell a repeat from another request.
    fn without_own_key(mut self) -> Self {
        if self.own_key {
            self.headers.retain(|(name, _)| *name != KEY);
            self.own_key = false;
            self.repeat = Repeat::UntilTaken;
        }
        self
    }

    /// A change that has no idempotency key, because it is none of the log.
    pub fn once(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            repeat: Repeat::UntilTaken,
            ..Self::read(path)
        }
    }

    /// Whether it is to change anything.
    fn changes(&self) -> bool {
        !self.method.is_safe()
    }

    pub fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// A JSON body.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(value).map_err(|error| ClientError::Setup(error.to_string()))?;
        self.body = body.into();
        Ok(self.header(CONTENT_TYPE, HeaderValue::from_static("application/json")))
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        self
    }
}

/// What one manager made of a request.
enum Attempt {
    Answered(Response),
    /// It certainly took no effect here: try another manager.
    NotTaken(ClientError),
    /// It may have been taken.
    Unsure(String),
}

impl Client {
    /// Sends a request to the managers in turn until one answers it.
    pub(super) async fn send(&self, request: &Outgoing) -> Result<Response, ClientError> {
        let inner = &self.inner;
        let deadline = Instant::now() + inner.limits.total;
        let first = inner.preferred.load(Ordering::Relaxed);
        let mut unsure: Option<String> = None;
        loop {
            let mut not_taken = None;
            for turn in 0..inner.endpoints.len() {
                let index = (first + turn) % inner.endpoints.len();
                match self.attempt(index, request).await {
                    Attempt::Answered(response) => {
                        inner.preferred.store(index, Ordering::Relaxed);
                        return Ok(response);
                    }
                    Attempt::NotTaken(error) => not_taken = Some(error),
                    Attempt::Unsure(why) if request.repeat == Repeat::UntilTaken => {
                        return Err(ClientError::Unknown(why));
                    }
                    Attempt::Unsure(why) => unsure = Some(why),
                }
            }
            if Instant::now() + PAUSE >= deadline {
                let changes = request.changes();
                return Err(match (unsure, not_taken) {
                    (Some(why), _) if changes => ClientError::Unknown(why),
                    (Some(why), None) => ClientError::Unavailable(why),
                    (_, Some(error)) => error,
                    (None, None) => ClientError::Unavailable("there is no manager to ask".into()),
                });
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, index: usize, request: &Outgoing) -> Attempt {
        let endpoint = &self.inner.endpoints[index];
        let mut outgoing = self
            .inner
            .http
            .request(request.method.clone(), format!("{endpoint}{}", request.path))
            .query(&request.query)
            .headers(self.inner.headers.clone())
            .body(request.body.clone());
        for (name, value) in &request.headers {
            outgoing = outgoing.header(name, value);
        }
        let within = self.inner.limits.attempt.max(request.within);
        let sent = timeout(within, outgoing.send()).await;
        let response = match sent {
            Err(_) => return Attempt::Unsure(format!("{endpoint} did not answer in time")),
            Ok(Err(error)) if error.is_connect() || error.is_builder() => {
                let why = format!("{endpoint}: {}", chain(&error));
                return Attempt::NotTaken(ClientError::Unavailable(why));
            }
            Ok(Err(error)) => return Attempt::Unsure(format!("{endpoint}: {}", chain(&error))),
            Ok(Ok(response)) => response,
        };
        match response.status().as_u16() {
            429 | 503 => Attempt::NotTaken(refused(response).await),
            504 => Attempt::Unsure(match refused(response).await {
                ClientError::Refused(problem) => problem.detail,
                other => other.to_string(),
            }),
            _ => Attempt::Answered(response),
        }
    }

    /// Sends a request and takes the whole answer.
    pub(super) async fn call(&self, request: Outgoing) -> Result<Answer, ClientError> {
        let request = if self.inner.keys {
            request
        } else {
            request.without_own_key()
        };
        let response = self.send(&request).await?;
        let status = response.status().as_u16();
        if status >= 400 {
            return Err(match refused(response).await {
                ClientError::Answer(why) if request.changes() && status >= 500 => ClientError::Unknown(why),
                error => error,
            });
        }
        let headers = response.headers().clone();
        let read = timeout(self.inner.limits.attempt, response.bytes()).await;
        let broke = |why: String| {
            if request.changes() {
                ClientError::Unknown(format!("the change was taken, but its answer broke off: {why}"))
            } else {
                ClientError::Unavailable(why)
            }
        };
        let body = read
            .map_err(|_| broke("it took too long".into()))?
            .map_err(|error| broke(chain(&error)))?;
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// Sends a request whose answer is JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: Outgoing) -> Result<T, ClientError> {
        let changes = request.changes();
        let answer = self.call(request).await?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            if changes {
                ClientError::Unknown(format!("the answer was not understood: {error}"))
            } else {
                ClientError::Answer(error.to_string())
            }
        })
    }
}

/// The problem in an error answer, read within bounds: whoever answers may be no manager at all.
pub(super) async fn refused(mut response: Response) -> ClientError {
    let status = response.status();
    let mut body = Vec::new();
    let whole = timeout(PROBLEM_WITHIN, async {
        while let Ok(Some(chunk)) = response.chunk().await {
            if body.len() + chunk.len() > MAX_PROBLEM_BYTES {
                return;
            }
            body.extend_from_slice(&chunk);
        }
    });
    // Late or broken off, what has come says whether it is a problem.
    let _ = whole.await;
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => ClientError::Refused(Box::new(problem)),
        Err(_) => ClientError::Answer(format!("status {status} without a problem in it")),
    }
}

/// An error with its causes, which say what really happened.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_were_made_here_are_left_out() {
        let write = || Outgoing::write(Method::PUT, "/x");
        let keys = |request: &Outgoing| request.headers.iter().filter(|(name, _)| *name == KEY).count();
        assert_eq!((keys(&write()), write().repeat), (1, Repeat::Always));
        // Without a key a repeat may be a second effect.
        let bare = write().without_own_key();
        assert_eq!((keys(&bare), bare.repeat), (0, Repeat::UntilTaken));
        let chosen = write().key(HeaderValue::from_static("mine")).without_own_key();
        assert_eq!((keys(&chosen), chosen.repeat), (1, Repeat::Always));
        assert_eq!(Outgoing::read("/x").without_own_key().repeat, Repeat::Always);
    }
}
