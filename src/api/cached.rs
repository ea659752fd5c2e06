//! Reads with `?consistency=cached`: from Redis, or from local state with the reason why not.
//!
//! What Redis says is believed only as far as it reads as what it should be; the answer is written anew from
//! that. A name is looked up in local state, which needs no index in Redis.

use axum::{extract::Request, http::HeaderValue, response::Response};
use serde::de::DeserializeOwned;

use super::{
    App,
    headers::{QUORATE_FALLBACK, QUORATE_SOURCE},
    params::{Consistency, Freshness, Paging, Params, READ, write_continue},
    precondition,
    problem::Problem,
    resource::{self, Named},
    types::{AgentView, ContainerView, EngineView, Health, List},
    view::View,
};
use crate::{
    cache::{self, Kind, Miss, Reader},
    model::{Agent, AgentId, Container, ContainerId, Engine, EngineId, Labels, Name, Revision},
};

/// How many parts of a list one page looks at when a selector leaves most of them out.
const PARTS: usize = 4;

/// An object that Redis has.
pub(super) trait Cached: Named<View: DeserializeOwned, Id: PartialEq, Key: Clone> {
    /// Its kind there.
    const CACHED: Kind;

    /// What its list there is in the order of.
    fn order(key: &Self::Key) -> String;
    /// The key of one that is shown.
    fn shown_key(view: &Self::View) -> Self::Key;
    /// The id of one that is shown.
    fn shown_id(view: &Self::View) -> Self::Id;
    /// The version of one that is shown.
    fn shown_version(view: &Self::View) -> Revision;
    /// The labels of one that is shown.
    fn shown_labels(view: &Self::View) -> Option<&Labels>;
}

impl Cached for Container {
    const CACHED: Kind = Kind::Container;

    fn order(key: &ContainerId) -> String {
        cache::order_of(key.0)
    }

    fn shown_key(view: &ContainerView) -> ContainerId {
        view.id
    }

    fn shown_id(view: &ContainerView) -> ContainerId {
        view.id
    }

    fn shown_version(view: &ContainerView) -> Revision {
        view.version
    }

    fn shown_labels(view: &ContainerView) -> Option<&Labels> {
        Some(&view.labels)
    }
}

impl Cached for Agent {
    const CACHED: Kind = Kind::Agent;

    fn order(key: &Name) -> String {
        key.to_string()
    }

    fn shown_key(view: &AgentView) -> Name {
        view.name.clone()
    }

    fn shown_id(view: &AgentView) -> AgentId {
        view.id
    }

    fn shown_version(view: &AgentView) -> Revision {
        view.version
    }

    fn shown_labels(view: &AgentView) -> Option<&Labels> {
        Some(&view.spec.labels)
    }
}

impl Cached for Engine {
    const CACHED: Kind = Kind::Engine;

    fn order(key: &EngineId) -> String {
        cache::order_of(key.0)
    }

    fn shown_key(view: &EngineView) -> EngineId {
        view.id
    }

    fn shown_id(view: &EngineView) -> EngineId {
        view.id
    }

    fn shown_version(view: &EngineView) -> Revision {
        view.version
    }

    fn shown_labels(_: &EngineView) -> Option<&Labels> {
        None
    }
}

/// As [`resource::list`], from Redis where that is asked for.
///
/// # Errors
/// As [`resource::list`].
pub(super) async fn list<R: Cached>(app: &App, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, R::READ).await?;
    let params = call.params(R::LIST)?;
    let paging = Paging::of(&params)?;
    let after = paging.after::<R::Key>()?;
    let miss = match asked(app, &params)? {
        Ok(asked) => match asked.list::<R>(&paging, after.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(miss) => miss,
        },
        Err(miss) => miss,
    };
    let view = app.view_after(&params, miss).await?;
    Ok(resource::page::<R>(&view, &paging, after))
}

/// Answers with the object that the path names, from Redis where that is asked for.
///
/// # Errors
/// Whatever is wrong with the request, or keeps it from being answered.
pub(super) async fn get<R: Cached>(app: &App, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, R::READ).await?;
    let name: Name = call.name_in(R::AT)?;
    let unless = precondition::for_read(call.headers())?;
    let params = call.params(READ)?;
    let miss = match asked(app, &params)? {
        Ok(asked) => match asked.get::<R>(&name).await {
            Ok((view, object)) => return Ok(view.object(&unless, R::shown_version(&object), &object)),
            Err(miss) => miss,
        },
        Err(miss) => miss,
    };
    let view = app.view_after(&params, miss).await?;
    let object = resource::named::<R>(&view, &name)?;
    Ok(view.object(&unless, object.version(), &object.view(&view.state)))
}

/// The cluster's health out of Redis; why not, or `None` where that was not asked for.
///
/// # Errors
/// `invalid_parameter`.
pub(super) async fn health(app: &App, params: &Params) -> Result<Result<Response, Option<Miss>>, Problem> {
    let asked = match asked(app, params)? {
        Ok(asked) => asked,
        Err(Miss::NotKept) => return Ok(Err(None)),
        Err(miss) => return Ok(Err(Some(miss))),
    };
    let state = app.consensus().state();
    let cluster = state.cluster_id().unwrap_or_default();
    let answer = asked.reader.health(cluster).await.and_then(|found| {
        let health: Health = only(&found.items)?;
        Ok(View::cached(state.clone(), found.revision).json(&health))
    });
    Ok(answer.map_err(Some))
}

/// Notes on an answer that is not from Redis why it is not, where it was to be.
pub(super) fn explained(mut answer: Response, miss: Option<Miss>) -> Response {
    if let Some(miss) = miss {
        cache::fell_back(miss.word());
        let headers = answer.headers_mut();
        headers.insert(QUORATE_SOURCE, HeaderValue::from_static("local"));
        headers.insert(QUORATE_FALLBACK, HeaderValue::from_static(miss.word()));
    }
    answer
}

/// A read that Redis is to answer.
struct Asked<'a> {
    app: &'a App,
    reader: &'a Reader,
    fresh: Freshness,
}

/// Whether Redis is to be asked; [`Miss::NotKept`] where nobody wants it.
fn asked<'a>(app: &'a App, params: &Params) -> Result<Result<Asked<'a>, Miss>, Problem> {
    let fresh = Freshness::of(params)?;
    if fresh.consistency != Consistency::Cached {
        return Ok(Err(Miss::NotKept));
    }
    let reader = app.cache().ok_or(Miss::Off);
    Ok(reader.map(|reader| Asked { app, reader, fresh }))
}

impl Asked<'_> {
    fn reached(&self, revision: Revision) -> Result<(), Miss> {
        match self.fresh.min_revision {
            Some(wanted) if wanted > revision => Err(Miss::Behind),
            _ => Ok(()),
        }
    }

    async fn get<R: Cached>(&self, name: &Name) -> Result<(View, R::View), Miss> {
        let state = self.app.consensus().state();
        let cluster = state.cluster_id().ok_or(Miss::Empty)?;
        let id = R::find(&state, name).ok_or(Miss::Missing)?;
        let found = self.reader.get(cluster, R::CACHED, &id.to_string()).await?;
        self.reached(found.revision)?;
        let object: R::View = only(&found.items)?;
        if R::shown_id(&object) != id {
            return Err(Miss::Damaged);
        }
        self.app.reads().note(Consistency::Cached);
        Ok((View::cached(state.clone(), found.revision), object))
    }

    async fn list<R: Cached>(&self, paging: &Paging, after: Option<R::Key>) -> Result<Response, Miss> {
        let state = self.app.consensus().state();
        let cluster = state.cluster_id().ok_or(Miss::Empty)?;
        let (mut items, mut last, mut revision) = (Vec::new(), after, Revision::MAX);
        let mut more = true;
        for _ in 0..PARTS {
            if !more || items.len() >= paging.limit {
                break;
            }
            let order = last.as_ref().map(R::order);
            let found = self
                .reader
                .list(cluster, R::CACHED, order.as_deref(), paging.limit)
                .await?;
            self.reached(found.revision)?;
            (revision, more) = (revision.min(found.revision), found.more);
            let mut rest = found.items.iter();
            for bytes in rest.by_ref() {
                let view: R::View = serde_json::from_slice(bytes).map_err(|_| Miss::Damaged)?;
                last = Some(R::shown_key(&view));
                if R::shown_labels(&view).is_none_or(|labels| paging.selector.matches(labels)) {
                    items.push(view);
                    if items.len() == paging.limit {
                        break;
                    }
                }
            }
            more |= rest.next().is_some();
        }
        self.app.reads().note(Consistency::Cached);
        let next = last.filter(|_| more).map(|key| write_continue(&key.to_string()));
        let view = View::cached(state.clone(), revision);
        let list = List {
            items,
            next,
            revision,
        };
        Ok(view.json(&list))
    }
}

/// The one object that was asked for.
fn only<T: DeserializeOwned>(items: &[Vec<u8>]) -> Result<T, Miss> {
    let bytes = items.first().ok_or(Miss::Missing)?;
    serde_json::from_slice(bytes).map_err(|_| Miss::Damaged)
}
