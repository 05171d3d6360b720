//! `GET /v1/connections`: who is connected to this node, how far they are behind, and how connections ended.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::App;
use super::history::number;
use crate::access::{AdminRight, Caller};
use crate::bus::{ConnectionOrder, ConnectionRow, ConnectionTransport, parameters};
use crate::connection::Listed;
use crate::protocol::{ErrorCode, Problem};
use crate::suggest;

/// Connections of a response: by default, and at most.
pub(super) const LIMIT: u64 = 100;
pub(super) const MAX_LIMIT: u64 = 1_000;

/// The connections to the node that answers, of the caller's namespace.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Connections")]
pub(super) struct Response {
    connections: Vec<Connection>,
    /// How many there are, listed or not.
    total: usize,
    /// How many were closed with each code since the node started. 1005: without a code, or an event stream by its client;
    /// 1006: without a Close.
    closed: BTreeMap<String, u64>,
}

/// A connection.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Connection {
    /// The `session` of the frame `welcome`.
    id: String,
    /// `websocket`, `sse`, or `long-poll` for a request that waits.
    transport: &'static str,
    /// The client's address and port. Without the port if a proxy named the address, and for a long-poll.
    address: String,
    /// The `sub` of the client's token, or the name of its API key. `null` for a client without a name.
    principal: Option<String>,
    namespace: String,
    /// RFC 3339, by the node's clock.
    since: String,
    subscriptions: usize,
    /// The memory of what the socket has not taken yet.
    buffered_bytes: usize,
    /// Events that were sent, or that wait in the send buffer.
    delivered: u64,
}

pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Response>, Problem> {
    // Before the parameters are looked at.
    app.bus.require(&caller, AdminRight::Connections)?;
    let (mut order, mut limit) = (ConnectionOrder::default(), LIMIT);
    for (parameter, value) in parameters(&query.unwrap_or_default(), &["sort", "limit"])? {
        match &*parameter {
            "sort" => order = read_order(&value)?,
            _ => limit = number("limit", &value, MAX_LIMIT)?,
        }
    }
    let Listed { connections, total, closed } = app.connections.list(&caller, order, limit as usize).await?;
    let namespace = app.bus.namespace_name(&caller);
    let connections = connections.into_iter().map(|row| Connection::new(row, namespace)).collect();
    let closed = closed.into_iter().map(|(code, count)| (code.to_string(), count)).collect();
    Ok(Json(Response { connections, total, closed }))
}

fn read_order(text: &str) -> Result<ConnectionOrder, Problem> {
    match text {
        "buffered" => Ok(ConnectionOrder::Buffered),
        "age" => Ok(ConnectionOrder::Age),
        other => {
            let detail = format!("`sort` must be `buffered` or `age`, not {}", suggest::quoted(other));
            Err(Problem::new(ErrorCode::BadRequest, detail))
        }
    }
}

impl Connection {
    fn new(row: ConnectionRow, namespace: &str) -> Self {
        let ConnectionRow { id, transport, address, port, principal, subscriptions, buffered, delivered } = row;
        // A UUID of version 7 begins with the time, in milliseconds (RFC 9562, section 5.7).
        let millis = (id.as_u128() >> 80) as i64;
        Self {
            id: id.to_string(),
            transport: match transport {
                ConnectionTransport::WebSocket => "websocket",
                ConnectionTransport::EventStream => "sse",
                ConnectionTransport::LongPoll => "long-poll",
            },
            address: match port {
                Some(port) => std::net::SocketAddr::new(address, port).to_string(),
                None => address.to_string(),
            },
            principal: principal.and_then(|principal| principal.source().map(str::to_owned)),
            namespace: namespace.to_owned(),
            since: format!("{:.3}", Timestamp::from_millisecond(millis).unwrap_or_default()),
            subscriptions,
            buffered_bytes: buffered,
            delivered,
        }
    }
}
