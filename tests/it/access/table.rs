//! The table of access: each request and each frame of a WebSocket, and what each kind of credential gets.
//!
//! `matrix.rs` sends them all to a daemon, and writes the table into docs/security.md.

use std::fmt::Write;

use reqwest::Method;
use serde_json::{Value, json};

use super::matrix::ORDERS;
use crate::support::events::{order, sale};

/// The kinds of credentials, as the heads of the table's columns.
pub const CREDENTIALS: [&str; 7] =
    ["none", "invalid or revoked", "no grants", "may publish", "may subscribe", "pinned", "admin"];

/// What is sent.
pub enum Sent {
    Request(Method, String, Option<Value>),
    /// Only a handshake. The daemon waits for `auth` if it had no credential.
    Handshake,
    /// A first frame `auth` with the credential, after a handshake without one.
    FirstFrame,
    /// A frame after a handshake with the credential. `TOKEN` in it is the credential.
    Frame(Value),
}

/// One row.
pub struct Row {
    pub sent: Sent,
    /// What it is, where that does not show.
    pub note: &'static str,
    /// The answer to each of [`CREDENTIALS`]: a status, the code of a close, the type of a frame, or the code of an
    /// `error` frame. Empty: there is no such case.
    pub answers: [&'static str; 7],
}

impl Row {
    /// What is sent, as the table says it.
    fn label(&self) -> String {
        match &self.sent {
            Sent::Request(method, path, _) => format!("`{method} {path}`"),
            Sent::Handshake => "`GET /v1/ws`".into(),
            Sent::FirstFrame => "first frame `auth`".into(),
            Sent::Frame(frame) => {
                let kind = frame["type"].as_str().expect("a frame has a type");
                let channel = frame["channel"].as_str().map(|name| format!(" `{name}`")).unwrap_or_default();
                format!("frame `{kind}`{channel}")
            }
        }
    }
}

/// The table.
pub fn rows() -> Vec<Row> {
    const SUBSCRIBING: [&str; 7] = ["401", "401", "403", "403", "200", "200", "403"];
    const NOBODY: [&str; 7] = ["401", "401", "403", "403", "403", "403", "403"];
    const LISTING: [&str; 7] = ["401", "401", "200", "200", "200", "200", "200"];
    const OPERATOR: [&str; 7] = ["401", "401", "403", "403", "403", "403", "200"];
    const NO_FLOW: [&str; 7] = ["401", "401", "403", "403", "403", "403", "404"];
    const PUBLIC: [&str; 7] = ["200"; 7];
    let row = |sent, note, answers| Row { sent, note, answers };
    let get = |path: &str, note, answers| row(Sent::Request(Method::GET, path.to_owned(), None), note, answers);
    let post = |path: &str, body: Value, note, answers| {
        row(Sent::Request(Method::POST, path.to_owned(), Some(body)), note, answers)
    };
    let frame = |frame: Value, note, answers| row(Sent::Frame(frame), note, answers);
    let subscribe = |channel: &str| json!({"type": "subscribe", "sub": "s", "channel": channel});
    vec![
        post("/v1/events", order("1"), "one event of the grant", ["401", "401", "403", "202", "403", "403", "403"]),
        post("/v1/events", json!([order("2"), sale("1")]), "a batch with one event outside of the grant", NOBODY),
        post("/v1/events", json!({"type": "no-such-type", "data": {}}), "an unknown type", NOBODY),
        post(
            "/v1/events",
            json!({"type": "inventory-change", "data": 5}),
            "a broken event outside of the grant",
            NOBODY,
        ),
        post(
            "/v1/events",
            json!({"type": ORDERS, "data": {}}),
            "a broken event of the grant",
            ["401", "401", "403", "422", "403", "403", "403"],
        ),
        get("/v1/events", "the granted channels", SUBSCRIBING),
        get(&format!("/v1/events?channel={ORDERS}"), "", SUBSCRIBING),
        get("/v1/events?channel=inventory-change", "not granted", NOBODY),
        get("/v1/events?channel=no-such-channel", "", NOBODY),
        get("/v1/events?channel=no-such-channel&since=nonsense", "", NOBODY),
        get(
            &format!("/v1/events?channel={ORDERS}&since=nonsense"),
            "no position",
            ["401", "401", "403", "403", "422", "422", "403"],
        ),
        get("/v1/events?no=such", "an unknown parameter", ["401", "401", "403", "403", "400", "400", "403"]),
        get(
            &format!("/v1/events?channel={ORDERS}&where={{\"no\":1}}"),
            "an unknown field",
            ["401", "401", "403", "403", "422", "422", "403"],
        ),
        get("/v1/stream", "the granted channels", SUBSCRIBING),
        get(&format!("/v1/stream?channel={ORDERS}"), "", SUBSCRIBING),
        get("/v1/stream?channel=inventory-change", "not granted", NOBODY),
        get("/v1/stream?channel=no-such-channel", "", NOBODY),
        get(&format!("/v1/latest/{ORDERS}"), "", SUBSCRIBING),
        get(&format!("/v1/latest/{ORDERS}/o-1"), "no such subject", ["401", "401", "403", "403", "404", "404", "403"]),
        get("/v1/latest/inventory-change", "not granted", NOBODY),
        get("/v1/latest/inventory-change/p-1", "not granted", NOBODY),
        get("/v1/latest/no-such-type/o-1", "", NOBODY),
        row(
            Sent::Handshake,
            "without a credential: closed after 5 s",
            ["4001", "401", "welcome", "welcome", "welcome", "welcome", "welcome"],
        ),
        row(
            Sent::FirstFrame,
            "after a handshake without a credential",
            ["4001", "4001", "welcome", "welcome", "welcome", "welcome", "welcome"],
        ),
        frame(
            json!({"type": "auth", "token": "TOKEN"}),
            "a renewal",
            ["", "", "authenticated", "authenticated", "authenticated", "authenticated", "authenticated"],
        ),
        frame(
            subscribe(ORDERS),
            "",
            ["4001", "401", "forbidden", "forbidden", "subscribed", "subscribed", "forbidden"],
        ),
        frame(
            subscribe("inventory-change"),
            "not granted",
            ["4001", "401", "forbidden", "forbidden", "forbidden", "forbidden", "forbidden"],
        ),
        frame(
            subscribe("no-such-channel"),
            "",
            ["4001", "401", "forbidden", "forbidden", "forbidden", "forbidden", "forbidden"],
        ),
        frame(json!({"type": "ping"}), "", ["4001", "401", "pong", "pong", "pong", "pong", "pong"]),
        get("/v1/channels", "the granted channels", LISTING),
        get("/v1/schemas", "the granted types", LISTING),
        get(&format!("/v1/schemas/{ORDERS}"), "", ["401", "401", "404", "200", "200", "200", "200"]),
        get("/v1/schemas/inventory-change", "not granted", ["401", "401", "404", "404", "404", "404", "200"]),
        get("/v1/schemas/no-such-type", "", ["401", "401", "404", "404", "404", "404", "404"]),
        get("/v1/schemas/event", "", LISTING),
        get("/asyncapi.json", "the granted types", LISTING),
        get("/v1/nodes", "", OPERATOR),
        get("/v1/connections", "", OPERATOR),
        get("/v1/connections?sort=x", "a wrong parameter", ["401", "401", "403", "403", "403", "403", "400"]),
        get("/v1/incidents", "", OPERATOR),
        get("/metrics", "", OPERATOR),
        post("/v1/revocations", json!({"jti": "x"}), "", ["401", "401", "403", "403", "403", "403", "204"]),
        get("/v1/webhooks", "", OPERATOR),
        post("/v1/webhooks/none/test", json!({}), "there is no such webhook", NO_FLOW),
        get("/v1/webhooks/none/dead", "", NO_FLOW),
        post("/v1/webhooks/none/replay", json!({"all": true}), "", NO_FLOW),
        post("/v1/webhooks/none/resume", json!({}), "", NO_FLOW),
        get("/v1/bridges/none/dead", "there is no such bridge", NO_FLOW),
        get("/v1/sinks/none/dead", "there is no such sink", NO_FLOW),
        get("/healthz", "", PUBLIC),
        get("/readyz", "", PUBLIC),
        get("/openapi.json", "", PUBLIC),
        get("/", "", PUBLIC),
        get("/console/licenses.txt", "", PUBLIC),
        row(Sent::Request(Method::OPTIONS, "/v1/events".into(), None), "", ["204"; 7]),
    ]
}

/// The table in Markdown.
pub fn markdown() -> String {
    let mut text = format!("| request or frame | {} |\n|---|{}\n", CREDENTIALS.join(" | "), "---|".repeat(7));
    for row in rows() {
        let note = if row.note.is_empty() { String::new() } else { format!(": {}", row.note) };
        let answers = row.answers.map(|answer| match answer.parse::<u16>() {
            _ if answer.is_empty() => "–".to_owned(),
            Ok(_) => answer.to_owned(),
            Err(_) => format!("`{answer}`"),
        });
        writeln!(text, "| {}{note} | {} |", row.label(), answers.join(" | ")).expect("a String takes any text");
    }
    text + "\n"
}
