//! What the OpenAPI and the AsyncAPI document have in common: the schemas with their examples, the credential, and how a document
//! is served.

mod events;
mod frames;
mod pages;
mod references;
mod schemas;
mod served;
mod types;

use serde_json::{Value, json};

use crate::protocol::CloseCode;

pub(super) use references::{reachable, reference, references};
pub(super) use schemas::{Schemas, example_of};
pub(super) use served::Served;
#[cfg(test)]
pub(super) use types::RESERVED;
pub use types::TypeExamples;
pub(super) use types::{NamedType, Types};

/// What the documents call the daemon's interface.
pub(super) const TITLE: &str = "tidings";
/// The licence of the daemon, by its SPDX name.
pub(super) const LICENSE: &str = env!("CARGO_PKG_LICENSE");

/// The name of the security scheme.
pub(super) const BEARER: &str = "bearer";

/// The security schemes.
pub(super) fn security_schemes() -> Value {
    json!({
        BEARER: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "a JSON Web Token, or an API key (tdg_…)",
            "description": "Exactly one header `Authorization: Bearer …`. A credential in the URL is refused.",
        },
    })
}

/// The schema of the close codes.
pub(super) fn close_codes() -> Value {
    let code =
        |code: &CloseCode| json!({ "const": code.as_u16(), "title": code.name(), "description": code.meaning() });
    json!({
        "title": "CloseCode",
        "description": "Why the daemon closed a WebSocket (RFC 6455, section 7.4; the application's own from 4000).",
        "type": "integer",
        "oneOf": CloseCode::ALL.iter().map(code).collect::<Vec<_>>(),
    })
}
