//! From processes to a cluster that serves.

use std::{io, path::Path, time::Duration};

use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use super::place::Place;
use crate::client::{Client, ClientError, types::EngineRequest};

/// Where a Docker Engine listens unless it was told otherwise.
const DOCKER: &str = "/var/run/docker.sock";
const ENGINE: &str = "local";

/// Between two looks at a manager.
const LOOK: Duration = Duration::from_millis(20);

/// Between two words about what is waited for.
const SAY: Duration = Duration::from_secs(5);

/// Waits until every manager answers reads that a quorum confirms.
pub(super) async fn wait(place: &Place) -> io::Result<()> {
    let begin = Instant::now();
    eprintln!(
        "starting; managers: {}, runners: {}",
        place.managers(),
        place.runners()
    );
    for endpoint in place.endpoints() {
        let client = client(place, [endpoint.clone()], Duration::ZERO)?;
        let mut say = begin + SAY;
        while let Err(error) = client.get("/readyz").await {
            if Instant::now() > say {
                say += SAY;
                let log = place.root().display();
                eprintln!("still waiting for {endpoint}: {error} (see the logs in {log})");
            }
            sleep(LOOK).await;
        }
    }
    eprintln!("all managers serve, {:.1?} after the start", begin.elapsed());
    Ok(())
}

/// Adds this machine's Docker Engine, if there is one and it is not there yet. Without one, all but
/// Docker containers works.
pub(super) async fn add_local_engine(place: &Place) -> io::Result<()> {
    if UnixStream::connect(Path::new(DOCKER)).await.is_err() {
        return Ok(());
    }
    let client = client(place, place.endpoints(), Duration::from_secs(5))?;
    let request = serde_json::json!({ "name": ENGINE, "url": format!("unix://{DOCKER}") });
    let request: EngineRequest = serde_json::from_value(request)?;
    match client.add_engine(&request).await {
        Ok(_) => eprintln!("the Docker Engine of this machine is watched, as engine `{ENGINE}`"),
        Err(ClientError::Refused(problem)) if problem.code == "already_exists" => {}
        Err(error) => eprintln!("the Docker Engine of this machine could not be added: {error}"),
    }
    Ok(())
}

fn client(place: &Place, endpoints: impl IntoIterator<Item = String>, retry: Duration) -> io::Result<Client> {
    let (token, ca) = place.credentials()?;
    let builder = Client::builder().endpoints(endpoints).token(token).ca_pem(ca);
    builder.retry_for(retry).build().map_err(io::Error::other)
}
