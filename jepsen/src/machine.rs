//! What this machine lets us do: which network managers get, and what faults need that is not here.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::cluster::Clock;
use crate::disk::Disk;
use crate::nemesis::Tools;
use crate::net::{self, Kind};

/// Which network is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Namespaces, or the loopback where they are not permitted
    Auto,
    /// A network namespace for each manager; needs root
    Namespaces,
    /// Loopback addresses, with a proxy before each port
    Loopback,
}

/// This machine.
#[derive(Debug)]
pub struct Machine {
    pub network: Kind,
    /// Why it is not namespaces.
    why: Option<String>,
    disks: OnceLock<Option<String>>,
}

impl Machine {
    /// Finds out which network there is.
    ///
    /// # Errors
    /// Namespaces were asked for, and are not permitted.
    pub async fn find(choice: Choice) -> Result<Self> {
        let (network, why) = match choice {
            Choice::Loopback => (Kind::Loopback, Some("it was asked for".to_owned())),
            Choice::Namespaces => {
                net::permitted()
                    .await
                    .context("network namespaces and iptables are needed, and root for both")?;
                (Kind::Namespaces, None)
            }
            Choice::Auto => match net::permitted().await {
                Ok(()) => (Kind::Namespaces, None),
                Err(why) => (
                    Kind::Loopback,
                    Some(format!("namespaces are not permitted: {why:#}")),
                ),
            },
        };
        Ok(Self {
            network,
            why,
            disks: OnceLock::new(),
        })
    }

    /// The network in a line.
    pub fn network(&self) -> String {
        match (self.network, &self.why) {
            (Kind::Namespaces, _) => "namespaces".to_owned(),
            (Kind::Loopback, why) => {
                let why = why.as_deref().unwrap_or_default();
                format!("loopback with proxies: streams, not packets ({why})")
            }
        }
    }

    /// What of `tools` is not to be had here; none when all is. A disk is mounted, once, to find out.
    pub fn lacks(&self, tools: Tools) -> Option<String> {
        if tools.packets && self.network == Kind::Loopback {
            return Some(net::PACKETS.to_owned());
        }
        let disks = || Disk::permitted().err().map(|why| format!("{why:#}"));
        if tools.disks
            && let Some(why) = self.disks.get_or_init(disks)
        {
            return Some(why.clone());
        }
        let clocks = tools.clocks.then(Clock::library)?;
        clocks.err().map(|why| format!("{why:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loopback_has_no_packets_and_says_why_it_is_one() {
        let machine = Machine::find(Choice::Loopback).await.unwrap();
        assert!(machine.network().starts_with("loopback"));
        assert!(machine.network().contains("asked for"));
        let packets = Tools {
            packets: true,
            ..Tools::default()
        };
        assert!(machine.lacks(packets).unwrap().contains("namespaces"));
        assert_eq!(machine.lacks(Tools::default()), None);
    }
}
