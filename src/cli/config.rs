//! `quorate config`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    Context, Failure,
    container::condition,
    output::{self, Output, Row, age, all_pages, bytes as size},
};
use crate::{
    client::{
        Client, Condition, ConfigEvent, ConfigRead, Page,
        types::{ConfigValue, ConfigView},
    },
    model::{MAX_CONFIG_BYTES, Name, Revision},
};

/// What can be done with configs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Writes a config
    Put(Put),
    /// Prints a config's value, byte for byte
    Get {
        /// Its name
        name: Name,
        /// What one manager has, without asking a quorum
        #[arg(long)]
        stale: bool,
    },
    /// Lists configs
    #[command(visible_alias = "list")]
    Ls {
        /// At most so many
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Deletes a config
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name
        name: Name,
        /// Only if it is at this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<Revision>,
    },
    /// Prints a config's value now and after each change, until interrupted
    Watch {
        /// Its name
        name: Name,
    },
}

/// What to write, and when.
#[derive(Debug, Args)]
pub struct Put {
    /// The config's name
    name: Name,
    /// The file with the value; `-` or nothing reads standard input
    #[arg(conflicts_with = "value")]
    file: Option<PathBuf>,
    /// The value itself
    #[arg(long)]
    value: Option<String>,
    /// What the value is, such as application/json
    #[arg(long, default_value = "text/plain; charset=utf-8")]
    content_type: String,
    /// Only if it is at this version
    #[arg(long, value_name = "VERSION", conflicts_with = "create")]
    if_version: Option<Revision>,
    /// Only if it does not exist
    #[arg(long)]
    create: bool,
    /// A repeat with the same key has one effect and one answer
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Row for ConfigView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["NAME", "VERSION", "SIZE", "AGE"];
        if wide {
            head.extend(["CREATED", "CONTENT TYPE"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.name.to_string(),
            self.version.to_string(),
            size(self.size as u64),
            age(self.updated_at),
        ];
        if wide {
            cells.extend([self.created.to_string(), self.content_type.clone()]);
        }
        cells
    }
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Put(put) => write(client, output, put).await,
        Verb::Get { name, stale } => {
            let fresh = Page {
                consistency: stale.then(|| "stale".to_owned()),
                ..Page::default()
            };
            get(output, &name, client.get_config(&name, &fresh).await?)
        }
        Verb::Ls { limit } => {
            let page = Page {
                limit,
                ..Page::default()
            };
            let fetch = async |page: &Page| client.configs(page).await;
            output.list(&all_pages(page, fetch).await?)
        }
        Verb::Rm { name, if_version } => {
            let changed = client.delete_config(&name, condition(if_version)).await?;
            output.changed(&format!("config {name} was deleted"), &changed)
        }
        Verb::Watch { name } => watch(client, output, &name).await,
    }
}

async fn write(client: &Client, output: &Output, put: Put) -> Result<(), Failure> {
    let value = match (put.value, put.file) {
        (Some(value), _) => value.into_bytes(),
        (None, Some(path)) if path != Path::new("-") => {
            std::fs::read(&path).map_err(|error| unreadable(&path, &error))?
        }
        (None, _) => {
            let mut value = Vec::new();
            // One byte more than is allowed is enough to be told so.
            let read = std::io::stdin()
                .take(MAX_CONFIG_BYTES as u64 + 1)
                .read_to_end(&mut value);
            read.map_err(|error| unreadable(Path::new("standard input"), &error))?;
            value
        }
    };
    let expected = if put.create {
        Condition::Absent
    } else {
        condition(put.if_version)
    };
    let key = put.idempotency_key.as_deref();
    let written = client
        .put_config(&put.name, &put.content_type, value, expected, key)
        .await?;
    let did = if written.created { "created" } else { "written" };
    output.said(
        &format!("config {} was {did} at version {}", written.name, written.version),
        &written,
    )
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(
        format!("{} can't be read: {error}", path.display()),
        "give a file that can be, or --value",
    )
}

fn get(output: &Output, name: &Name, config: ConfigRead) -> Result<(), Failure> {
    if output.is_table() {
        return output::print(&config.value);
    }
    let text = std::str::from_utf8(&config.value).ok().map(str::to_owned);
    output.value(&ConfigValue {
        name: name.clone(),
        version: config.version,
        content_type: Some(config.content_type),
        value_base64: text
            .is_none()
            .then(|| data_encoding::BASE64.encode(&config.value)),
        value: text,
    })
}

async fn watch(client: &Client, output: &Output, name: &Name) -> Result<(), Failure> {
    let mut watch = client.watch_config(name).await?;
    loop {
        let (what, value) = match watch.next().await? {
            ConfigEvent::Put(value) => ("put", value),
            ConfigEvent::Deleted(value) => ("delete", value),
        };
        let line = if output.is_table() {
            let shown = value.value.or(value.value_base64).unwrap_or_default();
            format!("{what} {} {shown}\n", value.version)
        } else {
            // One line an event, for programs that read line by line.
            format!("{}\n", json!({ "event": what, "config": value }))
        };
        if !output::print_on(line.as_bytes())? {
            return Ok(());
        }
    }
}
