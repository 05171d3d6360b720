//! The catalogue: every event type of this daemon with its compiled JSON Schema, and the validation of events.
//!
//! The built-in types come first, then the user's own. The two kinds differ only in the source of their schema, so
//! validation, filters, generated clients and documents treat them alike. The catalogue is read-only after startup.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions};
use serde_json::{Map, Value, json};

use super::channel::ChannelId;
use super::decimal::Decimal;
use super::envelope::{self, Defaults, Event, MAX_ATTRIBUTE, Refusal};
use super::json::{Json, Representation};
use super::mistake::{self, MAX_MISTAKES};
use super::schema_field::names_at;
use super::schema_lint::{self, Findings};
use super::type_settings::TypeSettings;
use super::{SchemaError, SchemaErrors, builtin, event_schema, meta_schema, schema_ids, sentence};
use crate::suggest::{self, Known};

/// A compiled schema.
type Validator = jsonschema::Validator<Representation>;

/// One event type with its compiled schema.
#[derive(Debug)]
pub struct EventType {
    /// The name of the type and of its channel.
    pub name: Arc<str>,
    /// The field of `data` that becomes the event's `subject`, if the type has one.
    pub key: Option<String>,
    /// The JSON Schema (2020-12) of `data`, with `$id`.
    pub schema: Value,
    /// What the schema says about the type's log.
    pub settings: TypeSettings,
    validator: Validator,
}

/// The event types, by channel and by name.
#[derive(Debug)]
pub struct Catalog {
    types: Vec<EventType>,
    by_name: HashMap<Arc<str>, ChannelId>,
    /// The `$id` of every schema and embedded schema. They are unique: a URI names one schema.
    schema_ids: HashSet<String>,
    envelope: Validator,
}

/// A user's type that was added to the catalogue.
#[derive(Debug)]
pub struct Added {
    /// The channel of the type.
    pub channel: ChannelId,
    /// What is allowed in its schema and still suspicious.
    pub warnings: Vec<SchemaError>,
}

/// The maximum length of a type's name, in bytes. Names of subscriptions have the same limit, so that a subscription
/// can have the name of its channel.
const MAX_NAME: usize = 64;

/// The names of Server-Sent Events that are no event types: what event streams send, and EventSource's own events.
/// `message` is the name of a block without one: it would call `onmessage`.
const SSE_EVENTS: [&str; 6] = ["gap", "cursor", "closed", "open", "error", "message"];

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

impl Catalog {
    /// The catalogue without any type.
    #[expect(clippy::expect_used, reason = "this schema is part of the program, and every test compiles it")]
    pub fn empty() -> Self {
        let envelope = compile(&envelope::schema(), PatternOptions::fancy_regex())
            .expect("the envelope's schema is part of the program");
        let ids = [envelope::SCHEMA_ID, DRAFT].map(str::to_owned).into();
        Self { types: Vec::new(), by_name: HashMap::new(), schema_ids: ids, envelope }
    }

    /// The catalogue of the built-in types.
    #[expect(clippy::expect_used, reason = "these schemas are part of the program, and every test compiles them")]
    pub fn builtin() -> Self {
        let mut catalog = Self::empty();
        for (name, key, schema) in builtin::types() {
            let schema = with_id(name, schema.to_value());
            catalog
                .insert(name, key.map(str::to_owned), TypeSettings::default(), schema)
                .expect("built-in schemas are part of the program");
        }
        catalog
    }

    /// Adds the user's own type `name`, whose JSON Schema is `text`.
    ///
    /// # Errors
    /// The name is taken or not allowed. The text is not a JSON Schema of draft 2020-12, has a keyword that does not exist,
    /// or refers to another document. All mistakes of one kind are reported at once.
    pub fn add(&mut self, name: &str, text: &str) -> Result<Added, SchemaErrors> {
        let refuse = |place: &str, message: String| SchemaErrors::from(SchemaError { place: place.into(), message });
        if let Some(wrong) = wrong_name(name) {
            return Err(refuse("its name", wrong));
        }
        // Event streams use these as SSE event names, beside the names of the types.
        if SSE_EVENTS.contains(&name) {
            let message = format!("the name {name} is reserved for Server-Sent Events: rename the file");
            return Err(refuse("its name", message));
        }
        if name == "event" || self.by_name.contains_key(name) {
            let kind = if name == "event" || Self::is_builtin(name) { "a built-in schema" } else { "another file" };
            return Err(refuse("its name", format!("{kind} has the name {name} already: rename the file")));
        }
        let schema = Json::parse(text)
            .map_err(|error| refuse(&format!("line {}, column {}", error.line, error.column), error.message))?
            .to_value();
        let Some(root) = schema.as_object() else {
            let message = format!("the schema of a type must be a JSON object, not {}", sentence::described(&schema));
            return Err(refuse("/", message));
        };
        if let Some(draft) =
            root.get("$schema").filter(|draft| draft.as_str().map(|uri| uri.trim_end_matches('#')) != Some(DRAFT))
        {
            return Err(refuse("/$schema", format!("{draft} is not supported: write {DRAFT:?}")));
        }
        let Findings { mut errors, warnings } = schema_lint::lint(&schema);
        let key = match root.get("x-tidings-key") {
            None => None,
            Some(Value::String(key)) if root.get("properties").is_some_and(|fields| fields.get(key).is_some()) => {
                Some(key.clone())
            }
            Some(key) => {
                let fields = root.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
                let known = Known::new("fields", fields.map(String::as_str));
                let refusal = format!("{} is not a field under /properties of this schema", sentence::shown(key));
                let message = known.refuse(&refusal, key.as_str().unwrap_or_default());
                errors.push(SchemaError { place: "/x-tidings-key".into(), message });
                None
            }
        };
        let (settings, mistakes) = TypeSettings::of_schema(root);
        errors.extend(mistakes);
        for error in meta_schema::of(&schema) {
            // A type that does not exist is a violation of the meta-schema, too.
            let is_within = |place: &str| {
                place.strip_prefix(&*error.place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if error.place == "/" || !errors.iter().any(|known| is_within(&known.place)) {
                errors.push(error);
            }
        }
        if !errors.is_empty() {
            return Err(SchemaErrors(errors));
        }
        let channel = self.insert(name, key, settings, with_id(name, schema))?;
        Ok(Added { channel, warnings })
    }

    /// The channels of the built-in types that the catalogue has.
    pub fn builtin_channels(&self) -> Vec<ChannelId> {
        builtin::types().into_iter().filter_map(|(name, ..)| self.channel(name)).collect()
    }

    /// Whether a type of this name is part of the program.
    fn is_builtin(name: &str) -> bool {
        builtin::types().iter().any(|(builtin, ..)| *builtin == name)
    }

    fn insert(
        &mut self,
        name: &str,
        key: Option<String>,
        settings: TypeSettings,
        schema: Value,
    ) -> Result<ChannelId, SchemaError> {
        let ids = self.check_ids(&schema)?;
        // Patterns of users meet texts of others: a pattern that backtracks could take exponential time for some.
        let validator = compile(&schema, PatternOptions::regex())?;
        self.schema_ids.extend(ids);
        let name: Arc<str> = name.into();
        let id = ChannelId(self.types.len() as u32);
        self.by_name.insert(name.clone(), id);
        self.types.push(EventType { name, key, schema, settings, validator });
        Ok(id)
    }

    /// Collects the `$id`s of a schema and of its embedded schemas, and checks that no other schema has them.
    fn check_ids(&self, schema: &Value) -> Result<HashSet<String>, SchemaError> {
        let refuse = |place: &str, message: &str| SchemaError { place: place.into(), message: message.into() };
        // Every event has this URI as its `dataschema`, so the envelope must allow it.
        let with_uri = json!({ "type": "-", "data": null, "dataschema": schema["$id"] });
        if !schema["$id"].is_string() || !self.envelope.is_valid(&with_uri.into()) {
            let message = "must be an absolute URI of at most 1024 characters, such as https://example.com/order; \
                or leave it out";
            return Err(refuse("/$id", message));
        }
        let mut ids = HashSet::new();
        for schema_ids::Identified { place, uri, .. } in schema_ids::collect(schema) {
            let Some(id) = uri else {
                return Err(refuse(
                    &place,
                    "must be an absolute URI without a fragment (#…), such as https://example.com/order; or leave it out",
                ));
            };
            if self.schema_ids.contains(id.as_str()) || !ids.insert(id.into()) {
                return Err(refuse(&place, "another schema has this URI: choose one of its own, or leave it out"));
            }
        }
        Ok(ids)
    }

    /// All types, the built-in ones first. The index of each is its [`ChannelId`].
    pub fn types(&self) -> &[EventType] {
        &self.types
    }

    /// All channels.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> + use<> {
        (0..self.types.len() as u32).map(ChannelId)
    }

    /// The channel with this name.
    pub fn channel(&self, name: &str) -> Option<ChannelId> {
        self.by_name.get(name).copied()
    }

    /// The event type of a channel.
    ///
    /// Panics if the channel is of another, larger catalogue.
    pub fn get(&self, channel: ChannelId) -> &EventType {
        &self.types[channel.0 as usize]
    }

    /// The JSON Schema of the whole event, with the schema of each type that is `shown` among its definitions. None of them
    /// has one of the `reserved` names.
    pub fn event_schema(&self, shown: impl Fn(ChannelId) -> bool, reserved: &[&str]) -> Value {
        let types = self.channels().filter(|channel| shown(*channel)).map(|channel| self.get(channel));
        event_schema::event_schema(types.map(|known| (&*known.name, &known.schema)), reserved)
    }

    /// Validates a document against the envelope and its type's schema, and completes it to an event.
    ///
    /// # Errors
    /// [`Refusal`] with the mistakes, at most `limit` of them. The pointer of each has the prefix `at`.
    pub fn validate(
        &self,
        document: Json<'_>,
        at: &str,
        limit: usize,
        defaults: Defaults<'_>,
    ) -> Result<Event, Refusal> {
        let channel = document.get("type").and_then(Json::as_str).and_then(|name| self.channel(name));
        if let (Some(channel), Some(attributes), Some(data)) = (channel, document.as_object(), document.get("data"))
            && self.envelope.is_valid(&document)
        {
            let event_type = self.get(channel);
            if event_type.is_valid(data) {
                let subject = event_type.subject(data);
                let (id, subject, json) =
                    envelope::complete(&event_type.name, attributes, subject, event_type.id(), defaults);
                return Ok(Event { channel, id, subject, json });
            }
        }
        Err(self.refusal(&document, channel, at, limit.clamp(1, MAX_MISTAKES)))
    }

    /// Lists the mistakes of an invalid document. Listing is slower than the yes-or-no check, so valid documents skip it.
    fn refusal(&self, document: &Json<'_>, channel: Option<ChannelId>, at: &str, limit: usize) -> Refusal {
        let attributes = |_: &str| ATTRIBUTES.to_vec();
        let mut mistakes = mistake::mistakes(self.envelope.iter_errors(document), at, &attributes, limit);
        mistakes.iter_mut().for_each(envelope::explain);
        let unknown = document.get("type").and_then(Json::as_str).filter(|_| channel.is_none());
        if let (Some(channel), Some(data)) = (channel, document.get("data")) {
            let remaining = limit.saturating_sub(mistakes.len());
            let event_type = self.get(channel);
            if remaining > 0 {
                let at = format!("{at}/data");
                let fields = |pointer: &str| names_at(&event_type.schema, pointer);
                mistakes.extend(mistake::mistakes(event_type.validator.iter_errors(data), &at, &fields, remaining));
            }
        }
        // The application layer knows which types the publisher may see, and describes this mistake.
        let unknown_type = unknown.map(str::to_owned);
        mistakes.truncate(if unknown.is_some() { limit - 1 } else { limit });
        Refusal { channel, unknown_type, mistakes }
    }
}

/// The names of the envelope's attributes, one of which an error message may suggest.
const ATTRIBUTES: &[&str] =
    &["specversion", "type", "data", "id", "source", "time", "subject", "dataschema", "datacontenttype", "causationid"];

impl EventType {
    /// The `$id` of the schema.
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

    /// Whether `data` is valid against the schema.
    pub fn is_valid(&self, data: &Json<'_>) -> bool {
        self.validator.is_valid(data)
    }

    /// Which of the members of `data` at these JSON Pointers have no field in the schema, where it allows no other.
    pub fn unknown<'p>(&self, data: &Json<'_>, pointers: &[&'p str]) -> Vec<&'p str> {
        if pointers.is_empty() || self.is_valid(data) {
            return Vec::new();
        }
        mistake::unknown(&self.validator.iter_errors(data).take(MAX_MISTAKES).collect::<Vec<_>>(), pointers)
    }

    /// Why the schema refuses the value of the member of `data` at this JSON Pointer, whatever the other members are.
    pub fn wrong_value(&self, data: &Json<'_>, pointer: &str) -> Option<String> {
        self.validator.iter_errors(data).take(MAX_MISTAKES).find_map(|error| mistake::wrong_value(&error, pointer))
    }

    /// The `subject` of an event with this `data`: the value of the key field. Equal numbers give one subject, however
    /// they are written. A value that no `subject` may have gives none: it is too long, empty, or has control characters.
    fn subject<'a>(&self, data: &'a Json<'_>) -> Option<Cow<'a, str>> {
        let is_allowed = |text: &str| {
            !text.is_empty() && text.chars().count() <= MAX_ATTRIBUTE && !text.chars().any(char::is_control)
        };
        match data.get(self.key.as_ref()?)? {
            Json::String(text) if is_allowed(text) => Some(text.as_ref().into()),
            Json::Number(text) => Decimal::parse(text).plain(MAX_ATTRIBUTE).map(Cow::Owned),
            _ => None,
        }
    }
}

/// Adds `$schema`, and an `$id` made from the type's name, if the schema lacks them.
fn with_id(name: &str, mut schema: Value) -> Value {
    if let Some(root) = schema.as_object_mut() {
        root.entry("$schema").or_insert_with(|| DRAFT.into());
        if !root.contains_key("$id") {
            root.shift_insert(1, "$id".into(), format!("urn:tidings:schema:{name}").into());
        }
    }
    schema
}

/// What is wrong with a type's name; `None` if it can be one.
pub fn wrong_name(name: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let allowed = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(is_allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric();
    (!allowed).then(|| {
        format!(
            "{} is not a type's name: use at most {MAX_NAME} letters, digits, `.`, `_` and `-`, with a letter or digit first",
            suggest::quoted(name)
        )
    })
}

/// Compiles a schema of draft 2020-12. `format` is validated; the draft's default is an annotation.
fn compile<E>(schema: &Value, patterns: PatternOptions<E>) -> Result<Validator, SchemaError> {
    jsonschema::options_for::<Representation>()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .with_pattern_options(patterns)
        .build(schema)
        .map_err(|error| meta_schema::describe(&error))
}

#[cfg(test)]
mod tests;
