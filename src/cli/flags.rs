//! The flags of `serve` and `config`: one flag for each setting, generated from the list of settings.
//!
//! [`ConfigFlags`] implements clap's traits by hand, since the derive macro cannot read that list.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint, error::Error};

use super::candidates;
use super::failure::{Failure, say, say_error};
use super::program;
use crate::config::{self, Loaded, LogFormat, Mistakes, Sources, settings};

/// The settings that were given as flags, and the configuration file.
#[derive(Debug, Clone)]
pub struct ConfigFlags {
    /// Name and text of each setting that was given.
    given: Vec<(&'static str, String)>,
    /// The value of `--config`.
    file: Option<PathBuf>,
}

impl ConfigFlags {
    /// A configuration file, without any flag.
    pub fn of_file(file: PathBuf) -> Self {
        Self { given: Vec::new(), file: Some(file) }
    }

    /// Loads the configuration from these flags, the environment of the process, and the configuration file. Writes
    /// every mistake to stderr.
    pub fn load(&self) -> Result<Loaded, Failure> {
        self.read()?.map_err(|mistakes| {
            for mistake in &mistakes.0 {
                say_error(mistake);
            }
            let program = program::called();
            say(&format!("`{program} serve --help` lists the settings; `{program} config check` checks a correction."));
            Failure::Reported
        })
    }

    /// The same, without a message.
    ///
    /// # Errors
    /// If there is no working directory.
    pub fn read(&self) -> io::Result<Result<Loaded, Mistakes>> {
        // The names and values of settings are Unicode, so other variables can be skipped.
        let env =
            std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
        let directory = std::env::current_dir()?;
        let log_format = if io::stderr().is_terminal() { LogFormat::Pretty } else { LogFormat::Json };
        let (flags, file) = (self.given.clone(), self.file.clone());
        Ok(config::load(Sources { flags, env: env.collect(), file, directory, log_format }))
    }
}

impl Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help("Configuration file [default: tidings.toml in the working directory, if it exists]")
            .value_hint(ValueHint::FilePath)
            .value_parser(clap::value_parser!(PathBuf));
        settings().iter().fold(command.arg(file), |command, setting| {
            let help = match setting.default.filter(|_| !setting.is_switch()) {
                Some(default) => format!("{} [default: {default}]", setting.help.trim_end_matches('.')),
                None => setting.help.trim_end_matches('.').to_owned(),
            };
            let flag = Arg::new(setting.name).long(setting.flag()).help(help).help_heading(setting.group);
            let flag = match setting.name {
                "schemas" => flag.value_hint(ValueHint::DirPath),
                "auth" => flag.value_hint(ValueHint::FilePath),
                _ => flag.value_hint(ValueHint::Other).add(candidates::of_setting(setting)),
            };
            command.arg(if setting.is_switch() {
                flag.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
            } else {
                flag.value_name("VALUE").action(ArgAction::Set)
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = settings().iter().filter_map(|setting| {
            let text = matches.get_one::<String>(setting.name)?;
            Some((setting.name, text.clone()))
        });
        Ok(Self { given: given.collect(), file: matches.get_one("config").cloned() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
