//! Partitions: packet filters inside the namespaces, which count what they drop.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::future::{FutureExt, try_join_all};
use tokio::sync::Mutex;

use super::command::run;
use super::{Blocked, End, Net, Place};

/// Which links are cut.
#[derive(Debug)]
pub struct Filter {
    net: Arc<Net>,
    cut: Mutex<BTreeSet<(End, End)>>,
}

impl Filter {
    /// Nothing is cut.
    pub fn new(net: Arc<Net>) -> Self {
        Self {
            net,
            cut: Mutex::new(BTreeSet::new()),
        }
    }

    fn place(&self, seat: u64) -> Result<&Place> {
        self.net
            .places
            .iter()
            .find(|place| place.seat == seat)
            .with_context(|| format!("there is no seat {seat}"))
    }

    fn address(&self, end: End) -> Result<Ipv4Addr> {
        match end {
            End::Clients => Ok(self.net.clients()),
            End::Seat(seat) => Ok(self.place(seat)?.address),
        }
    }

    /// The rule that drops what goes one way, and the namespace it stands in: a manager's, at its own end.
    fn rule(&self, from: End, to: End) -> Result<(String, [String; 5])> {
        let (seat, chain, side, address) = match (from, to) {
            (_, End::Seat(seat)) => (seat, "INPUT", "-s", self.address(from)?),
            (End::Seat(seat), End::Clients) => (seat, "OUTPUT", "-d", self.address(to)?),
            (End::Clients, End::Clients) => anyhow::bail!("clients have no link among them"),
        };
        let rule = [chain, side, &address.to_string(), "-j", "DROP"].map(str::to_owned);
        Ok((self.place(seat)?.namespace.clone(), rule))
    }

    async fn change(&self, verb: &str, from: End, to: End) -> Result<()> {
        let (space, rule) = self.rule(from, to)?;
        let mut arguments = vec!["netns", "exec", &space, "iptables", "-w", "5", verb];
        arguments.extend(rule.iter().map(String::as_str));
        run("ip", &arguments).await.map(|_| ())
    }

    /// Cuts links, each one way, all at about the same time.
    ///
    /// # Errors
    /// A rule cannot be made.
    pub async fn cut(&self, links: &[(End, End)]) -> Result<()> {
        let mut cut = self.cut.lock().await;
        let fresh: Vec<_> = links.iter().filter(|link| cut.insert(**link)).collect();
        try_join_all(
            fresh
                .into_iter()
                .map(|(from, to)| self.change("-A", *from, *to).boxed()),
        )
        .await?;
        Ok(())
    }

    /// What was dropped since each link was cut.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub async fn blocked(&self) -> Result<Vec<Blocked>> {
        let cut = self.cut.lock().await;
        try_join_all(cut.iter().map(|(from, to)| self.count(*from, *to).boxed())).await
    }

    async fn count(&self, from: End, to: End) -> Result<Blocked> {
        let (space, rule) = self.rule(from, to)?;
        let list = ["netns", "exec", &space, "iptables", "-w", "5", "-nvxL", &rule[0]];
        let listed = run("ip", &list).await?;
        Ok(Blocked {
            from,
            to,
            count: packets(&listed, &rule[2], &rule[1]),
        })
    }

    /// Mends some links.
    ///
    /// # Errors
    /// A rule cannot be removed.
    pub async fn mend(&self, links: &[(End, End)]) -> Result<()> {
        let mut cut = self.cut.lock().await;
        let there: Vec<_> = links.iter().filter(|link| cut.remove(*link)).collect();
        try_join_all(
            there
                .into_iter()
                .map(|(from, to)| self.change("-D", *from, *to).boxed()),
        )
        .await?;
        Ok(())
    }

    /// Mends all links.
    ///
    /// # Errors
    /// A rule cannot be removed.
    pub async fn mend_all(&self) -> Result<()> {
        self.cut.lock().await.clear();
        try_join_all(self.net.places.iter().map(|place| flush(place).boxed())).await?;
        Ok(())
    }
}

async fn flush(place: &Place) -> Result<()> {
    let flush = ["netns", "exec", &place.namespace, "iptables", "-w", "5", "-F"];
    run("ip", &flush).await.map(|_| ())
}

/// The packets that the rules for `address` dropped, in the output of `iptables -nvxL`. The columns are packets,
/// bytes, target, protocol, options, in, out, source, destination.
fn packets(listed: &str, address: &str, side: &str) -> u64 {
    let column = if side == "-s" { 7 } else { 8 };
    listed
        .lines()
        .filter_map(|line| {
            let columns: Vec<_> = line.split_whitespace().collect();
            let ours = columns.get(2) == Some(&"DROP") && columns.get(column) == Some(&address);
            ours.then(|| columns[0].parse::<u64>().ok()).flatten()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_own_packets_are_counted() {
        let listed = "\
Chain INPUT (policy ACCEPT 10 packets, 840 bytes)
    pkts      bytes target     prot opt in     out     source               destination         
       7      420 DROP       0    --  *      *       10.64.1.11           0.0.0.0/0
      12      420 DROP       0    --  *      *       10.64.1.12           0.0.0.0/0
";
        assert_eq!(packets(listed, "10.64.1.11", "-s"), 7);
        assert_eq!(packets(listed, "10.64.1.12", "-s"), 12);
        assert_eq!(packets(listed, "10.64.1.12", "-d"), 0);
    }
}
