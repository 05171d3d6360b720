//! What `/v1/connections` and `/v1/incidents` take and answer.

use serde_json::json;

use super::operation::{Access, Operation, json};
use crate::http::described::Schemas;
use crate::http::{connections, incidents};
use crate::protocol::ErrorCode::{BadRequest, Forbidden, RateLimited};

/// `GET /v1/connections`.
pub(super) fn connections(schemas: &mut Schemas) -> Operation {
    Operation {
        id: "connections",
        tag: "operation",
        summary: "The connections to this node",
        description: "Needs the admin right `connections`. The WebSockets, event streams and waiting long-polls of the \
            caller's namespace, at the node that answers.",
        access: Access::Credential,
        parameters: vec![
            json!({
                "name": "sort", "in": "query",
                "description": "`buffered`: the largest send buffer first. `age`: the oldest first.",
                "schema": { "type": "string", "enum": ["buffered", "age"], "default": "buffered" },
            }),
            json!({
                "name": "limit", "in": "query", "description": "The most connections in the answer.",
                "schema": { "type": "integer", "minimum": 0, "maximum": connections::MAX_LIMIT, "default": connections::LIMIT },
            }),
        ],
        body: None,
        answers: vec![(200, json(schemas.written::<connections::Response>(), "The connections."))],
        problems: &[BadRequest, Forbidden, RateLimited],
    }
}

/// `GET /v1/incidents`.
pub(super) fn incidents(schemas: &mut Schemas) -> Operation {
    Operation {
        id: "incidents",
        tag: "operation",
        summary: "What went wrong lately at this node",
        description: "Needs the admin right `nodes`. Gaps, new epochs, connections closed with 1013 and 4008, and changes of \
            readiness, in the caller's namespace. The node keeps up to 128 entries of each kind, until it ends.",
        access: Access::Credential,
        parameters: vec![json!({
            "name": "since", "in": "query",
            "description": "A time in RFC 3339, or an age. Entries of this time and later are in the answer.",
            "schema": {
                "type": "string",
                "anyOf": [{ "pattern": "^[0-9]+(?:ms|s|m|h|d)$" }, { "format": "date-time" }],
            },
            "examples": {
                "a quarter of an hour": { "value": "15m" }, "a time": { "value": "2026-11-21T10:00:00Z" },
            },
        })],
        body: None,
        answers: vec![(200, json(schemas.written::<incidents::Response>(), "The incidents."))],
        problems: &[BadRequest, Forbidden, RateLimited],
    }
}
