//! What resources have in common: listed in pages, made under a fresh id, read and changed by name.
//!
//! A resource says what it is ([`Resource`], [`Named`]); its handlers say what is special about them and
//! leave the rest to the functions here.

use std::{fmt::Display, str::FromStr, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    App,
    call::{Call, Origin},
    names::{absent, fresh_id},
    params::{LIST, Paging},
    precondition,
    problem::Problem,
    types::{Changed, Created},
    view::View,
    write::Accepted,
};
use crate::{
    command::{Command, Condition, Outcome},
    model::{Labels, Name, Revision},
    security::Action,
    state::State,
};

/// A kind of object that has an id, is listed and is made through the API.
pub(super) trait Resource: Sized + 'static {
    /// Its id.
    type Id: Copy + Display;
    /// What lists are in the order of, and go on after.
    type Key: Display + FromStr;
    /// What is shown of it.
    type View: Serialize;

    /// What who reads it must be allowed to do.
    const READ: Action = Action::Read;
    /// What who changes it must be allowed to do.
    const WRITE: Action = Action::Write;
    /// The query parameters of its list.
    const LIST: &'static [&'static str] = LIST;

    /// The id with this number.
    fn id(number: u64) -> Self::Id;
    /// The id that a command made.
    fn made(outcome: &Outcome) -> Option<Self::Id>;
    /// All of them, from after `after` on.
    fn all(state: &State, after: Option<Self::Key>) -> impl Iterator<Item = &Arc<Self>>;
    /// What its list is in the order of.
    fn key(&self) -> Self::Key;
    /// What a selector may ask for.
    fn labels(&self) -> Option<&Labels> {
        None
    }
    /// What is shown of it.
    fn view(&self, state: &State) -> Self::View;
}

/// A resource that people call by name.
pub(super) trait Named: Resource {
    /// What it is called in problems.
    const KIND: &'static str;
    /// What stands before its name in a path.
    const AT: &'static str;

    /// By name or id.
    fn find(state: &State, name: &Name) -> Option<Self::Id>;
    /// By id.
    fn of(state: &State, id: Self::Id) -> Option<&Arc<Self>>;
    /// Its version.
    fn version(&self) -> Revision;
    /// What a change may demand of it.
    ///
    /// # Errors
    /// `invalid_precondition`.
    fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
        precondition::for_change(headers)
    }
}

/// Answers with a page of a list.
///
/// # Errors
/// Whatever is wrong with the request, or keeps it from being answered.
pub(super) async fn list<R: Resource>(app: &App, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, R::READ).await?;
    let params = call.params(R::LIST)?;
    let paging = Paging::of(&params)?;
    let after = paging.after::<R::Key>()?;
    let view = app.view(&params).await?;
    Ok(page::<R>(&view, &paging, after))
}

/// A page of a list out of a state.
pub(super) fn page<R: Resource>(view: &View, paging: &Paging, after: Option<R::Key>) -> Response {
    view.list(
        paging,
        R::all(&view.state, after),
        R::labels,
        |object| object.key().to_string(),
        |object| object.view(&view.state),
    )
}

/// Finds the object that a path names.
///
/// # Errors
/// `not_found`.
pub(super) fn named<'a, R: Named>(view: &'a View, name: &Name) -> Result<&'a Arc<R>, Problem> {
    let found = R::find(&view.state, name).and_then(|id| R::of(&view.state, id));
    found.ok_or_else(|| absent(R::KIND, name))
}

/// Makes an object under a fresh id, of what the body asks for. `command` also gives what the answer needs
/// of that. A repeat gives the first request's id, not the one just made.
///
/// # Errors
/// Whatever is wrong with the request, or kept it from being decided.
pub(super) async fn make<R: Resource, T: DeserializeOwned, K>(
    app: &App,
    request: Request,
    command: impl FnOnce(T, R::Id) -> Result<(K, Command), Problem>,
) -> Result<(Accepted, R::Id, K), Problem> {
    let mut call = app.admit(request, R::WRITE).await?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let (asked, body) = call.json::<T>().await?;
    let origin = call.origin(&body)?;
    let (kept, command) = command(asked, R::id(fresh_id()))?;
    let accepted = app.write(origin, command, |_| None).await?;
    match R::made(&accepted.outcome) {
        Some(id) => Ok((accepted, id, kept)),
        None => Err(accepted.unexpected()),
    }
}

/// As [`make`], with the usual answer.
///
/// # Errors
/// As [`make`].
pub(super) async fn create<R: Resource, T: DeserializeOwned>(
    app: &App,
    request: Request,
    command: impl FnOnce(T, R::Id) -> Result<(Name, Command), Problem>,
) -> Result<Response, Problem> {
    let (accepted, id, name) = make::<R, T, Name>(app, request, command).await?;
    let (id, version) = (id.to_string(), accepted.revision);
    Ok(accepted.object(StatusCode::CREATED, &Created { id, name, version }))
}

/// Changes or removes the object that the path names, and answers with `status`.
///
/// # Errors
/// Whatever is wrong with the request, or kept it from being decided.
pub(super) async fn change<R: Named>(
    app: &App,
    request: Request,
    status: StatusCode,
    command: impl FnOnce(R::Id, Condition) -> Command,
) -> Result<Response, Problem> {
    let mut call = app.admit(request, R::WRITE).await?;
    let (name, condition) = to_change::<R>(&call)?;
    let body = call.bytes(0).await?;
    let origin = call.origin(&body)?;
    changed::<R>(app, origin, &name, status, |id| command(id, condition)).await
}

/// As [`change`], with what the body asks for: JSON, or nothing for what goes without saying.
///
/// # Errors
/// As [`change`].
pub(super) async fn change_to<R: Named, T: DeserializeOwned + Default>(
    app: &App,
    request: Request,
    status: StatusCode,
    command: impl FnOnce(R::Id, Condition, T) -> Command,
) -> Result<Response, Problem> {
    let mut call = app.admit(request, R::WRITE).await?;
    let (name, condition) = to_change::<R>(&call)?;
    let (asked, body) = call.json_or_default::<T>().await?;
    let origin = call.origin(&body)?;
    changed::<R>(app, origin, &name, status, |id| command(id, condition, asked)).await
}

/// The object that a change is about, and what it demands of it.
fn to_change<R: Named>(call: &Call) -> Result<(Name, Condition), Problem> {
    let name = call.name_in(R::AT)?;
    call.params(&[])?;
    Ok((name, R::condition(call.headers())?))
}

async fn changed<R: Named>(
    app: &App,
    origin: Origin,
    name: &Name,
    status: StatusCode,
    command: impl FnOnce(R::Id) -> Command,
) -> Result<Response, Problem> {
    let nobody = R::id(0);
    let find = |state: &State| R::find(state, name);
    let id = app
        .resolve(R::KIND, name, origin.key.is_some(), nobody, find)
        .await?;
    let accepted = app
        .write(origin, command(id), |state| current::<R>(state, id))
        .await
        .map_err(|problem| problem.naming(R::KIND, name))?;
    let revision = accepted.revision;
    Ok(accepted.json(status, &Changed { revision }))
}

/// The object as a failed precondition shows it.
pub(super) fn current<R: Named>(state: &State, id: R::Id) -> Option<(Revision, Value)> {
    let object = R::of(state, id)?;
    let shown = serde_json::to_value(object.view(state)).ok()?;
    Some((object.version(), shown))
}
