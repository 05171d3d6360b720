//! The description of one operation, and the schemas that several operations have in common.

use serde_json::{Value, json};

use super::problems::with;
use super::schemas::{Schemas, reference};
use crate::protocol::ErrorCode::{self, *};

/// What a method of a route takes and answers.
pub(super) struct Operation {
    pub id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
    pub access: Access,
    pub parameters: Vec<Value>,
    pub body: Option<Value>,
    /// The responses that are no problem documents, by status.
    pub answers: Vec<(u16, Value)>,
    /// The problems beside those of the access and those of every route.
    pub problems: &'static [ErrorCode],
}

/// Who may call an operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    Everybody,
    /// Everybody. A credential changes the answer.
    Optional,
    /// Callers whose credential grants it. A credential may grant a part of the answer only.
    Credential,
}

impl Access {
    /// The problems that checking a credential can have. `broker-unavailable`: the node cannot read the list of revoked
    /// credentials.
    pub fn problems(self) -> &'static [ErrorCode] {
        match self {
            Self::Everybody | Self::Optional => &[],
            Self::Credential => &[Unauthenticated, BrokerUnavailable],
        }
    }
}

/// The schema of an event with its position.
pub(super) fn positioned_event() -> Value {
    let position = json!({ "type": "string", "description": "Where in its channel's log the event is; opaque." });
    json!({
        "type": "object",
        "required": ["position", "event"],
        "properties": { "position": position, "event": reference("DeliveredEvent") },
        "additionalProperties": false,
    })
}

/// The schema of lost ranges.
pub(super) fn gaps(schemas: &mut Schemas, description: &str) -> Value {
    json!({
        "description": description,
        "anyOf": [
            { "type": "boolean", "const": false },
            { "type": "array", "items": schemas.written::<crate::bus::Gap>(), "minItems": 1 },
        ],
    })
}

/// A response with JSON.
pub(super) fn json(schema: Value, description: &str) -> Value {
    json!({
        "description": description,
        "headers": with(["Cache-Control", "Vary"]),
        "content": { "application/json": { "schema": schema } },
    })
}
