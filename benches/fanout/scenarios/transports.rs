//! Event streams and long-polls: a delivery over them beside one over a WebSocket.
//!
//! Two daemons take turns: the subscribers of one use the transport, those of the other WebSockets. One that has
//! WebSockets too shows how exact the ratios are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidings::load::{Dialect, Transport};

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::dialects::LANES;
use crate::events::{CHANNEL, Content};
use crate::publishers::{Publishers, WaitFor};
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, TIDINGS};
use crate::table::{Column, Table};
use crate::usage::{CPU, Meter, Usage};

pub const TRANSPORTS: &str = "transports";
pub const WEBSOCKET: &str = "WebSocket";
pub const EVENT_STREAM: &str = "Server-Sent Events";
pub const LONG_POLL: &str = "long-poll";

/// CPU time a delivery with 64 events in flight, in nanoseconds.
pub const BUSY: &str = "cpu ns with 64 in flight";
/// The same two figures of the WebSockets that took turns.
pub const WEBSOCKET_CPU: &str = "WebSocket's cpu ns";
pub const WEBSOCKET_BUSY: &str = "WebSocket's cpu ns with 64 in flight";

const SUBSCRIBERS: usize = 1_000;
/// The number of turns of each daemon, after a first turn that is not measured.
const TURNS: usize = 6;
const TURN: Duration = Duration::from_millis(200);

pub fn transports() -> Scenario {
    let steps =
        [(WEBSOCKET, Transport::WebSocket), (EVENT_STREAM, Transport::EventStream), (LONG_POLL, Transport::LongPoll)];
    Scenario {
        name: TRANSPORTS,
        about: "1,000 event streams, and 1,000 long-polls, beside 1,000 WebSockets",
        rounds: usize::MAX,
        steps: steps.map(|(case, transport)| Step::new(TIDINGS, Transports { case, transport })).into(),
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [
        Column::micros("CPU a delivery, one at a time", CPU),
        Column::against_figure("of the WebSocket's", CPU, TIDINGS.name, WEBSOCKET_CPU),
        Column::micros("with 64 in flight", BUSY),
        Column::against_figure("of the WebSocket's", BUSY, TIDINGS.name, WEBSOCKET_BUSY),
    ];
    let rows =
        [WEBSOCKET, EVENT_STREAM, LONG_POLL].map(|case| (case.to_owned(), sample_key(TRANSPORTS, case, TIDINGS.name)));
    Table::new("1,000 subscribers by transport", "", &columns).rows(results, rows)
}

struct Transports {
    case: &'static str,
    transport: Transport,
}

#[async_trait]
impl Measure for Transports {
    fn case(&self) -> String {
        self.case.into()
    }

    fn files(&self) -> usize {
        2 * (SUBSCRIBERS + LANES)
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let path = match self.transport {
            Transport::WebSocket => server.dialect().path,
            Transport::EventStream => format!("/v1/stream?channel={CHANNEL}"),
            Transport::LongPoll => format!("/v1/events?channel={CHANNEL}"),
        };
        let other = TIDINGS.start(tempfile::tempdir()?)?.map_err(io::Error::other)?;
        let dialect = Dialect { path, transport: self.transport, ..server.dialect() };
        let mut ours = Side::open(server, dialect).await?;
        let dialect = other.dialect();
        let mut other = Side::open(other, dialect).await?;
        let mut figures = Figures::new();
        for (in_flight, figure, others) in [(1, CPU, WEBSOCKET_CPU), (LANES, BUSY, WEBSOCKET_BUSY)] {
            for turn in 0..=TURNS {
                for side in [&mut ours, &mut other] {
                    side.turn(in_flight).await?;
                    if turn == 0 {
                        side.take();
                    }
                }
            }
            figures.insert(figure.into(), ours.take());
            figures.insert(others.into(), other.take());
        }
        ours.audience.close().await?;
        other.audience.close().await?;
        Ok(vec![CaseFigures { case: self.case.into(), figures }])
    }
}

/// One of the two daemons, with its subscribers, and the CPU time of its turns.
struct Side {
    server: Running,
    audience: Audience,
    publishers: Publishers,
    usage: Usage,
    events: u64,
}

impl Side {
    async fn open(server: Running, dialect: Dialect) -> io::Result<Self> {
        let dialect = Arc::new(dialect);
        let audience = Audience::open_as(&server, SUBSCRIBERS, |_| dialect.clone()).await?;
        audience.shared.watch_lanes(LANES);
        let publishers = Publishers::connect(&server, LANES).await?;
        Ok(Self { server, audience, publishers, usage: Usage::default(), events: 0 })
    }

    /// Publishes for one turn from `in_flight` publishers that wait for the deliveries.
    async fn turn(&mut self, in_flight: usize) -> io::Result<()> {
        let (shared, content) = (self.audience.shared.clone(), Content::of_product("p-1"));
        let meter = Meter::start(self.server.pid());
        let wait_for = WaitFor::Delivery(SUBSCRIBERS);
        let published = self.publishers.publish(in_flight, wait_for, TURN, &shared, &content).await?;
        self.usage += meter.stop();
        self.events += published.accepted;
        self.audience.wait_for_events(published.accepted).await
    }

    /// The CPU time a delivery since the last call.
    fn take(&mut self) -> f64 {
        let deliveries = std::mem::take(&mut self.events) * SUBSCRIBERS as u64;
        std::mem::take(&mut self.usage).each(deliveries)[CPU]
    }
}
