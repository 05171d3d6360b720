//! `tidings completions`: prints the script that completes commands and flags with the Tab key.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::Failure;
use super::output::Output;

/// Print the completion script for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(tidings completions bash)\n  tidings completions fish > ~/.config/fish/completions/tidings.fish"
)]
pub struct Completions {
    /// The shell to print the script for.
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        // Generate into memory: the generator panics if a write fails, for example on a closed pipe.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "tidings", &mut script);
        let mut output = Output::new();
        output.line(String::from_utf8_lossy(&script).trim_end())?;
        output.flush()
    }
}
