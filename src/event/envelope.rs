//! The CloudEvents 1.0 envelope around `data`: the rules for its attributes, and the ones that the daemon adds.
//!
//! The rules are a JSON Schema ([`schema`]), which the daemon also publishes, so the published and the enforced rules are
//! the same. An attribute that is `null` counts as absent (CloudEvents 1.0, JSON format, section 2.2).

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::channel::ChannelId;
use super::mistake::Mistake;

/// A valid event, complete and encoded: what [`Catalog::validate`](super::Catalog::validate) makes of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The channel of the event's type.
    pub channel: ChannelId,
    /// The CloudEvents `id`. Deduplication compares it within the channel.
    pub id: String,
    /// The CloudEvent as compact JSON: the exact text that every subscriber gets.
    pub json: Arc<str>,
    /// The member `data` as it was parsed for validation, so that no later step parses it again.
    pub data: Arc<Value>,
}

/// The attributes that the daemon gives to an event without them.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    /// `source`: the publisher's name, a URI-reference.
    pub source: &'a str,
    /// `time`: RFC 3339.
    pub time: &'a str,
}

impl Defaults<'_> {
    /// The current time: RFC 3339, UTC, with milliseconds.
    pub fn now() -> String {
        format!("{:.3}", jiff::Timestamp::now())
    }
}

/// Why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The document's `type`, if the daemon has no such event type.
    pub unknown_type: Option<String>,
    /// What else is wrong and where, at most [`MAX_MISTAKES`](super::MAX_MISTAKES). Not empty if the type is known.
    pub mistakes: Vec<Mistake>,
}

/// The maximum length of `source`, `subject` and `dataschema`, in characters.
const MAX_ATTRIBUTE: usize = 1024;
/// The maximum length of `id`, `type`, `datacontenttype` and `causationid`, in characters.
const MAX_ID: usize = 256;

/// The `$id` of the schema of the whole event.
pub(super) const SCHEMA_ID: &str = "urn:tidings:schema:event";

/// Text without control characters. Explicit ranges: \d and \s match different characters in ECMAScript's and in Rust's
/// regular expressions.
const TEXT: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// The JSON Schema of the value of an extension attribute, as [`schema`] has it, with one branch for each JSON type: that
/// is what code generators and Ajv's strict mode understand.
pub(super) fn extension() -> Value {
    json!({
        "description": EXTENSION,
        "anyOf": [
            { "type": "string", "pattern": TEXT },
            { "type": "boolean" },
            { "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX },
            { "type": "null" },
        ],
    })
}

const EXTENSION: &str = "An extension attribute, passed on unchanged.";

/// The JSON Schema of the envelope. It allows any `data`; the type's own schema restricts it.
pub(super) fn schema() -> Value {
    const URI_CHARS: &str = r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+";
    const TIME: &str = concat!(
        "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]",
        r"(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$",
    );
    let optional = ["string", "null"];
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Event",
        "description": "A CloudEvents 1.0 event, as a publisher sends it. `type` names the channel and decides the schema \
            of `data`. The daemon adds the other attributes if they are absent.",
        "type": "object",
        "required": ["type", "data"],
        "properties": {
            "specversion": { "enum": ["1.0", null], "description": "The CloudEvents version." },
            "type": { "type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": TEXT,
                "description": "The event type, which is the name of its channel." },
            "data": { "description": "What happened: valid against the schema of the event type." },
            "id": { "type": optional, "minLength": 1, "maxLength": MAX_ID, "pattern": TEXT,
                "description": "Identifies the event. A publisher that retries sends the same id." },
            "source": { "type": optional, "maxLength": MAX_ATTRIBUTE, "pattern": format!("^{URI_CHARS}$"),
                "description": "The publisher: a URI-reference." },
            "time": { "type": optional, "format": "date-time", "pattern": TIME, "description": "When it happened: an RFC 3339 time." },
            "subject": { "type": optional, "minLength": 1, "maxLength": MAX_ATTRIBUTE, "pattern": TEXT,
                "description": "The subject of the event. If it is absent, the value of the type's key field." },
            "dataschema": { "type": optional, "maxLength": MAX_ATTRIBUTE,
                "pattern": format!("^[A-Za-z][A-Za-z0-9+.-]*:{URI_CHARS}$"), "description": "The URI of the schema of `data`." },
            "datacontenttype": { "type": optional, "maxLength": MAX_ID,
                "pattern": r"^application/(?:[A-Za-z0-9!#$&^_.-]+\+)?json(?: *;[\u0020-\u007e]*)?$",
                "description": "The media type of `data`, which is JSON." },
            "causationid": { "type": optional, "minLength": 1, "maxLength": MAX_ID, "pattern": TEXT,
                "description": "The id of the event that caused this one." },
        },
        "propertyNames": { "pattern": "^[a-z0-9]+$" },
        "additionalProperties": {
            "description": EXTENSION,
            "type": ["string", "boolean", "integer", "null"],
            "minimum": i32::MIN, "maximum": i32::MAX, "pattern": TEXT,
        },
    })
}

/// Replaces a message that quotes a regular expression by one in words.
pub(super) fn explain(mistake: &mut Mistake) {
    let attribute = mistake.pointer.rsplit('/').next().unwrap_or_default();
    let words = match attribute {
        "specversion" => "must be the string 1.0",
        "data_base64" => "binary data is not supported: send JSON in `data`",
        _ if mistake.message.starts_with("is not an allowed name") => {
            let suggestion = mistake.message.find("; did you mean").map(|start| &mistake.message[start..]);
            mistake.message = format!(
                "the name of an attribute is made of lowercase letters and digits{}",
                suggestion.unwrap_or_default().replace("(fields:", "(attributes:")
            );
            return;
        }
        _ if !["must match the pattern", "must be a time"].iter().any(|start| mistake.message.starts_with(start)) => {
            return;
        }
        "time" => "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z",
        "source" => "must be a URI-reference (RFC 3986), such as /shop",
        "dataschema" => "must be an absolute URI (RFC 3986)",
        "datacontenttype" => "must be application/json or application/…+json",
        _ => "must not have control characters",
    };
    mistake.message = words.into();
}

/// Completes a valid event: its `id`, and its JSON with the missing attributes added.
///
/// `subject` and `dataschema` are the values that the type gives to an event without them.
pub(super) fn complete(
    event_type: &str,
    attributes: &Map<String, Value>,
    subject: Option<Cow<'_, str>>,
    dataschema: &str,
    defaults: Defaults<'_>,
) -> (String, Arc<str>) {
    let text = |name: &str| attributes.get(name).and_then(Value::as_str);
    let id = text("id").map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
    let complete = Complete {
        id: &id,
        source: text("source").unwrap_or(defaults.source),
        event_type,
        subject: text("subject").or(subject.as_deref()),
        time: text("time").unwrap_or(defaults.time),
        dataschema: text("dataschema").unwrap_or(dataschema),
        attributes,
    };
    // Strings and parsed JSON always serialize.
    let json = serde_json::to_string(&complete).unwrap_or_default().into();
    (id, json)
}

/// An event as it is serialized: the attributes in the order in which people read them, `data` last.
struct Complete<'a> {
    id: &'a str,
    source: &'a str,
    event_type: &'a str,
    subject: Option<&'a str>,
    time: &'a str,
    dataschema: &'a str,
    /// The publisher's document, for `data` and the extension attributes.
    attributes: &'a Map<String, Value>,
}

impl Serialize for Complete<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut event = serializer.serialize_map(None)?;
        event.serialize_entry("specversion", "1.0")?;
        event.serialize_entry("id", self.id)?;
        event.serialize_entry("source", self.source)?;
        event.serialize_entry("type", self.event_type)?;
        if let Some(subject) = self.subject {
            event.serialize_entry("subject", subject)?;
        }
        event.serialize_entry("time", self.time)?;
        event.serialize_entry("dataschema", self.dataschema)?;
        let mut data = &Value::Null;
        for (name, value) in self.attributes {
            match name.as_str() {
                "specversion" | "id" | "source" | "type" | "subject" | "time" | "dataschema" => {}
                "data" => data = value,
                _ if value.is_null() => {}
                _ => event.serialize_entry(name, value)?,
            }
        }
        event.serialize_entry("data", data)?;
        event.end()
    }
}
