//! Changes of who is in the cluster, as an operator makes them through the API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quorate::client::types::{JoinTokenRequest, ManagerView};
use quorate::model::{JoinRole, ManagerId};
use tokio::time::{Instant, sleep};

use super::{Cluster, Entry, Seat};

/// How long a change may take to be made: elections and other changes may be in its way.
const CHANGED_WITHIN: Duration = Duration::from_secs(30);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(200);

/// Tries until it works, but not for ever.
async fn insist<T, A>(what: &str, mut attempt: impl FnMut() -> A + Send) -> Result<T>
where
    A: Future<Output = Result<T>> + Send,
{
    let deadline = Instant::now() + CHANGED_WITHIN;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what} did not work within {CHANGED_WITHIN:?}")));
            }
            Err(_) => sleep(AGAIN).await,
        }
    }
}

impl Cluster {
    /// The managers as the leader knows them.
    ///
    /// # Errors
    /// There is no leader, or it does not answer.
    pub async fn managers(&self) -> Result<Vec<ManagerView>> {
        let leader = self.await_leader(CHANGED_WITHIN).await?;
        Ok(self.seat(leader.seat)?.status().await?.managers)
    }

    async fn manager_of(&self, seat: &Seat) -> Result<Option<ManagerId>> {
        let managers = self.managers().await?;
        let here = |manager: &&ManagerView| {
            let at = self.seat_at(&manager.api);
            at.is_some_and(|at| at.number == seat.number)
        };
        Ok(managers.iter().find(here).map(|manager| manager.id))
    }

    /// Lets a new manager join in an empty seat.
    ///
    /// # Errors
    /// No token is given out, or it cannot be started.
    pub async fn join(&self, seat: &Arc<Seat>) -> Result<()> {
        let asked = JoinTokenRequest {
            role: JoinRole::Manager,
            expires_in_seconds: Some(600),
            uses: Some(1),
        };
        let token = insist("making a join token", || async {
            Ok(self.client.create_join_token(&asked).await?)
        })
        .await?;
        let path = seat.dir.join("join.token");
        std::fs::write(&path, format!("{}\n", token.token)).context("a token cannot be written")?;
        let mut through = Vec::new();
        for other in self.occupied().await {
            if other.number != seat.number {
                through.push(other.address);
            }
        }
        seat.furnish(&Entry::Joiner { through, token: path })?;
        seat.start().await
    }

    /// Removes the manager in a seat from the cluster; gives its id.
    ///
    /// # Errors
    /// It cannot be removed, or was not there.
    pub async fn remove(&self, seat: &Arc<Seat>) -> Result<ManagerId> {
        let id = insist("asking who is there", || self.manager_of(seat))
            .await?
            .with_context(|| format!("the cluster knows of no manager in seat {}", seat.number))?;
        insist("removing a manager", || async {
            let asked = self.client.remove_manager(id).await;
            // It may have been done although nobody said so.
            if self.managers().await?.iter().all(|manager| manager.id != id) {
                return Ok(());
            }
            match asked {
                Ok(_) => bail!("manager {id} was removed and is still there"),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        Ok(id)
    }

    /// Puts another manager into a seat whose own is lost, or is to go; gives the old id and the new one.
    ///
    /// # Errors
    /// Something of it does not work.
    pub async fn replace(&self, seat: &Arc<Seat>) -> Result<(ManagerId, ManagerId)> {
        let old = self.remove(seat).await?;
        seat.vacate().await?;
        self.join(seat).await?;
        let new = insist("becoming a voter", || async {
            let managers = self.managers().await?;
            let fresh = managers.iter().find(|manager| {
                let at = self.seat_at(&manager.api);
                manager.voter && at.is_some_and(|at| at.number == seat.number)
            });
            fresh
                .map(|manager| manager.id)
                .context("the new manager is no voter yet")
        })
        .await?;
        Ok((old, new))
    }
}
