//! Which daemon a command talks to: `--url` or `--context`, or the variables of the same names.
//!
//! A flag is for one command and wins over a variable, which is for all of a shell. Two of a kind may be two daemons: they are
//! refused.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches, Id, ValueHint};

use super::context;

#[derive(Args)]
struct Flags {
    /// Address of the daemon. For several nodes of one bus, separate the addresses with commas
    /// [default: that of the current context, or http://127.0.0.1:7400].
    #[arg(long, env = "TIDINGS_URL", value_delimiter = ',', value_hint = ValueHint::Url)]
    url: Vec<String>,

    /// The daemon, token and certificates under this name; `tidings context add` gives names.
    #[arg(long, value_name = "NAME", env = "TIDINGS_CONTEXT", add = context::candidates())]
    context: Option<String>,
}

/// The two flags.
pub struct DaemonFlags {
    flags: Flags,
    url_is_flag: bool,
    context_is_flag: bool,
}

/// What the flags and the variables name.
pub enum Named {
    Addresses(Vec<String>),
    Context(String),
    Nothing,
}

impl DaemonFlags {
    /// # Errors
    /// A context and an address are given in the same way. Two flags are refused as a wrong command line already.
    pub fn named(&self) -> Result<Named, String> {
        // Deployment files often set a variable to an empty text to leave it out.
        let addresses: Vec<_> = self.flags.url.iter().filter(|url| !url.is_empty()).cloned().collect();
        let context = self.flags.context.clone().filter(|name| !name.is_empty());
        let (context, url) = match (context, addresses.is_empty()) {
            (None, true) => return Ok(Named::Nothing),
            (None, false) => return Ok(Named::Addresses(addresses)),
            (Some(name), true) => return Ok(Named::Context(name)),
            (Some(name), false) => match (self.context_is_flag, self.url_is_flag) {
                (true, false) => return Ok(Named::Context(name)),
                (false, true) => return Ok(Named::Addresses(addresses)),
                (true, true) => (format!("--context ({name})"), "--url"),
                (false, false) => (format!("TIDINGS_CONTEXT ({name})"), "TIDINGS_URL"),
            },
        };
        let addresses = addresses.join(",");
        Err(format!(
            "a context and an address are given, which may be two daemons: leave out {context} or {url} ({addresses})"
        ))
    }
}

/// As derived, with the source of each value, which no derived struct has.
impl FromArgMatches for DaemonFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        let is_flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
        let (url_is_flag, context_is_flag) = (is_flag("url"), is_flag("context"));
        let flags = Flags::from_arg_matches_mut(matches)?;
        let read = Self { flags, url_is_flag, context_is_flag };
        match read.named() {
            // Variables are no part of the command line: a command that names a daemon refuses two of them by itself.
            Err(two) if url_is_flag => Err(Error::raw(ErrorKind::ArgumentConflict, two)),
            _ => Ok(read),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for DaemonFlags {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }

    fn group_id() -> Option<Id> {
        Flags::group_id()
    }
}
