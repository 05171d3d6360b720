//! The `[[cascade]]` tables of the configuration file, as they were written.
//!
//! They name event types and fields, which are known only with the schemas. So this module keeps the tables with their
//! places, and [`cascade`](crate::cascade) reads them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::toml_tree::{Node, Value};

/// The key of the tables.
pub const CASCADE: &str = "cascade";

/// The tables of a file.
#[derive(Debug, Clone)]
pub struct CascadeTables {
    pub file: PathBuf,
    /// The whole file, for the lines of mistakes.
    pub text: Arc<str>,
    pub tables: Arc<[Node]>,
}

impl CascadeTables {
    /// The tables of a file that has this text.
    ///
    /// # Errors
    /// The text is not TOML, or `cascade` is no list of tables.
    pub fn parse(file: &Path, text: &str) -> Result<Self, String> {
        let Node { value, .. } = Node::parse(text).map_err(|(_, mistake)| mistake)?;
        let members = if let Value::Table(members) = value { members } else { Vec::new() };
        match members.into_iter().find(|member| member.name == CASCADE) {
            Some(member) => Self::of(file, text, member.node),
            None => Ok(Self { file: file.into(), text: text.into(), tables: [].into() }),
        }
    }

    /// The tables in the value of the key `cascade`.
    ///
    /// # Errors
    /// It is no list of tables.
    pub(super) fn of(file: &Path, text: &str, node: Node) -> Result<Self, String> {
        match node.value {
            Value::Array(tables) => Ok(Self { file: file.into(), text: text.into(), tables: tables.into() }),
            _ => Err("cascade: this is a list of tables: write [[cascade]]".into()),
        }
    }
}

/// Whether two configurations have the same rules, wherever these stand in their files.
pub(super) fn same(one: Option<&CascadeTables>, other: Option<&CascadeTables>) -> bool {
    let rules = |tables: Option<&CascadeTables>| {
        tables.map(|tables| tables.tables.iter().map(|table| table.to_json().to_string()).collect::<Vec<_>>())
    };
    rules(one).unwrap_or_default() == rules(other).unwrap_or_default()
}
