//! The `[types.NAME]` tables of the configuration file: settings of one event type.
//!
//! They name types, which are known only with the schemas. So this module keeps the tables with their places, and
//! [`TypeTables::settings`] reads them later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::toml_tree::{Node, Reader, Value};
use crate::event::{Catalog, TYPE_SETTINGS, TypeSettings};
use crate::suggest::{self, Known};

/// The key of the tables.
pub const TYPES: &str = "types";

/// The tables of a file.
#[derive(Debug, Clone)]
pub struct TypeTables {
    file: PathBuf,
    /// The whole file, for the lines of mistakes.
    text: Arc<str>,
    tables: Node,
}

impl TypeTables {
    /// The tables in the value of the key `types`.
    ///
    /// # Errors
    /// It is no table of tables.
    pub(super) fn of(file: &Path, text: &str, node: Node) -> Result<Self, String> {
        match node.value {
            Value::Table(_) => Ok(Self { file: file.into(), text: text.into(), tables: node }),
            _ => Err("types: this is a table for each type: write [types.order-status]".into()),
        }
    }

    /// The settings of each type that has a table.
    ///
    /// # Errors
    /// Everything that is wrong with the tables, each with its line.
    pub fn settings(tables: Option<&Self>, catalog: &Catalog) -> Result<BTreeMap<String, TypeSettings>, Vec<String>> {
        let mut settings = BTreeMap::new();
        let Some(Self { file, text, tables }) = tables else { return Ok(settings) };
        let mut reader = Reader::new(file, text);
        for member in tables.as_table().unwrap_or_default() {
            let path = format!("{TYPES}.{}", member.name);
            if catalog.channel(&member.name).is_none() {
                let known = Known::new("event types", catalog.types().iter().map(|known| &*known.name));
                let refusal = format!("there is no event type {}", suggest::quoted(&member.name));
                reader.mistake(member.at, TYPES, known.refuse(&refusal, &member.name));
                continue;
            }
            let Some(table) = reader.table(&member.node, &path, &TYPE_SETTINGS) else { continue };
            let mut own = TypeSettings::default();
            for name in TYPE_SETTINGS {
                let Some(node) = table.node.get(name) else { continue };
                if let Err(mistake) = own.set(name, &node.to_json().to_value()) {
                    reader.mistake(node.at, &table.at(name), mistake);
                }
            }
            settings.insert(member.name.clone(), own);
        }
        if reader.mistakes.is_empty() { Ok(settings) } else { Err(reader.mistakes) }
    }
}

/// Whether two configurations have the same tables, wherever these stand in their files.
pub(super) fn same(one: Option<&TypeTables>, other: Option<&TypeTables>) -> bool {
    let shown = |tables: Option<&TypeTables>| tables.map(|tables| tables.tables.to_json().to_string());
    shown(one) == shown(other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(text: &str) -> Result<BTreeMap<String, TypeSettings>, Vec<String>> {
        let root = Node::parse(text).unwrap();
        let tables = TypeTables::of(Path::new("tidings.toml"), text, root.get(TYPES).unwrap().clone()).unwrap();
        TypeTables::settings(Some(&tables), &Catalog::builtin())
    }

    #[test]
    fn a_table_says_what_the_log_of_its_type_keeps() {
        let read = settings(
            "[types.order-status]\nlog_max_events = 7\n[types.data-update]\nlog_max_age = \"1d\"\nlatest = \"7d\"",
        )
        .unwrap();
        assert_eq!(read["order-status"], TypeSettings { log_max_events: Some(7), ..TypeSettings::default() });
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
        assert_eq!((read["data-update"].log_max_age, read["data-update"].latest), (days(1), days(7)));
    }

    #[test]
    fn every_mistake_has_its_line_and_says_what_to_write() {
        let mistakes = settings(
            "[types.order-statu]\n[types.order-status]\nlog_max_event = 7\nlog_max_age = \"1\"\n[types.data-update]\nlog_max_events = 0",
        );
        let mistakes = mistakes.unwrap_err();
        let expected = [
            "tidings.toml:1: types: there is no event type \"order-statu\"; did you mean `order-status`?",
            "tidings.toml:3: types.order-status: unknown key \"log_max_event\"; did you mean `log_max_events`?",
            "tidings.toml:4: types.order-status.log_max_age: expected a duration such as",
            "tidings.toml:6: types.data-update.log_max_events: expected a whole number above zero, not 0",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.starts_with(expected), "{mistake} is not {expected}");
        }
    }
}
