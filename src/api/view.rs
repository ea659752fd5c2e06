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
    headers::{QUORATE_FALLBACK, QUORATE_REVISION, QUORATE_SOURCE},
    params::{Consistency, Freshness, Paging, Params, write_continue},
    precondition::{Unless, etag},
    problem::Problem,
    types::List,
};
use crate::{
    cache::{self, Miss},
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
    /// What the answer shows.
    revision: Revision,
    source: &'static str,
    /// Why it is not from Redis, where it was to be.
    miss: Option<Miss>,
}

impl App {
    /// The state that a read's `consistency` and `min_revision` ask for.
    ///
    /// # Errors
    /// 503 when no quorum or the wanted revision is reached in time; `invalid_parameter`.
    pub async fn view(&self, params: &Params) -> Result<View, Problem> {
        self.view_after(params, Miss::NotKept).await
    }

    /// As [`Self::view`]; where Redis was to be asked, `miss` is why it is not Redis that answers.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub async fn view_after(&self, params: &Params, miss: Miss) -> Result<View, Problem> {
        let fresh = Freshness::of(params)?;
        self.reads().note(fresh.consistency);
        let miss = (fresh.consistency == Consistency::Cached).then_some(miss);
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
        if let Some(miss) = miss {
            cache::fell_back(miss.word());
        }
        Ok(View {
            revision: state.revision(),
            state,
            source,
            miss,
        })
    }
}

impl View {
    /// For what Redis had, which shows everything up to `revision`.
    pub fn cached(state: Arc<State>, revision: Revision) -> Self {
        Self {
            state,
            revision,
            source: "redis",
            miss: None,
        }
    }

    /// Notes on an answer where it came from.
    pub fn stamp(&self, response: &mut Response) {
        response
            .headers_mut()
            .insert(QUORATE_SOURCE, HeaderValue::from_static(self.source));
        if let Some(miss) = self.miss {
            let word = HeaderValue::from_static(miss.word());
            response.headers_mut().insert(QUORATE_FALLBACK, word);
        }
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
        response
            .headers_mut()
            .insert(QUORATE_REVISION, self.revision.into());
        self.stamp(response);
    }

    /// Anything else as JSON.
    pub fn json<T: Serialize>(&self, value: &T) -> Response {
        let mut response = call::json(StatusCode::OK, self.revision, value);
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
