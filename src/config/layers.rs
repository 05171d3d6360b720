//! The layers a value can come from: flags, then the environment, then the file, then the defaults.
//!
//! Small and ours rather than the `config` crate: that one merges the layers into one tree first, and then nobody can
//! say any more which line of which file, which variable or which flag a wrong value came from. Every value is text
//! until its setting reads it ([`value`](super::value)), so that it is written the same way everywhere.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::LogFormat;
use super::setting::{self, PREFIX, settings};
use super::value::Expected;

/// What a configuration is made of. The process's own environment is read by the caller, never here.
#[derive(Debug, Default)]
pub struct Sources {
    /// The flags given, by the setting's name.
    pub flags: Vec<(&'static str, String)>,
    /// Environment variables; only those that start with `TIDINGS_` are looked at.
    pub env: Vec<(String, String)>,
    /// The file of `--config`, which must be there.
    pub file: Option<PathBuf>,
    /// The working directory, whose `tidings.toml` is read where no file is named.
    pub directory: PathBuf,
    /// The form of the log where none is configured: it depends on what stderr is.
    pub log_format: LogFormat,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// All that is wrong with a configuration, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

/// A value as it was given.
pub(super) struct Given {
    pub text: String,
    pub source: Source,
}

/// What was given for each setting by the highest layer that has it; settings take their values out of here.
#[derive(Default)]
pub(super) struct Layers {
    given: HashMap<&'static str, Given>,
    pub mistakes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Variables of ours that are no settings: where the configuration is, and what the client commands read.
const OTHER_VARIABLES: [&str; 3] = ["TIDINGS_CONFIG", "TIDINGS_URL", "TIDINGS_TOKEN"];
const FILE: &str = "tidings.toml";

impl Layers {
    /// Reads the layers, the lowest first.
    pub fn read(sources: Sources) -> Self {
        let mut layers = Self::default();
        let named = sources.env.iter().find(|(name, path)| name == "TIDINGS_CONFIG" && !path.is_empty());
        let named = sources.file.or_else(|| named.map(|(_, path)| path.into()));
        match named {
            Some(path) => match std::fs::read_to_string(sources.directory.join(&path)) {
                Ok(text) => layers.file(&path, &text),
                Err(error) => {
                    layers.mistakes.push(format!("cannot read the configuration {}: {error}", path.display()));
                }
            },
            None => match std::fs::read_to_string(sources.directory.join(FILE)) {
                Ok(text) => layers.file(Path::new(FILE), &text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => layers.mistakes.push(format!("cannot read {FILE} in the working directory: {error}")),
            },
        }
        layers.environment(sources.env);
        for (name, text) in sources.flags {
            layers.given.insert(name, Given { text, source: Source::Flag(name.replace('_', "-")) });
        }
        layers
    }

    fn file(&mut self, path: &Path, text: &str) {
        let line_of =
            |offset: usize| text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                // Not the error's own text: it repeats the line, which may hold a password.
                let line = error.span().map_or(1, |span| line_of(span.start));
                return self.mistakes.push(format!("{}:{line}: {}", path.display(), error.message()));
            }
        };
        for (key, value) in table {
            let line = line_of(key.span().start);
            let (key, value) = (key.into_inner(), value.into_inner());
            let Some(setting) = settings().iter().find(|setting| setting.name == key) else {
                let near = setting::nearest(&key, settings().iter().map(|setting| setting.name));
                self.mistakes.push(format!("{}:{line}: unknown key {key}; did you mean {near}?", path.display()));
                continue;
            };
            let text = match value {
                DeValue::String(text) => text.into_owned(),
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().replace('_', ""),
                DeValue::Boolean(value) => value.to_string(),
                other => {
                    let place = path.display();
                    let found = other.type_str();
                    self.mistakes.push(format!(
                        "{place}:{line}: {key}: expected a string, a whole number or true or false, not a TOML {found}"
                    ));
                    continue;
                }
            };
            self.given.insert(setting.name, Given { text, source: Source::File { path: path.into(), line } });
        }
    }

    /// A variable that is there but empty counts as not set: that is how deployment files leave one out.
    fn environment(&mut self, variables: Vec<(String, String)>) {
        for (variable, text) in variables {
            if !variable.starts_with(PREFIX) || text.is_empty() || OTHER_VARIABLES.contains(&variable.as_str()) {
                continue;
            }
            match settings().iter().find(|setting| setting.variable() == variable) {
                Some(setting) => {
                    self.given.insert(setting.name, Given { text, source: Source::Variable(variable) });
                }
                None => {
                    let known: Vec<String> = settings().iter().map(setting::Setting::variable).collect();
                    let near = setting::nearest(&variable, known.iter().map(String::as_str).chain(OTHER_VARIABLES));
                    self.warnings.push(format!("unknown variable {variable} is ignored; did you mean {near}?"));
                }
            }
        }
    }

    /// What was given for a setting, and by whom.
    pub fn given(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// The value of a setting that has a default.
    ///
    /// One that cannot be read is noted as a mistake, and the default answered, so that all mistakes are found at once.
    #[expect(clippy::expect_used, reason = "the defaults are part of the program, and a test reads them all")]
    pub fn required<T>(&mut self, name: &'static str, read: fn(&str) -> Result<T, Expected>) -> T {
        self.optional(name, read).unwrap_or_else(|| {
            let default = settings().iter().find(|setting| setting.name == name).and_then(|setting| setting.default);
            read(default.expect("the setting is in the file of defaults")).expect("the defaults can be read")
        })
    }

    /// The value of a setting without a default, where one was given.
    pub fn optional<T>(&mut self, name: &'static str, read: fn(&str) -> Result<T, Expected>) -> Option<T> {
        let Given { text, source } = self.given.get(name)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(expected) => {
                // The broker's URL is not repeated: it may hold a password.
                let found = if name == "broker" { String::new() } else { format!(", not {text:?}") };
                self.mistakes.push(format!("{name} ({source}): expected {expected}{found}"));
                None
            }
        }
    }
}
