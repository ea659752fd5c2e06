//! Namespaces, the filters inside them and the switch between them, as one network.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{Blocked, Counts, End, Filter, Links, Net, Network, Shape};
use crate::cluster::ledger::Ledger;

/// The network.
pub struct Namespaces {
    net: Arc<Net>,
    filter: Filter,
    /// Made when first needed.
    links: OnceCell<Links>,
}

impl Namespaces {
    /// A namespace for each of `seats` seats, numbered from 1.
    ///
    /// # Errors
    /// Something cannot be made; what was is undone with the ledger.
    pub async fn make(ledger: Arc<Ledger>, seats: u64) -> Result<Self> {
        let net = Arc::new(Net::make(ledger, seats).await?);
        Ok(Self {
            filter: Filter::new(Arc::clone(&net)),
            links: OnceCell::new(),
            net,
        })
    }

    async fn links(&self) -> Result<&Links> {
        self.links
            .get_or_try_init(|| Links::open(Arc::clone(&self.net)))
            .await
    }
}

#[async_trait]
impl Network for Namespaces {
    fn places(&self) -> Vec<(u64, Ipv4Addr)> {
        let places = self.net.places.iter();
        places.map(|place| (place.seat, place.address)).collect()
    }

    fn behind(&self) -> u16 {
        0
    }

    fn command(&self, seat: u64, program: &Path) -> Result<Command> {
        let mut places = self.net.places.iter();
        let place = places
            .find(|place| place.seat == seat)
            .context("there is no such seat")?;
        // `nsenter` becomes the program, and keeps its process id.
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", place.namespace))
            .arg("--")
            .arg(program);
        Ok(command)
    }

    /// An address is enough to know who sends.
    fn moved_in(&self, _seat: u64, _pid: i32) {}

    async fn cut(&self, links: &[(End, End)]) -> Result<()> {
        self.filter.cut(links).await
    }

    async fn blocked(&self) -> Result<Vec<Blocked>> {
        self.filter.blocked().await
    }

    async fn mend(&self, links: &[(End, End)]) -> Result<()> {
        self.filter.mend(links).await
    }

    async fn shape(&self, links: &[(u64, u64)], shape: Shape) -> Result<()> {
        self.links().await?.shape(links, shape).await
    }

    async fn counts(&self) -> Result<Counts> {
        Ok(self.links().await?.counts())
    }

    async fn unshape(&self) -> Result<()> {
        match self.links.get() {
            Some(links) => links.mend_all().await,
            None => Ok(()),
        }
    }

    async fn heal(&self) -> Result<()> {
        self.filter.mend_all().await?;
        self.unshape().await
    }
}
