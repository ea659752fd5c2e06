//! `/api/v1/containers/{name}/stats`: what was in use in a container in the last hour.
//!
//! Samples are held by the managers that have, or had, the container's session. The one that is asked
//! asks the others, and says who had some and who did not answer.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{
    App,
    problem::Problem,
    resource::{self, Named},
    types::{ContainerStats, SampleView},
};
use crate::{
    model::{Container, ManagerId, Millis, Name, Sampled},
    peers::Answers,
    security::Action,
};

const STATS: &[&str] = &["consistency", "min_revision", "since"];

/// What was in use in a container in the last hour.
#[utoipa::path(get, path = "/api/v1/containers/{name}/stats", tag = "containers",
    params(
        ("name" = String, Path, description = "name or id"),
        ("since" = Option<u64>, Query, description = "only samples from this moment on, in milliseconds since the Unix epoch"),
        ("consistency" = Option<String>, Query, description = "of the lookup by name: `linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
    ),
    responses((status = 200, body = ContainerStats), (status = 404, description = "There is no such container")))]
pub(super) async fn stats(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let name: Name = call.name_in(Container::AT)?;
    let params = call.params(STATS)?;
    let since = params
        .parse("since", "milliseconds since the Unix epoch")?
        .unwrap_or(0);
    let view = app.view(&params).await?;
    let container = Arc::clone(resource::named::<Container>(&view, &name)?);
    let (id, since) = (container.id, Millis(since));
    let here = app.peer_queries().samples_here(id, since);
    let others = app.peer_queries().samples_of_others(id, since).await;
    let stats = together(&container, since, app.consensus().id(), here, others);
    Ok(view.json(&stats))
}

fn together(
    container: &Container,
    since: Millis,
    me: ManagerId,
    here: Vec<Sampled>,
    others: Answers<Vec<Sampled>>,
) -> ContainerStats {
    let mut all = others.answered;
    all.insert(me, here);
    all.retain(|_, samples| !samples.is_empty());
    let managers = all.keys().copied().collect();
    let mut samples: Vec<_> = all.into_values().flatten().collect();
    samples.sort_by_key(|sampled| sampled.at);
    ContainerStats {
        container: container.id,
        name: container.name.clone(),
        since,
        samples: samples.into_iter().map(SampleView::from).collect(),
        managers,
        unanswered: others.unanswered,
    }
}
