//! `/api/v1/configs`: named values, each a compare-and-swap register.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::Value;

use super::{
    App,
    headers::QUORATE_REVISION,
    params::{LIST, Paging, Params},
    precondition::{self, Unless},
    problem::{Code, Problem},
    routes::Routes,
    types::{Changed, ConfigPut, ConfigValue, ConfigView, List},
    watch,
};
use crate::{
    command::{Command, ConfigCommand, Outcome},
    model::{Config, MAX_CONFIG_BYTES, MAX_CONTENT_TYPE_BYTES, Name, Revision},
    security::Action,
    state,
};

/// What stands before a config's name in its path.
const AT: &str = "/api/v1/configs/";

/// The parameters of a read of one config.
const GET: &[&str] = &["consistency", "min_revision", "watch"];

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/configs", list)
        .get("/api/v1/configs/{name}", get)
        .put("/api/v1/configs/{name}", put)
        .delete("/api/v1/configs/{name}", delete)
}

/// The calls of this API that programs make most, answered without looking for their route.
///
/// # Errors
/// The request, when it is another call.
pub(super) async fn at_once(app: &App, request: Request) -> Result<Response, Request> {
    let path = request.uri().path();
    let is_ours = path
        .strip_prefix(AT)
        .is_some_and(|name| !name.is_empty() && !name.contains('/'));
    let answer = match *request.method() {
        Method::GET if is_ours => get(State(app.clone()), request).await,
        Method::PUT if is_ours => put(State(app.clone()), request).await,
        _ => return Err(request),
    };
    Ok(answer.into_response())
}

fn absent(name: &Name) -> Problem {
    Problem::new(Code::NotFound, format!("there is no config `{name}`"))
}

/// Lists configs by name, without their values.
#[utoipa::path(get, path = "/api/v1/configs", tag = "configs",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default"),
        ("continue" = Option<String>, Query, description = "from the page before"),
    ),
    responses((status = 200, body = List<ConfigView>)))]
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let params = call.params(LIST)?;
    let paging = Paging::of(&params)?;
    let after = paging.after::<Name>()?;
    let view = app.view(&params).await?;
    let configs = view.state.configs(after.as_ref());
    let key = |config: &Config| config.name.to_string();
    Ok(view.list(&paging, configs, |_| None, key, |config| ConfigView::from(config)))
}

/// Reads a config: the value itself, with its Content-Type and its version as ETag. With
/// `watch=true`, a stream of server-sent events: the current value and each later one.
#[utoipa::path(get, path = "/api/v1/configs/{name}", tag = "configs",
    params(
        ("name" = String, Path),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("watch" = Option<bool>, Query, description = "`put` and `delete` events instead of the value; resumable with `Last-Event-ID`"),
        ("If-None-Match" = Option<String>, Header, description = "304 when the version is among these"),
    ),
    responses(
        (status = 200, description = "The value, byte for byte", content_type = "*/*"),
        (status = 304, description = "The version is the one of `If-None-Match`"),
        (status = 404, description = "There is no such config"),
    ))]
pub(super) async fn get(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let name: Name = call.name_in(AT)?;
    let params = call.params(GET)?;
    if params.flag("watch")? {
        return watch::config(app, call.caller.clone(), call.headers(), name, &params).await;
    }
    read(&app, &precondition::for_read(call.headers())?, &name, &params).await
}

async fn read(app: &App, unless: &Unless, name: &Name, params: &Params) -> Result<Response, Problem> {
    let view = app.view(params).await?;
    let Some(config) = view.state.config(name) else {
        return Err(absent(name).header(QUORATE_REVISION, view.state.revision().into()));
    };
    let mut response = if unless.has(config.version) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = Response::new(Body::from(config.value.clone()));
        let headers = response.headers_mut();
        headers.reserve(6);
        headers.insert(header::CONTENT_TYPE, kind(&config.content_type));
        // A browser must not make a page out of what someone stored.
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        response
    };
    let etag = precondition::etag(config.version);
    response.headers_mut().insert(header::ETAG, etag);
    view.note(&mut response);
    Ok(response)
}

/// A Content-Type as a header. It was checked when it was put, and the usual ones are ready.
fn kind(content_type: &str) -> HeaderValue {
    match content_type {
        "text/plain" => HeaderValue::from_static("text/plain"),
        "application/json" => HeaderValue::from_static("application/json"),
        "application/octet-stream" => HeaderValue::from_static("application/octet-stream"),
        // What is none, and should not be there, is told as bytes.
        other => HeaderValue::from_str(other)
            .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream")),
    }
}

/// Writes a config: the body is the value, at most 256 KiB. `If-Match` makes it a compare-and-swap,
/// `If-None-Match: *` creates only; a failed one is 412 with the current value.
#[utoipa::path(put, path = "/api/v1/configs/{name}", tag = "configs",
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only create"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    request_body(content = Vec<u8>, content_type = "*/*"),
    responses(
        (status = 200, description = "Replaced", body = ConfigPut),
        (status = 201, description = "Created", body = ConfigPut),
        (status = 412, description = "Not at the expected version; `current` has it"),
        (status = 413, description = "Over 256 KiB"),
    ))]
pub(super) async fn put(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    let name: Name = call.name_in(AT)?;
    call.params(&[])?;
    let condition = precondition::for_write(call.headers())?;
    let content_type = content_type(call.headers())?;
    let value = call.bytes(MAX_CONFIG_BYTES).await?;
    let origin = call.origin(&value)?;
    let command = Command::Config(ConfigCommand::Put {
        name: name.clone(),
        content_type: content_type.into(),
        // What was read is a piece of the connection's buffer, which a small value would keep alive.
        value: Bytes::copy_from_slice(&value),
        condition,
    });
    let accepted = app.write(origin, command, |state| current(state, &name)).await?;
    let Outcome::ConfigPut { created } = accepted.outcome else {
        return Err(accepted.unexpected());
    };
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let version = accepted.revision;
    Ok(accepted.object(
        status,
        &ConfigPut {
            name,
            version,
            created,
        },
    ))
}

fn current(state: &state::State, name: &Name) -> Option<(Revision, Value)> {
    let config = state.config(name)?;
    let shown = serde_json::to_value(ConfigValue::from(config.as_ref())).ok()?;
    Some((config.version, shown))
}

/// The Content-Type to keep with the value.
pub(super) fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Ok("application/octet-stream".to_owned());
    };
    let refused = |why: String| Problem::new(Code::UnsupportedMediaType, why);
    let text = given
        .to_str()
        .map_err(|_| refused("`Content-Type` is not visible ASCII".into()))?;
    if text.len() > MAX_CONTENT_TYPE_BYTES {
        return Err(refused(format!(
            "`Content-Type` is longer than {MAX_CONTENT_TYPE_BYTES} bytes"
        )));
    }
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"/\"(),:;<=>?@[\\]{}".contains(&b))
    };
    match essence.split_once('/') {
        Some((kind, sub)) if token(kind) && token(sub) => Ok(text.to_owned()),
        _ => Err(refused(
            "`Content-Type` is not of the form `type/subtype`, such as `text/plain`".into(),
        )),
    }
}

/// Deletes a config.
#[utoipa::path(delete, path = "/api/v1/configs/{name}", tag = "configs",
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "`*`, or ETags: the version expected"),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such config"),
        (status = 412, description = "Not at the expected version; `current` has it"),
    ))]
pub(super) async fn delete(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    let name: Name = call.name_in(AT)?;
    call.params(&[])?;
    let condition = precondition::for_change(call.headers())?;
    let body = call.bytes(0).await?;
    let origin = call.origin(&body)?;
    let command = Command::Config(ConfigCommand::Delete {
        name: name.clone(),
        condition,
    });
    let accepted = app.write(origin, command, |state| current(state, &name)).await?;
    let revision = accepted.revision;
    Ok(accepted.json(StatusCode::OK, &Changed { revision }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_kept_when_they_are_ones() {
        let kept = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
            content_type(&headers).map_err(|p| p.code())
        };
        for good in ["text/plain", "application/vnd.x+json; charset=utf-8"] {
            assert_eq!(kept(good).unwrap(), good);
        }
        let long = format!("text/{}", "x".repeat(MAX_CONTENT_TYPE_BYTES));
        for bad in [
            "",
            "text",
            "text/",
            "/x",
            "a b/c",
            "\u{e9}/x",
            "a/b/c",
            long.as_str(),
        ] {
            assert_eq!(kept(bad), Err(Code::UnsupportedMediaType), "{bad}");
        }
        assert_eq!(
            content_type(&HeaderMap::new()).unwrap(),
            "application/octet-stream"
        );
    }
}
