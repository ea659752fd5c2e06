//! How three managers are set up: the cluster's bundle, and a configuration file for each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::process::Command;

use crate::cluster::MEMBERS;
use crate::options::Transport;

/// Where one manager listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub api: SocketAddr,
    pub peer: SocketAddr,
    pub session: SocketAddr,
}

/// The configuration file of manager `manager` (from 0): all that this program knows of its form.
///
/// # Errors
/// A path is not text.
pub fn configuration(
    dir: &Path,
    bundle: &Path,
    manager: usize,
    addresses: &[Addresses; MEMBERS],
    transport: Transport,
) -> Result<String> {
    #[derive(Serialize)]
    struct File<'a> {
        data_dir: PathBuf,
        api: Api,
        peers: Listener,
        sessions: Listener,
        bootstrap: Bootstrap<'a>,
    }
    #[derive(Serialize)]
    struct Api {
        listen: SocketAddr,
        plain: bool,
    }
    #[derive(Serialize)]
    struct Listener {
        listen: SocketAddr,
    }
    #[derive(Serialize)]
    struct Bootstrap<'a> {
        dir: &'a Path,
        id: usize,
        peers: Vec<Peer>,
    }
    #[derive(Serialize)]
    struct Peer {
        id: usize,
        peer: SocketAddr,
        api: SocketAddr,
        session: SocketAddr,
    }
    let own = addresses[manager];
    let file = File {
        data_dir: dir.join(format!("manager-{}", manager + 1)),
        api: Api {
            listen: own.api,
            plain: transport == Transport::Plain,
        },
        peers: Listener { listen: own.peer },
        sessions: Listener { listen: own.session },
        bootstrap: Bootstrap {
            dir: bundle,
            id: manager + 1,
            peers: (1..)
                .zip(addresses)
                .map(|(id, at)| Peer {
                    id,
                    peer: at.peer,
                    api: at.api,
                    session: at.session,
                })
                .collect(),
        },
    };
    toml::to_string(&file).context("a manager's configuration cannot be written as TOML")
}

/// Makes the cluster's authority and its first tokens in `bundle`.
///
/// # Errors
/// `quorate cluster init` fails.
pub async fn make(binary: &Path, bundle: &Path) -> Result<()> {
    let mut command = clean_command(binary);
    command
        .args(["cluster", "init", "--out"])
        .arg(bundle)
        .kill_on_drop(true);
    let output = command
        .output()
        .await
        .with_context(|| format!("{} does not run", binary.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`quorate cluster init` failed ({}): {}",
            output.status,
            said.trim()
        );
    }
    Ok(())
}

/// The binary without settings from the environment, which are meant for another manager.
pub fn clean_command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn every_manager_is_told_of_all_three() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let addresses = std::array::from_fn(|manager| {
            let port = 7400 + 10 * manager as u16;
            Addresses {
                api: at(port),
                peer: at(port + 1),
                session: at(port + 2),
            }
        });
        let text = configuration(
            Path::new("/d"),
            Path::new("/d/bundle"),
            1,
            &addresses,
            Transport::Plain,
        )
        .unwrap();
        let file: toml::Table = text.parse().unwrap();
        assert_eq!(file["api"]["listen"].as_str(), Some("127.0.0.1:7410"));
        assert_eq!(file["api"]["plain"].as_bool(), Some(true));
        assert_eq!(file["bootstrap"]["id"].as_integer(), Some(2));
        let peers = file["bootstrap"]["peers"].as_array().unwrap();
        let ids: Vec<_> = peers.iter().map(|peer| peer["id"].as_integer()).collect();
        assert_eq!(ids, [Some(1), Some(2), Some(3)]);
        assert_eq!(peers[2]["session"].as_str(), Some("127.0.0.1:7422"));
    }
}
