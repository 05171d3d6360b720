//! The description of one operation, and the schemas that several operations have in common.

use serde_json::{Value, json};

use super::problems::with;
use crate::http::described::Schemas;
use crate::protocol::ErrorCode::{self, *};

/// What a method of a route takes and answers.
pub(in crate::http) struct Operation {
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
pub(in crate::http) enum Access {
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

/// A response with JSON.
pub(super) fn json(schema: Value, description: &str) -> Value {
    json!({
        "description": description,
        "headers": with([]),
        "content": { "application/json": { "schema": schema } },
    })
}

/// A body of this schema as JSON, with an example.
pub(super) fn made_example(schema: Value, schemas: &Schemas) -> Value {
    let example = schemas.example(&schema);
    json!({ "required": true, "content": { "application/json": { "schema": schema, "example": example } } })
}

/// The header by which a client asks whether `what` has changed.
pub(super) fn if_none_match(what: &str) -> Value {
    json!({
        "name": "If-None-Match", "in": "header", "description": format!("The `ETag` of the {what} that the client has."),
        "schema": { "type": "string" },
    })
}

/// The response to a client that has what it asks for.
pub(super) fn unchanged(description: &str) -> Value {
    json!({ "description": description, "headers": with(["ETag"]) })
}
