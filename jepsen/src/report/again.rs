//! Judging a recorded run again.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Run, Summary, figures, write};
use crate::checker::{Verdict, judge};
use crate::history::History;

/// What verdicts begin with that are not made from the history, but from what was seen beside it.
const BESIDE: &str = "harness: ";

/// Reads a history, judges it, and tells what came of it. Where it stands beside the `results.json` of its run, the
/// report is made anew, and what was seen beside the history then is kept.
///
/// # Errors
/// It is no history, or the report can't be written.
pub fn again(path: &Path) -> Result<Summary> {
    let history = History::read(path)?;
    let mut verdicts = judge(&history);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let before = dir.join("results.json");
    if !before.is_file() {
        let run = Run {
            name: path.display().to_string(),
            ..Run::default()
        };
        return Ok(Summary::new(&run, &verdicts, &figures(&history)));
    }
    let text =
        std::fs::read_to_string(&before).with_context(|| format!("{} can't be read", before.display()))?;
    let results: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", before.display()))?;
    let run: Run = serde_json::from_value(results["run"].clone())
        .with_context(|| format!("{} does not say what the run was", before.display()))?;
    let known: Vec<Verdict> = serde_json::from_value(results["verdicts"].clone())
        .with_context(|| format!("{} has no verdicts", before.display()))?;
    verdicts.extend(
        known
            .into_iter()
            .filter(|verdict| verdict.checker.starts_with(BESIDE)),
    );
    write(dir, &run, &history, &verdicts).context("the report can't be written")
}
