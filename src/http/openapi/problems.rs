//! The responses of refused requests: one for each set of codes that share a status, with its headers.

use serde_json::{Map, Value, json};

use crate::protocol::ErrorCode;

/// The responses that operations refer to.
#[derive(Debug, Default)]
pub(super) struct Problems(Map<String, Value>);

impl Problems {
    /// A reference to the response with one of these codes, which have the same status.
    pub fn response(&mut self, codes: &[ErrorCode]) -> Value {
        let name = codes.iter().map(|code| format!("{code:?}")).collect::<Vec<_>>().join("Or");
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        self.0.entry(name).or_insert_with(|| {
            let mut response = without_body(codes);
            let status = codes.first().map(|code| code.status());
            let codes: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
            response["content"] = json!({ "application/problem+json": { "schema": { "allOf": [
                { "$ref": "#/components/schemas/Problem" },
                { "type": "object", "properties": { "status": { "const": status }, "code": { "enum": codes } } },
            ] } } });
            response
        });
        reference
    }

    /// All of them, by name.
    pub fn finish(self) -> Map<String, Value> {
        self.0
    }
}

/// The response to HEAD.
pub(super) fn without_body(codes: &[ErrorCode]) -> Value {
    let described = codes.iter().map(|code| format!("`{code}`: {}.", code.title()));
    let names = codes.iter().flat_map(|code| names(*code)).copied();
    json!({ "description": described.collect::<Vec<_>>().join(" "), "headers": with(names) })
}

/// The headers of a response with this code, beside the one that all have.
fn names(code: ErrorCode) -> &'static [&'static str] {
    match code.status() {
        401 => &["WWW-Authenticate"],
        403 if code == ErrorCode::Forbidden => &["WWW-Authenticate"],
        405 => &["Allow"],
        415 => &["Accept-Encoding"],
        426 => &["Connection", "Sec-WebSocket-Version", "Upgrade"],
        429 | 503 => &["Retry-After"],
        _ => &[],
    }
}

/// The headers that every response may have: `edge::seal` and `edge::share` add them.
const EVERYWHERE: [&str; 5] =
    ["X-Request-Id", "Cache-Control", "Vary", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"];
/// Those of the answer to a page, which a probe of an orchestrator never is.
pub(super) const OF_PAGES: [&str; 5] = [
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
];

/// References to these headers, and to those of every response.
pub(super) fn with(names: impl IntoIterator<Item = &'static str>) -> Value {
    let all = EVERYWHERE.into_iter().chain(names);
    all.map(|name| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
        .collect::<Map<_, _>>()
        .into()
}

/// The headers of all responses.
pub(super) fn headers() -> Value {
    let header = |description: &str, required: bool, schema: Value| json!({ "description": description, "required": required, "schema": schema });
    let text = || json!({ "type": "string" });
    json!({
        "X-Request-Id": header(
            "The id of the request, which the daemon's log has too: the client's own, or a new one.",
            true,
            json!({ "type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$" }),
        ),
        "WWW-Authenticate": header(
            "How to authenticate (RFC 6750, section 3). `error` is absent where no credential was sent.",
            false,
            json!({ "type": "string", "pattern": "^Bearer" }),
        ),
        "Retry-After": header("Seconds after which to try again.", true, json!({ "type": "integer", "minimum": 0 })),
        "Allow": header("The methods that the path takes.", true, text()),
        "Accept-Encoding": header(
            "The content codings that a body may have. It is there if the body's coding was the reason.",
            false,
            text(),
        ),
        "Cache-Control": header("Whether the response may be stored.", false, text()),
        "Access-Control-Allow-Origin": header("The origin of the page that sent the request, if it may use the daemon.", false, text()),
        "Access-Control-Expose-Headers": header("The headers that this page may read.", false, text()),
        "Access-Control-Allow-Methods": header("The methods that this page may use. In the answer to a preflight.", false, text()),
        "Access-Control-Allow-Headers": header("The headers that this page may send. In the answer to a preflight.", false, text()),
        "Access-Control-Max-Age": header(
            "For how many seconds the answer to a preflight may be remembered.",
            false,
            json!({ "type": "integer", "minimum": 0 }),
        ),
        "Content-Security-Policy": header("What the page may load and run, and that no other page may embed it.", true, text()),
        "X-Content-Type-Options": header("`nosniff`.", true, json!({ "type": "string", "const": "nosniff" })),
        "Referrer-Policy": header("`no-referrer`.", true, json!({ "type": "string", "const": "no-referrer" })),
        "Content-Encoding": header("`br` for a client that takes it.", false, json!({ "type": "string", "const": "br" })),
        "X-Accel-Buffering": header("`no`: tells proxies such as nginx to pass the response on as it comes.", true, text()),
        "ETag": header("Identifies the content, as a strong tag. Of an event it is the position.", true, text()),
        "Vary": header("The headers of the request that the response depends on.", false, text()),
        "Connection": header("`upgrade`.", false, text()),
        "Upgrade": header("The protocol to upgrade to.", true, json!({ "type": "string", "const": "websocket" })),
        "Sec-WebSocket-Version": header("The version of the protocol.", true, json!({ "type": "string", "const": "13" })),
        "Sec-WebSocket-Accept": header("The answer to the key (RFC 6455, section 4.2.2).", true, text()),
        "Sec-WebSocket-Protocol": header(
            "The subprotocol, if the client offered it.",
            false,
            json!({ "type": "string", "const": crate::protocol::SUBPROTOCOL }),
        ),
        "Sec-WebSocket-Extensions": header("`permessage-deflate`, if it was agreed on.", false, text()),
    })
}
