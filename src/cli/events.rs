//! `quorate events`: what happened, and what happens.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    Context,
    failure::Failure,
    output::{self, Output, Row, age, or_dash, word},
};
use crate::{
    client::{Client, EventFilter, Page, types::EventView},
    model::{EventId, EventKind},
};

/// Which events, and whether to stay.
#[derive(Debug, Args)]
pub struct Asked {
    /// Go on with each event as it happens
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest are shown; all of them with --after
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=1000), conflicts_with = "after")]
    newest: u16,
    /// Only those behind this one: the ID of an event, or a revision
    #[arg(long, value_name = "ID")]
    after: Option<EventId>,
    /// Only those of this kind of object
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only those of the objects with this name or id
    #[arg(long, value_name = "NAME")]
    object: Option<String>,
}

/// What events are about.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Containers: found, ready, suspect, lost, fenced, cordoned, …
    Container,
    /// Agents: placed, started, stopped, …
    Agent,
    /// Engines: connected, unreachable, …
    Engine,
    /// The breaker: opened, closed, lifted
    Breaker,
}

impl From<Kind> for EventKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Container => Self::Container,
            Kind::Agent => Self::Agent,
            Kind::Engine => Self::Engine,
            Kind::Breaker => Self::Breaker,
        }
    }
}

impl Row for EventView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["ID", "AGE", "KIND", "NAME", "EVENT", "REASON"];
        if wide {
            head.insert(4, "OBJECT");
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.id.to_string(),
            age(self.at),
            self.kind.to_string(),
            or_dash(self.name.as_ref()),
            word(&self.event),
            self.reason.clone(),
        ];
        if wide {
            cells.insert(4, or_dash(self.object.as_ref()));
        }
        cells
    }
}

pub(super) async fn run(context: &Context, asked: Asked) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    let mut filter = EventFilter {
        after: asked.after,
        kind: asked.kind.map(EventKind::from),
        object: asked.object,
    };
    let newest = asked.after.is_none();
    let first = Page {
        // A page has one event at least; where none is wanted, only its revision is.
        limit: newest.then_some(usize::from(asked.newest.max(1))),
        ..Page::default()
    };
    let fetch = async |page: &Page| client.events(&filter, newest, page).await;
    let mut known = output::all_pages(first, fetch).await?;
    if newest && asked.newest == 0 {
        known.items.clear();
    }
    if !asked.follow {
        return output.list(&known);
    }
    for event in &known.items {
        if !print(output, event)? {
            return Ok(());
        }
    }
    filter.after = Some(EventId::end_of(known.revision));
    follow(client, output, &filter).await
}

async fn follow(client: &Client, output: &Output, filter: &EventFilter) -> Result<(), Failure> {
    let mut watch = client.watch_events(filter).await?;
    while print(output, &watch.next().await?)? {}
    Ok(())
}

/// One line an event, for people as for programs that read line by line; whether anybody still reads.
fn print(output: &Output, event: &EventView) -> Result<bool, Failure> {
    let line = if output.is_table() {
        let name = event
            .name
            .as_ref()
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        let (kind, what) = (event.kind, word(&event.event));
        format!("{} {kind}{name} {what}: {}\n", event.id, event.reason)
    } else {
        format!("{}\n", json!(event))
    };
    output::print_on(line.as_bytes())
}
