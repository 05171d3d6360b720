//! What each route takes and answers.

use serde_json::{Value, json};

use super::operation::{Access, Operation, gaps, json, positioned_event};
use super::operator;
use super::problems::with;
use super::schemas::{Schemas, reference};
use crate::bus::Published;
use crate::http::envelope::MAX_EVENTS;
use crate::http::{channels, flows, history, nodes, revocations};
use crate::protocol::ErrorCode::{self, *};
use crate::protocol::{ClientFrame, SUBPROTOCOL, ServerFrame};

/// The problems of every request, whatever it asks for.
pub(super) fn everywhere(path: &str) -> &'static [ErrorCode] {
    match path {
        // Orchestrators ask these.
        "/healthz" | "/readyz" => &[HeadersTooLarge, Internal],
        _ => &[BadRequest, ForbiddenOrigin, MisdirectedRequest, RateLimited, HeadersTooLarge, Internal, Overloaded],
    }
}

/// The operation of a method and a path. `None` where there is none.
pub(super) fn operation(method: &str, path: &str, schemas: &mut Schemas) -> Option<Operation> {
    Some(match (method, path) {
        ("GET" | "HEAD", "/") => Operation {
            id: "startPage",
            tag: "overview",
            summary: "The console",
            description: "The page of the console for browsers. Others get a text that says what this is and what to try.",
            access: Access::Everybody,
            parameters: vec![],
            body: None,
            answers: vec![(200, json!({
                "description": "The page.",
                "headers": with(["Cache-Control", "Vary"]),
                "content": { "text/plain": { "schema": { "type": "string" } }, "text/html": { "schema": { "type": "string" } } },
            }))],
            problems: &[],
        },
        ("POST", "/v1/events") => publish(schemas),
        ("GET" | "HEAD", "/v1/events") => Operation {
            id: "history",
            tag: "events",
            summary: "The events of the log; with `wait`, a long-poll",
            description: "Reads the log of the channels from `since` on. Continue with the `cursor` of the answer.",
            access: Access::Credential,
            parameters: [selection(), vec![
                json!({
                    "name": "limit", "in": "query", "description": "The most events in the answer. 0 is read as 1.",
                    "schema": { "type": "integer", "minimum": 0, "maximum": history::MAX_LIMIT, "default": history::LIMIT },
                }),
                json!({
                    "name": "wait", "in": "query", "description": "How long to wait for an event if there is none, in seconds.",
                    "schema": { "type": "integer", "minimum": 0, "maximum": history::MAX_WAIT, "default": 0 },
                }),
            ]].concat(),
            body: None,
            answers: vec![(200, json!({
                "description": "The events, each channel's in order.",
                "headers": with(["Cache-Control", "Vary", "X-Accel-Buffering"]),
                "content": { "application/json": { "schema": history(schemas) } },
            }))],
            problems: &[
                BadRequest, MalformedJson, Forbidden, UnknownChannel, UnknownField, InvalidFilter, InvalidPosition,
                RateLimited, Draining, Overloaded,
            ],
        },
        ("GET", "/v1/stream") => Operation {
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
                "headers": with(["Cache-Control", "Vary", "X-Accel-Buffering"]),
                "content": { "text/event-stream": { "schema": reference("StreamEvent") } },
            }))],
            problems: &[
                BadRequest, MalformedJson, Forbidden, UnknownChannel, UnknownField, InvalidFilter, InvalidPosition,
                RateLimited, Draining, Overloaded,
            ],
        },
        ("GET", "/v1/ws") => websocket(schemas),
        ("GET" | "HEAD", "/v1/channels") => Operation {
            id: "channels",
            tag: "overview",
            summary: "The channels, and where each stands",
            description: "The channels that the caller may subscribe to. The counts are for callers who may see all of a channel.",
            access: Access::Credential,
            parameters: vec![],
            body: None,
            answers: vec![(200, json(schemas.written::<channels::Response>(), "The channels."))],
            problems: &[RateLimited],
        },
        ("GET" | "HEAD", "/v1/nodes") => Operation {
            id: "nodes",
            tag: "operation",
            summary: "The nodes of the bus",
            description: "Needs the admin right `nodes`.",
            access: Access::Credential,
            parameters: vec![],
            body: None,
            answers: vec![(200, json(schemas.written::<nodes::Response>(), "The nodes."))],
            problems: &[Forbidden, RateLimited],
        },
        ("GET" | "HEAD", "/v1/connections") => operator::connections(schemas),
        ("GET" | "HEAD", "/v1/incidents") => operator::incidents(schemas),
        ("POST", "/v1/revocations") => Operation {
            id: "revoke",
            tag: "operation",
            summary: "Revokes a credential on all nodes",
            description: "Needs the admin right `revoke`. Within two seconds every node closes the connections of the credential \
                and refuses its requests. Send exactly one of `jti`, `sub` and `key`.",
            access: Access::Credential,
            parameters: vec![],
            body: Some(json!({
                "required": true,
                "content": { "application/json": { "schema": schemas.read::<revocations::Body>() } },
            })),
            answers: vec![(204, json!({ "description": "The broker has the revocation.", "headers": with(["Cache-Control", "Vary"]) }))],
            problems: &[BadRequest, MalformedJson, Forbidden, RequestTimeout, PayloadTooLarge, RateLimited],
        },
        ("GET" | "HEAD", "/v1/bridges/{name}/dead" | "/v1/sinks/{name}/dead") => {
            let of_bridge = path.starts_with("/v1/bridges");
            Operation {
                id: if of_bridge { "deadMessages" } else { "deadValues" },
                tag: "operation",
                summary: match of_bridge {
                    true => "The messages that became no event",
                    false => "The values that a store refuses",
                },
                description: "Needs the admin right `flows`. Up to 500, of the last 7 days, the oldest first.",
                access: Access::Credential,
                parameters: vec![json!({
                    "name": "name", "in": "path", "required": true, "description": "The name in the configuration.",
                    "schema": { "type": "string", "minLength": 1 },
                    "examples": { "a flow": { "value": "legacy" } },
                })],
                body: None,
                answers: vec![(200, json(schemas.written::<flows::Dead>(), "What was given up."))],
                problems: &[Forbidden, NotFound, RateLimited],
            }
        }
        ("GET" | "HEAD", "/v1/schemas") => Operation {
            id: "schemas",
            tag: "overview",
            summary: "The JSON Schemas of the event types",
            description: "The schema (2020-12) of the `data` of each type that the caller may see.",
            access: Access::Credential,
            parameters: vec![],
            body: None,
            answers: vec![(200, json(
                json!({
                    "type": "object",
                    "required": ["schemas"],
                    "properties": { "schemas": { "type": "object", "additionalProperties": { "type": ["object", "boolean"] } } },
                    "additionalProperties": false,
                }),
                "The schemas by type.",
            ))],
            problems: &[],
        },
        ("GET" | "HEAD", "/v1/schemas/{type}") => Operation {
            id: "schema",
            tag: "overview",
            summary: "The JSON Schema of one event type",
            description: "The schema (2020-12) of the `data` of a type, or with the name `event` of whole events.",
            access: Access::Credential,
            parameters: vec![json!({
                "name": "type", "in": "path", "required": true, "description": "The name of the type, or `event`.",
                "schema": { "type": "string", "minLength": 1 },
                "examples": {
                    "a type": { "value": "order-status" },
                    "whole events": { "value": "event" },
                },
            })],
            body: None,
            answers: vec![(200, json!({
                "description": "The schema.",
                "headers": with(["Cache-Control", "Vary"]),
                "content": { "application/schema+json": { "schema": { "type": "object" } } },
            }))],
            problems: &[NotFound],
        },
        ("GET" | "HEAD", "/healthz") => Operation {
            id: "alive",
            tag: "operation",
            summary: "Whether the process answers",
            description: "It says nothing about the broker: a restart of the process would not bring the broker back.",
            access: Access::Everybody,
            parameters: vec![],
            body: None,
            answers: vec![(200, json(status("alive"), "It answers."))],
            problems: &[],
        },
        ("GET" | "HEAD", "/readyz") => Operation {
            id: "ready",
            tag: "operation",
            summary: "Whether this node can publish and receive",
            description: "With authentication, only a caller with the admin right `nodes` is told the reason.",
            access: Access::Optional,
            parameters: vec![],
            body: None,
            answers: vec![(200, json(status("ready"), "A probe came back through the broker."))],
            problems: &[BrokerUnavailable, Draining],
        },
        ("GET" | "HEAD", "/metrics") => Operation {
            id: "metrics",
            tag: "operation",
            summary: "Metrics for Prometheus",
            description: "Needs the admin right `metrics`. The text format 0.0.4, or OpenMetrics 1.0 for a client whose `Accept` \
                prefers it.",
            access: Access::Credential,
            parameters: vec![],
            body: None,
            answers: vec![(200, json!({
                "description": "The metrics.",
                "headers": with(["Cache-Control", "Vary"]),
                "content": {
                    "text/plain": { "schema": { "type": "string" } },
                    "application/openmetrics-text": { "schema": { "type": "string" } },
                },
            }))],
            problems: &[Forbidden],
        },
        ("GET" | "HEAD", "/openapi.json") => Operation {
            id: "openapi",
            tag: "overview",
            summary: "This document",
            description: "It names no type that the daemon's operator has added.",
            access: Access::Everybody,
            parameters: vec![],
            body: None,
            answers: vec![(200, json(json!({ "type": "object" }), "The document."))],
            problems: &[],
        },
        ("GET" | "HEAD", "/console/{file}") => Operation {
            id: "consoleFile",
            tag: "overview",
            summary: "A file of the console",
            description: "The scripts and styles that the page of the console names. Their names have a hash of their content.",
            access: Access::Everybody,
            parameters: vec![json!({
                "name": "file", "in": "path", "required": true, "description": "The name of the file.",
                "schema": { "type": "string", "minLength": 1 },
            })],
            body: None,
            answers: vec![
                (200, json!({
                    "description": "The file.",
                    "headers": with(["Cache-Control", "Vary"]),
                    "content": { "text/javascript": { "schema": { "type": "string" } }, "text/css": { "schema": { "type": "string" } } },
                })),
                (304, json!({ "description": "It is the one that `If-None-Match` names.", "headers": with(["Cache-Control", "Vary"]) })),
            ],
            problems: &[NotFound],
        },
        ("GET" | "HEAD", "/favicon.ico") => Operation {
            id: "icon",
            tag: "overview",
            summary: "No icon",
            description: "Browsers ask for it by themselves.",
            access: Access::Everybody,
            parameters: vec![],
            body: None,
            answers: vec![(204, json!({ "description": "There is none.", "headers": with(["Cache-Control"]) }))],
            problems: &[],
        },
        _ => return None,
    })
}

fn publish(schemas: &mut Schemas) -> Operation {
    let many = json!({ "type": "array", "items": reference("Event"), "maxItems": MAX_EVENTS });
    let example = json!({ "type": "order-status", "data": { "orderId": "o-1", "newStatus": "confirmed" } });
    let cloud_event = json!({
        "specversion": "1.0", "id": "shop-18", "source": "/shop", "type": "order-status",
        "data": { "orderId": "o-3", "newStatus": "pending" },
    });
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
                    "examples": {
                        "one event": { "value": example },
                        "several": { "value": [example, { "type": "cache-invalidate", "data": { "tags": ["product:123"] } }] },
                    },
                },
                "application/cloudevents+json": {
                    "schema": reference("Event"),
                    "examples": { "structured": { "value": cloud_event } },
                },
                "application/cloudevents-batch+json": {
                    "schema": many,
                    "examples": { "batch": { "value": [cloud_event] } },
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

fn websocket(schemas: &mut Schemas) -> Operation {
    let fixed = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": true, "description": description, "schema": schema });
    let offered = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    Operation {
        id: "websocket",
        tag: "events",
        summary: "Events over a WebSocket",
        description: "The opening handshake (RFC 6455, section 4). Each message is a text frame with one JSON object: the client \
            sends a `ClientFrame`, the daemon a `ServerFrame`. A client that can set no header sends its credential as the \
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
                    json!({ "type": "string", "pattern": "^[A-Za-z0-9+/]{21}[AQgw]==$" }),
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
                    "client": schemas.written::<ClientFrame>(),
                    "server": schemas.written::<ServerFrame<'static>>(),
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

/// The schema of history's answer. It has no Rust type, because the handler copies the events from the log as bytes.
fn history(schemas: &mut Schemas) -> Value {
    json!({
        "type": "object",
        "required": ["events", "cursor", "gap"],
        "properties": {
            "events": { "type": "array", "items": positioned_event() },
            "cursor": { "type": "string", "description": "The `since` of the next request." },
            "gap": gaps(schemas, "The ranges that are lost."),
        },
        "additionalProperties": false,
    })
}

fn status(status: &str) -> Value {
    json!({
        "type": "object",
        "required": ["status"],
        "properties": { "status": { "type": "string", "const": status } },
        "additionalProperties": false,
    })
}
