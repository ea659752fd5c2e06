//! `quorate container`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    output::{Row, age, all_pages, bytes, or_dash, word},
};
use crate::{
    client::{
        Condition, Page,
        types::{ContainerRequest, ContainerView, CordonRequest},
    },
    model::{Labels, Name, Revision},
};

/// What can be done with containers.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists containers
    #[command(visible_alias = "list")]
    Ls(Selection),
    /// Shows one container
    Get {
        /// Its name or id
        name: String,
    },
    /// Registers a container before its runner comes
    Register {
        /// Its name; the runner joins under the same
        name: Name,
        /// A label, `key=value`; repeat it for more
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        label: Vec<(String, String)>,
    },
    /// Keeps new agents out of a container; those that are there stay
    Cordon {
        /// Its name or id
        name: String,
        /// Why, for whoever asks why nothing is placed there
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        /// Only if it is at this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<Revision>,
    },
    /// Lets new agents into a container again
    Uncordon {
        /// Its name or id
        name: String,
        /// Only if it is at this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<Revision>,
    },
    /// Forgets a container that has no agents
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name or id
        name: String,
        /// Only if it is at this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<Revision>,
    },
}

/// Which objects of a list.
#[derive(Debug, Args)]
pub struct Selection {
    /// Only those with these labels, such as `tier=web,!canary`
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// At most so many
    #[arg(long)]
    limit: Option<usize>,
}

impl Selection {
    pub(super) fn page(self) -> Page {
        Page {
            limit: self.limit,
            selector: self.selector,
            ..Page::default()
        }
    }
}

/// `key=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form key=value")),
    }
}

/// Labels out of pairs.
pub(super) fn labels(pairs: Vec<(String, String)>) -> Result<Labels, Failure> {
    let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
    Labels::new(pairs).map_err(|error| Failure::usage(error.to_string(), "write it as --label key=value"))
}

/// What a change expects.
pub(super) fn condition(version: Option<Revision>) -> Condition {
    version.map_or(Condition::Any, Condition::Version)
}

impl Row for ContainerView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["NAME", "STATE", "AGENTS", "CPU", "MEMORY", "AGE", "REASON"];
        if wide {
            head.extend(["ID", "ADDRESS", "IMAGE", "RUNNER", "LABELS"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.name.to_string(),
            standing(self),
            self.agents.to_string(),
            format!("{}/{}m", self.used.cpu_millis, self.resources.cpu_millis),
            format!(
                "{}/{}",
                bytes(self.used.memory_bytes),
                bytes(self.resources.memory_bytes)
            ),
            age(self.registered_at),
            match &self.cordoned {
                Some(why) if !why.is_empty() => format!("{}; cordoned: {why}", self.reason),
                _ => self.reason.clone(),
            },
        ];
        if wide {
            let labels: Vec<_> = self.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            cells.extend([
                self.id.to_string(),
                or_dash(self.address.as_ref()),
                or_dash(self.image.as_ref()),
                self.capabilities.runner.clone(),
                labels.join(","),
            ]);
        }
        cells
    }
}

/// The state, and whether new agents are kept out.
fn standing(container: &ContainerView) -> String {
    let state = word(&container.state);
    match container.cordoned {
        Some(_) => format!("{state}, cordoned"),
        None => state,
    }
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Ls(selection) => {
            let fetch = async |page: &Page| client.containers(page).await;
            output.list(&all_pages(selection.page(), fetch).await?)
        }
        Verb::Get { name } => output.one(&client.container(&name).await?),
        Verb::Register { name, label } => {
            let labels = labels(label)?;
            let created = client
                .register_container(&ContainerRequest { name, labels })
                .await?;
            output.created("container", &created)
        }
        Verb::Cordon {
            name,
            reason,
            if_version,
        } => {
            let asked = CordonRequest { reason };
            let changed = client
                .cordon_container(&name, &asked, condition(if_version))
                .await?;
            output.changed(
                &format!("container {name} is cordoned: no new agents go there"),
                &changed,
            )
        }
        Verb::Uncordon { name, if_version } => {
            let changed = client.uncordon_container(&name, condition(if_version)).await?;
            output.changed(&format!("container {name} takes agents again"), &changed)
        }
        Verb::Rm { name, if_version } => {
            let changed = client.remove_container(&name, condition(if_version)).await?;
            output.changed(&format!("container {name} was removed"), &changed)
        }
    }
}
