//! What AsyncAPI says of a protocol in bindings: the parameters of a route, as the OpenAPI document has them.

use serde_json::{Map, Value, json};

use super::super::described::Schemas;
use super::SOCKET;
use crate::http::openapi;
use crate::protocol::SUBPROTOCOL;

/// The bindings of the WebSocket: the query and the headers of its handshake.
pub(super) fn websocket(schemas: &mut Schemas) -> Value {
    json!({
        "ws": {
            "method": "GET",
            "query": query(SOCKET, schemas),
            "headers": {
                "type": "object",
                "properties": {
                    "Authorization": { "type": "string", "description": "`Bearer` and a token or an API key." },
                    "Sec-WebSocket-Protocol": {
                        "type": "string",
                        "enum": [SUBPROTOCOL],
                        "description": "The subprotocol. A client need not offer it.",
                    },
                },
            },
            "bindingVersion": "0.1.0",
        },
    })
}

/// The bindings of a request: its method, and the query that its route takes.
pub(super) fn request(method: &str, path: &str, schemas: &mut Schemas) -> Value {
    let mut binding = json!({ "method": method });
    if method == "GET" {
        binding["query"] = query(path, schemas);
    }
    binding["bindingVersion"] = "0.3.0".into();
    json!({ "http": binding })
}

/// The query of a route as the schema of an object, in AsyncAPI's own format.
fn query(path: &str, schemas: &mut Schemas) -> Value {
    let parameters = openapi::operation("GET", path, schemas).map(|operation| operation.parameters).unwrap_or_default();
    let parameters = parameters.iter().map(openapi::parameter).filter(|parameter| parameter["in"] == "query");
    let properties = parameters.filter_map(|mut parameter| {
        let name = parameter["name"].as_str()?.to_owned();
        let (schema, description) = (parameter["schema"].take(), parameter["description"].take());
        // What the schemas of the document say better, in a format of their own, is a text here.
        let mut property = match (schema.get("type"), parameter.get("content")) {
            (Some(_), _) => schema,
            (None, None) => json!({ "type": "string" }),
            (None, Some(_)) => json!({ "type": "string", "contentMediaType": "application/json" }),
        };
        property["description"] = description;
        Some((name, property))
    });
    json!({ "type": "object", "properties": properties.collect::<Map<_, _>>() })
}
