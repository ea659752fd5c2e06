//! `quorate cluster`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Context, Failure,
    container::condition,
    join_token,
    output::{Output, Row, age, or_dash},
    topology,
};
use crate::{
    client::types::{BreakerView, CacheView, Check, ClusterStatus, ManagerView},
    model::{ManagerId, Revision},
    security::{
        Bundle, CA_CERT_FILE, SecurityError,
        files::{self, Access},
    },
};

/// What can be done with the cluster.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The cluster as one manager sees it; works without a quorum
    Status,
    /// Whether all is well, check by check; exits with 1 if not
    Health,
    /// The managers
    Managers,
    /// Draws what there is and who reaches whom, with measured round trips
    Topology,
    /// Hands leadership to another manager
    Transfer {
        /// Its id; the one furthest ahead when left out
        #[arg(long)]
        to: Option<ManagerId>,
    },
    /// Removes a manager for ever; refused when that would cost the quorum
    RemoveManager {
        /// Its id
        id: ManagerId,
    },
    /// Whether silence means anything just now, or too many containers are silent at once
    Breaker {
        /// Only with it the breaker is changed
        #[command(subcommand)]
        verb: Option<BreakerVerb>,
    },
    /// Makes the bundle that a new cluster starts from: its CA and first tokens
    Init(Init),
    /// Join tokens, which let runners and managers in
    #[command(subcommand)]
    JoinToken(join_token::Verb),
}

/// What can be done with the breaker.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum BreakerVerb {
    /// Says that those who are silent are gone: they are judged as usual, and their agents move
    Lift {
        /// Only if the breaker is at this version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<Revision>,
    },
}

/// The bundle to make.
#[derive(Debug, Args)]
pub struct Init {
    /// Where to; must not hold a bundle yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Leaves a bundle that is there already as it is
    #[arg(long)]
    keep: bool,
    /// Also writes the runners' join token to this file, for machines that must not have the rest
    #[arg(long, value_name = "FILE")]
    join_token_to: Option<PathBuf>,
}

impl Row for ManagerView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["ID", "API", "VOTER", "HEALTHY", "APPLIED"];
        if wide {
            head.extend(["PEER", "SESSION"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut cells = vec![
            self.id.to_string(),
            self.api.clone(),
            yes(self.voter),
            yes(self.healthy),
            or_dash(self.applied),
        ];
        if wide {
            cells.extend([self.peer.clone(), self.session.clone()]);
        }
        cells
    }
}

impl Row for BreakerView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["BREAKER", "SUSPECT", "SINCE", "REASON"];
        if wide {
            head.extend(["SILENT", "FLEET", "VERSION", "SETTLED"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let silence = self.silence.as_ref();
        let mut cells = vec![
            if self.open { "open" } else { "closed" }.to_owned(),
            self.suspect.to_string(),
            or_dash(silence.map(|silence| age(silence.opened_at))),
            or_dash(silence.map(|silence| &silence.reason)),
        ];
        if wide {
            cells.extend([
                or_dash(silence.map(|silence| silence.silent)),
                or_dash(silence.map(|silence| silence.fleet)),
                self.version.to_string(),
                self.settled.to_string(),
            ]);
        }
        cells
    }
}

impl Row for Check {
    fn head(_: bool) -> Vec<&'static str> {
        vec!["CHECK", "HEALTHY", "DETAIL"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![self.name.clone(), yes(self.healthy), self.detail.clone()]
    }
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Status => status(&client.cluster_status().await?, output),
        Verb::Health => {
            let health = client.cluster_health().await?;
            output.rows(&health.checks, &health)?;
            if health.healthy {
                return Ok(());
            }
            Err(Failure::local(
                "the cluster is not healthy",
                "see the checks that say `no`",
            ))
        }
        Verb::Managers => output.list(&client.managers().await?),
        Verb::Topology => topology::show(&client.topology().await?, output),
        Verb::Transfer { to } => {
            let changed = client.transfer_leadership(to).await?;
            output.changed("leadership was handed over", &changed)
        }
        Verb::RemoveManager { id } => {
            let changed = client.remove_manager(id).await?;
            output.changed(&format!("manager {id} was removed for ever"), &changed)
        }
        Verb::Breaker { verb: None } => output.one(&client.breaker().await?),
        Verb::Breaker {
            verb: Some(BreakerVerb::Lift { if_version }),
        } => {
            let changed = client.lift_breaker(condition(if_version)).await?;
            output.changed("the breaker is lifted: those who are silent are judged", &changed)
        }
        Verb::JoinToken(verb) => join_token::run(context, verb).await,
        Verb::Init(asked) => init(&asked, output),
    }
}

fn status(status: &ClusterStatus, output: &Output) -> Result<(), Failure> {
    if output.is_table() {
        let head = format!(
            "cluster {}, leader {}, term {}, revision {} (as manager {} sees it)\n\n",
            or_dash(status.cluster_id.as_ref()),
            or_dash(status.leader),
            status.term,
            status.revision,
            status.answered_by,
        );
        super::output::print(head.as_bytes())?;
        if let Some(open) = &status.breaker {
            let line = format!(
                "the breaker is open for {}: {}; see `quorate cluster breaker`\n\n",
                age(open.opened_at),
                open.reason
            );
            super::output::print(line.as_bytes())?;
        }
        if let Some(cache) = &status.cache {
            super::output::print(cache_line(cache).as_bytes())?;
        }
    }
    output.rows(&status.managers, status)
}

/// Redis in a sentence.
fn cache_line(cache: &CacheView) -> String {
    let reads = if cache.connected {
        "answers"
    } else {
        "does not answer"
    };
    let shows = cache
        .revision
        .map_or(String::new(), |revision| format!(", shows revision {revision}"));
    let why = if cache.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", cache.detail)
    };
    format!("Redis {reads}{shows}; projection {}{why}\n\n", cache.projection)
}

#[derive(Serialize)]
struct Made<'a> {
    dir: &'a Path,
    ca: String,
}

/// Makes a bundle. Needs no cluster.
pub(super) fn init(asked: &Init, output: &Output) -> Result<(), Failure> {
    let out = &asked.out;
    let failed = |error: SecurityError| {
        let mut what = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            what = format!("{what}: {error}");
            cause = error.source();
        }
        Failure::local(what, "give other paths, or look at their permissions")
    };
    // The certificate is written last: with it, a bundle is whole.
    let bundle = if asked.keep && out.join(CA_CERT_FILE).exists() {
        Bundle::load(out)
    } else {
        Bundle::create(out)
    };
    let bundle = bundle.map_err(failed)?;
    if let Some(file) = &asked.join_token_to {
        let token = format!("{}\n", bundle.join);
        files::write(file, token.as_bytes(), Access::Secret).map_err(failed)?;
    }
    let dir = out.display();
    let sentence = format!(
        "A new cluster's bundle is in {dir}.\n\
         \n\
         1. Copy the directory to each first manager, and name it in `[bootstrap] dir` of its configuration.\n\
         2. Start them: `quorate manager --config manager.toml`.\n\
         3. Give runners `join.token`, and keep `admin.token` and `ca.key` to yourself.\n\
         \n\
         CA fingerprint (SHA-256): {}",
        bundle.ca.fingerprint()
    );
    let made = Made {
        dir: out,
        ca: bundle.ca.fingerprint().to_string(),
    };
    output.said(&sentence, &made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    #[test]
    fn a_bundle_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("bundle");
        let output = Output::new(Format::Json);
        let mut asked = Init {
            out: out.clone(),
            keep: false,
            join_token_to: None,
        };
        init(&asked, &output).unwrap();
        assert!(out.join("ca.pem").exists() && out.join("admin.token").exists());
        assert_eq!(init(&asked, &output).unwrap_err().exit_code(), 1);
        asked.keep = true;
        asked.join_token_to = Some(dir.path().join("token"));
        init(&asked, &output).unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(dir.path().join("token")), read(out.join("join.token")));
    }
}
