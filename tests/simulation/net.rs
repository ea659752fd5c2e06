//! The simulated network: streams between managers.

use std::{cell::RefCell, io, net::IpAddr, time::Duration};

use futures::future::BoxFuture;
use quorate::{
    model::{ManagerId, PeerInfo},
    peers::{BoxedStream, Dial},
};
use tokio::time::sleep;
use turmoil::net::TcpStream;

/// Every manager listens here.
pub const PORT: u16 = 7000;

/// A manager's name in the network.
pub fn name(id: ManagerId) -> String {
    format!("m{id}")
}

/// Who has this address.
pub fn who(address: IpAddr) -> Option<ManagerId> {
    turmoil::reverse_lookup(address)?.strip_prefix('m')?.parse().ok()
}

/// Where a manager says it is reached.
pub fn info(id: ManagerId) -> PeerInfo {
    PeerInfo {
        peer: name(id),
        api: format!("api-{id}"),
        session: format!("session-{id}"),
    }
}

thread_local! {
    /// Who dialled whom, for the trace; a simulation has its thread to itself.
    static DIALLED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Dials within one tick that only a loop without a pause can make.
pub const TOO_OFTEN: usize = 200;

/// The least a refusal takes.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// What was dialled since the last call.
pub fn dialled() -> Vec<String> {
    DIALLED.with(RefCell::take)
}

/// One manager's way through the simulated network.
#[derive(Debug)]
pub struct SimDial(pub ManagerId);

impl Dial for SimDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<BoxedStream>> {
        let line = format!("m{} dials {address}", self.0);
        let often = DIALLED.with(|lines| {
            lines.borrow_mut().push(line);
            lines.borrow().len() > TOO_OFTEN
        });
        Box::pin(async move {
            if often {
                // Lets the tick end, so that the harness sees it.
                sleep(Duration::from_secs(1)).await;
            }
            match TcpStream::connect((address, PORT)).await {
                Ok(stream) => Ok(Box::new(stream) as BoxedStream),
                Err(error) => {
                    // The simulation refuses at once, which no network can.
                    sleep(ROUND_TRIP).await;
                    Err(error)
                }
            }
        })
    }
}
