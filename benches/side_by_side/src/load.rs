//! The closed loop: so many clients spread over all members, each with one operation under way at a time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::cluster::{Client, Cluster, MEMBERS, Target};
use crate::machine;
use crate::options::{Level, Operation};
use crate::workload::{KEYS, KeySequence};

/// How long a client that failed waits before its next try, so that an error costs the others little.
const AFTER_ERROR: Duration = Duration::from_millis(5);
/// How long operations under way may take once the measured window is over.
const LAST_ANSWERS: Duration = Duration::from_secs(30);
/// Clients that write every key once before anything is measured.
const FILLERS: usize = 64;

/// What one level did in one round.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Acknowledged operations a second.
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
    /// Operations that failed, and what the first of them said.
    pub errors: u64,
    pub first_error: Option<String>,
    /// Cores kept busy by the three members together, and by this program.
    pub member_cores: f64,
    pub client_cores: f64,
}

/// The part of a level that counts.
#[derive(Debug, Clone, Copy)]
struct Window {
    begin: Instant,
    end: Instant,
}

/// What one client saw inside the window.
#[derive(Debug, Default)]
struct Tally {
    /// Latency of each acknowledged operation, in microseconds.
    latencies: Vec<u32>,
    errors: u64,
    first_error: Option<String>,
}

/// Runs one level against `cluster`: `warmup`, then `measured`.
///
/// # Errors
/// A client cannot connect, or operations hang after the end.
pub async fn run<T: Target>(
    cluster: &Cluster<T>,
    level: Level,
    warmup: Duration,
    measured: Duration,
) -> Result<Figures> {
    let clients = spread(&cluster.target, level.clients).await?;
    let begin = Instant::now() + warmup;
    let window = Window {
        begin,
        end: begin + measured,
    };
    let mut running = JoinSet::new();
    for (number, members) in clients.into_iter().enumerate() {
        running.spawn(drive(members, KeySequence::new(number), level.operation, window));
    }
    let own = || machine::processor_time(Path::new("/proc/self/stat"));
    sleep_until(window.begin).await;
    let (members_before, own_before) = (cluster.processor_time(), own());
    sleep_until(window.end).await;
    let (members_after, own_after) = (cluster.processor_time(), own());
    let ended = timeout(LAST_ANSWERS, running.join_all()).await;
    let tallies = ended.with_context(|| format!("operations hang: {level} against {}", T::SYSTEM))?;

    let cores = |before: Duration, after: Duration| after.saturating_sub(before).div_duration_f64(measured);
    Ok(Figures {
        member_cores: cores(members_before, members_after),
        client_cores: cores(own_before, own_after),
        ..summed(tallies, measured)
    })
}

/// Writes every key once, so that reads find all of them; this also warms both systems up alike.
///
/// # Errors
/// A write fails.
pub async fn fill<T: Target>(cluster: &Cluster<T>) -> Result<()> {
    let mut running = JoinSet::new();
    for (number, mut members) in spread(&cluster.target, FILLERS).await?.into_iter().enumerate() {
        running.spawn(async move {
            let client = members.first_mut().context("a client without a member")?;
            for key in (number..KEYS).step_by(FILLERS) {
                client.put(key).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended
            .context("a client panicked")?
            .with_context(|| format!("{} could not be filled", T::SYSTEM))?;
    }
    Ok(())
}

/// Connects `count` clients, each to one member, all members alike. Fewer clients than members are connected to
/// every member and visit them in turn, so that no figure depends on which member happens to lead.
async fn spread<T: Target>(target: &T, count: usize) -> Result<Vec<Vec<T::Client>>> {
    let visits = if count < MEMBERS { MEMBERS } else { 1 };
    let connections = count * visits;
    let mut clients: Vec<Vec<T::Client>> = std::iter::repeat_with(|| Vec::with_capacity(visits))
        .take(count)
        .collect();
    for member in 0..MEMBERS {
        let share = connections / MEMBERS + usize::from(member < connections % MEMBERS);
        let connected = target.connect(member, share).await;
        let connected = connected.with_context(|| format!("{share} clients of member {}", member + 1))?;
        for (position, client) in connected.into_iter().enumerate() {
            clients[(position * MEMBERS + member) % count].push(client);
        }
    }
    Ok(clients)
}

async fn drive<C: Client>(
    mut members: Vec<C>,
    mut keys: KeySequence,
    operation: Operation,
    window: Window,
) -> Tally {
    let mut tally = Tally::default();
    let mut next = 0;
    loop {
        let started = Instant::now();
        if started >= window.end || members.is_empty() {
            return tally;
        }
        let client = &mut members[next];
        let done = match operation {
            Operation::Put => client.put(keys.next()).await,
            Operation::Read => client.read(keys.next()).await,
        };
        let answered = Instant::now();
        next = (next + 1) % members.len();
        match done {
            Ok(()) if answered >= window.begin && answered <= window.end => {
                let micros = (answered - started).as_micros();
                tally.latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
            }
            Ok(()) => {}
            Err(error) => {
                tally.errors += 1;
                tally.first_error.get_or_insert_with(|| format!("{error:#}"));
                sleep(AFTER_ERROR).await;
            }
        }
    }
}

fn summed(tallies: Vec<Tally>, measured: Duration) -> Figures {
    let mut latencies = Vec::with_capacity(tallies.iter().map(|tally| tally.latencies.len()).sum());
    let mut figures = Figures::default();
    for tally in tallies {
        latencies.extend(tally.latencies);
        figures.errors += tally.errors;
        figures.first_error = figures.first_error.or(tally.first_error);
    }
    latencies.sort_unstable();
    let at = |share: f64| {
        let rank = (latencies.len() as f64 * share).ceil() as usize;
        let micros = latencies.get(rank.saturating_sub(1)).copied().unwrap_or(0);
        Duration::from_micros(micros.into())
    };
    Figures {
        per_second: latencies.len() as f64 / measured.as_secs_f64(),
        p50: at(0.50),
        p99: at(0.99),
        max: at(1.0),
        ..figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks_over_all_clients() {
        let tally = |from: u32, to: u32| Tally {
            latencies: (from..=to).collect(),
            ..Tally::default()
        };
        let figures = summed(vec![tally(51, 100), tally(1, 50)], Duration::from_secs(2));
        assert_eq!(figures.per_second, 50.0);
        assert_eq!(
            (
                figures.p50.as_micros(),
                figures.p99.as_micros(),
                figures.max.as_micros()
            ),
            (50, 99, 100)
        );
    }

    #[test]
    fn nothing_acknowledged_is_no_throughput() {
        let failed = Tally {
            errors: 3,
            first_error: Some("refused".to_owned()),
            ..Tally::default()
        };
        let figures = summed(vec![Tally::default(), failed], Duration::from_secs(1));
        assert_eq!((figures.per_second, figures.errors), (0.0, 3));
        assert_eq!(figures.first_error.as_deref(), Some("refused"));
    }
}
