//! `quorate container`.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    echo::{echoed, size},
    output::{Output, Row, age, ago, all_pages, bytes, or_dash, word},
    stats,
    token::lifetime,
};
use crate::{
    client::{
        Condition, Page,
        types::{ApproveRequest, ContainerRequest, ContainerView, CordonRequest},
    },
    model::{Assessment, HealthStatus, Labels, Name, Revision},
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
    /// Shows what was in use in a container
    Stats {
        /// Its name or id
        name: String,
        /// How far to look back, an hour at most
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = lifetime)]
        last: u64,
    },
    /// Measures the way to a container: bytes go there and come back
    Echo {
        /// Its name or id
        name: String,
        /// How many bytes, such as `64MiB`; 1 GiB at most
        #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size)]
        bytes: u64,
    },
    /// Registers a container before its runner comes
    Register {
        /// Its name; the runner joins under the same
        name: Name,
        /// A label, `key=value`; repeat it for more
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        label: Vec<(String, String)>,
    },
    /// Lets a candidate in that a scan found, by its key: its name is its own choice
    Approve {
        /// Its name or id
        name: String,
        /// The key that it must have, as its runner's log shows it; on a terminal it is shown and asked for
        /// when left out
        #[arg(long, value_name = "HEX")]
        fingerprint: Option<String>,
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
            head.extend([
                "ID", "ADDRESS", "MANAGER", "IMAGE", "NETWORKS", "RUNNER", "LABELS",
            ]);
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
                or_dash(self.manager),
                or_dash(self.image.as_ref()),
                self.networks.iter().collect::<Vec<_>>().join(","),
                runner(self),
                labels.join(","),
            ]);
        }
        cells
    }
}

/// The runner's version, and whether it was brought in.
fn runner(container: &ContainerView) -> String {
    let version = &container.capabilities.runner;
    if container.adopted {
        format!("{version}, adopted").trim_start_matches(", ").to_owned()
    } else {
        version.clone()
    }
}

/// The state, and what keeps new agents out.
fn standing(container: &ContainerView) -> String {
    let mut standing = word(&container.state);
    if container.cordoned.is_some() {
        standing += ", cordoned";
    }
    if container.health == HealthStatus::Unhealthy {
        standing += ", unhealthy";
    }
    standing
}

/// One thing that a runner found.
struct Fact(&'static str, String);

impl Row for Fact {
    fn head(_: bool) -> Vec<&'static str> {
        vec!["FOUND", "WHAT"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![self.0.to_owned(), self.1.clone()]
    }
}

/// What a runner found when it looked at its container.
fn facts(found: &Assessment) -> [Fact; 7] {
    let limited = |all: String, limit: Option<String>| match limit {
        Some(limit) => format!("{all}, limited to {limit}"),
        None => all,
    };
    let listed = |words: Vec<String>| or_dash((!words.is_empty()).then(|| words.join(", ")));
    let interpreters = found.interpreters.iter();
    let interpreters = interpreters.map(|(name, version)| format!("{name} {version}").trim_end().to_owned());
    let cpu_limit = found.cpu_limit_millis.map(|limit| format!("{limit}m"));
    let (free, disk) = (bytes(found.disk_free_bytes), bytes(found.disk_bytes));
    [
        Fact("kernel", found.kernel.clone()),
        Fact("processors", limited(found.cpus.to_string(), cpu_limit)),
        Fact(
            "memory",
            limited(bytes(found.memory_bytes), found.memory_limit_bytes.map(bytes)),
        ),
        Fact("disk", format!("{free} free of {disk}")),
        Fact("GPUs", listed(found.gpus.clone())),
        Fact("interpreters", listed(interpreters.collect())),
        Fact("declared", listed(found.declared.clone())),
    ]
}

/// A container; for people also what its runner found.
fn show(output: &Output, container: &ContainerView) -> Result<(), Failure> {
    output.one(container)?;
    match &container.assessment {
        Some(found) if output.is_table() => output.rows(&facts(found), container),
        _ => Ok(()),
    }
}

/// The key that a person has looked at.
async fn looked_at(context: &Context, name: &str) -> Result<String, Failure> {
    const COMPARE: &str = "compare the key in its runner's log with `quorate discovery candidates`, and give it as \
        --fingerprint KEY";
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(
            format!("which key {name} must have is not said, and nobody can be asked"),
            COMPARE,
        ));
    }
    let known = context.client.container(name).await?;
    let Some(key) = known.fingerprint else {
        return Err(Failure::local(
            format!("container {name} is no candidate of a scan: there is nothing to approve"),
            "see `quorate discovery candidates`",
        ));
    };
    eprintln!(
        "candidate {} at {} has the key\n  {key}\nDoes its runner's log show the same key? [y/N]",
        known.name,
        or_dash(known.address.as_ref())
    );
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && agrees(&answer) {
        return Ok(key);
    }
    Err(Failure::local(
        format!("container {name} was not approved"),
        COMPARE,
    ))
}

/// Whether an answer is a yes; nothing else is.
fn agrees(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

async fn approve(context: &Context, name: &str, given: Option<String>) -> Result<(), Failure> {
    let fingerprint = match given {
        Some(given) => given,
        None => looked_at(context, name).await?,
    };
    let asked = ApproveRequest { fingerprint };
    let approved = context
        .client
        .approve_container(name, &asked, Condition::Any)
        .await?;
    if let Some(trouble) = &approved.trouble {
        return Err(Failure::local(
            format!("container {name} is approved and was not told where to join: {trouble}"),
            "approve it again",
        ));
    }
    let sentence = format!(
        "container {} is approved by its key {} and was told where to join (revision {})",
        approved.name, approved.fingerprint, approved.revision
    );
    context.output.said(&sentence, &approved)
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Ls(selection) => {
            let fetch = async |page: &Page| client.containers(page).await;
            output.list(&all_pages(selection.page(), fetch).await?)
        }
        Verb::Get { name } => show(output, &client.container(&name).await?),
        Verb::Stats { name, last } => {
            let since = ago(Duration::from_secs(last));
            let stats = client.container_stats(&name, since).await?;
            stats::tell(output, &stats)
        }
        Verb::Echo { name, bytes } => {
            let view = client.echo_container(&name, bytes).await?;
            output.said(&echoed(&view), &view)
        }
        Verb::Register { name, label } => {
            let labels = labels(label)?;
            let created = client
                .register_container(&ContainerRequest { name, labels })
                .await?;
            output.created("container", &created)
        }
        Verb::Approve { name, fingerprint } => approve(context, &name, fingerprint).await,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_shown_with_its_limits() {
        let mut found = Assessment {
            cpus: 8,
            cpu_limit_millis: Some(500),
            memory_bytes: 2 << 30,
            interpreters: [("python3".into(), "3.11.2".into()), ("sh".into(), String::new())].into(),
            ..Assessment::default()
        };
        let shown = |found: &Assessment| facts(found).map(|fact| fact.1);
        assert_eq!(
            shown(&found)[1..],
            [
                "8, limited to 500m",
                "2.0 GiB",
                "0 B free of 0 B",
                "-",
                "python3 3.11.2, sh",
                "-"
            ]
        );
        found.memory_limit_bytes = Some(128 << 20);
        assert_eq!(shown(&found)[2], "2.0 GiB, limited to 128.0 MiB");
    }

    #[test]
    fn only_a_yes_approves() {
        for yes in ["y\n", "Y\n", " yes \n", "YES\r\n"] {
            assert!(agrees(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "yesterday\n", "ja\n", "y y\n"] {
            assert!(!agrees(no), "{no:?}");
        }
    }
}
