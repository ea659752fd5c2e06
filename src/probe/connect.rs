//! Connections of a scan, and on whose side the trouble is when there is none.
//!
//! A place that does not answer is empty as far as a scan can tell. One that could not be dialled at all,
//! because this machine has no descriptor left or no way into that network, is not known: what was found
//! there once may still be there.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use nix::errno::Errno;
use tokio::{net::TcpStream, time::timeout};

use super::CONNECT;

/// Why there is no connection.
#[derive(Debug)]
pub enum Unconnected {
    /// Nobody answered in time.
    Silent,
    /// The other side, or the network before it, says no.
    Refused(io::Error),
    /// This machine could not even ask.
    Unasked(io::Error),
}

/// Connects within [`CONNECT`].
pub async fn connect(place: SocketAddr) -> Result<TcpStream, Unconnected> {
    let connected = timeout(CONNECT, TcpStream::connect(place)).await;
    connected
        .map_err(|_| Unconnected::Silent)?
        .map_err(|error| match is_ours(&error, place) {
            true => Unconnected::Unasked(error),
            false => Unconnected::Refused(error),
        })
}

fn is_ours(error: &io::Error, place: SocketAddr) -> bool {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(
            Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::ENETDOWN
            | Errno::EADDRNOTAVAIL
            | Errno::EAFNOSUPPORT
            | Errno::EPERM
            | Errno::EINVAL,
        ) => true,
        // A firewall over there says the same, of every port it keeps shut.
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES) => !has_way(place),
        _ => false,
    }
}

/// Whether this machine knows a way there. Sends nothing: a connected UDP socket is an entry in a table.
fn has_way(place: SocketAddr) -> bool {
    let any: IpAddr = match place {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    match UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(place)) {
        Ok(()) => true,
        // So it is with the broadcast address of a network that this machine is in: nobody can be there.
        Err(error) => error.raw_os_error().map(Errno::from_raw) == Some(Errno::EACCES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(errno: Errno, place: &str) -> bool {
        is_ours(
            &io::Error::from_raw_os_error(errno as i32),
            place.parse().unwrap(),
        )
    }

    #[test]
    fn no_descriptor_or_no_address_of_its_own_is_no_answer_of_the_other_side() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL, Errno::ENOBUFS] {
            assert!(ours(errno, "127.0.0.1:1"), "{errno}");
        }
        for errno in [Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::ETIMEDOUT] {
            assert!(!ours(errno, "127.0.0.1:1"), "{errno}");
        }
    }

    /// A firewall that rejects, and every network's broadcast address, would have made all scans incomplete.
    #[test]
    fn unreachable_is_ours_only_without_a_way_there() {
        for errno in [Errno::EHOSTUNREACH, Errno::ENETUNREACH] {
            assert!(!ours(errno, "127.0.0.1:1"), "{errno}");
            assert!(!ours(errno, "127.255.255.255:1"), "{errno}");
            // Of one link, and nobody says which.
            assert!(ours(errno, "[fe80::1]:1"), "{errno}");
        }
    }

    #[tokio::test]
    async fn who_is_not_there_was_asked_and_an_address_without_its_link_was_not() {
        for absent in ["127.0.0.1:1", "127.255.255.255:1"] {
            let refused = connect(absent.parse().unwrap()).await;
            assert!(matches!(refused, Err(Unconnected::Refused(_))), "{refused:?}");
        }
        let unasked = connect("[fe80::1]:1".parse().unwrap()).await;
        assert!(matches!(unasked, Err(Unconnected::Unasked(_))), "{unasked:?}");
    }
}
