//! `tidings completions`: what makes the Tab key work.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::Failure;
use super::output::Output;

/// Print the completions for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(tidings completions bash)\n  tidings completions fish > ~/.config/fish/completions/tidings.fish"
)]
pub struct Completions {
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        // By way of memory: the generator panics where a write fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "tidings", &mut script);
        let mut output = Output::new();
        output.line(String::from_utf8_lossy(&script).trim_end())?;
        Ok(output.flush()?)
    }
}
