//! What a machine must allow before so many sessions can be opened on it.

use std::fs;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files of this program, or of a manager, beside its sessions.
const OTHERS: u64 = 512;

/// From which ports outgoing connections are made: the first and the last.
const PORTS: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Raises the limit of open files of this process, and so of the managers it starts, to what `sessions` need.
///
/// # Errors
/// The limit cannot be raised so far, or there are too few ports; both say what to do.
pub fn make_room(sessions: usize) -> Result<()> {
    let sessions = sessions as u64;
    let needed = sessions + OTHERS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files is unknown")?;
    if hard < needed {
        // Root may; anybody else is told.
        if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, needed, needed) {
            bail!(
                "{sessions} sessions need {needed} open files in one process, the limit is {hard} and can't be raised \
                 ({error}): `ulimit -Hn {needed}` as root in this shell, or --sessions {} at most",
                hard.saturating_sub(OTHERS)
            );
        }
    } else if soft < hard {
        // Managers do the same: when two of them are dead the third holds every session.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).with_context(|| {
            format!("the limit of open files stays at {soft}, {sessions} sessions need {needed}")
        })?;
    }
    let Some(ports) = fs::read_to_string(PORTS).ok().and_then(|text| ports_in(&text)) else {
        return Ok(());
    };
    if ports < needed {
        bail!(
            "{sessions} sessions with one manager need as many ports, and {PORTS} allows {ports}: \
             `sysctl net.ipv4.ip_local_port_range='15000 60999'` as root, or fewer --sessions"
        );
    }
    Ok(())
}

/// How many ports the two figures stand for.
fn ports_in(range: &str) -> Option<u64> {
    let mut ends = range.split_ascii_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some((last + 1).saturating_sub(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_the_range_are_ports() {
        assert_eq!(ports_in("32768\t60999\n"), Some(28_232));
        assert_eq!(ports_in("7 7"), Some(1));
        assert_eq!(ports_in("7"), None);
    }
}
