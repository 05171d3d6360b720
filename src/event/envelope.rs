//! The CloudEvents 1.0 envelope around `data`: what its attributes may be, and what the daemon adds to them.
//!
//! The rules are a JSON Schema ([`schema`]), checked by the same validator as `data`, so that what is published as the
//! event's schema and what is enforced cannot differ. `null` counts as absent (CloudEvents 1.0, JSON format, 2.2).

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::ChannelId;
use super::mistake::Mistake;

/// An event that was accepted: valid, complete, and encoded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The channel that it belongs to, which is its type.
    pub channel: ChannelId,
    /// Unique per channel; what deduplication goes by.
    pub id: String,
    /// The CloudEvent as compact JSON, just as every subscriber gets it.
    pub json: Arc<str>,
}

/// What the daemon knows of an event that does not say so itself.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    /// `source`: the publisher's name, a URI-reference.
    pub source: &'a str,
    /// `time`: RFC 3339.
    pub time: &'a str,
}

impl Defaults<'_> {
    /// The time now as RFC 3339 in UTC with milliseconds.
    pub fn now() -> String {
        format!("{:.3}", jiff::Timestamp::now())
    }
}

/// Why a document is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// What is wrong and where; never empty, at most [`MAX_MISTAKES`](super::MAX_MISTAKES).
    pub mistakes: Vec<Mistake>,
}

/// The kinds of refusal, which are public error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// An attribute or `data` does not fit.
    Invalid,
    /// No such event type here.
    UnknownType,
}

/// The longest `id`, `source`, `type` and `subject`, in characters.
const MAX_ATTRIBUTE: usize = 1024;
const MAX_ID: usize = 256;

/// The `$id` of the schema of the whole event.
pub(super) const SCHEMA_ID: &str = "urn:tidings:schema:event";

/// The envelope's rules. `data` is anything here: its type decides.
pub(super) fn schema() -> Value {
    // Not \d or \s: those are other sets in ECMAScript's regular expressions and in Rust's.
    const TEXT: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
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
        "description": "A CloudEvents 1.0 event as it is published. `type` names the channel and decides what `data` is; \
            what is left out of the rest, the daemon adds.",
        "type": "object",
        "required": ["type", "data"],
        "properties": {
            "specversion": { "enum": ["1.0", null], "description": "The version of CloudEvents." },
            "type": { "type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": TEXT,
                "description": "The event's type, which is its channel." },
            "data": { "description": "What happened; validated against the type's schema." },
            "id": { "type": optional, "minLength": 1, "maxLength": MAX_ID, "pattern": TEXT,
                "description": "Identifies the event; a publisher that tries again sends the same one." },
            "source": { "type": optional, "maxLength": MAX_ATTRIBUTE, "pattern": format!("^{URI_CHARS}$"),
                "description": "Who published it: a URI-reference." },
            "time": { "type": optional, "format": "date-time", "pattern": TIME, "description": "When it happened: RFC 3339." },
            "subject": { "type": optional, "minLength": 1, "maxLength": MAX_ATTRIBUTE, "pattern": TEXT,
                "description": "What it is about; derived from the type's key field where it is left out." },
            "dataschema": { "type": optional, "maxLength": MAX_ATTRIBUTE,
                "pattern": format!("^[A-Za-z][A-Za-z0-9+.-]*:{URI_CHARS}$"), "description": "The URI of the schema of `data`." },
            "datacontenttype": { "type": optional, "maxLength": MAX_ID,
                "pattern": r"^application/(?:[A-Za-z0-9!#$&^_.-]+\+)?json(?: *;[\u0020-\u007e]*)?$",
                "description": "The media type of `data`: JSON." },
            "causationid": { "type": optional, "minLength": 1, "maxLength": MAX_ID, "pattern": TEXT,
                "description": "The id of the event that caused this one." },
        },
        "propertyNames": { "pattern": "^[a-z0-9]+$" },
        "additionalProperties": {
            "description": "An extension attribute, passed on unchanged.",
            "type": ["string", "boolean", "integer", "null"],
            "minimum": i32::MIN, "maximum": i32::MAX, "pattern": TEXT,
        },
    })
}

/// Says in words what a pattern says in signs.
pub(super) fn explain(mistake: &mut Mistake) {
    let attribute = mistake.pointer.rsplit('/').next().unwrap_or_default();
    let words = match attribute {
        "data_base64" => "binary data is not taken: send JSON in `data`",
        _ if !mistake.message.starts_with("the value ") => return,
        "time" => "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z",
        "source" => "must be a URI-reference (RFC 3986), such as /shop",
        "dataschema" => "must be an absolute URI (RFC 3986)",
        "datacontenttype" => "must be application/json or application/…+json",
        "type" | "id" | "subject" | "causationid" if mistake.message.contains("match") => {
            "must not have control characters"
        }
        _ => return,
    };
    mistake.message = words.into();
}

/// The finished event; `subject` and `dataschema` are what the type gives where they were left out.
///
/// `attributes` were validated: `specversion` and `type` say nothing that is not known.
pub(super) fn complete(
    channel: ChannelId,
    event_type: &str,
    attributes: &Map<String, Value>,
    subject: Option<Cow<'_, str>>,
    dataschema: &str,
    defaults: Defaults<'_>,
) -> Event {
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
    // Strings and what was JSON before: there is nothing that could fail.
    let json = serde_json::to_string(&complete).unwrap_or_default().into();
    Event { channel, id, json }
}

/// An event as it is written: attributes in the order in which people read them, `data` last.
struct Complete<'a> {
    id: &'a str,
    source: &'a str,
    event_type: &'a str,
    subject: Option<&'a str>,
    time: &'a str,
    dataschema: &'a str,
    /// As they came: `data` and the extensions are taken from here.
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
