//! `quorate discovery`.

use std::{io::IsTerminal, time::Duration};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    Context, Failure,
    output::{Row, age, all_pages, or_dash, word},
};
use crate::{
    client::{
        Client, Page,
        types::{ContainerView, DiscoveryView, FindingView, List, ScanRequest, ScanView},
    },
    model::{Cidr, ContainerState, ScanId},
};

/// Between two looks at a scan that is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// What can be done about containers that are not known yet.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Looks for runners on networks, and waits until it has looked everywhere
    Scan(Scan),
    /// The scans that wait and run and the latest that are over, and what they met
    Status,
    /// Ends a scan at once; what it has met stays
    Cancel {
        /// Its id, `s-…`
        id: ScanId,
    },
    /// The containers that were found and wait for `quorate container approve`
    Candidates,
}

/// What to look at.
#[derive(Debug, Args)]
pub struct Scan {
    /// Networks, such as 10.1.0.0/24 or fd00::/120; at most 65536 addresses together
    #[arg(required = true, value_name = "CIDR")]
    cidrs: Vec<Cidr>,
    /// A port of each address; repeat it, or join them by commas; 7997 and 2375 when left out
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
    ports: Vec<u16>,
    /// Only asks for the scan, and prints its id
    #[arg(long)]
    no_wait: bool,
}

impl Row for ScanView {
    fn head(wide: bool) -> Vec<&'static str> {
        let mut head = vec![
            "SCAN",
            "STATE",
            "DONE",
            "PROVEN",
            "CANDIDATES",
            "FINDINGS",
            "AGE",
            "NETWORKS",
        ];
        if wide {
            head.extend(["PORTS", "SCHEDULED", "REASON"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let joined = |texts: Vec<String>| texts.join(",");
        let mut cells = vec![
            self.id.to_string(),
            word(&self.state),
            format!("{}/{}", self.done, self.total),
            self.proven.to_string(),
            self.candidates.to_string(),
            self.findings.to_string(),
            age(self.asked_at),
            joined(self.cidrs.iter().map(ToString::to_string).collect()),
        ];
        if wide {
            cells.extend([
                joined(self.ports.iter().map(ToString::to_string).collect()),
                self.scheduled.to_string(),
                self.reason.clone(),
            ]);
        }
        cells
    }
}

impl Row for FindingView {
    fn head(_: bool) -> Vec<&'static str> {
        vec!["ADDRESS", "FINDING", "DETAIL", "SEEN", "WHAT TO DO"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        vec![
            self.address.to_string(),
            word(&self.kind),
            self.detail.clone(),
            age(self.seen_at),
            self.advice.clone(),
        ]
    }
}

/// A container that waits for approval.
#[derive(Debug, serde::Serialize)]
#[serde(transparent)]
struct Candidate(ContainerView);

impl Row for Candidate {
    fn head(_: bool) -> Vec<&'static str> {
        vec!["NAME", "ADDRESS", "AGE", "FINGERPRINT", "REASON"]
    }

    fn cells(&self, _: bool) -> Vec<String> {
        let Candidate(found) = self;
        vec![
            found.name.to_string(),
            or_dash(found.address.as_ref()),
            age(found.registered_at),
            or_dash(found.fingerprint.as_ref()),
            found.reason.clone(),
        ]
    }
}

pub(super) async fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    match verb {
        Verb::Scan(asked) => scan(context, asked).await,
        Verb::Status => {
            let view = client.discovery().await?;
            output.rows(&view.scans, &view)?;
            findings(context, &view)
        }
        Verb::Cancel { id } => {
            let changed = client.cancel_scan(&id.to_string()).await?;
            output.changed(&format!("scan {id} was cancelled"), &changed)
        }
        Verb::Candidates => {
            let fetch = async |page: &Page| client.containers(page).await;
            let all = all_pages(Page::default(), fetch).await?;
            let candidates = all
                .items
                .into_iter()
                .filter(|c| c.state == ContainerState::Candidate);
            output.list(&List {
                items: candidates.map(Candidate).collect(),
                next: None,
                revision: all.revision,
            })
        }
    }
}

/// For people, below the scans; as data they are in the whole.
fn findings(context: &Context, view: &DiscoveryView) -> Result<(), Failure> {
    if !context.output.is_table() || view.findings.is_empty() {
        return Ok(());
    }
    super::output::print(b"\n")?;
    context.output.rows(&view.findings, view)
}

async fn scan(context: &Context, asked: Scan) -> Result<(), Failure> {
    let (client, output) = (&context.client, &context.output);
    let request = ScanRequest {
        cidrs: asked.cidrs,
        ports: (!asked.ports.is_empty()).then_some(asked.ports),
    };
    let begun = client.scan(&request).await?;
    if asked.no_wait {
        let sentence = format!("scan {} of {} places was asked for", begun.id, begun.total);
        return output.said(&sentence, &begun);
    }
    let bar = bar(begun.total);
    let ended = follow(client, begun.id, &bar).await;
    bar.finish_and_clear();
    let (scan, view) = ended?;
    output.one(&scan)?;
    findings(context, &view)?;
    if output.is_table() && scan.candidates > 0 {
        eprintln!(
            "`quorate discovery candidates` shows who waits for `quorate container approve`, and their keys"
        );
    }
    match scan.state {
        crate::model::ScanState::Done => Ok(()),
        _ => Err(Failure::local(
            format!("scan {} did not look everywhere: {}", scan.id, scan.reason),
            "what it found stays; scan again for the rest",
        )),
    }
}

/// On a terminal only, and not in the way of the answer.
fn bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // The template is a constant, which every use of this verb checks.
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} places, {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}

async fn follow(
    client: &Client,
    id: ScanId,
    bar: &ProgressBar,
) -> Result<(ScanView, DiscoveryView), Failure> {
    loop {
        let view = client.discovery().await?;
        let Some(scan) = view.scans.iter().find(|scan| scan.id == id).cloned() else {
            return Err(Failure::local(
                format!("scan {id} is no longer shown: others came after it"),
                "see `quorate discovery status`",
            ));
        };
        bar.set_position(scan.done);
        bar.set_message(format!(
            "{} proven, {} candidates, {} findings",
            scan.proven, scan.candidates, scan.findings
        ));
        if scan.state.is_over() {
            return Ok((scan, view));
        }
        tokio::time::sleep(LOOK).await;
    }
}
