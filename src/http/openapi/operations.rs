//! What each route takes and answers.

use serde_json::{Value, json};

use super::operation::{Access, Operation, if_none_match, json, made_example, unchanged};
use super::operator;
use super::problems::with;
use crate::http::described::Schemas;
use crate::http::{channels, flows, nodes, revocations};
use crate::protocol::ErrorCode::{self, *};

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
            parameters: vec![if_none_match("page")],
            body: None,
            answers: vec![
                (
                    200,
                    json!({
                        "description": "The page.",
                        "headers": tagged_page(),
                        "content": { "text/plain": { "schema": { "type": "string" } }, "text/html": { "schema": { "type": "string" } } },
                    }),
                ),
                (304, json!({ "description": "The client has the page.", "headers": tagged_page() })),
            ],
            problems: &[],
        },
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
            body: Some(made_example(schemas.read::<revocations::Body>(), schemas)),
            answers: vec![(204, json!({ "description": "The broker has the revocation.", "headers": with([]) }))],
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
            parameters: vec![json!({
                "name": "examples", "in": "query",
                "description": "Whether the answer has an example of the `data` of each type, too. The daemon makes one that it \
                    accepts, of the schema's own `examples` if it has some. A type to which none was found is left out.",
                "schema": { "type": "boolean", "default": false },
            })],
            body: None,
            answers: vec![(
                200,
                json(
                    json!({
                        "type": "object",
                        "required": ["schemas"],
                        "properties": {
                            "schemas": { "type": "object", "additionalProperties": { "type": ["object", "boolean"] } },
                            "examples": { "type": "object", "description": "Examples of `data` by type." },
                        },
                        "additionalProperties": false,
                    }),
                    "The schemas by type.",
                ),
            )],
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
            answers: vec![(
                200,
                json!({
                    "description": "The schema.",
                    "headers": with([]),
                    "content": { "application/schema+json": { "schema": { "type": "object" } } },
                }),
            )],
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
            answers: vec![(
                200,
                json!({
                    "description": "The metrics.",
                    "headers": with([]),
                    "content": {
                        "text/plain": { "schema": { "type": "string" } },
                        "application/openmetrics-text": { "schema": { "type": "string" } },
                    },
                }),
            )],
            problems: &[Forbidden],
        },
        ("GET" | "HEAD", "/openapi.json") => Operation {
            id: "openapi",
            tag: "overview",
            summary: "This document",
            description: "It names no type that the daemon's operator has added.",
            access: Access::Everybody,
            parameters: vec![if_none_match("document")],
            body: None,
            answers: document_answers(),
            problems: &[],
        },
        ("GET" | "HEAD", "/asyncapi.json") => Operation {
            id: "asyncapi",
            tag: "overview",
            summary: "The channels and their messages as AsyncAPI 3.0",
            description: "The frames of the WebSocket, the event streams and the long-polls, and the events of the types that the \
                caller may see, the operator's own included.",
            access: Access::Credential,
            parameters: vec![if_none_match("document")],
            body: None,
            answers: document_answers(),
            problems: &[],
        },
        ("GET" | "HEAD", "/console/{file}") => Operation {
            id: "consoleFile",
            tag: "overview",
            summary: "A file of the console",
            description: "The scripts and styles that the page of the console names. Their names have a hash of their content.",
            access: Access::Everybody,
            parameters: vec![
                json!({
                    "name": "file", "in": "path", "required": true, "description": "The name of the file.",
                    "schema": { "type": "string", "minLength": 1 },
                    "examples": { "the licences": { "value": "licenses.txt" } },
                }),
                if_none_match("file"),
            ],
            body: None,
            answers: vec![
                (
                    200,
                    json!({
                        "description": "The file.",
                        "headers": with(OF_FILES),
                        "content": {
                            "text/javascript": { "schema": { "type": "string" } },
                            "text/css": { "schema": { "type": "string" } },
                            "text/plain": { "schema": { "type": "string" } },
                        },
                    }),
                ),
                (304, json!({ "description": "It is the one that `If-None-Match` names.", "headers": with(OF_FILES) })),
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
            answers: vec![(204, json!({ "description": "There is none.", "headers": with([]) }))],
            problems: &[],
        },
        _ => return None,
    })
}

/// The headers of a file of the console.
const OF_FILES: [&str; 5] =
    ["ETag", "Content-Encoding", "Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"];

/// Those of the start page. The text for other clients has no tag.
fn tagged_page() -> Value {
    let mut headers = with(OF_FILES);
    headers["ETag"] = json!({ "description": "Identifies the page of the console, as a strong tag.", "schema": { "type": "string" } });
    headers
}

fn status(status: &str) -> Value {
    json!({
        "type": "object",
        "required": ["status"],
        "properties": { "status": { "type": "string", "const": status } },
        "additionalProperties": false,
    })
}

/// The answers of a route that has a document, such as this one.
fn document_answers() -> Vec<(u16, Value)> {
    let document = json!({
        "description": "The document.",
        "headers": with(["ETag"]),
        "content": { "application/json": { "schema": { "type": "object" } } },
    });
    vec![(200, document), (304, unchanged("The client has the document."))]
}
