//! `tidings completions`: prints the script that completes commands, flags and values with the Tab key.
//!
//! The script calls this program at each Tab, with the variable [`VARIABLE`] and the words typed so far. So values that only
//! a daemon knows are completed, too (`candidates`).

use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

use super::failure::Failure;
use super::output::Output;
use super::program;

/// Print the completion script for a shell.
///
/// Event types, channels and fields are completed from the daemon of --url or TIDINGS_URL, if it answers within half a
/// second. Write the script anew after an update of tidings.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(tidings completions bash)\n  source <(tidings completions zsh)\n  tidings completions fish > ~/.config/fish/completions/tidings.fish"
)]
pub struct Completions {
    /// The shell to print the script for.
    shell: Shell,
}

/// The variable with which a completion script asks for the values. Its value is the name of the shell.
const VARIABLE: &str = "TIDINGS_COMPLETE";

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        let unknown = || format!("there is no completion script for {}", self.shell);
        let shell = self.shell.to_possible_value().ok_or_else(unknown)?;
        let shells = Shells::builtins();
        let completer = shells.completer(shell.get_name()).ok_or_else(unknown)?;
        // Write into memory: stdout reports a closed pipe and a full disk by itself.
        let mut script = Vec::new();
        completer.write_registration(VARIABLE, "tidings", "tidings", &program::from_anywhere(), &mut script)?;
        let mut output = Output::new();
        output.line(String::from_utf8_lossy(&script).trim())?;
        output.flush()
    }
}

/// Answers the completion script of a shell. `None` if the process was not called by one.
pub fn answer() -> Option<ExitCode> {
    let complete = CompleteEnv::with_factory(super::Cli::command).var(VARIABLE);
    match complete.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        // A message would tear the line that the user is typing.
        Err(_) => Some(ExitCode::FAILURE),
    }
}
