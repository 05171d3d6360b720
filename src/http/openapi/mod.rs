//! `GET /openapi.json`: the OpenAPI 3.1 document of the HTTP interface, for code generators, gateways and fuzzers.
//!
//! The document is assembled, not written by hand. The table of routes says which paths and methods there are,
//! `operations.rs` what each takes and answers, [`ErrorCode`] which problems there can be, and the types of the bodies what
//! they look like. Tests fail for a route, a method or a code that the document does not have.
//!
//! Everybody may read it, so it names no type of the user's own.

mod events;
mod latest;
mod operation;
mod operations;
mod operator;
mod problems;
mod webhooks;

use std::sync::OnceLock;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::App;
use super::described::{BEARER, LICENSE, Schemas, Served, TITLE, TypeExamples, Types, security_schemes};
use super::route_table::ROUTES;
use super::side::Side;
use crate::event::Catalog;
use crate::protocol::ErrorCode;
use operation::Access;
pub(super) use operation::Operation;
use problems::Problems;

const DESCRIPTION: &str = "\
An event bus: publishers post CloudEvents, and subscribers get them over WebSocket, Server-Sent Events or long-poll.

Every error is a problem document (RFC 9457) with a stable `code`. Every response has the header `X-Request-Id`. A path that \
is not described here gets 404 `not-found`, and a method that its path does not have 405 `method-not-allowed` with `Allow`. Every path answers OPTIONS with 204 and `Allow`, \
and a preflight of a page that may use the daemon with its CORS headers. Other answers to such a page have \
`Access-Control-Allow-Origin`, so that it may read them.";

/// Every path takes it, and answers it alike.
const OPTIONS: &str = "OPTIONS";
/// Those that orchestrators ask, and never a page.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// The document of an address's routes. It is made when it is first asked for.
#[derive(Debug)]
pub(super) struct Document {
    side: Side,
    served: OnceLock<Variants>,
}

/// The document of a daemon that refuses callers without a credential, and of one that does not.
#[derive(Debug)]
struct Variants {
    required: Served,
    optional: Served,
}

impl Document {
    /// The document of the routes that an address of this side has.
    pub fn new(side: Side) -> Self {
        Self { side, served: OnceLock::new() }
    }

    /// The response. What `[anonymous]` grants can change at any time.
    pub fn show(&self, app: &App, request: &HeaderMap) -> Response {
        let variants = self.served.get_or_init(|| {
            let required = document(app.bus.catalog(), self.side);
            Variants { required: Served::new(&required), optional: Served::new(&without_need(required)) }
        });
        let served = match app.bus.without_credential() {
            None => &variants.required,
            Some(_) => &variants.optional,
        };
        let mut response = served.response(request);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// The document of all routes, as a daemon without authentication serves it.
pub fn public(catalog: &Catalog) -> Value {
    without_need(document(catalog, Side::Whole))
}

/// The document of a daemon that needs no credential.
fn without_need(mut document: Value) -> Value {
    // The order of the alternatives means nothing; an empty one makes the credential optional.
    document["security"] = json!([{ BEARER: [] }, {}]);
    document
}

/// What a GET of a path takes and answers.
pub(super) fn operation(method: &str, path: &str, schemas: &mut Schemas) -> Option<Operation> {
    events::operation(method, path, schemas)
        .or_else(|| latest::operation(method, path, schemas))
        .or_else(|| webhooks::operation(method, path, schemas))
        .or_else(|| operations::operation(method, path, schemas))
}

/// The parameter that `parameter` is or refers to.
pub(super) fn parameter(parameter: &Value) -> Value {
    let name = parameter["$ref"].as_str().and_then(|to| to.rsplit('/').next());
    name.map_or_else(|| parameter.clone(), |name| events::shared_parameters()[name].take())
}

/// The document of a daemon that needs a credential.
fn document(catalog: &Catalog, side: Side) -> Value {
    let (examples, builtin) = (TypeExamples::default(), catalog.builtin_channels());
    let types = Types::of(catalog, examples.of(catalog), |channel| builtin.contains(&channel));
    let mut schemas = Schemas::new(&types, true);
    let mut problems = Problems::default();
    let mut paths = Map::new();
    for (path, methods) in ROUTES.into_iter().filter(|(path, _)| side.has(path)) {
        let mut item = Map::new();
        for method in methods.split(", ") {
            let found = match (method, methods.split_once(", ")) {
                (OPTIONS, Some((first, _))) => operation(first, path, &mut schemas).map(options),
                _ => operation(method, path, &mut schemas),
            };
            if let Some(operation) = found {
                item.insert(method.to_lowercase(), described(operation, method, path, &mut problems));
            }
        }
        paths.insert(path.to_owned(), item.into());
    }
    // No operation of the document answers it: it is for the methods that a path does not have.
    problems.response(&[ErrorCode::MethodNotAllowed]);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "An event bus daemon",
            "description": DESCRIPTION,
            "license": { "name": LICENSE, "identifier": LICENSE },
        },
        "servers": [{ "url": "/", "description": "This daemon." }],
        "security": [{ BEARER: [] }],
        "tags": [
            { "name": "events", "description": "Publishing, reading and following events." },
            { "name": "overview", "description": "What there is on this bus." },
            { "name": "operation", "description": "For operators and orchestrators." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas.all(),
            "responses": problems.finish(),
            "headers": problems::headers(),
            "parameters": events::shared_parameters(),
            "securitySchemes": security_schemes(),
        },
    })
}

/// What OPTIONS of a path answers, of another method of this path.
fn options(of: Operation) -> Operation {
    let is_of_path = |parameter: &Value| parameter["in"] == "path";
    let of_preflight =
        ["Allow", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age"];
    Operation {
        summary: "The methods of the path",
        description: "For everybody. The preflight of a page that may use the daemon (Fetch Standard, section 3.3.2) gets what the \
            page may send.",
        access: Access::Everybody,
        parameters: of.parameters.into_iter().filter(is_of_path).collect(),
        body: None,
        answers: vec![(
            204,
            json!({ "description": "The methods, in `Allow`.", "headers": problems::with(of_preflight) }),
        )],
        problems: &[],
        ..of
    }
}

/// An operation as an OpenAPI object.
fn described(operation: Operation, method: &str, path: &str, problems: &mut Problems) -> Value {
    let Operation { id, tag, summary, description, access, parameters, body, answers, problems: own } = operation;
    let is_head = method == "HEAD";
    let mut responses: Map<String, Value> = answers
        .into_iter()
        .map(|(status, mut answer)| {
            if let (true, Some(answer)) = (is_head, answer.as_object_mut()) {
                answer.remove("content");
            }
            if let (true, Some(headers)) = (PROBES.contains(&path), answer["headers"].as_object_mut()) {
                headers.retain(|name, _| !problems::OF_PAGES.contains(&&**name));
            }
            (status.to_string(), answer)
        })
        .collect();
    let mut codes: Vec<ErrorCode> =
        own.iter().chain(access.problems()).chain(operations::everywhere(path)).copied().collect();
    codes.sort_by_key(|code| (code.status(), ErrorCode::ALL.iter().position(|known| known == code)));
    codes.dedup();
    for same in codes.chunk_by(|one, other| one.status() == other.status()) {
        let response = if is_head { problems::without_body(same) } else { problems.response(same) };
        responses.insert(same[0].status().to_string(), response);
    }
    let mut described = json!({
        "operationId": match method {
            "HEAD" => format!("{id}Head"),
            OPTIONS => format!("{id}Options"),
            _ => id.to_owned(),
        },
        "tags": [tag],
        "summary": if is_head { format!("{summary}: the headers alone") } else { summary.to_owned() },
        "description": description,
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = body {
        described["requestBody"] = body;
    }
    described["responses"] = responses.into();
    match access {
        Access::Everybody => described["security"] = json!([]),
        Access::Optional => described["security"] = json!([{}, { BEARER: [] }]),
        // That of the whole document.
        Access::Credential => {}
    }
    described
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What only an `error` frame says.
    const OF_FRAMES: [ErrorCode; 5] = [
        ErrorCode::InvalidFrame,
        ErrorCode::UnknownFrame,
        ErrorCode::DuplicateSubscription,
        ErrorCode::UnknownSubscription,
        ErrorCode::TooManySubscriptions,
    ];

    fn document() -> Value {
        super::document(&Catalog::builtin(), Side::Whole)
    }

    #[test]
    fn every_route_and_method_is_described() {
        let document = document();
        for (path, methods) in ROUTES {
            let described: Vec<_> = document["paths"][path].as_object().unwrap().keys().cloned().collect();
            assert_eq!(described.join(", ").to_uppercase(), methods, "{path}: describe it in openapi/");
        }
        // The table has what the router has.
        let source = include_str!("../routes.rs");
        let (_, rest) = source.split_once("let routes = [").unwrap();
        let (routed, _) = rest.split_once("];").unwrap();
        let routed: Vec<_> =
            routed.split("(\"/").skip(1).map(|rest| format!("/{}", rest.split_once('"').unwrap().0)).collect();
        // The router's mark of the rest of a path.
        let routed: Vec<_> = routed.iter().map(|path| path.replace("{*", "{")).collect();
        assert_eq!(routed, ROUTES.map(|(path, _)| path));
    }

    #[test]
    fn every_code_is_described() {
        let document = document();
        let mut described = BTreeSet::new();
        for response in document["components"]["responses"].as_object().unwrap().values() {
            let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"];
            let codes = schema["code"]["enum"].as_array().unwrap();
            for code in codes {
                let code = ErrorCode::ALL.iter().find(|known| known.as_str() == code).unwrap();
                assert_eq!(schema["status"]["const"], code.status(), "{code}");
                described.insert(code.as_str());
            }
        }
        for code in ErrorCode::ALL {
            let is_of_frames = OF_FRAMES.contains(code);
            assert_eq!(described.contains(code.as_str()), !is_of_frames, "{code}: add it to its operations");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_used() {
        let document = document();
        let text = document.to_string();
        let references: BTreeSet<&str> =
            text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
        for reference in &references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
        for (kind, components) in document["components"].as_object().unwrap() {
            for name in components.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
                let used = references.contains(format!("/components/{kind}/{name}").as_str());
                assert!(used || name == "MethodNotAllowed", "{kind}/{name}");
            }
        }
        let ids: Vec<_> = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| item.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn no_type_of_the_users_own_is_named() {
        let mut catalog = Catalog::builtin();
        catalog.add("secret-merger", r#"{"title":"Secret merger","type":"object"}"#).unwrap();
        assert_eq!(super::document(&catalog, Side::Whole), document());
    }
}
