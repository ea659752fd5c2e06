//! Following what changes, from manager to manager: a config, or all events.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Response,
    header::{HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::{
    Client, ClientError,
    send::{Outgoing, refused},
    types::{ConfigValue, EventView},
    wish::EventFilter,
};

/// A manager sends something at least every 15 s; after this silence the connection is given up.
const SILENCE: Duration = Duration::from_secs(40);

/// The pause before a broken stream is taken up again.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest line an event may have: a 256 KiB value, escaped at worst sixfold, and some words.
const MAX_EVENT_BYTES: usize = 2 << 20;

/// What was told of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigEvent {
    /// It has this value.
    Put(ConfigValue),
    /// It does not exist.
    Deleted(ConfigValue),
}

/// A config being followed. Streams that break are taken up again where they ended.
#[derive(Debug)]
pub struct ConfigWatch(Feed);

/// Events being followed, each once and none left out. Streams that break are taken up again where they ended.
#[derive(Debug)]
pub struct EventWatch(Feed);

impl Client {
    /// Follows a config: its value now, and after each change. Fails only when the first request does.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch_config(&self, name: &str) -> Result<ConfigWatch, ClientError> {
        let request = Outgoing::read(super::resources::at("configs", name));
        Ok(ConfigWatch(Feed::open(self, request).await?))
    }

    /// Follows events: those after `filter.after`, or from now on. Fails only when the first request does.
    ///
    /// # Errors
    /// [`ClientError`]; `events_gone` when what follows `after` is not kept any more.
    pub async fn watch_events(&self, filter: &EventFilter) -> Result<EventWatch, ClientError> {
        let request = filter.on(Outgoing::read("/api/v1/events"));
        Ok(EventWatch(Feed::open(self, request).await?))
    }
}

impl ConfigWatch {
    /// The next event. Waits for managers to come back as long as it takes.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the managers no longer let it watch, [`ClientError::Answer`]
    /// when what they send is no stream of events.
    pub async fn next(&mut self) -> Result<ConfigEvent, ClientError> {
        loop {
            let message = self.0.next().await?;
            match message.event.as_deref() {
                Some("put") => return Ok(ConfigEvent::Put(message.read()?)),
                Some("delete") => return Ok(ConfigEvent::Deleted(message.read()?)),
                _ => {}
            }
        }
    }
}

impl EventWatch {
    /// The next event. Waits for managers to come back as long as it takes.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the managers no longer let it watch or, with `events_gone`, when it was away for
    /// so long that what it missed is not kept any more; [`ClientError::Answer`] when what they send is no stream of
    /// events.
    pub async fn next(&mut self) -> Result<EventView, ClientError> {
        loop {
            let message = self.0.next().await?;
            if message.event.is_none() {
                return message.read();
            }
        }
    }
}

/// One message of a stream.
struct Message {
    event: Option<String>,
    data: String,
}

impl Message {
    fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_str(&self.data).map_err(|error| ClientError::Answer(error.to_string()))
    }
}

/// A stream of server-sent events that survives its managers.
#[derive(Debug)]
struct Feed {
    client: Client,
    request: Outgoing,
    /// The id of the last message.
    last: Option<HeaderValue>,
    stream: Option<Response>,
    read: Vec<u8>,
}

impl Feed {
    async fn open(client: &Client, request: Outgoing) -> Result<Self, ClientError> {
        let mut feed = Self {
            client: client.clone(),
            request: request.query("watch", Some(true)),
            last: None,
            stream: None,
            read: Vec::new(),
        };
        feed.dial().await?;
        Ok(feed)
    }

    async fn dial(&mut self) -> Result<(), ClientError> {
        let mut request = self.request.clone();
        if let Some(id) = &self.last {
            request = request.header(HeaderName::from_static("last-event-id"), id.clone());
        }
        let response = self.client.send(&request).await?;
        if response.status().as_u16() >= 400 {
            return Err(refused(response).await);
        }
        self.read.clear();
        self.stream = Some(response);
        Ok(())
    }

    async fn next(&mut self) -> Result<Message, ClientError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            match self.more().await {
                Some(bytes) if self.read.len() + bytes.len() > MAX_EVENT_BYTES => {
                    return Err(ClientError::Answer("an event is larger than any can be".into()));
                }
                Some(bytes) => self.read.extend_from_slice(&bytes),
                None => self.redial().await?,
            }
        }
    }

    /// More of the stream; `None` when it has ended or broken.
    async fn more(&mut self) -> Option<Bytes> {
        let stream = self.stream.as_mut()?;
        timeout(SILENCE, stream.chunk()).await.ok()?.ok()?
    }

    async fn redial(&mut self) -> Result<(), ClientError> {
        self.stream = None;
        sleep(PAUSE).await;
        match self.dial().await {
            Err(ClientError::Unavailable(_)) => Ok(()),
            Err(ClientError::Refused(problem)) if problem.status == 503 || problem.status == 429 => Ok(()),
            other => other,
        }
    }

    /// Takes the first whole message out of what was read; comments are left out.
    fn take(&mut self) -> Result<Option<Message>, ClientError> {
        while let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.read.drain(..end + 2).collect();
            let block = String::from_utf8(block)
                .map_err(|_| ClientError::Answer("an event that is not UTF-8".into()))?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let Some(data) = field("data: ") else { continue };
            let message = Message {
                event: field("event: ").map(str::to_owned),
                data: data.to_owned(),
            };
            if let Some(id) = field("id: ").and_then(|id| HeaderValue::try_from(id).ok()) {
                self.last = Some(id);
            }
            return Ok(Some(message));
        }
        Ok(None)
    }
}
