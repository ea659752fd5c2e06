//! One session with a runner that has a certificate.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Context, assign,
    door::{Link, LinkError},
    slot::{Over, Slot, Words},
    told::Told,
};
use crate::{
    command::{Command, ContainerCommand, Rejection, Reply},
    consensus::{DEADLINE, ProposeError},
    model::{
        ContainerId,
        session::{FromManager, FromRunner, Hello},
    },
};

/// A runner says something each second; after this long without a word the connection is dead.
const SILENCE: Duration = Duration::from_secs(15);

/// How often an entry that was not taken is proposed again, and the pause before.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

const REMOVED: &str = "this container was removed: to join again, stop the runner, remove its identity.json and start it with a join token";

const TOO_MANY: LinkError = LinkError::Misplaced("reports of more agents than a container holds");

/// Opens a session and serves it until it is over.
pub(super) async fn serve(
    context: &Arc<Context>,
    mut link: Link,
    container: ContainerId,
    hello: Hello,
) -> Result<(), LinkError> {
    let reply = match propose(context, &connect(container, &link, &hello)).await {
        Ok(reply) => reply,
        Err(error) => return link.refuse(error.to_string(), true).await,
    };
    match reply.result {
        Ok(_) => {}
        Err(Rejection::NotFound { .. }) => return link.refuse(REMOVED.into(), false).await,
        Err(rejection) => return link.refuse(rejection.to_string(), true).await,
    }
    let deadline = Instant::now() + DEADLINE;
    if let Err(error) = context.deps.consensus.at_least(reply.revision, deadline).await {
        return link.refuse(error.to_string(), true).await;
    }
    link.send(&welcome(context, container)).await?;

    let slot = Arc::new(Slot::new(container, hello.boot));
    context.table.insert(slot.clone());
    tracing::info!(%container, from = %link.from, "a session is open");
    assign::look(&slot, &context.deps.consensus.state());
    let told = Told::new(context.deps.consensus.clone(), container, hello.boot);
    let session = Session {
        context,
        link,
        slot: slot.clone(),
        told,
    };
    let end = session.run(hello).await;
    context.table.remove(&slot);
    tracing::info!(%container, "a session is over");
    end
}

fn connect(container: ContainerId, link: &Link, hello: &Hello) -> Command {
    Command::Container(ContainerCommand::Connect {
        id: container,
        boot: hello.boot,
        address: link.from.to_string(),
        engine_container: hello.engine_container.clone(),
        labels: hello.labels.clone(),
        capabilities: hello.capabilities.clone(),
        resources: hello.resources,
    })
}

fn welcome(context: &Context, container: ContainerId) -> FromManager {
    let managers = context.deps.consensus.status().managers.into_values();
    FromManager::Welcome {
        container,
        managers: managers
            .map(|manager| manager.info.session)
            .filter(|address| !address.is_empty())
            .collect(),
        fence_after_ms: u64::try_from(context.deps.fence_after.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Proposes something that may be proposed twice, a few times.
async fn propose(context: &Context, command: &Command) -> Result<Reply, ProposeError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match context.deps.consensus.propose(None, command.clone()).await {
            Err(ProposeError::Stopping) => return Err(ProposeError::Stopping),
            Err(error) if tries >= TRIES => return Err(error),
            Err(_) => sleep(PAUSE.mul_f64(rand::random::<f64>())).await,
            Ok(reply) => return Ok(reply),
        }
    }
}

struct Session<'a> {
    context: &'a Arc<Context>,
    link: Link,
    slot: Arc<Slot>,
    told: Told,
}

/// What one turn of the loop led to.
enum Turn {
    On,
    /// The runner closed the connection, or said goodbye.
    Closed,
    /// To be ended from here, with these words if any.
    Refuse(Option<(String, bool)>),
}

impl Session<'_> {
    async fn run(mut self, hello: Hello) -> Result<(), LinkError> {
        if !self.told.take(hello.agents) {
            return Err(TOO_MANY);
        }
        let mut silent_at = Instant::now() + SILENCE;
        loop {
            let turn = tokio::select! {
                frame = self.link.reader.read() => {
                    silent_at = Instant::now() + SILENCE;
                    match frame? {
                        Some(frame) => self.hear(frame).await?,
                        None => Turn::Closed,
                    }
                }
                words = self.slot.take() => self.say(words).await?,
                rejection = self.told.bring() => Turn::Refuse(Some((rejection.to_string(), true))),
                () = sleep_until(silent_at) => return Err(LinkError::Silent(SILENCE)),
            };
            match turn {
                Turn::On => {}
                Turn::Closed | Turn::Refuse(None) => return self.link.close().await,
                Turn::Refuse(Some((reason, retry))) => return self.link.refuse(reason, retry).await,
            }
        }
    }

    async fn hear(&mut self, frame: FromRunner) -> Result<Turn, LinkError> {
        match frame {
            FromRunner::Heartbeat { seq, .. } => self.context.beats.record(&self.slot, seq),
            FromRunner::Report(report) => {
                if !self.told.take([report]) {
                    return Err(TOO_MANY);
                }
            }
            FromRunner::Renew { csr } => return self.renew(&csr).await,
            FromRunner::Goodbye => {
                let (id, boot) = (self.slot.container, self.slot.boot);
                let leave = Command::Container(ContainerCommand::Leave { id, boot });
                if let Err(error) = propose(self.context, &leave).await {
                    tracing::warn!(container = %id, %error, "a goodbye was not taken; the container will count as lost");
                }
                return Ok(Turn::Closed);
            }
            FromRunner::Enroll { .. } | FromRunner::JoinManager { .. } | FromRunner::Hello { .. } => {
                return Err(LinkError::Misplaced("a first frame in the middle of a session"));
            }
        }
        Ok(Turn::On)
    }

    async fn renew(&mut self, csr: &str) -> Result<Turn, LinkError> {
        let container = self.slot.container;
        match self.context.deps.ca.sign_runner(csr, &container.to_string()) {
            Ok(chain) => {
                self.link
                    .send(&FromManager::Certificate { container, chain })
                    .await?;
                Ok(Turn::On)
            }
            Err(error) => Ok(Turn::Refuse(Some((error.to_string(), true)))),
        }
    }

    async fn say(&mut self, words: Words) -> Result<Turn, LinkError> {
        if let Some(over) = words.over {
            return Ok(Turn::Refuse(match over {
                Over::Replaced => None,
                Over::Removed => Some((REMOVED.into(), false)),
                Over::Lost(why) => Some((format!("this container was given up: {why}"), true)),
                Over::Stopping => Some(("this manager is stopping".into(), true)),
            }));
        }
        if let Some((revision, agents)) = words.list {
            self.link
                .writer
                .push(&FromManager::Desired { revision, agents })?;
        }
        if let Some(seq) = words.counted {
            self.link.writer.push(&FromManager::HeartbeatAck { seq })?;
        }
        self.link.flush().await?;
        Ok(Turn::On)
    }
}
