//! `GET /asyncapi.json`: the AsyncAPI 3.0 document of the channels, for code generators and catalogues of events.
//!
//! The document is assembled, not written by hand. Its frames are the variants of the enums that the daemon reads and writes,
//! its events those of the catalogue, its parameters those of the OpenAPI document, and each example is made of its schema.
//! Tests fail for a frame that no operation has.
//!
//! It names the types that its reader may see, as `/v1/schemas` does.

mod bindings;
mod channels;
mod messages;
mod operations;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::App;
use super::described::{
    BEARER, LICENSE, Schemas, Served, TITLE, TypeExamples, Types, close_codes, reachable, references, security_schemes,
};
use super::start_page::origin;
use crate::access::Caller;
use crate::event::{Catalog, ChannelId};
use messages::Messages;

const DESCRIPTION: &str = "\
An event bus: publishers post CloudEvents, and subscribers get them over WebSocket, Server-Sent Events or long-poll.

Operations are named from the daemon's side, as AsyncAPI has it: the daemon `receive`s what a client sends, and `send`s what a \
client gets. A channel whose address is a path is a route of the daemon. Every other channel is a channel of the bus, which has \
the events of one type; clients name it as `channel` when they subscribe, and as `type` when they publish. `/openapi.json` \
describes all routes, their headers and their errors.

Schemas are those of JSON Schema 2020-12.";

/// The format of the schemas, as AsyncAPI names formats.
const SCHEMA_FORMAT: &str = "application/schema+json;version=2020-12";
/// Where the daemon of the committed document is.
const EXAMPLE_ORIGIN: &str = "http://127.0.0.1:7400";
const WEBSOCKET: &str = "websocket";
const HTTP: &str = "http";

/// The routes that carry messages. No event type has such a name.
const SOCKET: &str = "/v1/ws";
const STREAM: &str = "/v1/stream";
const EVENTS: &str = "/v1/events";
const NEWEST: &str = "/v1/latest/{type}/{subject}";

/// How many documents a node keeps: making one takes milliseconds.
const KEPT: usize = 16;

/// The documents of a daemon. Callers with the same grants get the same one.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Those that were made last, the oldest first.
    made: Mutex<VecDeque<(About, Served)>>,
}

/// What a document depends on.
#[derive(Debug, PartialEq)]
struct About {
    shown: Vec<ChannelId>,
    origin: String,
    needs_credential: bool,
}

impl Document {
    /// The document for this caller, who reaches the daemon as the request says.
    pub fn show(&self, app: &App, caller: &Caller, uri: &Uri, request: &HeaderMap) -> Response {
        let shown = app.bus.catalog().channels().filter(|channel| app.bus.sees_type(caller, *channel));
        let needs_credential = app.bus.without_credential().is_none();
        let about = About { shown: shown.collect(), origin: origin(uri, request, app.tls), needs_credential };
        let mut response = self.made(app, about).response(request);
        if !app.bus.has_auth() {
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        response
    }

    /// The document about this, which may have been made before.
    fn made(&self, app: &App, about: About) -> Served {
        let made = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, served)) = made().iter().find(|(known, _)| *known == about) {
            return served.clone();
        }
        let catalog = app.bus.catalog();
        let types = Types::of(catalog, app.examples.of(catalog), |channel| about.shown.contains(&channel));
        let served = Served::new(&document(&types, &about.origin, about.needs_credential));
        let mut made = made();
        if made.len() == KEPT {
            made.pop_front();
        }
        made.push_back((about, served.clone()));
        served
    }
}

/// The document with all types of a catalogue, of a daemon without authentication.
pub fn public(catalog: &Catalog) -> Value {
    let examples = TypeExamples::default();
    document(&Types::of(catalog, examples.of(catalog), |_| true), EXAMPLE_ORIGIN, false)
}

/// The document of a daemon at `origin`, with these types.
fn document(types: &Types<'_>, origin: &str, needs_credential: bool) -> Value {
    let mut schemas = Schemas::new(types, false);
    let mut channels = Map::new();
    let mut operations = Map::new();
    let messages = Messages::new(&mut schemas, types);
    channels::add(&mut channels, &messages, types, &mut schemas);
    operations::add(&mut operations, &messages, types, &mut schemas);
    schemas.add("CloseCode", close_codes());
    let all = schemas.all();
    let messages = messages.finish(&all);
    let mut used = BTreeSet::from(["CloseCode".to_owned()]);
    references(&messages, &mut |name| _ = used.insert(name.to_owned()));
    let used = reachable(&all, used.iter().map(String::as_str));
    let all = all.into_iter().filter(|(name, _)| used.contains(name)).map(|(name, schema)| (name, with_format(schema)));
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": TITLE,
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": LICENSE },
            "tags": [
                { "name": "events", "description": "The events of each type." },
                { "name": "frames", "description": "The frames of the WebSocket." },
                { "name": "http", "description": "Publishing, event streams and long-polls." },
            ],
        },
        "defaultContentType": "application/json",
        "servers": servers(origin, needs_credential),
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": all.collect::<Map<_, _>>(),
            "messages": messages,
            "messageTraits": { "cloudEvent": messages::cloud_event() },
            "securitySchemes": security_schemes(),
        },
    });
    formatted(&mut document);
    document
}

/// The daemon under each protocol that it speaks.
fn servers(origin: &str, needs_credential: bool) -> Value {
    let (scheme, host) = origin.split_once("://").unwrap_or(("http", origin));
    let (http, websocket) = if scheme == "https" { ("https", "wss") } else { ("http", "ws") };
    let server = |protocol: &str, description: &str| {
        let mut server = json!({ "host": host, "protocol": protocol, "description": description });
        if needs_credential {
            server["security"] = json!([{ "$ref": format!("#/components/securitySchemes/{BEARER}") }]);
        }
        server
    };
    json!({
        WEBSOCKET: server(
            websocket,
            "WebSocket (RFC 6455), subprotocol `tidings.v1`. A client that can set no header sends its credential as the first \
             frame, `auth`.",
        ),
        HTTP: server(http, "HTTP/1.1: publishing, event streams, long-polls."),
    })
}

/// A schema with its format, which AsyncAPI wants beside each schema that is not in its own.
fn with_format(schema: Value) -> Value {
    json!({ "schemaFormat": SCHEMA_FORMAT, "schema": schema })
}

/// Makes references between the schemas lead to the schemas themselves, which are beside their formats.
fn formatted(document: &mut Value) {
    let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else { return };
    schemas.values_mut().for_each(to_schema);
}

fn to_schema(part: &mut Value) {
    match part {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(to) if name == "$ref" && to.starts_with("#/components/schemas/") => *to += "/schema",
                    member => to_schema(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(to_schema),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
