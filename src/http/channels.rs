//! `GET /v1/channels`: what there is to subscribe to, and where each channel stands.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::App;
use crate::access::Caller;
use crate::bus::{ChannelCounts, ChannelSummary};
use crate::event::Position;
use crate::protocol::Problem;

#[derive(Serialize)]
pub(super) struct Response {
    channels: Vec<Channel>,
}

#[derive(Serialize)]
struct Channel {
    r#type: String,
    schema: String,
    position: Position,
    #[serde(flatten)]
    counts: Option<Counts>,
}

#[derive(Serialize)]
struct Counts {
    retained: u64,
    subscribers: u64,
}

pub(super) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Response>, Problem> {
    let channels = app.bus.channels(&caller).await?;
    Ok(Json(Response { channels: channels.into_iter().map(Channel::from).collect() }))
}

impl From<ChannelSummary> for Channel {
    fn from(ChannelSummary { name, schema, position, counts }: ChannelSummary) -> Self {
        let counts = counts.map(|ChannelCounts { retained, subscribers }| Counts { retained, subscribers });
        Self { r#type: name, schema, position, counts }
    }
}
