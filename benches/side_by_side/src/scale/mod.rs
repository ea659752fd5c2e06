//! Three managers with runner sessions in great number.
//!
//! The managers are processes as anybody runs them. The runners are all of this one process, and nothing but their
//! sessions: each has joined by token, has a key and a certificate of its own, and speaks the real protocol over
//! mutual TLS, with the frames, the certificates and the pace of [`quorate`]'s own runner, from its library. What a
//! runner does besides, that is agents, files and looking at its container, costs managers nothing and is left out.
//!
//! | file | does |
//! |---|---|
//! | `options`, `limits` | flags; open files and ports, before anything is started |
//! | `stage`, `watch` | the managers; what their API, metrics, logs and `/proc` tell |
//! | `fleet`, `runner`, `session`, `meter` | the runners, one of them, its connection, the bytes of all connections |
//! | `steady`, `kill`, `silence` | the measures |
//! | `times`, `report`, `rows` | how long it took how many; the tables and the JSON file |

mod fleet;
mod kill;
mod limits;
mod meter;
mod options;
mod report;
mod rows;
mod runner;
mod session;
mod silence;
mod stage;
mod steady;
mod times;
mod watch;

use anyhow::Result;

pub use self::options::Options;
use self::{kill::Victim, options::Measure, report::Report, stage::Stage};
use crate::progress::Progress;

/// Measures everything that was chosen and prints the tables; where something fails, of what came before.
///
/// # Errors
/// A limit of the machine does not allow so many sessions, or the managers or the runners do not get to where they
/// have to be.
pub async fn run(options: &Options) -> Result<()> {
    limits::make_room(options.sessions)?;
    // A join and an attachment always; two steps for each kill.
    let kills = [Measure::Follower, Measure::Leader];
    let kills = kills.iter().filter(|kill| options.has(**kill));
    let steps = 2 + options.measures().count() + kills.count();
    let progress = Progress::new(steps as u64);
    progress.doing("three managers start".to_owned());
    let mut stage = Stage::start(options).await?;
    let mut report = Report::new(options, &stage)?;
    let measured = measure(&mut stage, &mut report, options, &progress).await;
    progress.finish();
    println!("{}", report.text());
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    measured?;
    stage.end().await
}

async fn measure(
    stage: &mut Stage,
    report: &mut Report,
    options: &Options,
    progress: &Progress,
) -> Result<()> {
    if options.has(Measure::Idle) {
        report.baseline = Some(steady::without_sessions(stage, options).await?);
    }
    report.joined = Some(stage.join(options, progress).await?);
    report.attached = Some(stage.attach(options, progress).await?);
    for measure in options.measures() {
        match measure {
            Measure::Idle => report.idle = Some(steady::with_sessions(stage, options, progress).await?),
            Measure::Follower | Measure::Leader => {
                let victim = if measure == Measure::Leader {
                    Victim::Leader
                } else {
                    Victim::Follower
                };
                report.kills.push(kill::run(stage, victim, progress).await?);
                report.reopened.push(stage.reopen(progress).await?);
            }
            Measure::Silence | Measure::Closed => {
                let silence = silence::run(stage, measure, options, progress).await?;
                report.silences.push(silence);
            }
        }
    }
    Ok(())
}
