//! `/api/v1/cluster`: status, health, managers, leadership.

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode},
    response::Response,
};

use tokio::time::Instant;

use super::{
    App, cached, call,
    headers::QUORATE_SOURCE,
    params::only_local,
    precondition,
    problem::Problem,
    routes::Routes,
    topology::topology,
    types::{
        CacheView, Changed, Check, ClusterStatus, Health, List, ManagerView, MassSilenceView, TransferRequest,
    },
};
use crate::{
    cache::Reader,
    consensus::{DEADLINE, ManagerStatus, Status},
    model::{ContainerState, EngineState, ManagerId},
    security::Action,
    state,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get("/api/v1/cluster/status", status)
        .get("/api/v1/cluster/health", health)
        .get("/api/v1/cluster/managers", managers)
        .get("/api/v1/cluster/topology", topology)
        .delete("/api/v1/cluster/managers/{id}", remove_manager)
        .post("/api/v1/cluster/transfer", transfer)
}

/// Says that an answer is what this manager sees.
fn local(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(QUORATE_SOURCE, HeaderValue::from_static("local"));
    response
}

fn shown(status: &ManagerStatus) -> ManagerView {
    ManagerView {
        id: status.id,
        api: status.info.api.clone(),
        peer: status.info.peer.clone(),
        session: status.info.session.clone(),
        voter: status.voter,
        healthy: status.healthy,
        applied: status.applied,
    }
}

/// The cluster as the answering manager sees it. Needs no quorum, and may be old.
#[utoipa::path(get, path = "/api/v1/cluster/status", tag = "cluster",
    params(("consistency" = Option<String>, Query, description = "`stale` or `cached`; the answer is local all the same")),
    responses((status = 200, body = ClusterStatus)))]
pub(super) async fn status(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    only_local(&call.params(&["consistency"])?)?;
    let state = app.consensus().state();
    let status = app.consensus().status();
    let answer = ClusterStatus {
        cluster_id: state.cluster_id().map(str::to_owned),
        answered_by: status.id,
        leader: status.leader,
        term: status.term,
        revision: state.revision(),
        managers: status.managers.values().map(shown).collect(),
        breaker: state.breaker().open.as_ref().map(MassSilenceView::from),
        cache: app.cache().map(cache_view),
    };
    Ok(local(call::json(StatusCode::OK, state.revision(), &answer)))
}

fn cache_view(reader: &Reader) -> CacheView {
    let progress = reader.progress();
    CacheView {
        connected: reader.connected(),
        projection: progress.phase.word().to_owned(),
        revision: progress.revision,
        detail: progress.detail,
    }
}

/// Whether all is well, check by check. Always 200: `healthy` has the verdict.
#[utoipa::path(get, path = "/api/v1/cluster/health", tag = "cluster",
    params(("consistency" = Option<String>, Query, description = "`cached` for what the leader saw a moment ago, which asks no quorum")),
    responses((status = 200, body = Health)))]
pub(super) async fn health(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let params = call.params(&["consistency"])?;
    only_local(&params)?;
    let miss = match cached::health(&app, &params).await? {
        Ok(answer) => return Ok(answer),
        Err(miss) => miss,
    };
    let quorum = app
        .probe()
        .lately(app.consensus(), Instant::now() + DEADLINE)
        .await;
    let state = app.consensus().state();
    let status = app.consensus().status();
    let health = health_of(&state, &status, quorum.map_err(|error| error.to_string()));
    let answer = call::json(StatusCode::OK, state.revision(), &health);
    Ok(cached::explained(answer, miss))
}

/// The checks, for whoever knows whether a quorum confirms the leader.
pub(super) fn health_of(state: &state::State, status: &Status, quorum: Result<(), String>) -> Health {
    let mut checks = vec![
        check(
            "quorum",
            quorum.is_ok(),
            quorum.map_or_else(|why| why, |()| "a quorum confirms the leader".into()),
        ),
        check(
            "bootstrap",
            state.cluster_id().is_some(),
            state.cluster_id().map_or_else(
                || "the cluster has no identity yet: the leader makes it once there is one".into(),
                |id| format!("cluster {id}"),
            ),
        ),
        managers_check(status),
    ];
    checks.extend(engines_check(state));
    checks.push(containers_check(state));
    checks.push(breaker_check(state));
    let healthy = checks.iter().all(|check| check.healthy);
    Health { healthy, checks }
}

fn check(name: &str, healthy: bool, detail: String) -> Check {
    Check {
        name: name.to_owned(),
        healthy,
        detail,
    }
}

fn managers_check(status: &Status) -> Check {
    let leads = status.leader == Some(status.id);
    let silent: Vec<_> = status.managers.values().filter(|m| !m.healthy).collect();
    if leads && !silent.is_empty() {
        let ids: Vec<_> = silent.iter().map(|m| m.id.to_string()).collect();
        let detail = format!(
            "the leader does not hear from manager {}: look at its log",
            ids.join(", ")
        );
        return check("managers", false, detail);
    }
    let scope = if leads {
        ""
    } else {
        " (only the leader sees all of them: ask it)"
    };
    check(
        "managers",
        status.leader.is_some(),
        match status.leader {
            Some(leader) => format!("{} managers, {leader} leads{scope}", status.managers.len()),
            None => "no leader is known: a quorum of managers has to run and reach each other".into(),
        },
    )
}

fn engines_check(state: &state::State) -> Option<Check> {
    let total = state.engines().count();
    if total == 0 {
        return None;
    }
    let away: Vec<_> = state
        .engines()
        .filter(|engine| engine.state == EngineState::Unreachable)
        .map(|engine| format!("{} ({})", engine.name, engine.reason))
        .collect();
    let detail = if away.is_empty() {
        format!("{total} engines, none unreachable")
    } else {
        format!("unreachable: {}", away.join(", "))
    };
    Some(check("engines", away.is_empty(), detail))
}

fn containers_check(state: &state::State) -> Check {
    let mut counts: BTreeMap<ContainerState, usize> = BTreeMap::new();
    for container in state.containers(None) {
        *counts.entry(container.state).or_default() += 1;
    }
    let of = |wanted| counts.get(&wanted).copied().unwrap_or_default();
    let (suspect, lost) = (of(ContainerState::Suspect), of(ContainerState::Lost));
    let detail = format!(
        "{} ready, {suspect} suspect, {lost} lost",
        of(ContainerState::Ready)
    );
    check("containers", suspect + lost == 0, detail)
}

fn breaker_check(state: &state::State) -> Check {
    let detail = match &state.breaker().open {
        None => "closed".to_owned(),
        Some(open) => format!(
            "open: {}; none of them is lost by silence, and no agent of theirs moves, until they are back or \
             somebody who knows that they are gone runs `quorate cluster breaker lift`",
            open.reason
        ),
    };
    check("breaker", state.breaker().open.is_none(), detail)
}

/// Lists the managers as the answering one sees them. Needs no quorum, and may be old.
#[utoipa::path(get, path = "/api/v1/cluster/managers", tag = "cluster",
    params(("consistency" = Option<String>, Query, description = "`stale` or `cached`; the answer is local all the same")),
    responses((status = 200, body = List<ManagerView>)))]
pub(super) async fn managers(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    only_local(&call.params(&["consistency"])?)?;
    let revision = app.consensus().state().revision();
    let status = app.consensus().status();
    let list = List {
        items: status.managers.values().map(shown).collect(),
        next: None,
        revision,
    };
    Ok(local(call::json(StatusCode::OK, revision, &list)))
}

/// Removes a manager for ever; its id is never given out again. Refused when it would cost the quorum.
#[utoipa::path(delete, path = "/api/v1/cluster/managers/{id}", tag = "cluster",
    params(("id" = u64, Path)),
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such manager"),
        (status = 409, description = "It would cost the quorum, or another change is under way"),
        (status = 503, description = "No leader took it; nothing was changed"),
        (status = 504, description = "The outcome is unknown"),
    ))]
pub(super) async fn remove_manager(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Admin).await?;
    let id: ManagerId = call.name_in("/api/v1/cluster/managers/")?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    call.no_key()?;
    call.bytes(0).await?;
    app.consensus().remove_manager(id).await?;
    Ok(changed(&app))
}

/// Hands leadership to another manager.
#[utoipa::path(post, path = "/api/v1/cluster/transfer", tag = "cluster",
    request_body = TransferRequest,
    responses(
        (status = 200, body = Changed),
        (status = 404, description = "There is no such manager"),
        (status = 503, description = "No leader took it; nothing was changed"),
        (status = 504, description = "The outcome is unknown"),
    ))]
pub(super) async fn transfer(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let mut call = app.admit(request, Action::Admin).await?;
    call.params(&[])?;
    precondition::none(call.headers())?;
    call.no_key()?;
    let (wanted, _) = call.json::<TransferRequest>().await?;
    app.consensus().transfer_leadership(wanted.to).await?;
    Ok(changed(&app))
}

/// Changes of the managers are not commands, so the local revision is all there is to tell.
fn changed(app: &App) -> Response {
    let revision = app.consensus().state().revision();
    call::json(StatusCode::OK, revision, &Changed { revision })
}
