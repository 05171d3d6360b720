//! The tables of flows in the configuration file, such as `[[webhook]]`, as they were written.
//!
//! They name event types and fields, which are known only with the schemas. So this module keeps the tables with their
//! places, and [`flows`](crate::flows) reads them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::toml_tree::{Node, Value};

/// The key of the tables of webhooks.
pub const WEBHOOK: &str = "webhook";
/// The key of the tables of bridges.
pub const BRIDGE: &str = "bridge";
/// The key of the tables of sinks.
pub const SINK: &str = "sink";
/// The keys of all lists of tables.
pub(super) const FLOW_KEYS: [&str; 3] = [WEBHOOK, BRIDGE, SINK];

/// The tables of all flows.
#[derive(Debug, Clone, Default)]
pub struct FlowTables(Vec<FlowTable>);

/// The `[[KEY]]` tables of one kind of flow.
#[derive(Debug, Clone)]
pub struct FlowTable {
    /// The key: `webhook`.
    pub key: &'static str,
    pub file: PathBuf,
    /// The whole file, for the lines of mistakes.
    pub text: Arc<str>,
    pub tables: Arc<[Node]>,
}

impl FlowTables {
    /// The tables of a kind of flow, if there are any.
    pub fn of(&self, key: &str) -> Option<&FlowTable> {
        self.0.iter().find(|table| table.key == key)
    }

    /// Adds the tables in the value of a key.
    ///
    /// # Errors
    /// It is no list of tables.
    pub(super) fn add(&mut self, key: &'static str, file: &Path, text: &str, node: Node) -> Result<(), String> {
        match node.value {
            Value::Array(tables) => {
                self.0.push(FlowTable { key, file: file.into(), text: text.into(), tables: tables.into() });
                Ok(())
            }
            _ => Err(format!("{key}: this is a list of tables: write [[{key}]]")),
        }
    }

    /// The keys whose tables differ, wherever these stand in their files.
    pub(super) fn changed_since(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let shown = |tables: &Self, key| {
            let tables = tables.of(key).map(|known| known.tables.clone()).unwrap_or_default();
            tables.iter().map(|table| table.to_json().to_string()).collect::<Vec<_>>()
        };
        FLOW_KEYS.into_iter().filter(move |key| shown(self, key) != shown(other, key))
    }
}
