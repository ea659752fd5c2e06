//! `/api/v1/discovery`: scans of networks, and what they met.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    App,
    names::fresh_id,
    params::READ,
    precondition,
    problem::{Code, Problem},
    routes::Routes,
    types::{Changed, DiscoveryView, FindingView, ScanAsked, ScanRequest, ScanView},
};
use crate::{
    command::{Command, DiscoveryCommand, Outcome},
    model::{ScanId, ScanPlan},
    security::Action,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/discovery", get)
        .post("/api/v1/discovery/scan", scan)
        .delete("/api/v1/discovery/scans/{id}", cancel)
}

/// Shows the scans that wait and run and the latest that are over, how far they are, and what was met.
#[utoipa::path(get, path = "/api/v1/discovery", tag = "discovery",
    params(
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
    ),
    responses((status = 200, body = DiscoveryView)))]
pub(super) async fn get(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let view = app.view(&call.params(READ)?).await?;
    let state = &view.state;
    let mut scans: Vec<_> = state.scans().collect();
    scans.sort_by_key(|scan| std::cmp::Reverse(scan.asked));
    Ok(view.json(&DiscoveryView {
        scans: scans.into_iter().map(|scan| ScanView::from(&**scan)).collect(),
        findings: state
            .findings()
            .map(|finding| FindingView::from(&**finding))
            .collect(),
        candidates: state.candidates(),
        revision: state.revision(),
    }))
}

/// Asks for a scan of some networks; the leader runs one at a time. Runners that prove to hold a join token are
/// told where to join, those without one become candidates.
#[utoipa::path(post, path = "/api/v1/discovery/scan", tag = "discovery",
    params(("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer")),
    request_body = ScanRequest,
    responses(
        (status = 201, body = ScanAsked),
        (status = 400, description = "Too many networks, addresses or ports, or none"),
        (status = 409, description = "As many scans wait already as may"),
    ))]
pub(super) async fn scan(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let (asked, body) = call.json::<ScanRequest>().await?;
    let origin = call.origin(&body)?;
    let plan = ScanPlan::new(asked.cidrs, asked.ports)
        .map_err(|error| Problem::new(Code::InvalidField, error.to_string()))?;
    let command = DiscoveryCommand::Scan {
        id: ScanId(fresh_id()),
        plan: plan.clone(),
        scheduled: false,
    };
    let accepted = app.write(origin, Command::Discovery(command), |_| None).await?;
    let Outcome::ScanAsked(id) = accepted.outcome else {
        return Err(accepted.unexpected());
    };
    tracing::info!(token = %call.caller.token, scan = %id, cidrs = plan.cidrs().len(), total = plan.total(), "a scan was asked for");
    let asked = ScanAsked {
        id,
        total: plan.total(),
        version: accepted.revision,
    };
    Ok(accepted.object(StatusCode::CREATED, &asked))
}

/// Ends a scan at once. What it has met stays.
#[utoipa::path(delete, path = "/api/v1/discovery/scans/{id}", tag = "discovery",
    params(
        ("id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "a repeat has one effect and one answer"),
    ),
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such scan"),
        (status = 409, description = "It is over"),
    ))]
pub(super) async fn cancel(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Write).await?;
    let id: ScanId = call.name_in("/api/v1/discovery/scans/")?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    let body = call.bytes(0).await?;
    let origin = call.origin(&body)?;
    let command = Command::Discovery(DiscoveryCommand::Cancel { id });
    let accepted = app.write(origin, command, |_| None).await?;
    let revision = accepted.revision;
    Ok(accepted.json(StatusCode::OK, &Changed { revision }))
}
