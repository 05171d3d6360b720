//! What the routes of newest events take and answer.

use serde_json::{Value, json};

use super::operation::{Access, Operation, if_none_match, unchanged};
use super::problems::with;
use crate::event::Position;
use crate::http::described::Schemas;
use crate::http::history;
use crate::protocol::ErrorCode::*;

/// The operation of a method and a path. `None` where there is none of these.
pub(super) fn operation(method: &str, path: &str, schemas: &mut Schemas) -> Option<Operation> {
    match (method, path) {
        ("GET" | "HEAD", "/v1/latest/{type}") => Some(list(schemas)),
        ("GET" | "HEAD", "/v1/latest/{type}/{subject}") => Some(one(schemas)),
        _ => None,
    }
}

/// `GET /v1/latest/{type}`.
fn list(schemas: &mut Schemas) -> Operation {
    Operation {
        id: "latestList",
        tag: "events",
        summary: "The newest event of each subject of a type",
        description: "For types that keep it. The events come in the order of the log. Continue with the `cursor` of the answer \
            while `more` is true. A subject that changes meanwhile comes again. Once `more` is false, the cursor is a position \
            of the channel: a stream with this `since` continues without a loss.",
        access: Access::Credential,
        parameters: vec![
            type_parameter(),
            json!({ "$ref": "#/components/parameters/where" }),
            json!({
                "name": "limit", "in": "query", "description": "The most events in the answer.",
                "schema": { "type": "integer", "minimum": 1, "maximum": history::MAX_LIMIT, "default": history::LIMIT },
            }),
            json!({
                "name": "cursor", "in": "query", "description": "The `cursor` of the last answer.",
                "schema": schemas.written::<Position>(),
            }),
        ],
        body: None,
        answers: vec![(
            200,
            json!({
                "description": "The events.",
                "headers": with([]),
                "content": { "application/json": { "schema": latest_list(schemas) } },
            }),
        )],
        problems: &[
            BadRequest,
            MalformedJson,
            Forbidden,
            UnknownChannel,
            UnknownField,
            InvalidFilter,
            InvalidPosition,
            LatestNotKept,
            RateLimited,
        ],
    }
}

/// `GET /v1/latest/{type}/{subject}`.
fn one(schemas: &mut Schemas) -> Operation {
    Operation {
        id: "latest",
        tag: "events",
        summary: "The newest event of a subject; with `wait`, a long-poll",
        description: "For types that keep it. The answer is at most two seconds old. A `/` in the subject may be \
            percent-encoded or not.",
        access: Access::Credential,
        parameters: vec![
            type_parameter(),
            json!({
                "name": "subject", "in": "path", "required": true, "description": "The subject of the events.",
                "schema": { "type": "string", "minLength": 1 },
                "examples": { "an order": { "value": "o-1" } },
            }),
            json!({
                "name": "wait", "in": "query",
                "description": "How long to wait for an event that is newer than that of `If-None-Match`, or for the first one, \
                    in seconds.",
                "schema": { "type": "integer", "minimum": 0, "maximum": history::MAX_WAIT, "default": 0 },
            }),
            if_none_match("event"),
        ],
        body: None,
        answers: vec![
            (
                200,
                json!({
                    "description": "The event.",
                    "headers": with(["ETag"]),
                    "content": { "application/json": { "schema": schemas.positioned_event() } },
                }),
            ),
            (304, unchanged("The client has the newest event.")),
        ],
        problems: &[BadRequest, Forbidden, NotFound, UnknownChannel, LatestNotKept, RateLimited, Draining, Overloaded],
    }
}

/// The schema of a list of newest events, which has no Rust type, because the handler copies the events as bytes.
fn latest_list(schemas: &mut Schemas) -> Value {
    json!({
        "type": "object",
        "required": ["events", "cursor", "more", "gap"],
        "properties": {
            "events": { "type": "array", "items": schemas.positioned_event() },
            "cursor": { "type": "string", "description": "The `cursor` of the next request." },
            "more": { "type": "boolean", "description": "There may be further events behind the cursor." },
            "gap": schemas.gaps("The log was lost, and with it the events of earlier answers: this list begins anew."),
        },
        "additionalProperties": false,
    })
}

fn type_parameter() -> Value {
    json!({
        "name": "type", "in": "path", "required": true, "description": "The name of the type.",
        "schema": { "type": "string", "minLength": 1 },
        "examples": { "a type": { "value": "order-status" } },
    })
}
