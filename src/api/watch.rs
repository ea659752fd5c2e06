//! Watching a config: server-sent events, driven by the level and not by each change.
//!
//! A watcher gets the current value at once (unless `Last-Event-ID` says that it has it already),
//! and the newest one after each change. Changes that follow each other closely may be told as one:
//! what arrives last is always what is. The stream ends when the token ends, or the manager stops.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    App,
    auth::Caller,
    headers::{LAST_EVENT_ID, QUORATE_REVISION},
    params::Params,
    problem::{Code, Problem},
    server::Lasting,
    types::ConfigValue,
};
use crate::{
    model::{Config, Name, Revision},
    state::State,
};

/// How many watches one manager serves at a time.
pub(super) const MAX_WATCHES: usize = 1000;

/// A comment is sent after so long a silence, so that both ends notice a dead connection. The token is
/// looked at again at least as often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The least time between two looks at the state: many watchers must not make each applied batch dear.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a watcher was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    /// This version, or an absence: both carry the revision as the event's id.
    At(Revision),
    Absent,
}

struct Watcher {
    app: App,
    caller: Caller,
    name: Name,
    applied: watch::Receiver<Revision>,
    told: Told,
    /// Whether it has looked yet.
    begun: bool,
    /// Its place among the watches of this manager.
    _place: OwnedSemaphorePermit,
}

/// Answers a `GET …?watch=true`.
pub(super) async fn config(
    app: App,
    caller: Caller,
    asked: &HeaderMap,
    name: Name,
    params: &Params,
) -> Result<Response, Problem> {
    let told = match asked.get(LAST_EVENT_ID) {
        None => Told::Nothing,
        Some(id) => {
            let version = id.to_str().ok().and_then(|text| text.parse().ok());
            Told::At(version.ok_or_else(|| {
                Problem::new(
                    Code::InvalidRequest,
                    "`Last-Event-ID` is not the id of an event of this stream: leave it out",
                )
            })?)
        }
    };
    let place = app.watch_place().ok_or_else(|| {
        Problem::new(
            Code::Overloaded,
            format!("this manager has {MAX_WATCHES} watches already: ask another one, or try again"),
        )
    })?;
    // Subscribed before the read, so that nothing applied in between is missed.
    let applied = app.consensus().watch_applied();
    let view = app.view(params).await?;
    let revision = view.state.revision();
    let watcher = Watcher {
        caller,
        name,
        applied,
        told,
        begun: false,
        _place: place,
        app,
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(event), watcher))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(QUORATE_REVISION, revision.into());
    view.stamp(&mut response);
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

impl Watcher {
    /// The next event, or `None` when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        // Looks at the state as it is when the client asks for it: never older than what was read, and
        // nothing old is kept alive for a client that does not.
        if !std::mem::replace(&mut self.begun, true) {
            let state = self.app.consensus().state();
            if !self.app.still_welcome(self.caller, &state) {
                return None;
            }
            if let Some(event) = self.look(&state) {
                return Some(event);
            }
        }
        let silence_ends = Instant::now() + KEEP_ALIVE;
        let app = self.app.clone();
        loop {
            let woken = tokio::select! {
                woken = timeout_at(silence_ends, self.applied.changed()) => woken,
                () = app.stopping() => return None,
            };
            let state = self.app.consensus().state();
            if !self.app.still_welcome(self.caller, &state) {
                return None;
            }
            match woken {
                Err(_) => return Some(Bytes::from_static(b": still here\n\n")),
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {}
            }
            if let Some(event) = self.look(&state) {
                return Some(event);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The event that brings the watcher up to date, if it is not.
    fn look(&mut self, state: &State) -> Option<Bytes> {
        let config = state.config(&self.name);
        let now = config.map_or(Told::Absent, |config| Told::At(config.version));
        if now == self.told {
            return None;
        }
        self.told = now;
        event(&self.name, config.map(Arc::as_ref), state.revision())
    }
}

fn event(name: &Name, config: Option<&Config>, revision: Revision) -> Option<Bytes> {
    let (kind, id, value) = match config {
        Some(config) => ("put", config.version, ConfigValue::from(config)),
        None => {
            let gone = ConfigValue {
                name: name.clone(),
                version: revision,
                content_type: None,
                value: None,
                value_base64: None,
            };
            ("delete", revision, gone)
        }
    };
    // JSON has no bare line ends, so it always is one line of data.
    let data = serde_json::to_string(&value).ok()?;
    Some(format!("event: {kind}\nid: {id}\ndata: {data}\n\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;

    #[test]
    fn events_are_one_line_of_data_whatever_the_value() {
        let config = |value: &'static [u8]| Config {
            name: "a".parse().unwrap(),
            content_type: "text/plain".into(),
            value: Bytes::from_static(value),
            version: 7,
            created: 7,
            updated_at: Millis(0),
        };
        let text = |config: &Config| {
            let bytes = event(&config.name, Some(config), 9).unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        let lines = text(&config(b"one\ntwo\r\n\ndata: three"));
        assert!(lines.starts_with("event: put\nid: 7\ndata: {"));
        assert_eq!((lines.lines().count(), lines.contains('\r')), (4, false));
        assert!(text(&config(&[0xff, 0])).contains(r#""value_base64":"/wA=""#));
        let gone = event(&"a".parse().unwrap(), None, 9).unwrap();
        assert_eq!(
            &gone[..],
            b"event: delete\nid: 9\ndata: {\"name\":\"a\",\"version\":9}\n\n"
        );
    }
}
