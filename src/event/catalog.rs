//! Every event type that this daemon knows: the built-in ones, then the user's own.
//!
//! A type is a JSON Schema, compiled; built-in and own types differ only in where the schema came from, so validation,
//! filters, generated clients and documents treat them alike. The catalogue is made once at the start and then only read.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::envelope::{self, Defaults, Event, Refusal, RefusalKind};
use super::mistake::{self, MAX_MISTAKES, Mistake};
use super::{builtin, schema_ids};

/// The place of a type in its [`Catalog`]; since a type names its channel, also the number of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u32);

/// One event type, ready to validate with.
#[derive(Debug)]
pub struct EventType {
    /// The type's name and its channel's.
    pub name: Arc<str>,
    /// The field of `data` that says what the event is about, where there is one.
    pub key: Option<String>,
    /// The JSON Schema (2020-12) of `data`, with `$id`.
    pub schema: Value,
    validator: Validator,
}

/// The types, by number and by name.
#[derive(Debug)]
pub struct Catalog {
    types: Vec<EventType>,
    by_name: HashMap<Arc<str>, ChannelId>,
    /// The URI of every schema, those within others too: in [`Catalog::event_schema`] they all are in one document.
    ids: HashSet<String>,
    envelope: Validator,
}

/// An own type's schema that cannot be used: what is wrong, and where in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SchemaError {
    /// `line L, column C`, or a JSON Pointer into the schema.
    pub place: String,
    pub message: String,
}

/// The longest name of a type, in bytes; it can be the name of a subscription too.
const MAX_NAME: usize = 64;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

impl Catalog {
    /// The built-in types alone.
    #[expect(clippy::expect_used, reason = "these schemas are part of the program: every test would find one broken")]
    pub fn builtin() -> Self {
        let envelope = compile(&envelope::schema()).expect("the envelope's schema is part of the program");
        let ids = [envelope::SCHEMA_ID, DRAFT].map(str::to_owned).into();
        let mut catalog = Self { types: Vec::new(), by_name: HashMap::new(), ids, envelope };
        for (name, key, schema) in builtin::types() {
            let schema = with_id(name, schema.to_value());
            catalog.insert(name, key.map(str::to_owned), schema).expect("built-in schemas are part of the program");
        }
        catalog
    }

    /// Adds the user's own type `name`, whose JSON Schema is `text`.
    ///
    /// # Errors
    /// Where the name is taken or unusable, or the text is no JSON Schema of draft 2020-12 that stands by itself.
    pub fn add(&mut self, name: &str, text: &str) -> Result<ChannelId, SchemaError> {
        let wrong = |place: &str, message: String| SchemaError { place: place.into(), message };
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty()
            || name.len() > MAX_NAME
            || !name.bytes().all(good)
            || !name.as_bytes()[0].is_ascii_alphanumeric()
        {
            return Err(wrong(
                "its name",
                format!("{name:?} cannot be a type's name: letters, digits, `.`, `_` and `-`, at most {MAX_NAME}"),
            ));
        }
        // What an EventSource is told beside events has names of the same kind.
        if ["gap", "error"].contains(&name) {
            return Err(wrong(
                "its name",
                format!("{name} is what an event stream calls something else: choose another"),
            ));
        }
        if name == "event" || self.by_name.contains_key(name) {
            return Err(wrong("its name", format!("the name {name} is taken by a type that exists already")));
        }
        let schema: Value = serde_json::from_str(text)
            .map_err(|error| wrong(&format!("line {}, column {}", error.line(), error.column()), error.to_string()))?;
        let Some(root) = schema.as_object() else {
            return Err(wrong("/", "a type's schema is a JSON object".into()));
        };
        if let Some(draft) =
            root.get("$schema").filter(|draft| draft.as_str().map(|uri| uri.trim_end_matches('#')) != Some(DRAFT))
        {
            return Err(wrong("/$schema", format!("{draft} is not supported: write {DRAFT:?}")));
        }
        let key = match root.get("x-tidings-key") {
            None => None,
            Some(Value::String(key)) if root.get("properties").is_some_and(|fields| fields.get(key).is_some()) => {
                Some(key.clone())
            }
            Some(key) => {
                return Err(wrong("/x-tidings-key", format!("{key} is no field under /properties of this schema")));
            }
        };
        self.insert(name, key, with_id(name, schema))
    }

    fn insert(&mut self, name: &str, key: Option<String>, schema: Value) -> Result<ChannelId, SchemaError> {
        let ids = self.judged_ids(&schema)?;
        let validator = compile(&schema)?;
        self.ids.extend(ids);
        let name: Arc<str> = name.into();
        let id = ChannelId(self.types.len() as u32);
        self.by_name.insert(name.clone(), id);
        self.types.push(EventType { name, key, schema, validator });
        Ok(id)
    }

    /// The URIs that a schema gives to itself and to its parts, which must be its own.
    fn judged_ids(&self, schema: &Value) -> Result<HashSet<String>, SchemaError> {
        let wrong = |place: &str, message: &str| SchemaError { place: place.into(), message: message.into() };
        // Each event names its schema by this: what the envelope refuses could not be published again.
        let named = json!({ "type": "-", "data": null, "dataschema": schema["$id"] });
        if !schema["$id"].is_string() || !self.envelope.is_valid(&named) {
            return Err(wrong("/$id", "it must be an absolute URI of at most 1024 characters"));
        }
        let mut ids = HashSet::new();
        for (place, id) in schema_ids::collect(schema) {
            let Some(id) = id else {
                return Err(wrong(&place, "it must be an absolute URI without a fragment"));
            };
            if self.ids.contains(id.as_str()) || !ids.insert(id.into()) {
                return Err(wrong(&place, "this URI is that of another schema"));
            }
        }
        Ok(ids)
    }

    /// All types, built-in ones first; the index of each is its [`ChannelId`].
    pub fn types(&self) -> &[EventType] {
        &self.types
    }

    /// The number of every channel.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> + use<> {
        (0..self.types.len() as u32).map(ChannelId)
    }

    /// The channel of that name.
    pub fn channel(&self, name: &str) -> Option<ChannelId> {
        self.by_name.get(name).copied()
    }

    /// The type of a channel of this catalogue.
    pub fn get(&self, channel: ChannelId) -> &EventType {
        &self.types[channel.0 as usize]
    }

    /// The known type whose name is nearest to `name`, for "did you mean".
    pub fn nearest(&self, name: &str) -> Option<&str> {
        mistake::nearest(name, &self.types.iter().map(|known| &*known.name).collect::<Vec<_>>())
    }

    /// The schema of the whole event: the envelope, and for each type what its `data` is.
    pub fn event_schema(&self) -> Value {
        let mut schema = envelope::schema();
        let mut definitions = Map::new();
        let mut rules = Vec::new();
        for known in &self.types {
            rules.push(json!({
                "if": { "properties": { "type": { "const": known.name } } },
                "then": { "properties": { "data": { "$ref": known.id() } } },
            }));
            definitions.insert(known.name.to_string(), known.schema.clone());
        }
        schema["properties"]["type"]["enum"] = self.types.iter().map(|known| Value::from(&*known.name)).collect();
        schema["allOf"] = rules.into();
        schema["$defs"] = definitions.into();
        schema
    }

    /// Takes a document as an event: checks it against the envelope and its type's schema, and completes it.
    ///
    /// # Errors
    /// [`Refusal`] with all mistakes, up to `limit` of them, their pointers beginning with `at`.
    pub fn validate(&self, document: Value, at: &str, limit: usize, defaults: Defaults<'_>) -> Result<Event, Refusal> {
        let channel = document.get("type").and_then(Value::as_str).and_then(|name| self.channel(name));
        if let (Some(channel), Value::Object(attributes)) = (channel, &document)
            && self.envelope.is_valid(&document)
            && let Some(data) = attributes.get("data")
        {
            let known = self.get(channel);
            if known.is_valid(data) {
                let subject = known.subject(data);
                return Ok(envelope::complete(channel, &known.name, attributes, subject, known.id(), defaults));
            }
        }
        Err(self.refusal(&document, channel, at, limit.clamp(1, MAX_MISTAKES)))
    }

    /// All that is wrong with a document that is not valid: to list it takes longer than to find that there is something.
    fn refusal(&self, document: &Value, channel: Option<ChannelId>, at: &str, limit: usize) -> Refusal {
        let mut mistakes = mistake::mistakes(&self.envelope, document, at, ATTRIBUTES, limit);
        mistakes.iter_mut().for_each(envelope::explain);
        let unknown = document.get("type").and_then(Value::as_str).filter(|_| channel.is_none());
        if let Some(name) = unknown {
            let meant = self.nearest(name).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            mistakes.insert(0, Mistake::new(format!("{at}/type"), format!("no such event type here{meant}")));
        }
        if let (Some(channel), Some(data)) = (channel, document.get("data")) {
            let room = limit.saturating_sub(mistakes.len());
            let known = self.get(channel);
            if room > 0 {
                let (at, fields) = (format!("{at}/data"), known.fields());
                mistakes.extend(mistake::mistakes(&known.validator, data, &at, &fields, room));
            }
        }
        mistakes.truncate(limit);
        let kind = if unknown.is_some() { RefusalKind::UnknownType } else { RefusalKind::Invalid };
        Refusal { kind, mistakes }
    }
}

/// The attributes that a misspelt one may have meant.
const ATTRIBUTES: &[&str] =
    &["specversion", "type", "data", "id", "source", "time", "subject", "dataschema", "datacontenttype", "causationid"];

impl EventType {
    /// The URI of the schema: its `$id`.
    pub fn id(&self) -> &str {
        self.schema["$id"].as_str().unwrap_or_default()
    }

    /// The names of the fields of `data`.
    pub fn fields(&self) -> Vec<&str> {
        self.schema["properties"]
            .as_object()
            .map(|fields| fields.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// Whether `data` fits the schema.
    pub fn is_valid(&self, data: &Value) -> bool {
        self.validator.is_valid(data)
    }

    /// `subject` of an event with this `data`: the value of the key field.
    fn subject<'a>(&self, data: &'a Value) -> Option<Cow<'a, str>> {
        match data.get(self.key.as_ref()?)? {
            Value::String(text) if !text.is_empty() => Some(text.into()),
            Value::Number(number) => Some(number.to_string().into()),
            _ => None,
        }
    }
}

/// A schema says who it is; where an own one does not, its name does.
fn with_id(name: &str, mut schema: Value) -> Value {
    if let Some(root) = schema.as_object_mut() {
        root.entry("$schema").or_insert_with(|| DRAFT.into());
        if !root.contains_key("$id") {
            root.shift_insert(1, "$id".into(), format!("urn:tidings:schema:{name}").into());
        }
    }
    schema
}

fn compile(schema: &Value) -> Result<Validator, SchemaError> {
    jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true).build(schema).map_err(|error| {
        let place = error.instance_path().as_str();
        SchemaError { place: if place.is_empty() { "/" } else { place }.into(), message: error.to_string() }
    })
}

#[cfg(test)]
mod tests;
