//! `quorate engine`.

use clap::Subcommand;

use super::{
    Context, Failure,
    container::condition,
    network,
    output::{Row, age, all_pages, word},
};
use crate::{
    client::{
        Page,
        types::{EngineRequest, EngineView},
    },
    model::{EngineUrl, Name, Revision},
};

/// What can be done with engines.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Watches an engine: its containers with the label `quorate.enable=true` are found from now on
    Add {
        /// Its name
        name: Name,
        /// Where the managers reach it: `unix:///path/to/docker.sock`, `tls://host:port` or `tcp://host:port`;
        /// for TLS every manager needs ca.pem, cert.pem and key.pem in a directory of the engine's name, below
        /// its setting engines.certificates
        url: EngineUrl,
    },
    /// Lists engines
    #[command(visible_alias = "list")]
    Ls,
    /// Shows one engine
    Get {
        /// Its name or id
        name: String,
    },
    /// An engine's networks: list, create, remove, connect and disconnect containers
    #[command(subcommand, visible_alias = "networks")]
    Network(network::Verb),
    /// Stops watching an engine; its containers stay registered
    #[command(visible_alias = "remove")]
    Rm {
        /// Its name or id
        name: String,
        /// Only if it is at this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<Revision>,
    },
}

impl Row for EngineView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["NAME", "STATE", "URL", "AGE", "REASON"];
        if wide {
            head.push("ID");
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.name.to_string(),
            word(&self.state),
            self.url.to_string(),
            age(self.added_at),
            match &self.warning {
                Some(warning) => format!("{}; {warning}", self.reason),
                None => self.reason.clone(),
            },
        ];
        if wide {
            cells.push(self.id.to_string());
        }
        cells
    }
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Add { name, url } => {
            if let Some(warning) = url.warning() {
                eprintln!("warning: {url} is {warning}");
            }
            let created = client.add_engine(&EngineRequest { name, url }).await?;
            output.created("engine", &created)
        }
        Verb::Ls => {
            let fetch = async |page: &Page| client.engines(page).await;
            output.list(&all_pages(Page::default(), fetch).await?)
        }
        Verb::Get { name } => output.one(&client.engine(&name).await?),
        Verb::Network(verb) => network::run(context, verb).await,
        Verb::Rm { name, if_version } => {
            let changed = client.remove_engine(&name, condition(if_version)).await?;
            output.changed(&format!("engine {name} is no longer watched"), &changed)
        }
    }
}
