//! The progress of `tidings publish -` and `tidings trigger`: counts what was published, prints accepted events with `--json`,
//! and shows a bar on a terminal.
//!
//! The events are the purpose of the command, and what it prints is only the receipt. So publishing goes on if the receipt
//! cannot be written.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::failure::{Failure, say, say_error};
use super::output::{Output, human, per_second, thousands};
use crate::client::Accepted;

pub struct Progress {
    /// `None` without `--json`, and once stdout cannot be written.
    output: Option<Output>,
    /// Whether accepted events could not be printed, for another reason than a closed pipe.
    unprinted: bool,
    bar: ProgressBar,
    started: Instant,
    published: u64,
    duplicates: u64,
}

impl Progress {
    pub fn new(as_json: bool) -> Self {
        // With --json on the same terminal, the lines would tear the bar apart.
        let shown = io::stderr().is_terminal() && !(as_json && io::stdout().is_terminal());
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{spinner} published: {msg} ({elapsed})");
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        if shown {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        let output = as_json.then(Output::ndjson);
        Self { output, unprinted: false, bar, started: Instant::now(), published: 0, duplicates: 0 }
    }

    /// The bar, for messages above it.
    pub fn bar(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Counts and prints the accepted events of one request.
    pub fn accepted(&mut self, accepted: &[Accepted]) {
        self.published += accepted.len() as u64;
        self.duplicates += accepted.iter().filter(|accepted| accepted.duplicate).count() as u64;
        self.bar.set_message(format!("{}, {} per second", thousands(self.published), self.rate()));
        self.print(|output| accepted.iter().try_for_each(|accepted| output.json(accepted)));
    }

    pub fn flush(&mut self) {
        self.print(Output::flush);
    }

    /// Prints, and reports the first failure.
    fn print(&mut self, print: impl FnOnce(&mut Output) -> Result<(), Failure>) {
        let Some(Err(failure)) = self.output.as_mut().map(print) else { return };
        self.output = None;
        self.bar.suspend(|| match failure {
            Failure::ClosedPipe => {
                say("stdout was closed: publishing goes on, and the accepted events are not printed");
            }
            failure => {
                self.unprinted = true;
                failure.report();
                say("publishing goes on, and the accepted events are not printed");
            }
        });
    }

    /// Published events per second.
    fn rate(&self) -> String {
        per_second(self.published as f64 / self.started.elapsed().as_secs_f64().max(1e-6))
    }

    /// Removes the bar, so that no message is written into it.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Removes the bar and reports the totals. `complete` says whether all lines were published.
    pub fn end(mut self, complete: bool) -> Result<(), Failure> {
        self.flush();
        self.bar.finish_and_clear();
        let elapsed = self.started.elapsed();
        let rate = self.rate();
        let duplicates = match self.duplicates {
            0 => String::new(),
            count => format!("; {} of them had been published before", thousands(count)),
        };
        let published = thousands(self.published);
        say(&format!("published: {published} in {}, {rate} per second{duplicates}", human(elapsed)));
        if self.unprinted && complete {
            say_error("all events were published, but not all accepted events could be printed");
            return Err(Failure::Reported);
        }
        Ok(())
    }
}
