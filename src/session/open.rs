//! From a runner's hello to its open session.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::server::TlsStream;

use super::{
    Core, Refusal,
    accept::{complain, farewell},
    admit, assessed, desired,
    reporter::{self, bounded},
    roster::Handle,
    serve::{Session, Terms},
};
use crate::{
    command::{AgentCommand, Command, ContainerCommand, Principal, Rejection, Reply},
    model::{ContainerId, Name, Revision, session::Hello},
    security::PeerIdentity,
};

/// For all of it. A runner waits a little longer.
const OPENING: Duration = Duration::from_secs(5);

/// Between attempts to propose.
const PAUSE: Duration = Duration::from_millis(100);

/// Opens the session and serves it to its end.
pub(super) async fn serve(
    core: &Arc<Core>,
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    identity: PeerIdentity,
    id: ContainerId,
    (version, hello): (u16, Hello),
) {
    let (name, boot) = (hello.name.clone(), hello.boot);
    let deadline = Instant::now() + OPENING;
    let opening = async {
        let late = |_| Refusal::for_now("the managers did not confirm the session in time");
        timeout_at(deadline, open(core, id, address, hello, deadline))
            .await
            .unwrap_or_else(|elapsed| Err(late(elapsed)))
    };
    let opened = match core.shutdown.run_until_cancelled(opening).await {
        Some(Ok(opened)) => opened,
        Some(Err(refusal)) => {
            complain(core, address, &refusal.reason);
            return farewell(stream, &refusal.into()).await;
        }
        None => return farewell(stream, &super::serve::stopping().into()).await,
    };
    tracing::info!(container = %id, %name, %address, "a session is open");
    let handle = Arc::new(Handle::new(id, boot));
    // Before the state is read for the first list: from here on no change is missed.
    let place = core.roster.enter(handle.clone());
    let terms = Terms {
        opened,
        from: address.ip(),
        not_after: identity.not_after,
        version,
    };
    let sampled = core.samples.open(id, known_as(core, id, &name));
    let end = Session::new(core, handle, terms, stream).run().await;
    drop((place, sampled));
    tracing::info!(container = %id, %name, %address, "a session is over: {end}");
}

/// What the cluster calls the container: its runner may have been given another name since it joined.
fn known_as(core: &Core, id: ContainerId, told: &Name) -> Name {
    let state = core.consensus.objects();
    state
        .container(id)
        .map_or_else(|| told.clone(), |known| known.name.clone())
}

/// Makes the session known to the cluster: the revision at which this manager's state knows it.
async fn open(
    core: &Core,
    id: ContainerId,
    address: SocketAddr,
    hello: Hello,
    deadline: Instant,
) -> Result<Revision, Refusal> {
    let boot = hello.boot;
    let connect = Command::Container(ContainerCommand::Connect {
        id,
        boot,
        manager: core.consensus.id(),
        address: address.to_string(),
        engine_container: hello.engine_container,
        labels: hello.labels,
        capabilities: hello.capabilities,
        resources: assessed::possible(id, hello.resources),
    });
    let by = Principal::Runner {
        container: id,
        from: address.ip(),
    };
    let reply = propose(core, &by, &connect).await;
    let opened = reply.revision;
    reply.result.map_err(|rejection| match rejection {
        Rejection::NotFound { .. } => desired::removed(id),
        Rejection::Refused(why) => Refusal::for_good(why),
        other => Refusal::for_now(other.to_string()),
    })?;
    let mut known = opened;
    if let Some(found) = hello.assessment {
        let found = assessed::within_bounds(id, found, &mut false);
        if assessed::is_news(&core.consensus.objects(), id, boot, &found) {
            known = told(core, &by, &assessed::command(id, boot, found)).await?;
        }
    }
    for reports in hello.placements.chunks(reporter::BATCH) {
        let report = Command::Agent(AgentCommand::Report {
            container: id,
            boot,
            reports: reports.iter().cloned().map(bounded).collect(),
        });
        known = told(core, &by, &report).await?;
    }
    let state = core.consensus.at_least(known, deadline).await;
    let state = state.map_err(|error| Refusal::for_now(error.to_string()))?;
    desired::standing(&state, id, boot, opened)?;
    Ok(opened)
}

/// Proposes what the runner tells besides, and gives the revision.
async fn told(core: &Core, by: &Principal, command: &Command) -> Result<Revision, Refusal> {
    let reply = propose(core, by, command).await;
    let refused = |rejection: Rejection| Refusal::for_now(rejection.to_string());
    reply.result.map_err(refused).map(|_| reply.revision)
}

/// Proposes until there is an answer; the caller sets the bound. Only for commands that may be repeated.
pub(super) async fn propose(core: &Core, by: &Principal, command: &Command) -> Reply {
    loop {
        match core.consensus.propose(by.clone(), None, command.clone()).await {
            Ok(reply) => return reply,
            Err(error) => {
                let _ = admit::unanswered(&error);
                sleep(PAUSE).await;
            }
        }
    }
}
