//! `/api/v1/containers/{name}/echo`: the way to a container, measured.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    App,
    problem::{Code, Problem},
    resource::{self, Named},
    types::{EchoRequest, EchoView, MAX_ECHO_BYTES},
};
use crate::{
    model::{Container, Name},
    security::Action,
    session::{MeasureError, OpenError},
};

/// For all bytes to come back. Below the bound for connections on which nothing happens.
const WITHIN: Duration = Duration::from_secs(50);

/// Sends bytes to a container and back through the manager that is asked, and tells how long it took.
#[utoipa::path(post, path = "/api/v1/containers/{name}/echo", tag = "containers",
    params(("name" = String, Path, description = "name or id")),
    request_body = EchoRequest,
    responses(
        (status = 200, body = EchoView),
        (status = 404, description = "There is no such container"),
        (status = 503, description = "The container is not reached, or not all bytes came back"),
    ))]
pub(super) async fn echo(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Admin).await?;
    let name: Name = call.name_in(Container::AT)?;
    let params = call.params(&[])?;
    let (asked, _): (EchoRequest, _) = call.json().await?;
    if asked.bytes > MAX_ECHO_BYTES {
        let detail = format!("`bytes` is {}, the limit is {MAX_ECHO_BYTES}", asked.bytes);
        return Err(Problem::new(Code::InvalidField, detail));
    }
    let view = app.view(&params).await?;
    let container = Arc::clone(resource::named::<Container>(&view, &name)?);
    let measured = app.streams().measure(container.id, asked.bytes, WITHIN).await?;
    Ok(view.json(&EchoView {
        container: container.id,
        name: container.name.clone(),
        bytes: asked.bytes,
        opened_micros: micros(measured.opened),
        took_micros: micros(measured.took),
    }))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl From<MeasureError> for Problem {
    fn from(error: MeasureError) -> Self {
        let code = match &error {
            MeasureError::Open(OpenError::NoSession) => Code::NoSession,
            _ => Code::StreamFailed,
        };
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            detail = format!("{detail}: {cause}");
            source = cause.source();
        }
        Self::new(code, detail)
    }
}
