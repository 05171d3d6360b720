//! Reads the `[[bridge]]` tables: which messages become which events.

use super::origin::Listener;
use super::pointer::Pointer;
use super::shape::{Shape, Types};
use super::type_check::{kinds, misfit};
use crate::broker::NO_REST;
use crate::config::toml_tree::{Node, Reader, Table, Value};
use crate::config::{BrokerConfig, BrokerUrl, FlowTable, Form, RedisUrl};
use crate::event::{Catalog, EventType, Json};
use crate::flows::settings::{self, name as name_of};
use crate::suggest;

const MEMBERS: [&str; 12] =
    ["name", "direction", "redis", "channels", "type", "type_from", "types", "drop", "map", "set", "time", "id"];

/// One `[[bridge]]` table.
#[derive(Debug, Clone)]
pub struct BridgeSettings {
    pub name: String,
    pub direction: Direction,
    pub redis: RedisUrl,
    /// The names of channels without a `*`.
    pub channels: Vec<String>,
    /// Those with one.
    pub patterns: Vec<String>,
    pub shape: Shape,
    /// Bridges that listen on channels to which this one sends. An event does not go back to where it came from.
    pub listeners: Vec<Listener>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From Redis to the bus.
    In,
    /// From the bus to Redis.
    Out,
}

impl BridgeSettings {
    /// The types of its events.
    pub fn types(&self) -> Vec<&str> {
        match &self.shape.types {
            Types::One(name) => vec![name],
            Types::From { types, .. } => {
                let mut types: Vec<_> = types.iter().filter_map(|(_, name)| name.as_deref()).collect();
                types.sort_unstable();
                types.dedup();
                types
            }
        }
    }

    /// Whether one node at a time runs it. With ids, every node listens, and deduplication makes each message one event.
    pub fn is_exclusive(&self) -> bool {
        self.direction == Direction::Out || self.shape.id.is_none()
    }

    /// Whether it listens on this channel.
    fn hears(&self, channel: &str) -> bool {
        self.channels.iter().any(|known| known == channel)
            || self.patterns.iter().any(|pattern| matches(pattern, channel))
    }
}

/// Whether a pattern, whose only wildcard is `*`, has this name.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut rest = rest;
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Reads the tables.
///
/// # Errors
/// Everything that is wrong with them, each with its line.
pub fn read(
    tables: Option<&FlowTable>,
    broker: &BrokerConfig,
    catalog: &Catalog,
) -> Result<Vec<BridgeSettings>, Vec<String>> {
    let Some(FlowTable { file, text, tables, .. }) = tables else { return Ok(Vec::new()) };
    let mut reading = Reading { reader: Reader::new(file, text), broker, catalog };
    let mut bridges: Vec<BridgeSettings> = Vec::new();
    for (number, node) in tables.iter().enumerate() {
        let path = format!("bridge[{number}]");
        let Some(table) = reading.reader.table(node, &path, &MEMBERS) else { continue };
        let Some(bridge) = reading.bridge(table) else { continue };
        if bridges.iter().any(|other| other.name == bridge.name) {
            reading.reader.mistake(table.node.place("/name"), &table.at("name"), "another bridge has this name");
        }
        bridges.push(bridge);
    }
    let heard: Vec<_> = bridges.iter().filter(|bridge| bridge.direction == Direction::In).cloned().collect();
    for bridge in bridges.iter_mut().filter(|bridge| bridge.direction == Direction::Out) {
        let listens = |other: &&BridgeSettings| bridge.channels.iter().any(|channel| other.hears(channel));
        let listener = |other: &BridgeSettings| Listener { name: other.name.clone(), redis: other.redis.clone() };
        bridge.listeners = heard.iter().filter(listens).map(listener).collect();
    }
    if reading.reader.mistakes.is_empty() { Ok(bridges) } else { Err(reading.reader.mistakes) }
}

struct Reading<'a> {
    reader: Reader<'a>,
    broker: &'a BrokerConfig,
    catalog: &'a Catalog,
}

impl Reading<'_> {
    fn bridge(&mut self, table: Table<'_>) -> Option<BridgeSettings> {
        let name = self.reader.required_string(table, "name");
        let name = name.and_then(|_| self.reader.value(table, "name", name_of)).map(|name| name.to_string());
        let direction = match self.reader.string(table, "direction") {
            None | Some("in") => Direction::In,
            Some("out") => Direction::Out,
            Some(_) => {
                self.mistake(table, "direction", "expected in or out");
                Direction::In
            }
        };
        let redis = self.redis(table);
        let (patterns, channels) = self.channels(table, direction).into_iter().partition(|name| name.contains('*'));
        let types = self.types(table);
        let drop = self.reader.strings(table, "drop").unwrap_or_default();
        let drop = drop.into_iter().filter_map(|(at, text)| self.pointer(at, &table.at("drop"), text)).collect();
        let kinds = kinds(self.catalog, types.as_ref());
        let map = self.map(table, &kinds);
        // On the way out, `set` is about messages, which have no schema.
        let set = self.set(table, if direction == Direction::In { &kinds } else { &[] });
        let [time, id] = ["time", "id"].map(|name| {
            let text = self.reader.string(table, name)?;
            self.pointer(table.node.place(&format!("/{name}")), &table.at(name), text)
        });
        let shape = Shape { types: types?, drop, map, set, time, id };
        let (name, redis) = (name?, redis?);
        let bridge = BridgeSettings { name, direction, redis, channels, patterns, shape, listeners: Vec::new() };
        if direction == Direction::Out {
            settings::check_count(&mut self.reader, table, "types", bridge.types().len());
        }
        Some(bridge)
    }

    fn mistake(&mut self, table: Table<'_>, member: &str, text: impl std::fmt::Display) {
        settings::mistake(&mut self.reader, table, member, text);
    }

    /// The Redis of the bridge: by default that of the broker.
    fn redis(&mut self, table: Table<'_>) -> Option<RedisUrl> {
        match (self.reader.string(table, "redis"), &self.broker.broker) {
            (Some(text), _) => match RedisUrl::parse(text) {
                Some(Ok(url)) => {
                    if url.form == Form::Rest {
                        self.mistake(table, "redis", NO_REST);
                    } else if let Err(mistake) = crate::broker::check(&BrokerUrl::Redis(url.clone())) {
                        self.mistake(table, "redis", mistake);
                    }
                    Some(url)
                }
                Some(Err(expected)) => {
                    self.mistake(table, "redis", format!("expected {expected}"));
                    None
                }
                None => {
                    self.mistake(table, "redis", "expected the URL of a Redis, such as redis://localhost:6379");
                    None
                }
            },
            (None, BrokerUrl::Redis(url)) if url.form == Form::Rest => {
                let text = format!("`redis` is missing: {NO_REST}");
                self.reader.mistake(table.node.at, table.path, text);
                None
            }
            (None, BrokerUrl::Redis(url)) => Some(url.clone()),
            (None, _) => {
                let text = "`redis` is missing: the broker is not a Redis, so the bridge needs the URL of one; a check needs \
                            the broker of the daemon, too, which --broker or TIDINGS_BROKER gives";
                self.reader.mistake(table.node.at, table.path, text);
                None
            }
        }
    }

    fn channels(&mut self, table: Table<'_>, direction: Direction) -> Vec<String> {
        if table.node.get("channels").is_none() {
            self.reader.mistake(table.node.at, table.path, "`channels` is missing");
        }
        let (path, prefix) = (table.at("channels"), &self.broker.prefix);
        let names = self.reader.strings(table, "channels").unwrap_or_default();
        let mut channels: Vec<String> = Vec::new();
        for (at, name) in names {
            let why = if name.contains(['?', '[', '\\']) {
                "the only wildcard is `*`".to_owned()
            } else if direction == Direction::Out && name.contains('*') {
                "events go out to channels with a name, not to a pattern".into()
            } else if name.starts_with(&**prefix) && !prefix.is_empty() {
                format!("names that begin with {prefix:?} are those of tidings itself (the setting prefix)")
            } else if channels.iter().any(|other| matches(other, name) || matches(name, other)) {
                "another entry has the same messages, which would come twice".into()
            } else {
                channels.push(name.to_owned());
                continue;
            };
            self.reader.mistake(at, &path, why);
        }
        channels
    }

    fn types(&mut self, table: Table<'_>) -> Option<Types> {
        match (table.node.get("type"), table.node.get("type_from"), table.node.get("types")) {
            (Some(node), None, None) => {
                let name = self.reader.required_string(table, "type")?;
                self.known_type(node.at, &table.at("type"), name).map(Types::One)
            }
            (None, Some(from), Some(types)) => {
                let text = self.reader.required_string(table, "type_from")?;
                let pointer = self.pointer(from.at, &table.at("type_from"), text);
                let path = table.at("types");
                let Some(members) = types.as_table().filter(|members| !members.is_empty()) else {
                    self.mistake(table, "types", "this is a table: { \"inventory:change\" = \"inventory-change\" }");
                    return None;
                };
                let mut all = Vec::new();
                for member in members {
                    match &member.node.value {
                        Value::String(name) => {
                            let known = self.known_type(member.node.at, &path, name)?;
                            all.push((member.name.clone(), Some(known)));
                        }
                        Value::Bool(false) => all.push((member.name.clone(), None)),
                        _ => {
                            let text = "expected the name of an event type, or false for messages to ignore";
                            self.reader.mistake(member.node.at, &path, text);
                        }
                    }
                }
                if all.len() == members.len() && all.iter().all(|(_, name)| name.is_none()) {
                    self.mistake(table, "types", "none of these names an event type, so the bridge would do nothing");
                    return None;
                }
                Some(Types::From { pointer: pointer?, types: all })
            }
            _ => {
                let text = "say which events the messages are: `type`, or `type_from` and `types`";
                self.reader.mistake(table.node.at, table.path, text);
                None
            }
        }
    }

    fn known_type(&mut self, at: usize, path: &str, name: &str) -> Option<String> {
        settings::channel(&mut self.reader, self.catalog, (at, path), "event type", name)?;
        Some(name.to_owned())
    }

    fn pointer(&mut self, at: usize, path: &str, text: &str) -> Option<Pointer> {
        let pointer = Pointer::parse(text);
        if pointer.is_none() {
            let text = suggest::quoted(text);
            self.reader.mistake(at, path, format!("expected a JSON Pointer such as /productId, not {text}"));
        }
        pointer
    }

    /// The members of a table whose names are pointers.
    fn pointers<'n>(&mut self, table: Table<'n>, name: &str) -> Vec<(Pointer, &'n Node)> {
        let Some(node) = table.node.get(name) else { return Vec::new() };
        let path = table.at(name);
        let Some(members) = node.as_table() else {
            self.reader.mistake(node.at, &path, "this is a table whose names are JSON Pointers");
            return Vec::new();
        };
        let read = members.iter().map(|member| Some((self.pointer(member.at, &path, &member.name)?, &member.node)));
        read.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn map(&mut self, table: Table<'_>, kinds: &[&EventType]) -> Vec<(Pointer, Pointer)> {
        let path = table.at("map");
        let mut map = Vec::new();
        for (to, node) in self.pointers(table, "map") {
            if let Some(why) = misfit(kinds, &to, None) {
                self.reader.mistake(node.at, &path, why);
            }
            match node.as_str() {
                Some(text) => map.extend(self.pointer(node.at, &path, text).map(|from| (to, from))),
                None => self.reader.mistake(node.at, &path, "expected a JSON Pointer into the message"),
            }
        }
        map
    }

    fn set(&mut self, table: Table<'_>, kinds: &[&EventType]) -> Vec<(Pointer, Json<'static>)> {
        let path = table.at("set");
        let mut set = Vec::new();
        for (pointer, node) in self.pointers(table, "set") {
            if let Value::Other(what) = &node.value {
                self.reader.mistake(node.at, &path, format!("JSON has no {what}"));
                continue;
            }
            let value = node.to_json();
            if let Some(why) = misfit(kinds, &pointer, Some(&value)) {
                self.reader.mistake(node.at, &path, why);
            }
            set.push((pointer, value));
        }
        set
    }
}

/// The tables in a text, for tests.
#[cfg(test)]
pub fn parsed(text: &str, broker: &BrokerConfig) -> Result<Vec<BridgeSettings>, Vec<String>> {
    parsed_with(text, broker, &Catalog::builtin())
}

#[cfg(test)]
fn parsed_with(text: &str, broker: &BrokerConfig, catalog: &Catalog) -> Result<Vec<BridgeSettings>, Vec<String>> {
    let root = Node::parse(text).unwrap();
    let Some(Value::Array(tables)) = root.get("bridge").map(|node| node.value.clone()) else { panic!("no tables") };
    let file = std::path::PathBuf::from("tidings.toml");
    let table = FlowTable { key: "bridge", file, text: text.into(), tables: tables.into() };
    read(Some(&table), broker, catalog)
}

#[cfg(test)]
mod tests;
