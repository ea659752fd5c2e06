//! Whose connection it is: the kernel's table has the socket at its other end, and that is open in a process.
//!
//! Processes of the same user can be looked at, so no rights are needed. Clients are in this process.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddrV4;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::net::End;

/// How long an owner is looked for: one that has just been started is not known yet.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(20);

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

#[derive(Debug, PartialEq, Eq)]
enum Looked {
    Found(End),
    /// The process has closed it, or has ended.
    Gone,
    Nobody,
}

/// Who holds the socket `peer` that is connected to `own`; none when nobody does, or nobody we know.
pub async fn find(peer: SocketAddrV4, own: SocketAddrV4, tenants: &Tenants) -> Option<End> {
    let deadline = Instant::now() + FOUND_WITHIN;
    loop {
        let known = tenants.all();
        let looked = spawn_blocking(move || look(peer, own, &known)).await;
        match looked {
            Ok(Looked::Found(end)) => return Some(end),
            Ok(Looked::Nobody) if Instant::now() < deadline => sleep(AGAIN).await,
            _ => return None,
        }
    }
}

fn look(peer: SocketAddrV4, own: SocketAddrV4, tenants: &BTreeMap<u64, i32>) -> Looked {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    match inode(&table, peer, own) {
        // The table is not read at one moment: what is not in it may be there all the same.
        None => Looked::Nobody,
        Some(0) => Looked::Gone,
        Some(inode) if holds("self", inode) => Looked::Found(End::Clients),
        Some(inode) => tenants
            .iter()
            .find(|(_, pid)| holds(&pid.to_string(), inode))
            .map_or(Looked::Nobody, |(seat, _)| Looked::Found(End::Seat(*seat))),
    }
}

/// The number of the socket at `local` that is connected to `remote`, in the kernel's table of connections. The columns
/// are number, local address, remote address, state, queues, timer, retransmits, user, time-out, inode.
fn inode(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u64> {
    let (local, remote) = (shown(local), shown(remote));
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let ours = columns.next()? == local && columns.next()? == remote;
        ours.then(|| columns.nth(6)?.parse().ok()).flatten()
    })
}

/// An address as the kernel's table has it: its bytes as a number of this machine, in hexadecimal.
fn shown(address: SocketAddrV4) -> String {
    let number = u32::from_ne_bytes(address.ip().octets());
    format!("{number:08X}:{:04X}", address.port())
}

/// Whether a process has this socket open.
fn holds(process: &str, inode: u64) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    let name = format!("socket:[{inode}]");
    files
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == name.as_str()))
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
        let found = |to| inode(table, at("127.0.0.1:40000"), at(to));
        assert_eq!(found("127.64.1.11:7400"), Some(73));
        assert_eq!(found("127.64.1.12:7400"), Some(72));
        assert_eq!(found("127.64.1.13:7400"), None);
    }
}
