//! Why `tidings publish -` stopped before the end of its input: which line it was, what was published, and how to go on.

use std::io;

use super::super::failure::{FORBIDDEN, Failure, say, say_error, say_field_errors, without_route};
use super::super::grant::Grant;
use super::super::interrupt;
use crate::client::{Error, Problem};

pub enum Stop {
    /// The line is not text, or holds no JSON.
    Unreadable { line: u64, error: String },
    /// The daemon refuses the event of a line. `lines` are the numbers of the lines of the batch.
    Refused { problem: Problem, line: u64, lines: Vec<u64> },
    /// It is unknown whether the batch in flight was published.
    Unconfirmed { cause: Error },
    /// Nothing was published from this line on.
    Failed { error: Error, line: u64 },
    /// Stdin cannot be read on.
    Input(io::Error),
    /// A signal ended the command.
    Interrupted { by: interrupt::Stop },
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

impl Stop {
    /// Reports the failure. `in_flight` are the first and the last line of the batch whose outcome is unknown.
    pub fn report(self, in_flight: Option<[u64; 2]>, id_prefix: &str) -> Failure {
        // The same line would be refused again.
        let wrong = match &self {
            Self::Unreadable { line, .. } => Some(*line),
            Self::Refused { problem, line, .. } if problem.code != FORBIDDEN => Some(*line),
            _ => None,
        };
        let failure = match &self {
            Self::Interrupted { by } => Failure::Stopped(*by),
            _ => Failure::Reported,
        };
        let unpublished_from = match self {
            Self::Unreadable { line, error } => {
                say_error(&format!("line {line}: {error}"));
                Some(line)
            }
            Self::Refused { problem: Problem { detail, code, errors, .. }, line, lines } => {
                // The mistakes follow, with the number of their line in place of the index in the request.
                let what = if errors.is_empty() { &detail } else { "the event is refused" };
                say_error(&format!("line {line}: {} ({code})", without_route(what)));
                if code == FORBIDDEN {
                    say(&Grant::publish(&format!("the type of line {line}")).to_string());
                }
                say_field_errors(&errors, |pointer| {
                    let pointer = pointer.trim_start_matches('/');
                    let (index, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
                    match index.parse().ok().and_then(|index: usize| lines.get(index)) {
                        Some(line) if rest.is_empty() => format!("line {line}"),
                        Some(line) => format!("line {line}: /{rest}"),
                        None => format!("/{pointer}"),
                    }
                });
                Some(line)
            }
            Self::Failed { error, line } => {
                Failure::from(error).report();
                Some(line)
            }
            Self::Unconfirmed { cause } => {
                Failure::from(cause).report();
                None
            }
            Self::Input(error) => {
                say_error(&format!("stdin: {error}"));
                None
            }
            Self::Interrupted { by } => {
                say_error(&format!("interrupted by {by}"));
                None
            }
        };
        let before = |line: u64| match line {
            1 => "No line was published before.".to_owned(),
            _ => format!("All lines before line {line} were published."),
        };
        match (in_flight, unpublished_from) {
            (Some([first, last]), _) => say(&format!(
                "{} It is not known whether lines {first} to {last} were published. No later line was published.",
                before(first)
            )),
            (None, Some(line)) => {
                say(&format!("{} Nothing from line {line} on was published.", before(line)));
            }
            (None, None) => {}
        }
        let again = match wrong {
            Some(line) => format!("correct line {line} and publish the input again"),
            None => "publish the same input again".to_owned(),
        };
        say(&format!(
            "To go on, {again} with --id-prefix {id_prefix}: the daemon takes an id only once within \
             its deduplication window (10 minutes by default)."
        ));
        failure
    }
}
