//! The CloudEvents 1.0 envelope around `data`: the rules for its attributes, and the ones that the daemon adds.
//!
//! The rules are a JSON Schema ([`schema`]), which the daemon also publishes, so the published and the enforced rules are
//! the same. An attribute that is `null` counts as absent (CloudEvents 1.0, JSON format, section 2.2).

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::channel::ChannelId;
use super::json::{Json, Member, write_string};
use super::mistake::Mistake;

/// A valid event, complete and encoded: what [`Catalog::validate`](super::Catalog::validate) makes of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The channel of the event's type.
    pub channel: ChannelId,
    /// The CloudEvents `id`. Deduplication compares it within the channel.
    pub id: String,
    /// The CloudEvents `subject`: what the event is about. The broker may keep the newest event of each.
    pub subject: Option<Arc<str>>,
    /// The CloudEvent as compact JSON: the exact text that every subscriber gets. `data` is its last member.
    pub json: Arc<str>,
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
    /// The channel of the document's type. `None` if it names no type that the daemon has.
    pub channel: Option<ChannelId>,
    /// The document's `type`, if the daemon has no such event type.
    pub unknown_type: Option<String>,
    /// What else is wrong and where, at most [`MAX_MISTAKES`](super::MAX_MISTAKES). Not empty if the type is known.
    pub mistakes: Vec<Mistake>,
}

/// The maximum length of `source`, `subject` and `dataschema`, in characters.
pub(super) const MAX_ATTRIBUTE: usize = 1024;
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

/// The extension attribute of events of bridges: the Redis channel that the message came from. Only they set it; the daemon
/// takes it out of what others publish.
pub const BRIDGE_CHANNEL: &str = "bridgechannel";

const EXTENSION: &str = "An extension attribute, passed on unchanged.";

/// The JSON Schema of the envelope. It allows any `data`; the type's own schema restricts it.
pub(super) fn schema() -> Value {
    const TIME: &str = concat!(
        "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt](?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)",
        r"(?:\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$",
    );
    // JSON is UTF-8 (RFC 8259, section 8.1): a parameter `charset` says nothing else. Each parameter begins at its `;` and
    // takes the spaces after it, so that a text matches in one way only: otherwise a failing match tries each of them.
    const JSON_TYPE: &str = concat!(
        r"^application/(?:[A-Za-z0-9!#$&^_.-]+\+)?json(?: *(?:;(?! *[Cc][Hh][Aa][Rr][Ss][Ee][Tt]=",
        r#"(?!"?(?:[Uu][Tt][Ff]-?8|[Uu][Ss]-[Aa][Ss][Cc][Ii][Ii])"? *(?:;|$)))[\u0020-\u003a\u003c-\u007e]*)+)?$"#,
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
            "source": { "type": optional, "minLength": 1, "maxLength": MAX_ATTRIBUTE, "format": "uri-reference",
                "description": "The publisher: a URI-reference." },
            "time": { "type": optional, "format": "date-time", "pattern": TIME, "description": "When it happened: an RFC 3339 time." },
            "subject": { "type": optional, "minLength": 1, "maxLength": MAX_ATTRIBUTE, "pattern": TEXT,
                "description": "The subject of the event. If it is absent, the value of the type's key field." },
            "dataschema": { "type": optional, "minLength": 1, "maxLength": MAX_ATTRIBUTE, "format": "uri-reference",
                "description": "The URI of the schema of `data`: a URI-reference." },
            "datacontenttype": { "type": optional, "maxLength": MAX_ID,
                "pattern": JSON_TYPE, "description": "The media type of `data`, which is JSON in UTF-8." },
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
        "source" | "dataschema" if mistake.message == "must not be empty" => {
            "must be a URI-reference (RFC 3986), not empty"
        }
        _ if !["must match the pattern", "must be a time", "must be a URI"]
            .iter()
            .any(|start| mistake.message.starts_with(start)) =>
        {
            return;
        }
        "time" => "must be an RFC 3339 time, such as 2026-01-31T12:00:00Z",
        "source" => "must be a URI-reference (RFC 3986), such as /shop: percent-encode other characters",
        "dataschema" => "must be a URI-reference (RFC 3986), such as https://example.com/schema.json",
        "datacontenttype" => "must be application/json or application/…+json, in UTF-8",
        _ => "must not have control characters",
    };
    mistake.message = words.into();
}

/// Completes a valid event: its `id`, its `subject`, and its JSON with the missing attributes added. The attributes come in the order in
/// which people read them, `data` last.
///
/// `subject` and `dataschema` are the values that the type gives to an event without them.
pub(super) fn complete(
    event_type: &str,
    attributes: &[Member<'_>],
    subject: Option<Cow<'_, str>>,
    dataschema: &str,
    defaults: Defaults<'_>,
) -> (String, Option<Arc<str>>, Arc<str>) {
    let given = |name: &str| attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let text = |name: &str| given(name).and_then(Json::as_str);
    let id = text("id").map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
    let subject = text("subject").or(subject.as_deref());
    let mut json = String::with_capacity(512);
    json.push_str(r#"{"specversion":"1.0""#);
    for (name, value) in [
        ("id", Some(&*id)),
        ("source", Some(text("source").unwrap_or(defaults.source))),
        ("type", Some(event_type)),
        ("subject", subject),
        ("time", Some(text("time").unwrap_or(defaults.time))),
        ("dataschema", Some(text("dataschema").unwrap_or(dataschema))),
    ] {
        if let Some(value) = value {
            name_of_member(name, &mut json);
            write_string(value, &mut json);
        }
    }
    for (name, value) in attributes {
        let is_written =
            ["specversion", "id", "source", "type", "subject", "time", "dataschema", "data"].contains(&name.as_ref());
        if !is_written && !value.is_null() {
            name_of_member(name, &mut json);
            value.write(&mut json);
        }
    }
    name_of_member("data", &mut json);
    given("data").unwrap_or(&Json::Null).write(&mut json);
    json.push('}');
    (id, subject.map(Into::into), json.into())
}

/// Begins a member that is not the first.
fn name_of_member(name: &str, json: &mut String) {
    json.push(',');
    write_string(name, json);
    json.push(':');
}
