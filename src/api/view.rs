//! Reads: a state that is as fresh as was asked for, and lists in pages.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    App, call,
    headers::{QUORATE_REVISION, QUORATE_SOURCE},
    params::{Consistency, Freshness, Paging, Params, write_continue},
    precondition::{Unless, etag},
    problem::Problem,
    types::List,
};
use crate::{
    model::{Labels, Revision},
    state::State,
};

/// How long a read waits until this manager has applied the revision it needs.
pub const CATCH_UP: Duration = Duration::from_secs(2);

/// How many objects one page looks at when a selector leaves most of them out.
const SCAN_AT_MOST: usize = 20_000;

/// A state to answer from.
#[derive(Debug)]
pub struct View {
    /// The state.
    pub state: Arc<State>,
    source: &'static str,
}

impl App {
    /// The state that a read's `consistency` and `min_revision` ask for.
    ///
    /// # Errors
    /// 503 when no quorum or the wanted revision is reached in time; `invalid_parameter`.
    pub async fn view(&self, params: &Params) -> Result<View, Problem> {
        let fresh = Freshness::of(params)?;
        self.reads().note(fresh.consistency);
        let (mut state, source) = match fresh.consistency {
            Consistency::Linearizable => (self.consensus().read().await?, "quorum"),
            Consistency::Stale | Consistency::Cached => (self.consensus().state(), "local"),
        };
        if let Some(wanted) = fresh.min_revision.filter(|wanted| *wanted > state.revision()) {
            state = self
                .consensus()
                .at_least(wanted, Instant::now() + CATCH_UP)
                .await?;
        }
        Ok(View { state, source })
    }
}

impl View {
    /// Notes on an answer where it came from.
    pub fn stamp(&self, response: &mut Response) {
        response
            .headers_mut()
            .insert(QUORATE_SOURCE, HeaderValue::from_static(self.source));
    }

    /// An object, with its version as ETag; 304 without it where the request has that version.
    pub fn object<T: Serialize>(&self, unless: &Unless, version: Revision, object: &T) -> Response {
        let mut response = if unless.has(version) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            self.note(&mut response);
            response
        } else {
            self.json(object)
        };
        response.headers_mut().insert(header::ETAG, etag(version));
        response
    }

    /// Notes on an answer that is no JSON which revision it shows, and where it came from.
    pub fn note(&self, response: &mut Response) {
        let revision = self.state.revision().into();
        response.headers_mut().insert(QUORATE_REVISION, revision);
        self.stamp(response);
    }

    /// Anything else as JSON.
    pub fn json<T: Serialize>(&self, value: &T) -> Response {
        let mut response = call::json(StatusCode::OK, self.state.revision(), value);
        self.stamp(&mut response);
        response
    }

    /// A page of a list: of `objects` (which begin after the page before) those the selector takes.
    pub fn list<'a, T: 'a, V: Serialize>(
        &self,
        paging: &Paging,
        objects: impl Iterator<Item = &'a Arc<T>>,
        labels: impl Fn(&T) -> Option<&Labels>,
        key: impl Fn(&T) -> String,
        show: impl Fn(&T) -> V,
    ) -> Response {
        let mut items = Vec::new();
        let mut last: Option<&Arc<T>> = None;
        let mut objects = objects.peekable();
        for object in objects.by_ref().take(SCAN_AT_MOST) {
            last = Some(object);
            if labels(object).is_none_or(|labels| paging.selector.matches(labels)) {
                items.push(show(object));
                if items.len() == paging.limit {
                    break;
                }
            }
        }
        let more = objects.peek().is_some();
        self.json(&List {
            items,
            next: last.filter(|_| more).map(|object| write_continue(&key(object))),
            revision: self.state.revision(),
        })
    }
}
