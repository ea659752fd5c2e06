//! `/api/v1/containers/{name}/stats`: what was in use in a container in the last hour.
//!
//! Samples are held by the managers that have, or had, the container's session. The container's record names
//! the one that has it, which is asked alone if it has held the session for all the time that is asked for.
//! Otherwise the others are asked, too. The answer says who had samples and who did not answer.

use std::{collections::BTreeSet, sync::Arc};

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
    model::{Container, ManagerId, Millis, Name, SampleHistory},
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
    let mut managers: BTreeSet<_> = app.consensus().status().managers.into_keys().collect();
    managers.insert(app.consensus().id());
    let ask = |managers| app.peer_queries().samples_of(managers, id, since);
    let told = gather(container.holder(), managers, ask).await;
    Ok(view.json(&together(&container, since, told)))
}

/// Asks the manager that holds the session, and then the others unless that one has everything.
async fn gather<F: Future<Output = Answers<SampleHistory>>>(
    holder: Option<ManagerId>,
    mut managers: BTreeSet<ManagerId>,
    ask: impl Fn(BTreeSet<ManagerId>) -> F,
) -> Answers<SampleHistory> {
    let Some(holder) = holder else {
        return ask(managers).await;
    };
    let mut told = ask(BTreeSet::from([holder])).await;
    if told.answered.get(&holder).is_some_and(|history| history.whole) {
        return told;
    }
    managers.remove(&holder);
    let others = ask(managers).await;
    told.answered.extend(others.answered);
    told.unanswered.extend(others.unanswered);
    told.unanswered.sort_unstable();
    told
}

fn together(container: &Container, since: Millis, told: Answers<SampleHistory>) -> ContainerStats {
    let mut all = told.answered;
    all.retain(|_, history| !history.samples.is_empty());
    let managers = all.keys().copied().collect();
    let mut samples: Vec<_> = all.into_values().flat_map(|history| history.samples).collect();
    samples.sort_by_key(|sampled| sampled.at);
    ContainerStats {
        container: container.id,
        name: container.name.clone(),
        since,
        samples: samples.into_iter().map(SampleView::from).collect(),
        managers,
        unanswered: told.unanswered,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Asks three managers, of which those in `whole` have held the session all the time and those in
    /// `silent` do not answer. Gives the rounds in which they were asked, and what they told.
    async fn asked(
        holder: Option<ManagerId>,
        whole: &[ManagerId],
        silent: &[ManagerId],
    ) -> (Vec<Vec<ManagerId>>, Answers<SampleHistory>) {
        let rounds = Mutex::new(Vec::new());
        let ask = |managers: BTreeSet<ManagerId>| {
            let mut answers = Answers::default();
            for id in &managers {
                if silent.contains(id) {
                    answers.unanswered.push(*id);
                } else {
                    let whole = whole.contains(id);
                    let samples = Vec::new();
                    answers.answered.insert(*id, SampleHistory { samples, whole });
                }
            }
            rounds.lock().unwrap().push(managers.into_iter().collect());
            std::future::ready(answers)
        };
        let told = gather(holder, BTreeSet::from([1, 2, 3]), ask).await;
        (rounds.into_inner().unwrap(), told)
    }

    #[tokio::test]
    async fn the_manager_that_holds_the_session_is_asked_alone_if_it_has_everything() {
        let (rounds, told) = asked(Some(2), &[2], &[1, 3]).await;
        assert_eq!(rounds, [vec![2]]);
        assert!(told.answered.contains_key(&2) && told.unanswered.is_empty());
    }

    #[tokio::test]
    async fn the_others_are_asked_for_what_was_before_and_who_is_silent_is_named() {
        let (rounds, told) = asked(Some(2), &[], &[3]).await;
        assert_eq!(rounds, [vec![2], vec![1, 3]]);
        assert_eq!(told.answered.into_keys().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(told.unanswered, [3]);

        let (rounds, told) = asked(Some(2), &[2], &[1, 2]).await;
        assert_eq!(rounds, [vec![2], vec![1, 3]]);
        assert_eq!(told.unanswered, [1, 2]);
    }

    #[tokio::test]
    async fn without_a_session_all_are_asked() {
        let (rounds, _) = asked(None, &[1, 2, 3], &[]).await;
        assert_eq!(rounds, [vec![1, 2, 3]]);
    }
}
