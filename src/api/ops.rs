//! What supervisors and scrapers ask, without a token and without secrets in the answers.

use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use tokio::time::Instant;

use super::{App, routes::Routes};

/// How long a confirmed read may take before this manager calls itself not ready.
const READY_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/livez", livez)
        .get("/readyz", readyz)
        .get("/metrics", metrics)
        .get("/api/v1/openapi.json", openapi)
        .get("/docs", docs)
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
        let confirmed = app.probe().lately(app.consensus(), Instant::now() + READY_WITHIN);
        confirmed.await.err().map(|error| error.to_string())
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

/// A page that lists the calls and tries them. It is all of one piece: nothing is fetched from
/// elsewhere, and its policy lets it speak to this manager only.
#[utoipa::path(get, path = "/docs", tag = "ops", security(()),
    responses((status = 200, description = "A page to try the API", content_type = "text/html")))]
pub(super) async fn docs() -> Response {
    let mut response = text(
        StatusCode::OK,
        "text/html; charset=utf-8",
        include_str!("docs.html"),
    );
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
