//! `/api/v1/events`: what happened, in the order in which it did.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;

use super::{
    App,
    params::{Paging, Params, write_continue},
    problem::{Code, Problem},
    routes::Routes,
    types::{Bookmark, EventView, List},
    view::View,
    watch::{self, Ended, Source, Watch},
};
use crate::{
    model::{Event, EventId, EventKind, Name, Subject},
    security::Action,
    state,
};

/// What a list or a stream may be asked.
const ASKED: &[&str] = &[
    "consistency",
    "min_revision",
    "limit",
    "continue",
    "after",
    "newest",
    "kind",
    "object",
    "watch",
];

/// How many events one look at the state goes through at most, and about how many bytes it sends: what a client does
/// not take waits here.
const AT_ONCE: usize = 1000;
const BYTES_AT_ONCE: usize = 64 << 10;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get("/api/v1/events", list)
}

/// Which events are asked for.
#[derive(Debug, Clone, Default)]
struct Wanted {
    kind: Option<EventKind>,
    object: Option<Object>,
}

/// What may be meant by a name or an id.
#[derive(Debug, Clone)]
struct Object {
    name: Name,
    subject: Option<Subject>,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self, Problem> {
        let name: Option<Name> = params.parse("object", "a name or an id")?;
        Ok(Self {
            kind: params.parse("kind", "`container`, `agent`, `engine` or `breaker`")?,
            object: name.map(|name| Object {
                subject: subject(&name),
                name,
            }),
        })
    }

    fn takes(&self, event: &Event) -> bool {
        let meant = |object: &Object| {
            object.subject == Some(event.subject) || event.name.as_ref() == Some(&object.name)
        };
        self.kind.is_none_or(|kind| event.subject.kind() == kind) && self.object.as_ref().is_none_or(meant)
    }
}

fn subject(id: &str) -> Option<Subject> {
    let container = id.parse().map(Subject::Container);
    let agent = || id.parse().map(Subject::Agent);
    let engine = || id.parse().map(Subject::Engine);
    container.or_else(|_| agent()).or_else(|_| engine()).ok()
}

/// Lists events, the oldest first, or follows them: with `watch=true` a stream of server-sent events, each once and
/// none left out, which goes on behind `Last-Event-ID` on any manager. What is not kept any more (7 days, or the last
/// 100,000) is 410.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    params(
        ("after" = Option<String>, Query, description = "only events behind this one, or behind all of this revision"),
        ("newest" = Option<bool>, Query, description = "the newest `limit` in place of the oldest; shown oldest first all the same"),
        ("kind" = Option<String>, Query, description = "`container`, `agent`, `engine` or `breaker`"),
        ("object" = Option<String>, Query, description = "only those of the objects with this name or id"),
        ("watch" = Option<bool>, Query, description = "a stream: from `Last-Event-ID` or `after` on, else from now on; `bookmark` tells where it begins, and how far it is while nothing happens"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `stale` or `cached`"),
        ("min_revision" = Option<u64>, Query, description = "wait until this revision is applied"),
        ("limit" = Option<usize>, Query, description = "1 to 1000, 100 by default"),
        ("continue" = Option<String>, Query, description = "from the page before"),
        ("Last-Event-ID" = Option<String>, Header, description = "of the last event that a broken stream gave"),
    ),
    responses((status = 200, body = List<EventView>), (status = 410, description = "Not kept any more; behind `oldest` all are")))]
pub(super) async fn list(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let call = app.admit(request, Action::Read).await?;
    let params = call.params(ASKED)?;
    let wanted = Wanted::of(&params)?;
    let after: Option<EventId> = params.parse("after", "an event's id or a revision")?;
    if !params.flag("watch")? {
        return page(&app.view(&params).await?, &params, after, &wanted);
    }
    if let Some(name) = ["limit", "continue", "newest"]
        .into_iter()
        .find(|name| params.get(name).is_some())
    {
        return Err(Problem::new(
            Code::InvalidParameter,
            format!("a stream has no `{name}`: list first, and follow `after` that"),
        ));
    }
    let last = watch::last_event(call.headers())?;
    let woken_by = app.consensus().watch_objects();
    let watch = Watch::new(app.clone(), call.caller.clone(), woken_by)?;
    let view = app.view(&params).await?;
    let told = last.or(after).unwrap_or(EventId::end_of(view.state.revision()));
    view.state.events(Some(told)).map_err(gone)?;
    let begun = false;
    Ok(watch.answer(&view, Stream { told, wanted, begun }))
}

fn gone(oldest: EventId) -> Problem {
    let detail = format!(
        "events up to {oldest} are kept no more: ask for those after {oldest}, and look at the objects themselves for what was missed"
    );
    Problem::new(Code::EventsGone, detail).with("oldest", oldest.to_string())
}

fn page(view: &View, params: &Params, after: Option<EventId>, wanted: &Wanted) -> Result<Response, Problem> {
    let paging = Paging::of(params)?;
    let newest = params.flag("newest")?;
    if newest && paging.after.is_some() {
        return Err(Problem::new(
            Code::InvalidParameter,
            "`newest` is one page: leave `continue` out",
        ));
    }
    let all = view.state.events(paging.after()?.or(after)).map_err(gone)?;
    let mut items: Vec<EventView> = Vec::new();
    let takes = |event: &&Arc<Event>| wanted.takes(event);
    let show = |event: &Arc<Event>| EventView::from(&**event);
    if newest {
        items.extend(all.iter().rev().filter(takes).take(paging.limit).map(show));
        items.reverse();
    } else {
        // One more than is shown tells whether there is another page.
        items.extend(all.iter().filter(takes).take(paging.limit + 1).map(show));
    }
    let more = items.len() > paging.limit;
    items.truncate(paging.limit);
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| write_continue(&last.id.to_string()));
    Ok(view.json(&List {
        items,
        next,
        revision: view.state.revision(),
    }))
}

/// Events as they happen.
struct Stream {
    /// Everything up to here was told, or is not wanted.
    told: EventId,
    wanted: Wanted,
    /// Whether the client knows where it begins: it can go on from there if the stream breaks before the first event.
    begun: bool,
}

impl Source for Stream {
    fn look(&mut self, state: &state::State) -> Result<Option<Bytes>, Ended> {
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(Some(self.silence()));
        }
        // Of a manager that is behind the last one all is old.
        let news = state.events(Some(self.told)).map_err(|_| Ended)?;
        let (mut text, mut seen) = (String::new(), 0);
        for event in news.iter().take(AT_ONCE) {
            seen += 1;
            self.told = event.id;
            if self.wanted.takes(event) {
                tell(&mut text, event);
            }
            if text.len() >= BYTES_AT_ONCE {
                break;
            }
        }
        if seen == news.len() {
            self.told = self.told.max(EventId::end_of(state.revision()));
        } else if text.is_empty() {
            // The client asks for the rest once it has this.
            return Ok(Some(self.silence()));
        }
        Ok((!text.is_empty()).then(|| text.into()))
    }

    fn silence(&self) -> Bytes {
        let data = serde_json::to_string(&Bookmark { id: self.told }).unwrap_or_default();
        format!("event: bookmark\nid: {}\ndata: {data}\n\n", self.told).into()
    }
}

fn tell(text: &mut String, event: &Event) {
    // JSON has no bare line ends, so it always is one line of data.
    let Ok(data) = serde_json::to_string(&EventView::from(event)) else {
        return;
    };
    // Writing to a string can't fail.
    let _ = write!(text, "id: {}\ndata: {data}\n\n", event.id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{Command, ContainerCommand, Proposal},
        model::{ContainerId, Labels, Millis},
    };

    /// A state in which so many containers were registered, one each `apart` of log time.
    fn state(count: u64, apart: u64) -> state::State {
        let mut state = state::State::default();
        for n in 1..=count {
            let command = Command::Container(ContainerCommand::Register {
                id: ContainerId(n),
                name: format!("c{n}").parse().unwrap(),
                labels: Labels::default(),
            });
            let proposal = Proposal {
                at: Millis(n * apart),
                by: crate::command::Principal::Manager,
                key: None,
                command,
            };
            state.apply(n, 1, &proposal).result.unwrap();
        }
        state
    }

    fn stream(after: u64, query: &str) -> Stream {
        let uri = format!("/x?{query}").parse().unwrap();
        Stream {
            told: EventId::end_of(after),
            wanted: Wanted::of(&Params::of(&uri, ASKED).unwrap()).unwrap(),
            begun: false,
        }
    }

    /// The ids of the events that a stream tells until it has no more to tell, and of its bookmarks.
    fn read(stream: &mut Stream, state: &state::State) -> (Vec<String>, Vec<String>) {
        let (mut events, mut bookmarks) = (Vec::new(), Vec::new());
        while let Some(bytes) = stream.look(state).unwrap() {
            assert!(bytes.len() < BYTES_AT_ONCE + 1024);
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            for message in text.split_terminator("\n\n") {
                let id = message
                    .lines()
                    .find_map(|line| line.strip_prefix("id: "))
                    .unwrap();
                let bookmark = message.starts_with("event: bookmark\n");
                if bookmark { &mut bookmarks } else { &mut events }.push(id.to_owned());
            }
        }
        (events, bookmarks)
    }

    #[test]
    fn streams_begin_with_a_bookmark_and_leave_nothing_out() {
        let state = state(3000, 1);
        let all: Vec<_> = (11..=3000).map(|n| format!("{n}.0")).collect();
        let mut whole = stream(10, "");
        assert_eq!(read(&mut whole, &state), (all, vec!["10".to_owned()]));
        assert!(whole.silence().starts_with(b"event: bookmark\nid: 3000\n"));

        // What is not wanted is gone through, and the client kept informed.
        let mut one = stream(0, "object=c2999&kind=container");
        let (events, bookmarks) = read(&mut one, &state);
        assert_eq!(events, ["2999.0"]);
        assert_eq!(bookmarks, ["0", "1000.0", "2000.0"]);
        let mut by_id = stream(0, &format!("object={}", ContainerId(7)));
        assert_eq!(read(&mut by_id, &state).0, ["7.0"]);
        assert!(read(&mut stream(0, "kind=agent"), &state).0.is_empty());
    }

    #[test]
    fn a_manager_that_is_behind_tells_nothing_again() {
        let (old, new) = (state(5, 1), state(8, 1));
        let mut ahead = stream(7, "");
        assert_eq!(read(&mut ahead, &old), (vec![], vec!["7".to_owned()]));
        assert!(ahead.silence().starts_with(b"event: bookmark\nid: 7\n"));
        assert_eq!(read(&mut ahead, &new).0, ["8.0"]);
    }

    #[test]
    fn who_missed_what_is_gone_is_told_and_who_did_not_goes_on() {
        let hour = 3_600_000;
        let (before, after) = (state(10, hour), state(300, hour));
        let mut slow = stream(1, "");
        slow.look(&before).unwrap();
        assert!(slow.look(&after).is_err());
        let problem = gone(after.events(Some(slow.told)).unwrap_err());
        assert!(problem.is(Code::EventsGone));
        // A bookmark moves on although nothing that it wants happens.
        let mut quiet = stream(1, "kind=breaker");
        read(&mut quiet, &before);
        read(&mut quiet, &state(170, hour));
        assert!(read(&mut quiet, &after).0.is_empty());
    }
}
