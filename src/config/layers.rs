//! The layers of the configuration: flags win over the environment, the environment over the file, the file over defaults.
//!
//! The `config` crate merges the layers into one tree, which loses the source of each value. This module keeps the
//! source, so that an error names the flag, the variable, or the line of the file. Every value is text until its setting
//! parses it ([`value`](super::value)), so that a value has the same form in every layer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::LogFormat;
use super::audit::{AUDIT, AuditConfig};
use super::cascades::{CASCADE, CascadeTables};
use super::flow_tables::{FLOW_KEYS, FlowTables};
use super::setting::{self, PREFIX, settings};
use super::shown::{ShownMember, members_of};
use super::source::Source;
use super::toml_tree::Node;
use super::types::{TYPES, TypeTables};
use super::value::Expected;
use crate::suggest::{self, Known};

/// The input of [`load`](super::load). The caller reads the process environment, so that tests can replace it.
#[derive(Debug, Default)]
pub struct Sources {
    /// The given flags: the setting's name and the text.
    pub flags: Vec<(&'static str, String)>,
    /// Environment variables. Only those that start with `TIDINGS_` are read.
    pub env: Vec<(String, String)>,
    /// The file of `--config`, which must exist.
    pub file: Option<PathBuf>,
    /// The working directory. Its `tidings.toml` is read if no file is named.
    pub directory: PathBuf,
    /// The default of `log_format`, which depends on whether stderr is a terminal.
    pub log_format: LogFormat,
}

/// The mistakes in a configuration, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

/// A value that a layer gives, not yet parsed.
pub(super) struct Given {
    pub text: String,
    pub source: Source,
}

/// For each setting the value of the highest layer that gives one. [`load`](super::load) parses them from here.
#[derive(Default)]
pub(super) struct Layers {
    given: HashMap<&'static str, Given>,
    pub cascades: Option<CascadeTables>,
    pub types: Option<TypeTables>,
    pub flows: FlowTables,
    pub audit: Option<AuditConfig>,
    /// The members of all tables.
    pub tables: Vec<ShownMember>,
    pub mistakes: Vec<String>,
    pub warnings: Vec<String>,
}

/// Variables that start with `TIDINGS_` and are not settings: the configuration file, and those of the client commands.
const OTHER_VARIABLES: [&str; 8] = [
    "TIDINGS_CONFIG",
    "TIDINGS_CONTEXT",
    "TIDINGS_URL",
    "TIDINGS_TOKEN",
    "TIDINGS_RETRY_TIMEOUT",
    "TIDINGS_CA",
    "TIDINGS_CLIENT_CERT",
    "TIDINGS_CLIENT_KEY",
];
const FILE: &str = "tidings.toml";
/// What lists all settings.
const LISTED: &str = "`tidings config show`";

/// Why a file cannot be read, without the number of the system's error.
pub(crate) fn read_error(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        return "there is no such file".into();
    }
    error.to_string().split(" (os error ").next().unwrap_or_default().to_owned()
}

impl Layers {
    /// Reads the layers, the lowest first, so that a higher one overwrites it.
    pub fn read(sources: Sources) -> Self {
        let mut layers = Self::default();
        let named = sources.env.iter().find(|(name, path)| name == "TIDINGS_CONFIG" && !path.is_empty());
        let named = sources.file.or_else(|| named.map(|(_, path)| path.into()));
        match named {
            Some(path) => match std::fs::read_to_string(sources.directory.join(&path)) {
                Ok(text) => layers.file(&path, &text),
                Err(error) => {
                    layers.mistakes.push(format!(
                        "cannot read the configuration file {}: {}",
                        path.display(),
                        read_error(&error)
                    ));
                }
            },
            None => match std::fs::read_to_string(sources.directory.join(FILE)) {
                Ok(text) => layers.file(Path::new(FILE), &text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    layers
                        .mistakes
                        .push(format!("cannot read {FILE} in the working directory: {}", read_error(&error)));
                }
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
                // The error's Display repeats the line, which may contain a password.
                let line = error.span().map_or(1, |span| line_of(span.start));
                // The place of this one error is the key alone.
                let key = error.span().filter(|_| error.message() == "duplicate key").and_then(|span| text.get(span));
                let mistake = match key {
                    Some(key) => format!("the key {} occurs twice: remove one", key.trim()),
                    None => format!("not TOML: {}", error.message()),
                };
                return self.mistakes.push(format!("{}:{line}: {mistake}", path.display()));
            }
        };
        for (key, value) in table {
            let line = line_of(key.span().start);
            let at = value.span().start;
            let (key, value) = (key.into_inner(), value.into_inner());
            if key == AUDIT {
                let node = Node::of(at, value);
                self.tables.extend(members_of(path, text, AUDIT, &node));
                match AuditConfig::read(path, text, &node) {
                    Ok(audit) => self.audit = Some(audit),
                    Err(mistakes) => self.mistakes.extend(mistakes),
                }
                continue;
            }
            let flow = FLOW_KEYS.into_iter().find(|known| *known == key);
            if key == CASCADE || key == TYPES || flow.is_some() {
                let node = Node::of(at, value);
                self.tables.extend(members_of(path, text, &key, &node));
                let taken = match (flow, key == CASCADE) {
                    (Some(flow), _) => self.flows.add(flow, path, text, node),
                    (None, true) => CascadeTables::of(path, text, node).map(|tables| self.cascades = Some(tables)),
                    (None, false) => TypeTables::of(path, text, node).map(|tables| self.types = Some(tables)),
                };
                if let Err(mistake) = taken {
                    self.mistakes.push(format!("{}:{line}: {mistake}", path.display()));
                }
                continue;
            }
            let Some(setting) = settings().iter().find(|setting| setting.name == key) else {
                let names = settings().iter().map(|setting| setting.name);
                let names = names.chain([CASCADE, TYPES, AUDIT]).chain(FLOW_KEYS);
                let known = Known::new("settings", names);
                let refusal = format!("{}:{line}: unknown key {key}", path.display());
                self.mistakes.push(Known { listed: LISTED, ..known }.refuse(&refusal, &key));
                continue;
            };
            let text = match value {
                DeValue::String(text) => text.into_owned(),
                DeValue::Integer(number) if number.radix() == 10 => number.as_str().replace('_', ""),
                DeValue::Boolean(value) => value.to_string(),
                DeValue::Array(entries)
                    if setting.is_list() && entries.iter().all(|entry| entry.get_ref().is_str()) =>
                {
                    let entries = entries.iter().filter_map(|entry| entry.get_ref().as_str());
                    entries.collect::<Vec<_>>().join(",")
                }
                other => {
                    let file = path.display();
                    let found = other.type_str();
                    self.mistakes.push(format!(
                        "{file}:{line}: {key}: expected a string, a whole number, true or false, not a TOML {found}"
                    ));
                    continue;
                }
            };
            self.given.insert(setting.name, Given { text, source: Source::File { path: path.into(), line } });
        }
    }

    /// Reads the environment. An empty variable counts as not set, because deployment files clear one this way.
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
                    let names = known.iter().map(String::as_str).chain(OTHER_VARIABLES);
                    let known = Known { listed: LISTED, ..Known::new("settings", names) };
                    let refusal = format!("unknown variable {variable} is ignored");
                    // Orchestrators make such variables, so that most of them mean no setting.
                    let given = variable.strip_prefix(PREFIX).unwrap_or_default();
                    let short = known.names.iter().filter_map(|name| name.strip_prefix(PREFIX));
                    let near = suggest::misspelt(given, short).map(|near| format!("{PREFIX}{near}"));
                    self.warnings.push(known.refuse_near(&refusal, near.as_deref()));
                }
            }
        }
    }

    /// The value that a layer gives for a setting.
    pub fn given(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// The parsed value of a setting that has a default.
    ///
    /// For a malformed value this records a mistake and returns the default, so that one run finds all mistakes.
    #[expect(clippy::expect_used, reason = "the defaults are part of the program, and a test parses them all")]
    pub fn required<T>(&mut self, name: &'static str, read: fn(&str) -> Result<T, Expected>) -> T {
        self.optional(name, read).unwrap_or_else(|| {
            let default = settings().iter().find(|setting| setting.name == name).and_then(|setting| setting.default);
            read(default.expect("the setting is in the defaults file")).expect("the default is valid")
        })
    }

    /// The parsed value of a setting without a default, if a layer gives one.
    pub fn optional<T>(&mut self, name: &'static str, read: fn(&str) -> Result<T, Expected>) -> Option<T> {
        let Given { text, source } = self.given.get(name)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(expected) => {
                // The broker's URL may contain a password.
                let found = if name == "broker" { String::new() } else { format!(", not {text:?}") };
                self.mistakes.push(format!("{name} ({source}): expected {expected}{found}"));
                None
            }
        }
    }
}
