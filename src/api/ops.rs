//! What supervisors and scrapers ask, without a token and without secrets in the answers.

use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use tokio::time::timeout;

use super::{App, routes::Routes};

/// How long a confirmed read may take before this manager calls itself not ready.
const READY_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/livez", livez)
        .get("/readyz", readyz)
        .get("/metrics", metrics)
        .get("/api/v1/openapi.json", openapi)
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// 200 while the process runs.
#[utoipa::path(get, path = "/livez", tag = "ops", security(()),
    responses((status = 200, description = "It runs")))]
pub(super) async fn livez() -> Response {
    text(StatusCode::OK, "text/plain", "alive\n")
}

/// 200 when a leader is known and a read that a quorum confirms works within a second.
#[utoipa::path(get, path = "/readyz", tag = "ops", security(()),
    responses(
        (status = 200, description = "It serves"),
        (status = 503, description = "It does not, and why"),
    ))]
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let why = if app.consensus().status().leader.is_none() {
        Some("no leader is known".to_owned())
    } else {
        match timeout(READY_WITHIN, app.confirm().up_to_date(app.consensus())).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no quorum confirmed a read within {READY_WITHIN:?}")),
        }
    };
    match why {
        None => text(StatusCode::OK, "text/plain", "ready\n"),
        Some(why) => {
            let mut response = text(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                format!("not ready: {why}\n"),
            );
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

/// All figures, in the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "ops", security(()),
    responses((status = 200, description = "The figures", content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    text(StatusCode::OK, "text/plain; version=0.0.4", app.render_metrics())
}

/// This description.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "ops", security(()),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json")))]
pub(super) async fn openapi(State(app): State<App>) -> Response {
    text(StatusCode::OK, "application/json", app.openapi())
}
