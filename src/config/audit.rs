//! The table `[audit]` of the configuration file: where the audit is written, and what happens when it cannot be.

use std::path::{Path, PathBuf};

use super::toml_tree::{Node, Reader, Table, Value};
use super::value::{self, Expected};

/// The key of the table.
pub const AUDIT: &str = "audit";

const MEMBERS: [&str; 5] = ["file", "max_bytes", "keep", "data", "on_failure"];
/// See [`AuditConfig::max_bytes`].
const MAX_BYTES: u64 = 100 << 20;
/// See [`AuditConfig::keep`].
const KEEP: u64 = 10;

/// The members that a table need not have, with their values.
pub(super) const DEFAULTS: [(&str, &str); 4] =
    [("max_bytes", "100MiB"), ("keep", "10"), ("data", "false"), ("on_failure", "continue")];

/// The audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    pub file: PathBuf,
    /// The size at which the file is rotated.
    pub max_bytes: u64,
    /// Rotated files that are kept.
    pub keep: u64,
    /// Whether the lines of events have their `data`.
    pub data: bool,
    pub on_failure: OnFailure,
}

/// What happens while the audit cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Events are published, and their lines are lost and counted.
    #[default]
    Continue,
    /// Publishers get 503.
    Refuse,
}

impl AuditConfig {
    /// Reads the table.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line.
    pub(super) fn read(file: &Path, text: &str, node: &Node) -> Result<Self, Vec<String>> {
        let mut reader = Reader::new(file, text);
        let config = reader.table(node, AUDIT, &MEMBERS).and_then(|table| {
            let file = reader.required_string(table, "file").map(PathBuf::from);
            let max_bytes = read(&mut reader, table, "max_bytes", value::bytes).map(|bytes| bytes as u64);
            let keep = read(&mut reader, table, "keep", value::count);
            let data = read(&mut reader, table, "data", value::switch);
            let on_failure = read(&mut reader, table, "on_failure", |text| match text {
                "continue" => Ok(OnFailure::Continue),
                "refuse" => Ok(OnFailure::Refuse),
                _ => Err("continue or refuse".into()),
            });
            Some(Self {
                file: file?,
                max_bytes: max_bytes.unwrap_or(MAX_BYTES),
                keep: keep.unwrap_or(KEEP),
                data: data.unwrap_or_default(),
                on_failure: on_failure.unwrap_or_default(),
            })
        });
        match config {
            Some(config) if reader.mistakes.is_empty() => Ok(config),
            _ => Err(reader.mistakes),
        }
    }
}

/// The value of a member, written as those of the settings are.
fn read<T>(
    reader: &mut Reader<'_>,
    table: Table<'_>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, Expected>,
) -> Option<T> {
    let node = table.node.get(name)?;
    let text = match &node.value {
        Value::String(text) | Value::Number(text) => text.clone(),
        other => Node { at: node.at, value: other.clone() }.to_json().to_string(),
    };
    parse(&text).map_err(|expected| reader.mistake(node.at, &table.at(name), format!("expected {expected}"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(text: &str) -> Result<AuditConfig, Vec<String>> {
        let root = Node::parse(text).unwrap();
        AuditConfig::read(Path::new("tidings.toml"), text, root.get(AUDIT).unwrap())
    }

    #[test]
    fn the_defaults_that_are_shown_are_those_in_force() {
        let members: String = DEFAULTS.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
        let table = "[audit]\nfile = \"a.ndjson\"\n";
        assert_eq!(audit(&format!("{table}{members}")), audit(table));
    }

    #[test]
    fn all_but_the_file_has_a_default() {
        let read = audit("[audit]\nfile = \"a.ndjson\"").unwrap();
        let expected = AuditConfig {
            file: "a.ndjson".into(),
            max_bytes: 100 << 20,
            keep: 10,
            data: false,
            on_failure: OnFailure::Continue,
        };
        assert_eq!(read, expected);
        let read =
            audit("[audit]\nfile = \"a\"\nmax_bytes = 4096\nkeep = 2\ndata = true\non_failure = \"refuse\"").unwrap();
        assert_eq!((read.max_bytes, read.keep, read.data, read.on_failure), (4096, 2, true, OnFailure::Refuse));
    }

    #[test]
    fn every_mistake_has_its_line() {
        let mistakes = audit("[audit]\nmax_bytes = \"1MB\"\nkeep = 0\ndata = \"no\"\non_failure = \"stop\"\nfil = 1");
        let mistakes = mistakes.unwrap_err();
        let expected = [
            "tidings.toml:6: audit: unknown key \"fil\"",
            "tidings.toml:1: audit: `file` is missing",
            "tidings.toml:2: audit.max_bytes: expected a size",
            "tidings.toml:3: audit.keep: expected a whole number above zero",
            "tidings.toml:4: audit.data: expected true or false",
            "tidings.toml:5: audit.on_failure: expected continue or refuse",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.starts_with(expected), "{mistake} is not {expected}");
        }
    }
}
