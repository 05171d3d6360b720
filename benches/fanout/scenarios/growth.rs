//! The cost of a delivery by the number of subscribers of one channel, and by the number of channels.

use std::io;
use std::sync::Arc;
use std::{fs, path::Path};

use async_trait::async_trait;
use serde_json::json;
use tidings::load::{Dialect, client_frame};

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::{Audience, Until};
use crate::dialects::{LANES, SUBSCRIBED};
use crate::events::Content;
use crate::results::{Figures, Results, sample_key};
use crate::systems::{FLOOR, Kind, Running, System, TIDINGS};
use crate::table::{Column, Table};
use crate::usage::{CPU, Meter, resident};

pub const SUBSCRIBERS: &str = "subscribers";
pub const CHANNELS: &str = "channels";

pub const SIZES: [usize; 6] = [1, 10, 100, 1_000, 10_000, 19_000];
const CHANNEL_COUNTS: [usize; 4] = [1, 10, 100, 1_000];

/// CPU time a delivery with 64 events in flight, in nanoseconds.
pub const BUSY: &str = "cpu ns with 64 in flight";
/// Deliveries a second with 64 events in flight.
const RATE: &str = "deliveries a second";
/// Resident bytes of the process at the end.
const MEMORY: &str = "resident bytes";

pub fn subscribers() -> Scenario {
    let steps = SIZES.into_iter().flat_map(|size| [FLOOR, TIDINGS].map(|system| Step::new(system, Subscribers(size))));
    Scenario {
        name: SUBSCRIBERS,
        about: "1 to 19,000 subscribers",
        rounds: 2,
        steps: steps.collect(),
        tables: |results| vec![subscribers_table(results)],
    }
}

pub fn channels() -> Scenario {
    Scenario {
        name: CHANNELS,
        about: "1 to 1,000 channels",
        rounds: 2,
        steps: CHANNEL_COUNTS.map(|count| Step::new(TIDINGS, Channels(count))).into(),
        tables: |results| vec![channels_table(results)],
    }
}

fn subscribers_table(results: &Results) -> Table {
    let columns = [
        Column::micros("CPU a delivery, one at a time", CPU),
        Column::against_floor("of the floor's", CPU),
        Column::micros("with 64 in flight", BUSY),
        Column::against_figure("of the floor's", BUSY, FLOOR.name, CPU),
        Column::count("deliveries/s", RATE),
        Column::mib("resident", MEMORY),
    ];
    let cases = SIZES.map(|size| size.to_string());
    let rows = cases.iter().map(|case| (case.clone(), sample_key(SUBSCRIBERS, case, TIDINGS.name)));
    Table::new("Subscribers of one channel", "subscribers", &columns).rows(results, rows)
}

fn channels_table(results: &Results) -> Table {
    let columns = [
        Column::micros("CPU a delivery, one at a time", CPU),
        Column::against_case("of that with 1", CPU, "1"),
        Column::micros("with 64 in flight", BUSY),
        Column::count("deliveries/s", RATE),
        Column::mib("resident", MEMORY),
    ];
    let cases = CHANNEL_COUNTS.map(|count| count.to_string());
    let rows = cases.iter().map(|case| (case.clone(), sample_key(CHANNELS, case, TIDINGS.name)));
    Table::new("Channels, each with the same 100 subscribers, which events come to in turn", "channels", &columns)
        .rows(results, rows)
}

struct Subscribers(usize);

#[async_trait]
impl Measure for Subscribers {
    fn case(&self) -> String {
        self.0.to_string()
    }

    fn files(&self) -> usize {
        self.0 + LANES
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let audience = Audience::open(&server, self.0).await?;
        grow(&server, audience, self.0, &[Content::of_product("p-1")]).await
    }
}

struct Channels(usize);

#[async_trait]
impl Measure for Channels {
    fn case(&self) -> String {
        self.0.to_string()
    }

    fn files(&self) -> usize {
        200
    }

    fn prepare(&self, system: System, folder: &Path) -> io::Result<System> {
        for number in 0..self.0 {
            let schema = json!({
                "type": "object", "x-tidings-key": "sku", "required": ["sku"], "additionalProperties": false,
                "properties": { "sku": { "type": "string" }, "stock": { "type": "integer" } },
            });
            fs::write(folder.join(format!("{}.schema.json", channel(number))), schema.to_string())?;
        }
        let count = self.0.to_string();
        let flags = ["--max-subscriptions", &count, "--frame-rate", &count, "--schemas", &folder.display().to_string()];
        Ok(system.with(&flags))
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut hello = Vec::new();
        for number in 0..self.0 {
            let frame = json!({ "type": "subscribe", "sub": number.to_string(), "channel": channel(number) });
            hello.extend(client_frame(frame.to_string().as_bytes(), false));
        }
        let confirmation = (SUBSCRIBED.to_vec(), self.0);
        let dialect = Arc::new(Dialect { path: "/v1/ws".into(), hello, confirmation, ..Dialect::default() });
        let audience = Audience::open_as(&server, 100, |_| dialect.clone()).await?;
        let data = json!({ "sku": "p-1", "stock": 95 });
        let content = |number| Content::new(&channel(number), "p-1", &data).ordered(number);
        let contents: Vec<Content> = (0..self.0).map(content).collect();
        grow(&server, audience, self.0, &contents).await
    }
}

fn channel(number: usize) -> String {
    format!("stock-{number}")
}

/// Measures one event at a time, then a backlog of 64 publishers.
async fn grow(
    server: &Running,
    mut audience: Audience,
    case: usize,
    contents: &[Content],
) -> io::Result<Vec<CaseFigures>> {
    // So many that they take about a second.
    let events = (300_000 / audience.size() as u64).clamp(20, 2_000);
    let mut lane = server.lane(0).await?;
    let mut next = contents.iter().cycle();
    let mut one_at_a_time = async |audience: &mut Audience, events| {
        for content in next.by_ref().take(events as usize) {
            audience.one_at_a_time(&mut lane, 1, content).await?;
        }
        io::Result::Ok(())
    };
    one_at_a_time(&mut audience, events / 10 + 1).await?;
    let meter = Meter::start(server.pid());
    one_at_a_time(&mut audience, events).await?;
    let mut figures: Figures = meter.stop().each(events * audience.size() as u64);
    if server.kind == Kind::Floor {
        // The floor writes one event after the other, so a backlog makes no difference.
        audience.close().await?;
        return Ok(vec![CaseFigures { case: case.to_string(), figures }]);
    }

    let mut lanes = vec![lane];
    for number in 1..LANES {
        lanes.push(server.lane(number).await?);
    }
    let warm = Until::millis(200).deliveries(500_000, audience.size());
    audience.flood(&mut lanes, contents, warm).await?;
    let busy = Until::millis(1_500).deliveries(4_000_000, audience.size());
    let meter = Meter::start(server.pid());
    let (events, took) = audience.flood(&mut lanes, contents, busy).await?;
    let deliveries = events * audience.size() as u64;
    figures.insert(BUSY.into(), meter.stop().each(deliveries)[CPU]);
    figures.insert(RATE.into(), deliveries as f64 / took.as_secs_f64());
    figures.insert(MEMORY.into(), resident(server.pid()));
    audience.close().await?;
    Ok(vec![CaseFigures { case: case.to_string(), figures }])
}
