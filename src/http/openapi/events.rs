//! What the routes of events take and answer: publishing, history, event streams, and the handshake of a WebSocket.

use serde_json::{Map, Value, json};

use super::operation::{Access, Operation, json};
use super::problems::with;
use crate::bus::Published;
use crate::http::described::{Schemas, reference};
use crate::http::envelope::MAX_EVENTS;
use crate::http::history;
use crate::protocol::ErrorCode::*;
use crate::protocol::SUBPROTOCOL;

/// The operation of a method and a path. `None` where there is none of these.
pub(super) fn operation(method: &str, path: &str, schemas: &mut Schemas) -> Option<Operation> {
    match (method, path) {
        ("POST", "/v1/events") => Some(publish(schemas)),
        ("GET" | "HEAD", "/v1/events") => Some(read(schemas)),
        ("GET", "/v1/stream") => Some(stream()),
        ("GET", "/v1/ws") => Some(websocket()),
        _ => None,
    }
}

fn read(schemas: &mut Schemas) -> Operation {
    Operation {
        id: "history",
        tag: "events",
        summary: "The events of the log; with `wait`, a long-poll",
        description: "Reads the log of the channels from `since` on. Continue with the `cursor` of the answer.",
        access: Access::Credential,
        parameters: [selection(), vec![
            json!({
                "name": "limit", "in": "query", "description": "The most events in the answer.",
                "schema": { "type": "integer", "minimum": 1, "maximum": history::MAX_LIMIT, "default": history::LIMIT },
            }),
            json!({
                "name": "wait", "in": "query", "description": "How long to wait for an event if there is none, in seconds.",
                "schema": { "type": "integer", "minimum": 0, "maximum": history::MAX_WAIT, "default": 0 },
            }),
        ]].concat(),
        body: None,
        answers: vec![(200, json!({
            "description": "The events, each channel's in order.",
            "headers": with(["X-Accel-Buffering"]),
            "content": { "application/json": { "schema": schemas.event_page() } },
        }))],
        problems: &[
            BadRequest, MalformedJson, Forbidden, UnknownChannel, UnknownField, InvalidFilter, InvalidPosition,
            RateLimited, Draining, Overloaded,
        ],
    }
}

fn stream() -> Operation {
    Operation {
        id: "stream",
        tag: "events",
        summary: "Events as Server-Sent Events",
        description: "Server-Sent Events (HTML Living Standard, section 9.2). The field `event` is the type of an event, or \
            `gap`, `cursor`, `closed`, `error`. `id` is a cursor for all channels of the stream. The response does not \
            end by itself, but with `event: closed` when the node stops and with `event: error` when the credential ends.",
        access: Access::Credential,
        parameters: [selection(), vec![
            json!({
                "name": "Last-Event-ID", "in": "header",
                "description": "The last `id` that the client received: the stream goes on after it. It overrides `lastEventId` and `since`.",
                "schema": { "$ref": "#/components/schemas/Cursor" },
            }),
            json!({
                "name": "lastEventId", "in": "query",
                "description": "The same, for clients that send no header. It overrides `since`. `lastEventID` is another name of it.",
                "schema": { "$ref": "#/components/schemas/Cursor" },
            }),
        ]].concat(),
        body: None,
        answers: vec![(200, json!({
            "description": "The stream.",
            "headers": with(["X-Accel-Buffering"]),
            "content": { "text/event-stream": { "schema": reference("StreamEvent") } },
        }))],
        problems: &[
            BadRequest, MalformedJson, Forbidden, UnknownChannel, UnknownField, InvalidFilter, InvalidPosition,
            RateLimited, Draining, Overloaded,
        ],
    }
}

fn publish(schemas: &mut Schemas) -> Operation {
    let many = json!({ "type": "array", "items": reference("Event"), "maxItems": MAX_EVENTS });
    let events = schemas.examples();
    let value = |value: &Value| json!({ "value": value });
    let mut examples: Map<String, Value> =
        events.iter().map(|(name, event)| (name.clone(), value(&event.published))).collect();
    let several: Vec<_> = events.iter().map(|(_, event)| &event.published).collect();
    examples.insert("several".into(), json!({ "value": several }));
    let structured: Map<String, Value> =
        events.iter().map(|(name, event)| (name.clone(), value(&event.delivered))).collect();
    let batch: Vec<_> = events.iter().map(|(_, event)| &event.delivered).collect();
    let attribute = |name: &str, description: &str| {
        json!({
            "name": format!("ce-{name}"), "in": "header", "description": description,
            "schema": { "type": "string" },
        })
    };
    Operation {
        id: "publish",
        tag: "events",
        summary: "Publishes one event, or up to 1,000",
        description: "CloudEvents 1.0: plain JSON, structured mode, batch mode, or binary mode, in which the attributes are \
            headers that begin with `ce-` and the body is `data`. All events are validated before any is published. The \
            answer comes when the broker has them. Send an event with the same `id` again after an unclear answer.",
        access: Access::Credential,
        parameters: vec![
            attribute(
                "type",
                "In binary mode the event's type, which is required. A client sends other attributes and extensions the same way.",
            ),
            attribute("id", "In binary mode the event's id."),
            attribute("source", "In binary mode the event's source."),
            attribute("specversion", "In binary mode the version, `1.0`."),
            attribute("time", "In binary mode the event's time."),
            attribute("subject", "In binary mode the event's subject."),
            json!({
                "name": "Content-Encoding", "in": "header", "description": "How the body is compressed.",
                "schema": { "type": "string", "enum": ["identity", "gzip", "deflate", "zstd"] },
            }),
        ],
        body: Some(json!({
            "required": true,
            "content": {
                "application/json": {
                    "schema": {
                        "description": "An event, or an array of them. In binary mode `data`, whatever it is.",
                        "anyOf": [reference("Event"), many],
                    },
                    "examples": examples,
                },
                "application/cloudevents+json": {
                    "schema": reference("Event"),
                    "examples": structured,
                },
                "application/cloudevents-batch+json": {
                    "schema": many,
                    "examples": { "batch": { "value": batch } },
                },
            },
        })),
        answers: vec![(202, json(schemas.written::<Published>(), "The broker has the events."))],
        problems: &[
            BadRequest,
            MalformedJson,
            Forbidden,
            RequestTimeout,
            PayloadTooLarge,
            UnsupportedMediaType,
            InvalidEvent,
            UnknownType,
            RateLimited,
            Draining,
            Overloaded,
        ],
    }
}

fn websocket() -> Operation {
    let fixed = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": true, "description": description, "schema": schema });
    let offered = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    Operation {
        id: "websocket",
        tag: "events",
        summary: "Events over a WebSocket",
        description: "The opening handshake (RFC 6455, section 4). Each message is a text frame with one JSON object: the client \
            sends a `ClientFrame`, the daemon a `ServerFrame`; `/asyncapi.json` describes them. A client that can set no header sends its credential as the \
            first frame, `auth`, within five seconds. Problems of the query are `error` frames.",
        access: Access::Optional,
        parameters: [
            selection(),
            vec![
                fixed(
                    "Connection",
                    "Browsers send it by themselves.",
                    json!({ "type": "string", "enum": ["Upgrade"] }),
                ),
                fixed("Upgrade", "Browsers send it by themselves.", json!({ "type": "string", "enum": ["websocket"] })),
                fixed(
                    "Sec-WebSocket-Version",
                    "The version of the protocol.",
                    json!({ "type": "string", "enum": ["13"] }),
                ),
                fixed(
                    "Sec-WebSocket-Key",
                    "16 random bytes in base64.",
                    json!({
                        "type": "string", "pattern": "^[A-Za-z0-9+/]{21}[AQgw]==$",
                        "examples": ["dGhlIHNhbXBsZSBub25jZQ=="],
                    }),
                ),
                offered(
                    "Sec-WebSocket-Protocol",
                    "The subprotocol. A client need not offer it.",
                    json!({ "type": "string", "enum": [SUBPROTOCOL] }),
                ),
                offered(
                    "Sec-WebSocket-Extensions",
                    "Compression (RFC 7692), where the daemon has it.",
                    json!({ "type": "string", "enum": ["permessage-deflate"] }),
                ),
            ],
        ]
        .concat(),
        body: None,
        answers: vec![(
            101,
            json!({
                "description": "The WebSocket is open. `welcome` is the first frame, once the client is known.",
                "headers": with([
                    "Connection", "Upgrade", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions",
                ]),
                "x-websocket-messages": {
                    "client": reference("ClientFrame"),
                    "server": reference("ServerFrame"),
                },
            }),
        )],
        problems: &[BadRequest, Unauthenticated, UpgradeRequired, RateLimited, BrokerUnavailable, Draining, Overloaded],
    }
}

/// The parameters that select events.
fn selection() -> Vec<Value> {
    ["channel", "where", "since"].map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })).into()
}

/// The parameters that several operations have.
pub(super) fn shared_parameters() -> Value {
    json!({
        "channel": {
            "name": "channel", "in": "query",
            "description": "The channels, each as a parameter of its own. Without it, all that the caller may subscribe to.",
            "schema": { "type": "array", "items": { "type": "string" } },
            "examples": { "one": { "value": ["order-status"] }, "two": { "value": ["order-status", "inventory-change"] } },
        },
        "where": {
            "name": "where", "in": "query",
            "description": "A filter. Without `channel` it selects the channels that have its fields.",
            "content": { "application/json": {
                "schema": reference("Filter"),
                "examples": { "one order": { "value": { "orderId": "o-1" } } },
            } },
        },
        "since": {
            "name": "since", "in": "query",
            "description": "Where to begin. By default history begins at the start of the log, and streams with the next event.",
            "schema": reference("Since"),
            "examples": { "the oldest event": { "value": "start" }, "ten minutes ago": { "value": "10m" } },
        },
    })
}
