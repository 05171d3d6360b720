//! `GET /v1/channels`: what there is to subscribe to, and where each channel stands.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::App;
use crate::access::Caller;
use crate::bus::{ChannelCounts, ChannelSummary};
use crate::event::Position;
use crate::protocol::Problem;

/// The channels that the caller may see.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Channels")]
pub(super) struct Response {
    channels: Vec<Channel>,
}

/// A channel, and where it stands.
#[derive(Serialize, JsonSchema)]
struct Channel {
    /// The name of the channel and of its event type.
    r#type: String,
    /// The URI of the schema of `data`.
    schema: String,
    /// The position of the newest event.
    position: Position,
    #[serde(flatten)]
    counts: Option<Counts>,
}

/// For a caller who may see all of the channel.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Counts {
    /// Events that the log has.
    retained: u64,
    /// Connections of this node that are subscribed.
    subscribers: u64,
    /// Events that the node got from the log in a second, over the last ten.
    #[serde(serialize_with = "number")]
    #[schemars(with = "f64")]
    rate_per_second: f64,
    /// Events that were appended through this node since it started, with those that others caused.
    published: u64,
    /// Events published through this node whose `id` had been published before.
    duplicates: u64,
    /// Events that this node refused: with a mistake, or outside of their publisher's grants.
    refused: u64,
}

pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Response>, Problem> {
    let channels = app.bus.channels(&caller).await?;
    Ok(Json(Response { channels: channels.into_iter().map(Channel::from).collect() }))
}

/// Writes a whole number without a fraction. A reader that keeps numbers as they were written takes `0.0` for no number of
/// JavaScript.
fn number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match number.fract() == 0.0 {
        true => serializer.serialize_u64(*number as u64),
        false => serializer.serialize_f64(*number),
    }
}

impl From<ChannelSummary> for Channel {
    fn from(ChannelSummary { name, schema, position, counts }: ChannelSummary) -> Self {
        Self { r#type: name, schema, position, counts: counts.map(Counts::from) }
    }
}

impl From<ChannelCounts> for Counts {
    fn from(counts: ChannelCounts) -> Self {
        let ChannelCounts { retained, subscribers, rate_per_second, published, duplicates, refused } = counts;
        Self { retained, subscribers, rate_per_second, published, duplicates, refused }
    }
}
