//! `quorate engine network`.

use clap::Subcommand;

use super::{
    Context, Failure,
    container::{labels, pair},
    output::{Row, or_dash},
};
use crate::{
    client::types::{NetworkChanged, NetworkConnect, NetworkDisconnect, NetworkRequest, NetworkView},
    model::{Name, NetworkName},
};

/// What can be done with an engine's networks.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Lists an engine's networks, and which containers are on them
    #[command(visible_alias = "list")]
    Ls {
        /// The engine's name or id
        engine: String,
    },
    /// Makes a network
    Create {
        /// The engine's name or id
        engine: String,
        /// The network's name
        network: NetworkName,
        /// What makes it, such as `bridge` or `overlay`; by default the engine's own choice
        #[arg(long)]
        driver: Option<String>,
        /// It leads nowhere outside
        #[arg(long)]
        internal: bool,
        /// A label, `key=value`; repeat it for more
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        label: Vec<(String, String)>,
    },
    /// Removes a network that no running container is connected to
    #[command(visible_alias = "remove")]
    Rm {
        /// The engine's name or id
        engine: String,
        /// The network's name, or the engine's id of it
        network: NetworkName,
    },
    /// Connects a container to a network, where others reach it by its name
    Connect {
        /// The engine's name or id
        engine: String,
        /// The network's name, or the engine's id of it
        network: NetworkName,
        /// The container's name or id
        container: Name,
        /// A name besides its own under which others reach it there; repeat it for more
        #[arg(long, value_name = "NAME")]
        alias: Vec<String>,
    },
    /// Disconnects a container from a network; a runner that has no other way to the managers is cut off
    Disconnect {
        /// The engine's name or id
        engine: String,
        /// The network's name, or the engine's id of it
        network: NetworkName,
        /// The container's name or id
        container: Name,
        /// Even if the engine can't make the container let go
        #[arg(long)]
        force: bool,
    },
}

impl Row for NetworkView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["NAME", "DRIVER", "SCOPE", "INTERNAL", "CONTAINERS"];
        if wide {
            head.extend(["ID", "LABELS"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let containers: Vec<_> = self.containers.iter().map(|name| name.as_str()).collect();
        let mut cells = vec![
            self.name.clone(),
            self.driver.clone(),
            self.scope.clone(),
            if self.internal { "yes" } else { "no" }.to_owned(),
            or_dash((!containers.is_empty()).then(|| containers.join(",")).as_ref()),
        ];
        if wide {
            let labels: Vec<_> = self.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            cells.extend([self.id.chars().take(12).collect(), labels.join(",")]);
        }
        cells
    }
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    let said = |done: &NetworkChanged, what: &str| {
        let (network, engine) = (&done.network, &done.engine);
        let sentence = match &done.container {
            Some(container) => {
                format!("container {container} is {what} network {network} of engine {engine}")
            }
            None => format!("network {network} {what} engine {engine}"),
        };
        output.said(&sentence, done)
    };
    match verb {
        Verb::Ls { engine } => output.list(&client.networks(&engine).await?),
        Verb::Create {
            engine,
            network,
            driver,
            internal,
            label,
        } => {
            let asked = NetworkRequest {
                name: network,
                driver,
                internal,
                labels: labels(label)?,
            };
            said(&client.create_network(&engine, &asked).await?, "was made on")
        }
        Verb::Rm { engine, network } => {
            let done = client.remove_network(&engine, network.as_str()).await?;
            said(&done, "was removed from")
        }
        Verb::Connect {
            engine,
            network,
            container,
            alias,
        } => {
            let asked = NetworkConnect {
                container,
                aliases: alias,
            };
            let done = client.connect_network(&engine, network.as_str(), &asked).await?;
            said(&done, "connected to")
        }
        Verb::Disconnect {
            engine,
            network,
            container,
            force,
        } => {
            let asked = NetworkDisconnect { container, force };
            let done = client
                .disconnect_network(&engine, network.as_str(), &asked)
                .await?;
            said(&done, "no longer connected to")
        }
    }
}
