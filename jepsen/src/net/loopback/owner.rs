//! Whose connection it is: the kernel's table has the socket at its other end, and that is open in a process.
//!
//! Processes of the same user can be looked at, so no rights are needed. Clients are in this process. A look takes the
//! kernel milliseconds, so one answers for all connections that wait for it, and looks do not follow each other at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::net::End;

/// How long an owner is looked for: one that has just been started is not known yet.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The process in each seat.
#[derive(Debug, Default)]
pub struct Tenants(Mutex<BTreeMap<u64, i32>>);

impl Tenants {
    pub fn moved_in(&self, seat: u64, pid: i32) {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.insert(seat, pid);
    }

    fn all(&self) -> BTreeMap<u64, i32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A connection, as its other end has it: its own address first.
type Pair = (SocketAddrV4, SocketAddrV4);

/// Somebody who wants to know whose a connection is.
#[derive(Debug)]
pub struct Question {
    pair: Pair,
    until: Instant,
    answer: oneshot::Sender<Option<End>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    Found(End),
    /// The process has closed it, or has ended.
    Gone,
    Nobody,
}

/// Who holds the socket `peer` that is connected to `own`; none when nobody does, or nobody we know.
pub async fn find(
    peer: SocketAddrV4,
    own: SocketAddrV4,
    desk: &mpsc::UnboundedSender<Question>,
) -> Option<End> {
    let (answer, told) = oneshot::channel();
    let question = Question {
        pair: (peer, own),
        until: Instant::now() + FOUND_WITHIN,
        answer,
    };
    desk.send(question).ok()?;
    told.await.ok().flatten()
}

/// Answers questions until nobody can ask any more.
pub async fn answer(mut asked: mpsc::UnboundedReceiver<Question>, tenants: Arc<Tenants>) {
    let mut open: Vec<Question> = Vec::new();
    loop {
        if open.is_empty() {
            let Some(question) = asked.recv().await else {
                return;
            };
            open.push(question);
        }
        while let Ok(question) = asked.try_recv() {
            open.push(question);
        }
        let (pairs, known) = (open.iter().map(|one| one.pair).collect::<Vec<_>>(), tenants.all());
        let looked = spawn_blocking(move || look(&pairs, &known)).await;
        let looked = looked.unwrap_or_else(|_| vec![Looked::Nobody; open.len()]);
        let now = Instant::now();
        for (question, looked) in std::mem::take(&mut open).into_iter().zip(looked) {
            let end = match looked {
                Looked::Found(end) => Some(end),
                Looked::Nobody if now < question.until => {
                    open.push(question);
                    continue;
                }
                Looked::Nobody | Looked::Gone => None,
            };
            // Who asked may be gone.
            let _ = question.answer.send(end);
        }
        sleep(PAUSE).await;
    }
}

fn look(pairs: &[Pair], tenants: &BTreeMap<u64, i32>) -> Vec<Looked> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let inodes = inodes(&table, pairs);
    let ours = sockets("self");
    let theirs: Vec<_> = tenants
        .iter()
        .map(|(seat, pid)| (*seat, sockets(&pid.to_string())))
        .collect();
    let whose = |pair: &Pair| match inodes.get(pair) {
        // The table is not read at one moment: what is not in it may be there all the same.
        None => Looked::Nobody,
        Some(0) => Looked::Gone,
        Some(inode) if ours.contains(inode) => Looked::Found(End::Clients),
        Some(inode) => theirs
            .iter()
            .find(|(_, sockets)| sockets.contains(inode))
            .map_or(Looked::Nobody, |(seat, _)| Looked::Found(End::Seat(*seat))),
    };
    pairs.iter().map(whose).collect()
}

/// The number of the socket at this end of each connection, in the kernel's table of them. The columns are number, local
/// address, remote address, state, queues, timer, retransmits, user, time-out, inode.
fn inodes(table: &str, pairs: &[Pair]) -> BTreeMap<Pair, u64> {
    let wanted: BTreeMap<(String, String), Pair> = pairs
        .iter()
        .map(|pair| ((shown(pair.0), shown(pair.1)), *pair))
        .collect();
    let found = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let ends = (columns.next()?.to_owned(), columns.next()?.to_owned());
        let pair = wanted.get(&ends)?;
        Some((*pair, columns.nth(6)?.parse().ok()?))
    };
    table.lines().filter_map(found).collect()
}

/// An address as the kernel's table has it: its bytes as a number of this machine, in hexadecimal.
fn shown(address: SocketAddrV4) -> String {
    let number = u32::from_ne_bytes(address.ip().octets());
    format!("{number:08X}:{:04X}", address.port())
}

/// The numbers of the sockets that a process has open.
fn sockets(process: &str) -> BTreeSet<u64> {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return BTreeSet::new();
    };
    let number = |file: fs::DirEntry| {
        let to = fs::read_link(file.path()).ok()?;
        let number = to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        number.parse().ok()
    };
    files.flatten().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_socket_is_found_by_both_its_ends() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B01407F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 71 1 0000000000000000 100 0 0 10 0
   1: 0100007F:9C40 0C01407F:1CE8 01 00000000:00000000 00:00000000 00000000     0        0 72 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:9C40 0B01407F:1CE8 01 00000000:00000000 00:00000000 00000000     0        0 73 1 0000000000000000 20 4 30 10 -1
";
        let at = |text: &str| text.parse::<SocketAddrV4>().unwrap();
        let pair = |to| (at("127.0.0.1:40000"), at(to));
        let (one, two, none) = (
            pair("127.64.1.11:7400"),
            pair("127.64.1.12:7400"),
            pair("127.64.1.13:7400"),
        );
        assert_eq!(inodes(table, &[one, two, none]), [(one, 73), (two, 72)].into());
    }
}
