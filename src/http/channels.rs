//! `GET /v1/channels`: what there is to subscribe to, and where each channel stands.

use axum::Json;
use axum::extract::State;
use futures_util::future::try_join_all;
use serde::Serialize;

use super::App;
use super::problem::{Code, Problem};
use crate::event::{ChannelId, Position};

#[derive(Serialize)]
pub(super) struct Channels {
    channels: Vec<Channel>,
}

#[derive(Serialize)]
struct Channel {
    r#type: String,
    /// The URI of the schema of `data`.
    schema: String,
    /// The position of the newest event.
    position: Position,
    /// Events that the log has.
    retained: u64,
    /// Connections of this node that are subscribed.
    subscribers: u64,
}

pub(super) async fn list(State(app): State<App>) -> Result<Json<Channels>, Problem> {
    let channels = try_join_all(app.catalog.channels().map(|id| channel(&app, id))).await?;
    Ok(Json(Channels { channels }))
}

async fn channel(app: &App, id: ChannelId) -> Result<Channel, Problem> {
    let bounds = app.broker.bounds(id, None).await;
    let bounds =
        bounds.map_err(|error| Problem::new(Code::BrokerUnavailable, "the broker is unavailable").with_cause(error))?;
    let known = app.catalog.get(id);
    Ok(Channel {
        r#type: known.name.to_string(),
        schema: known.id().to_owned(),
        position: bounds.head(),
        retained: bounds.head + 1 - bounds.oldest,
        subscribers: app.hub.subscribers(id),
    })
}
