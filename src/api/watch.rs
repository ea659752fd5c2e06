//! Watching: streams of server-sent events, driven by the state and not by each change to it.
//!
//! A stream looks at the state when it is woken and when its client asks for more: it holds nothing back for
//! a client that is slow, and ends when the token ends, or the manager stops.
//!
//! Of a config a watcher gets the current value at once (unless `Last-Event-ID` says that it has it already),
//! and the newest one after each change. Changes that follow each other closely may be told as one:
//! what arrives last is always what is.

use std::{str::FromStr, sync::Arc, time::Duration};

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
    view::View,
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

/// What a stream tells of.
pub(super) trait Source: Send + 'static {
    /// What brings its client up to date, or a part of it; `None` when there is nothing to tell.
    ///
    /// # Errors
    /// [`Ended`] when it can't go on.
    fn look(&mut self, state: &State) -> Result<Option<Bytes>, Ended>;

    /// What is sent when there has been nothing to tell for a while.
    fn silence(&self) -> Bytes {
        Bytes::from_static(b": still here\n\n")
    }
}

/// A stream that can't go on: its client begins another one, and is told why there.
#[derive(Debug)]
pub(super) struct Ended;

/// What a client says that it knows already, of whatever form the ids of its stream have.
///
/// # Errors
/// `invalid_request`.
pub(super) fn last_event<T: FromStr>(asked: &HeaderMap) -> Result<Option<T>, Problem> {
    let Some(id) = asked.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let known = id.to_str().ok().and_then(|text| text.parse().ok());
    known.map(Some).ok_or_else(|| {
        Problem::new(
            Code::InvalidRequest,
            "`Last-Event-ID` is not the id of an event of this stream: leave it out",
        )
    })
}

/// A stream that may begin.
pub(super) struct Watch {
    app: App,
    caller: Caller,
    woken_by: watch::Receiver<Revision>,
    /// Its place among the watches of this manager.
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// Takes a place. What wakes it is made before the state is read, so that nothing applied in between is missed.
    ///
    /// # Errors
    /// `overloaded`.
    pub(super) fn new(
        app: App,
        caller: Caller,
        woken_by: watch::Receiver<Revision>,
    ) -> Result<Self, Problem> {
        let place = app.watch_place().ok_or_else(|| {
            Problem::new(
                Code::Overloaded,
                format!("this manager has {MAX_WATCHES} watches already: ask another one, or try again"),
            )
        })?;
        Ok(Self {
            app,
            caller,
            woken_by,
            _place: place,
        })
    }

    /// The answer: what `source` tells, from what `view` shows on.
    pub(super) fn answer(self, view: &View, source: impl Source) -> Response {
        let watcher = Watcher { watch: self, source };
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
        headers.insert(QUORATE_REVISION, view.state.revision().into());
        view.stamp(&mut response);
        response.extensions_mut().insert(Lasting);
        response
    }
}

struct Watcher<S> {
    watch: Watch,
    source: S,
}

impl<S: Source> Watcher<S> {
    /// The next event, or `None` when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        // Looks at the state as it is when the client asks for it: never older than what was read, and
        // nothing old is kept alive for a client that does not.
        if let Some(event) = self.look()? {
            return Some(event);
        }
        let silence_ends = Instant::now() + KEEP_ALIVE;
        let app = self.watch.app.clone();
        loop {
            let woken = tokio::select! {
                woken = timeout_at(silence_ends, self.watch.woken_by.changed()) => woken,
                () = app.stopping() => return None,
            };
            if let Ok(Err(_)) = woken {
                return None;
            }
            if let Some(event) = self.look()? {
                return Some(event);
            }
            // Whoever is woken again and again, and for nothing, is silent too.
            if Instant::now() >= silence_ends {
                return Some(self.source.silence());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The inner `None` when there is nothing to tell, the outer one when the stream ends.
    fn look(&mut self) -> Option<Option<Bytes>> {
        let state = self.watch.app.consensus().state();
        if !self.watch.app.still_welcome(&self.watch.caller, &state) {
            return None;
        }
        self.source.look(&state).ok()
    }
}

/// Answers a `GET …?watch=true` of a config.
///
/// # Errors
/// Whatever is wrong with the request, or keeps it from being answered.
pub(super) async fn config(
    app: App,
    caller: Caller,
    asked: &HeaderMap,
    name: Name,
    params: &Params,
) -> Result<Response, Problem> {
    let told = last_event(asked)?.map_or(Told::Nothing, Told::At);
    let watch = Watch::new(app.clone(), caller, app.consensus().watch_applied())?;
    let view = app.view(params).await?;
    Ok(watch.answer(&view, Level { name, told }))
}

/// What a watcher was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    /// This version, or an absence: both carry the revision as the event's id.
    At(Revision),
    Absent,
}

/// One config.
struct Level {
    name: Name,
    told: Told,
}

impl Source for Level {
    fn look(&mut self, state: &State) -> Result<Option<Bytes>, Ended> {
        let config = state.config(&self.name);
        let now = config.map_or(Told::Absent, |config| Told::At(config.version));
        if now == self.told {
            return Ok(None);
        }
        self.told = now;
        Ok(event(&self.name, config.map(Arc::as_ref), state.revision()))
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
