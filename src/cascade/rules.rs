//! Reads the `[[cascade]]` tables of the configuration, and checks them against the schemas of the event types.

use std::sync::Arc;

use super::template::{MAX_TEXT, Template};
use super::{Cascades, Rule};
use crate::config::CascadeTables;
use crate::config::toml_tree::{Node, Reader, Table, Value};
use crate::event::{Catalog, ChannelId, Decimal, EventType, PerChannel};
use crate::suggest::{self, Known};

const KEYS: [&str; 6] = ["on", "where", "tags", "keys", "prefixes", "staleForMs"];

/// The most templates of all rules for one event type. Each may become a text of [`MAX_TEXT`] characters.
const MAX_TEMPLATES: usize = 100;

/// The largest integer that every client holds exactly (RFC 7493, section 2.2).
const MAX_MILLIS: i64 = (1 << 53) - 1;

/// The rules, and what is suspicious about them.
///
/// # Errors
/// Every mistake, with the file, the line and the rule.
pub fn compile(tables: &CascadeTables, catalog: &Catalog) -> Result<(Cascades, Vec<String>), Vec<String>> {
    let mut reader = Reader::new(&tables.file, &tables.text);
    let mut cascades = Cascades::none(catalog);
    for (index, node) in tables.tables.iter().enumerate() {
        let path = format!("cascade[{index}]");
        let Some(table) = reader.table(node, &path, &KEYS) else { continue };
        let Some((channel, rule)) = rule(&mut reader, table, index, catalog) else { continue };
        let templates: usize = cascades.rules[channel].iter().map(|rule| rule.templates().count()).sum();
        if templates + rule.templates().count() > MAX_TEMPLATES {
            let text = format!("the rules for {} have more than {MAX_TEMPLATES} templates", rule.on);
            reader.mistake(node.at, &path, text);
            continue;
        }
        cascades.rules[channel].push(Arc::new(rule));
    }
    if reader.mistakes.is_empty() { Ok((cascades, reader.warnings)) } else { Err(reader.mistakes) }
}

/// The rule of one table, and the channel of its causes.
fn rule(reader: &mut Reader<'_>, table: Table<'_>, index: usize, catalog: &Catalog) -> Option<(ChannelId, Rule)> {
    let on = reader.required_string(table, "on")?;
    let at = table.node.get("on").map_or(table.node.at, |node| node.at);
    let Some(channel) = catalog.channel(on) else {
        let known = Known::new("event types", catalog.types().iter().map(|known| &*known.name));
        let refusal = format!("there is no event type {}", suggest::quoted(on));
        reader.mistake(at, &table.at("on"), known.refuse(&refusal, on));
        return None;
    };
    if on == super::CACHE_INVALIDATE {
        reader.mistake(at, &table.at("on"), "cache-invalidate is what cascades make: it cannot be a cause");
        return None;
    }
    let event_type = catalog.get(channel);
    let filter = reader.filter(table, "where", event_type);
    let [tags, keys, prefixes] = ["tags", "keys", "prefixes"].map(|name| templates(reader, table, name, event_type));
    let stale_for_ms = table.node.get("staleForMs").and_then(|node| millis(reader, table, node));
    let rule = Rule {
        number: index,
        place: reader.location(table.node.at),
        on: on.to_owned(),
        filter: filter.unwrap_or_default(),
        asked: table.node.get("where").map(|node| node.to_json().to_string()),
        tags,
        keys,
        prefixes,
        stale_for_ms: stale_for_ms.unwrap_or(0),
    };
    if ["tags", "keys", "prefixes"].iter().all(|name| is_empty(table.node.get(name))) {
        reader.mistake(table.node.at, table.path, "this rule names nothing: give it `tags`, `keys` or `prefixes`");
    }
    Some((channel, rule))
}

/// Whether a list has no element, or is not there. What is no list is another mistake.
fn is_empty(list: Option<&Node>) -> bool {
    list.is_none_or(|node| matches!(&node.value, Value::Array(elements) if elements.is_empty()))
}

fn templates(reader: &mut Reader<'_>, table: Table<'_>, name: &str, event_type: &EventType) -> Vec<Template> {
    let Some(node) = table.node.get(name) else { return Vec::new() };
    let Value::Array(elements) = &node.value else {
        reader.mistake(node.at, &table.at(name), "this is a list of strings");
        return Vec::new();
    };
    let mut templates = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let path = format!("{}[{index}]", table.at(name));
        let Some(text) = element.as_str() else {
            reader.mistake(element.at, &path, "this is a string");
            continue;
        };
        match Template::parse(text, event_type) {
            Ok(template) => {
                if template.may_mean_a_field(event_type) {
                    let text = "`{id}` is the id of the event: write `{data.id}` for the field of that name";
                    reader.warning(element.at, &path, text);
                }
                templates.push(template);
            }
            Err(mistake) => reader.mistake(element.at, &path, mistake),
        }
    }
    templates
}

fn millis(reader: &mut Reader<'_>, table: Table<'_>, node: &Node) -> Option<u64> {
    let value = match &node.value {
        Value::Number(text) => Decimal::parse(text).to_i64(),
        _ => None,
    };
    let millis = value.filter(|value| *value <= MAX_MILLIS).and_then(|value| u64::try_from(value).ok());
    if millis.is_none() {
        reader.mistake(node.at, &table.at("staleForMs"), "this is a whole number of milliseconds, 0 or more");
    }
    millis
}

impl Cascades {
    /// Without any rule.
    pub fn none(catalog: &Catalog) -> Self {
        Self { rules: PerChannel::new(catalog, |_| Vec::new()) }
    }
}

const _: () = assert!(MAX_TEXT == 256, "docs/cache.md and the schema of cache-invalidate have this number");
