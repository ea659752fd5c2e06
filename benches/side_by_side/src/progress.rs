//! What is being measured now, on stderr: a bar on a terminal, lines otherwise.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar's clock moves: seldom, for it runs on the cores that are measured.
const TICK: Duration = Duration::from_millis(500);

/// Steps done and to do.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins with `steps` to do.
    pub fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} (eta {eta}) {msg}");
        // A template that does not parse would only cost the looks.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self { bar }
    }

    /// Says what is being done now.
    pub fn doing(&self, what: String) {
        if self.bar.is_hidden() {
            eprintln!(
                "{}/{} {what}",
                self.bar.position() + 1,
                self.bar.length().unwrap_or(0)
            );
        }
        self.bar.set_message(what);
    }

    /// How far the step that is being done has come: for a bar only, where it costs no lines.
    pub fn counting(&self, what: &str, done: usize, of: usize) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{what}: {done}/{of}"));
        }
    }

    /// One step is done, with this result.
    pub fn done(&self, what: &str) {
        self.bar.inc(1);
        if self.bar.is_hidden() {
            eprintln!("  {what}");
        } else {
            self.bar.println(what);
        }
    }

    /// Everything is done.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
