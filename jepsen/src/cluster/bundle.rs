//! How a cluster is set up: its bundle, and a configuration file for each manager.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::process::Command;

/// Ports under which every manager is known: each has an address of its own.
pub const API: u16 = 7400;
const PEERS: u16 = 7401;
pub const SESSIONS: u16 = 7402;
pub const PORTS: [u16; 3] = [API, PEERS, SESSIONS];

/// A snapshot after so many entries: often enough that every run has several, on every manager.
const SNAPSHOT_EVERY: u64 = 2_000;
/// Few, so that a manager that was away is sent a snapshot rather than entries.
const KEEP_LOGS: u64 = 500;

/// How a manager comes into the cluster.
#[derive(Debug, Clone)]
pub enum Entry {
    /// With the others, from the bundle; the ids and addresses of all of them.
    Founder { peers: Vec<(u64, IpAddr)> },
    /// Later, by a token in this file, through the managers at these addresses.
    Joiner { through: Vec<IpAddr>, token: PathBuf },
}

/// The configuration file of a manager: all that the harness knows of its form. It listens on ports `behind` above those
/// it is known under.
///
/// # Errors
/// A path is not text.
pub fn configuration(
    data: &Path,
    bundle: &Path,
    name: &str,
    own: (u64, IpAddr),
    behind: u16,
    entry: &Entry,
) -> Result<String> {
    #[derive(Serialize)]
    struct File<'a> {
        data_dir: &'a Path,
        name: &'a str,
        api: Listener,
        peers: Listener,
        sessions: Listener,
        bootstrap: Bootstrap<'a>,
        raft: Raft,
    }
    #[derive(Serialize)]
    struct Listener {
        listen: SocketAddr,
        advertise: SocketAddr,
    }
    #[derive(Serialize, Default)]
    struct Bootstrap<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        dir: Option<&'a Path>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        join: Vec<SocketAddr>,
        #[serde(skip_serializing_if = "Option::is_none")]
        join_token_file: Option<&'a Path>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        peers: Vec<Peer>,
    }
    #[derive(Serialize)]
    struct Peer {
        id: u64,
        peer: SocketAddr,
        api: SocketAddr,
        session: SocketAddr,
    }
    #[derive(Serialize)]
    struct Raft {
        snapshot_every: u64,
        keep_logs: u64,
    }
    let (id, address) = own;
    let listener = |port| Listener {
        listen: (address, port + behind).into(),
        advertise: (address, port).into(),
    };
    let bootstrap = match entry {
        Entry::Founder { peers } => Bootstrap {
            dir: Some(bundle),
            id: Some(id),
            peers: peers
                .iter()
                .map(|(id, at)| Peer {
                    id: *id,
                    peer: (*at, PEERS).into(),
                    api: (*at, API).into(),
                    session: (*at, SESSIONS).into(),
                })
                .collect(),
            ..Bootstrap::default()
        },
        Entry::Joiner { through, token } => Bootstrap {
            join: through.iter().map(|at| (*at, SESSIONS).into()).collect(),
            join_token_file: Some(token),
            ..Bootstrap::default()
        },
    };
    let file = File {
        data_dir: data,
        name,
        api: listener(API),
        peers: listener(PEERS),
        sessions: listener(SESSIONS),
        bootstrap,
        raft: Raft {
            snapshot_every: SNAPSHOT_EVERY,
            keep_logs: KEEP_LOGS,
        },
    };
    toml::to_string(&file).context("a manager's configuration cannot be written as TOML")
}

/// Makes the cluster's authority and its first tokens in `bundle`.
///
/// # Errors
/// `quorate cluster init` fails.
pub async fn make(binary: &Path, bundle: &Path) -> Result<()> {
    let mut command = Command::new(binary);
    without_settings(&mut command);
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

/// Takes out settings of the environment, which are meant for another manager.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn founders_know_each_other_and_joiners_a_door() {
        let at = |last| IpAddr::from([10, 0, 0, last]);
        let founder = Entry::Founder {
            peers: vec![(1, at(11)), (2, at(12))],
        };
        let text = configuration(
            Path::new("/d"),
            Path::new("/b"),
            "manager-2",
            (2, at(12)),
            0,
            &founder,
        );
        let file: toml::Table = text.unwrap().parse().unwrap();
        assert_eq!(file["api"]["listen"].as_str(), Some("10.0.0.12:7400"));
        assert_eq!(file["bootstrap"]["id"].as_integer(), Some(2));
        assert_eq!(file["bootstrap"]["peers"].as_array().unwrap().len(), 2);
        let joiner = Entry::Joiner {
            through: vec![at(11)],
            token: "/t".into(),
        };
        let text = configuration(
            Path::new("/d"),
            Path::new("/b"),
            "manager-3",
            (3, at(13)),
            100,
            &joiner,
        );
        let file: toml::Table = text.unwrap().parse().unwrap();
        assert_eq!(file["bootstrap"]["join"][0].as_str(), Some("10.0.0.11:7402"));
        assert!(file["bootstrap"].get("id").is_none());
        assert_eq!(file["peers"]["listen"].as_str(), Some("10.0.0.13:7501"));
        assert_eq!(file["peers"]["advertise"].as_str(), Some("10.0.0.13:7401"));
    }
}
