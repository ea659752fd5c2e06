//! What stands before a manager's port: it takes connections, finds out whose they are, and carries what goes through
//! them there and back, each direction as its [`Way`] lets it.
//!
//! A direction that is cut is silent: bytes, the end of a stream and a broken connection are held and told later; a new
//! connection is accepted, because the kernel does that by itself, and then nothing comes of it until both directions
//! are mended. Which acknowledgements TCP sends below cannot be seen here, so a cut one way does not stop the other.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Ways;
use super::owner::{self, Question};
use super::way::Way;
use crate::net::End;

/// Bytes of a piece at most.
const PIECE: usize = 16 << 10;
/// Pieces that are held for a connection in a direction; what comes then waits with whoever sends it, as it does when
/// the window of a silent connection is full.
const HELD: usize = 64;

/// A port of a manager.
pub struct Door {
    pub seat: u64,
    /// Where others connect.
    pub front: SocketAddrV4,
    /// Where the manager listens.
    pub behind: SocketAddrV4,
    pub ways: Arc<Ways>,
    /// Where is known whose a connection is.
    pub desk: mpsc::UnboundedSender<Question>,
}

/// A part of a stream, and when it came.
struct Piece {
    since: Instant,
    what: What,
}

enum What {
    Bytes(Vec<u8>),
    End,
    Broken,
}

/// Serves a door until dropped.
pub async fn serve(listener: TcpListener, door: Arc<Door>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, SocketAddr::V4(peer))) => {
                    let door = Arc::clone(&door);
                    connections.spawn(async move { door.admit(stream, peer).await });
                }
                Ok(_) => {}
                // Too many files are open; some will be closed.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Door {
    async fn admit(&self, caller: TcpStream, peer: SocketAddrV4) {
        let here = End::Seat(self.seat);
        let owner = owner::find(peer, self.front, &self.desk).await;
        let ways = owner.and_then(|from| Some((self.ways.get(from, here)?, self.ways.get(here, from)?)));
        let Some((there, back)) = ways else {
            // A connection of nobody's would be a way around every cut.
            return refuse(&caller);
        };
        for way in [there, back] {
            way.came();
            way.pass(Instant::now(), 0).await;
        }
        if given_up(&caller) {
            return;
        }
        match TcpStream::connect(self.behind).await {
            Ok(called) => relay(caller, called, there, back).await,
            Err(_) => refuse(&caller),
        }
    }
}

/// Lets a connection break rather than end.
fn refuse(stream: &TcpStream) {
    // Where this fails the connection ends, which says as much.
    let _ = stream.set_zero_linger();
}

/// Whether who called has closed the connection meanwhile. A network would not connect them any more.
fn given_up(caller: &TcpStream) -> bool {
    let ready = caller.ready(Interest::READABLE).now_or_never();
    ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
}

async fn relay(mut caller: TcpStream, mut called: TcpStream, there: &Way, back: &Way) {
    // Waiting for more to send would be a delay that nobody asked for.
    let _ = caller.set_nodelay(true).and_then(|()| called.set_nodelay(true));
    let done = {
        let (from_caller, to_caller) = caller.split();
        let (from_called, to_called) = called.split();
        tokio::try_join!(
            carry(from_caller, to_called, there),
            carry(from_called, to_caller, back)
        )
    };
    if done.is_err() {
        refuse(&caller);
        refuse(&called);
    }
}

/// Carries one direction until it has ended.
///
/// # Errors
/// The connection broke, and the other end is to know.
async fn carry(from: ReadHalf<'_>, to: WriteHalf<'_>, way: &Way) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(HELD);
    let ((), given) = tokio::join!(take(from, sender, way), give(receiver, to, way));
    given
}

async fn take(mut from: ReadHalf<'_>, out: mpsc::Sender<Piece>, way: &Way) {
    let mut buffer = vec![0; PIECE];
    loop {
        let what = match from.read(&mut buffer).await {
            Ok(0) => What::End,
            Ok(length) => What::Bytes(buffer[..length].to_vec()),
            Err(_) => What::Broken,
        };
        way.came();
        let last = !matches!(what, What::Bytes(_));
        let since = Instant::now();
        if out.send(Piece { since, what }).await.is_err() || last {
            return;
        }
    }
}

async fn give(mut pieces: mpsc::Receiver<Piece>, mut to: WriteHalf<'_>, way: &Way) -> io::Result<()> {
    while let Some(Piece { since, what }) = pieces.recv().await {
        let length = match &what {
            What::Bytes(bytes) => bytes.len(),
            What::End | What::Broken => 0,
        };
        way.pass(since, length).await;
        let written = match what {
            What::Bytes(bytes) => to.write_all(&bytes).await,
            What::End => to.shutdown().await,
            What::Broken => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        if written.is_err() {
            // Who should have got it is gone, and the other direction tells.
            return Ok(());
        }
    }
    Ok(())
}
