//! Following a config, from manager to manager.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Response,
    header::{HeaderName, HeaderValue},
};
use tokio::time::{sleep, timeout};

use super::{
    Client, ClientError,
    send::{Outgoing, refused},
    types::ConfigValue,
};
use crate::model::Revision;

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
pub struct ConfigWatch {
    client: Client,
    path: String,
    last: Option<Revision>,
    stream: Option<Response>,
    read: Vec<u8>,
}

impl Client {
    /// Follows a config: its value now, and after each change. Fails only when the first request does.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn watch_config(&self, name: &str) -> Result<ConfigWatch, ClientError> {
        let mut watch = ConfigWatch {
            client: self.clone(),
            path: super::resources::at("configs", name),
            last: None,
            stream: None,
            read: Vec::new(),
        };
        watch.open().await?;
        Ok(watch)
    }
}

impl ConfigWatch {
    async fn open(&mut self) -> Result<(), ClientError> {
        let mut request = Outgoing::read(self.path.clone()).query("watch", Some(true));
        if let Some(Ok(id)) = self.last.map(|last| HeaderValue::try_from(last.to_string())) {
            request = request.header(HeaderName::from_static("last-event-id"), id);
        }
        let response = self.client.send(&request).await?;
        if response.status().as_u16() >= 400 {
            return Err(refused(response).await);
        }
        self.read.clear();
        self.stream = Some(response);
        Ok(())
    }

    /// The next event. Waits for managers to come back as long as it takes.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the managers no longer let it watch, [`ClientError::Answer`]
    /// when what they send is no stream of events.
    pub async fn next(&mut self) -> Result<ConfigEvent, ClientError> {
        loop {
            if let Some(event) = self.take_event()? {
                return Ok(event);
            }
            match self.more().await {
                Some(bytes) if self.read.len() + bytes.len() > MAX_EVENT_BYTES => {
                    return Err(ClientError::Answer("an event is larger than any can be".into()));
                }
                Some(bytes) => self.read.extend_from_slice(&bytes),
                None => self.reopen().await?,
            }
        }
    }

    /// More of the stream; `None` when it has ended or broken.
    async fn more(&mut self) -> Option<Bytes> {
        let stream = self.stream.as_mut()?;
        timeout(SILENCE, stream.chunk()).await.ok()?.ok()?
    }

    async fn reopen(&mut self) -> Result<(), ClientError> {
        self.stream = None;
        sleep(PAUSE).await;
        match self.open().await {
            Err(ClientError::Unavailable(_)) => Ok(()),
            Err(ClientError::Refused(problem)) if problem.status == 503 || problem.status == 429 => Ok(()),
            other => other,
        }
    }

    /// Takes the first whole event out of what was read; comments are left out.
    fn take_event(&mut self) -> Result<Option<ConfigEvent>, ClientError> {
        while let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.read.drain(..end + 2).collect();
            let block = String::from_utf8(block)
                .map_err(|_| ClientError::Answer("an event that is not UTF-8".into()))?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let Some(data) = field("data: ") else { continue };
            let value: ConfigValue =
                serde_json::from_str(data).map_err(|error| ClientError::Answer(error.to_string()))?;
            self.last = Some(value.version);
            return match field("event: ") {
                Some("put") => Ok(Some(ConfigEvent::Put(value))),
                Some("delete") => Ok(Some(ConfigEvent::Deleted(value))),
                _ => continue,
            };
        }
        Ok(None)
    }
}
