//! Many seeds, side by side, or one.

use std::{
    env, fs,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use crate::{child::run, plant::Plant, run::Report};

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

/// Milliseconds of trouble in a run, each a tick.
pub fn ticks() -> u64 {
    number("TICKS").unwrap_or(10_000)
}

fn keep_trace(report: &Report) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/simulation-traces");
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join(format!("{}.trace", report.seed));
    fs::write(&path, &report.trace).unwrap();
    path
}

/// Runs seeds from `FROM` (1) on, `SEEDS` (200) of them; or `SEED` alone.
#[test]
fn seeds() {
    let (from, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (number("FROM").unwrap_or(1), number("SEEDS").unwrap_or(200)),
    };
    let (began, ticks, next) = (Instant::now(), ticks(), AtomicU64::new(from));
    let reports = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    thread::scope(|scope| {
        for _ in 0..workers.min(count) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let mut report = run(seed, ticks, Plant::None);
                    if let Err(why) = &report.verdict {
                        println!("seed {seed}: {why}\n  trace: {}", keep_trace(&report).display());
                    } else if count == 1 {
                        println!("trace: {}", keep_trace(&report).display());
                    }
                    report.trace.clear();
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort_by_key(|report| report.seed);
    sum_up(&reports, began);
    let failed: Vec<_> = reports
        .iter()
        .filter(|r| r.verdict.is_err())
        .map(|r| r.seed)
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {count} seeds failed: {failed:?}",
        failed.len()
    );
    if count >= 100 {
        everything_happened(&reports);
    }
}

fn sum(reports: &[Report], of: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(of).sum()
}

fn sum_up(reports: &[Report], began: Instant) {
    let all = |of: fn(&Report) -> u64| sum(reports, of);
    println!(
        "{} seeds, {} ticks in {:.1} s",
        reports.len(),
        all(|r| r.ticks),
        began.elapsed().as_secs_f64()
    );
    println!(
        "answers: {} writes ({} refused by a condition, {} repeated), {} reads, {} failed, {} unknown",
        all(|r| r.counts.written),
        all(|r| r.counts.refused),
        all(|r| r.counts.replayed),
        all(|r| r.counts.read),
        all(|r| r.counts.failed),
        all(|r| r.counts.unknown)
    );
    println!(
        "troubles: {} kills, {} power cuts, {} storage deaths ({} changes lost), {} partitions, {} one-way, {} slow links, {} slow disks",
        all(|r| r.happened.kills),
        all(|r| r.happened.power_cuts),
        all(|r| r.happened.storage_deaths),
        all(|r| r.happened.lost_changes),
        all(|r| r.happened.partitions),
        all(|r| r.happened.one_way),
        all(|r| r.happened.slow_links),
        all(|r| r.happened.slow_disks)
    );
    println!(
        "managers: {} leaders, {} transfers, {} joins, {} removals, {} wiped; {} states compared byte by byte",
        all(|r| r.happened.leaders),
        all(|r| r.happened.transfers),
        all(|r| r.happened.joins),
        all(|r| r.happened.removals),
        all(|r| r.happened.wipes),
        all(|r| r.happened.full_checks)
    );
    let slowest = reports.iter().max_by_key(|r| r.recovered);
    if let Some(slowest) = slowest {
        println!(
            "slowest recovery: {} ms, seed {}",
            slowest.recovered, slowest.seed
        );
    }
}

type Count = fn(&Report) -> u64;

/// Over many seeds each kind of trouble must have come, and have had an effect.
fn everything_happened(reports: &[Report]) {
    let counted: [(&str, Count); 14] = [
        ("kills", |r| r.happened.kills),
        ("power cuts", |r| r.happened.power_cuts),
        ("storage deaths", |r| r.happened.storage_deaths),
        ("lost changes", |r| r.happened.lost_changes),
        ("partitions", |r| r.happened.partitions),
        ("one-way partitions", |r| r.happened.one_way),
        ("slow links", |r| r.happened.slow_links),
        ("slow disks", |r| r.happened.slow_disks),
        ("joins", |r| r.happened.joins),
        ("removals", |r| r.happened.removals),
        ("wipes", |r| r.happened.wipes),
        ("unknown outcomes", |r| r.counts.unknown),
        ("repeated answers", |r| r.counts.replayed),
        ("second leaders", |r| r.happened.leaders.saturating_sub(1)),
    ];
    for (what, of) in counted {
        assert!(
            sum(reports, of) > 0,
            "in {} seeds there were no {what}",
            reports.len()
        );
    }
}
