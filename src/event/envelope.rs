//! The CloudEvents 1.0 envelope around `data`: what its attributes may be, and what the daemon adds to them.
//!
//! The rules are a JSON Schema ([`schema`]), checked by the same validator as `data`, so that what is published as the
//! event's schema and what is enforced cannot differ. `null` counts as absent (CloudEvents 1.0, JSON format, 2.2).

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
    pub json: String,
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

/// The finished event: attributes in the order in which people read them, `data` last.
///
/// `attributes` were validated; `subject` and `dataschema` are what the type gives where they were left out.
pub(super) fn complete(
    channel: ChannelId,
    event_type: &str,
    mut attributes: Map<String, Value>,
    subject: Option<String>,
    dataschema: &str,
    defaults: Defaults<'_>,
) -> Event {
    attributes.retain(|name, value| name == "data" || !value.is_null());
    let mut given = |name: &str| attributes.shift_remove(name);
    let id = match given("id") {
        Some(Value::String(id)) => id,
        _ => uuid::Uuid::now_v7().to_string(),
    };
    let mut event = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            event.insert(name.into(), value);
        }
    };
    given("specversion");
    given("type");
    put("specversion", Some("1.0".into()));
    put("id", Some(id.as_str().into()));
    put("source", Some(given("source").unwrap_or_else(|| defaults.source.into())));
    put("type", Some(event_type.into()));
    put("subject", given("subject").or(subject.map(Value::String)));
    put("time", Some(given("time").unwrap_or_else(|| defaults.time.into())));
    put("dataschema", Some(given("dataschema").unwrap_or_else(|| dataschema.into())));
    let data = given("data");
    event.extend(attributes);
    event.insert("data".into(), data.unwrap_or_default());
    Event { channel, id, json: Value::Object(event).to_string() }
}
