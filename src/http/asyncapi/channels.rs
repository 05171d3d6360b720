//! The channels: the routes that carry messages, and the channel of each event type.

use serde_json::{Map, Value, json};

use super::super::described::{Schemas, Types};
use super::bindings;
use super::messages::{BATCH, LATEST, Messages, PAGE, PROBLEM, PUBLISHED, STREAMED, of_type};
use super::{EVENTS, HTTP, NEWEST, SOCKET, STREAM, WEBSOCKET};
use crate::http::openapi;

/// A reference to a channel.
pub(super) fn channel(key: &str) -> Value {
    json!({ "$ref": format!("#/channels/{}", escaped(key)) })
}

/// A reference to a message of a channel.
pub(super) fn message(of_channel: &str, key: &str) -> Value {
    json!({ "$ref": format!("#/channels/{}/messages/{key}", escaped(of_channel)) })
}

/// A key as a part of a JSON Pointer (RFC 6901, section 3), in a URI's fragment (section 6).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1").replace('{', "%7B").replace('}', "%7D")
}

/// Adds all channels.
pub(super) fn add(channels: &mut Map<String, Value>, messages: &Messages, types: &Types<'_>, schemas: &mut Schemas) {
    let socket = bindings::websocket(schemas);
    let mut route = |path: &str, server: &str, listed: &[String], more: Value| {
        let described = openapi::operation("GET", path, schemas);
        let mut channel = json!({
            "address": path,
            "title": described.as_ref().map(|operation| operation.summary),
            "description": described.as_ref().map(|operation| operation.description),
            "servers": [{ "$ref": format!("#/servers/{server}") }],
            "messages": messages.listed(listed.iter().map(String::as_str)),
        });
        if let (Some(channel), Value::Object(more)) = (channel.as_object_mut(), more) {
            channel.extend(more);
        }
        channels.insert(path.to_owned(), channel);
    };
    let events: Vec<String> = types.types.iter().map(|known| of_type(known.name)).collect();
    let of_http = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    route(
        SOCKET,
        WEBSOCKET,
        &messages.beginning("frame."),
        json!({ "bindings": socket, "x-close-codes": { "$ref": "#/components/schemas/CloseCode/schema" } }),
    );
    route(STREAM, HTTP, &of_http(&[STREAMED]), json!({}));
    route(EVENTS, HTTP, &[events, of_http(&[BATCH, PUBLISHED, PROBLEM, PAGE])].concat(), json!({}));
    let parameters = json!({
        "type": { "description": "The name of a type that keeps the newest event of each subject." },
        "subject": { "description": "The subject of the events." },
    });
    route(NEWEST, HTTP, &of_http(&[LATEST]), json!({ "parameters": parameters }));
    for known in &types.types {
        let name = known.name;
        let mut channel = json!({
            "address": name,
            "title": format!("The events of the type `{name}`"),
            "messages": messages.listed([&*of_type(name)]),
            "tags": [{ "name": "events" }],
        });
        if let Some(description) = known.description {
            channel["description"] = description.into();
        }
        channels.insert(name.to_owned(), channel);
    }
}
