//! How a command ends that did not do what it was told.

use std::io;
use std::process::ExitCode;

use crate::client::{Error, Place};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Said on stderr.
    Message(String),
    /// Everything was said already.
    Said,
    /// Nobody reads our output any more (`| head`): no failure, just the end.
    NoReader,
}

impl Failure {
    /// Tells the user, and answers with the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::NoReader => return ExitCode::SUCCESS,
            Self::Said => {}
            Self::Message(message) => say_error(&message),
        }
        ExitCode::FAILURE
    }
}

/// Writes an error message to stderr.
pub fn say_error(message: &str) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    say(&format!("{red}error{red:#}: {message}"));
}

/// Writes a line to stderr that is no error.
pub fn say(line: &str) {
    use io::Write;
    // With stderr closed there is nobody to tell.
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Writes the places that are wrong to stderr, as `where: what`.
pub fn say_places(places: &[Place], mut place: impl FnMut(&str) -> String) {
    for wrong in places {
        say(&format!("  {}: {}", place(&wrong.pointer), wrong.message));
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NoReader,
            _ => Self::Message(error.to_string()),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unreachable { .. } => Self::Message(format!(
                "{error}\nIs the daemon running there? Start one with `tidings serve`, or name another with --url or TIDINGS_URL."
            )),
            Error::Refused(problem) => {
                say_error(&problem.to_string());
                say_places(&problem.errors, str::to_owned);
                Self::Said
            }
            Error::Unconfirmed { cause, .. } => Self::from(*cause),
            other => Self::Message(other.to_string()),
        }
    }
}
