//! Filters: matching an event must not cost more with many filters, nor where many subscribers share one.
//!
//! The first scenario compares 100 subscriptions, each on its own connection, with 100,000, a hundred on each
//! connection. Each subscription has the filter of a different product. All else is equal: 1,000 connections are open,
//! each event matches one subscription, and the events of a batch go to different connections, so that as many sockets
//! are written.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::{Value, json};
use tidings::load::{Dialect, client_frame};

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::dialects::SUBSCRIBED;
use crate::events::{CHANNEL, Content};
use crate::results::{Results, sample_key};
use crate::systems::{Running, TIDINGS};
use crate::table::{Column, Table};
use crate::turns::{Side, compare_in_turns};
use crate::usage::{CPU, Meter};

pub const INDEX: &str = "filters";
pub const SAME: &str = "same-filter";

pub const FEW: &str = "100 subscriptions, in batches";
pub const MANY: &str = "100,000 subscriptions, in batches";
pub const FEW_SINGLE: &str = "100 subscriptions, one at a time";
pub const MANY_SINGLE: &str = "100,000 subscriptions, one at a time";
pub const NONE: &str = "no filter";
pub const ONE: &str = "one filter";

const CONNECTIONS: usize = 1_000;
/// The events of a request. No two of them go to the same connection.
const BATCH: usize = 100;

pub fn index() -> Scenario {
    Scenario {
        name: INDEX,
        about: "100 and 100,000 subscriptions, each of another product",
        rounds: usize::MAX,
        steps: vec![Step::new(TIDINGS, Products { count: 100 }), Step::new(TIDINGS, Products { count: 100_000 })],
        tables: index_tables,
    }
}

pub fn same() -> Scenario {
    Scenario {
        name: SAME,
        about: "9,900 subscribers under one same filter, and without",
        rounds: usize::MAX,
        steps: vec![Step::new(TIDINGS, Same)],
        tables: |results| vec![same_table(results)],
    }
}

fn index_tables(results: &Results) -> Vec<Table> {
    let pair = |title: &str, few, many| {
        let columns = [Column::micros("CPU an event", CPU), Column::against_case("of that with 100", CPU, few)];
        let rows = [few, many].map(|case| (case.to_owned(), sample_key(INDEX, case, TIDINGS.name)));
        Table::new(title, "1,000 connections", &columns).rows(results, rows)
    };
    vec![
        pair("Events that match one subscription of many, 100 in a request", FEW, MANY),
        pair("Events that match one subscription of many, one at a time", FEW_SINGLE, MANY_SINGLE),
    ]
}

fn same_table(results: &Results) -> Table {
    let columns = [Column::micros("CPU a delivery", CPU), Column::against_case("of that without", CPU, NONE)];
    let rows = [NONE, ONE].map(|case| (case.to_owned(), sample_key(SAME, case, TIDINGS.name)));
    Table::new("9,900 subscribers of the same", "", &columns).rows(results, rows)
}

/// A subscriber with each of these subscriptions.
fn subscriber(subscriptions: impl IntoIterator<Item = Value>) -> Arc<Dialect> {
    let (mut hello, mut count) = (Vec::new(), 0);
    for mut frame in subscriptions {
        frame["type"] = "subscribe".into();
        frame["sub"] = count.to_string().into();
        hello.extend(client_frame(frame.to_string().as_bytes(), false));
        count += 1;
    }
    Arc::new(Dialect { path: "/v1/ws".into(), hello, confirmation: (SUBSCRIBED.to_vec(), count), ..Dialect::default() })
}

/// One subscription for each of `count` products.
struct Products {
    count: usize,
}

impl Products {
    /// The connection that is subscribed to a product. 100 products are spread over all connections as well.
    fn connection(&self, product: usize) -> usize {
        product * (CONNECTIONS / self.count.min(CONNECTIONS)) % CONNECTIONS
    }

    /// The product of an event. The events of a batch go to different connections.
    fn product(&self, event: usize) -> usize {
        // The prime divides neither count, so every product has its turn.
        event * 997 % self.count
    }

    /// Publishes requests of these sizes, each when the previous one was delivered. Returns the number of events.
    async fn publish(
        &self,
        audience: &Audience,
        server: &Running,
        sizes: impl Iterator<Item = usize>,
        sent: &mut [u64],
    ) -> io::Result<u64> {
        let mut lane = server.lane(0).await?;
        let mut events = 0;
        for size in sizes {
            let event = |number| {
                let product = self.product(number);
                let connection = self.connection(product);
                // Each connection is a lane, so that its subscriber detects lost events.
                let id = audience.shared.id(Instant::now(), connection, sent[connection]);
                sent[connection] += 1;
                Content::of_product(&format!("p-{product}")).posted(&id)
            };
            let batch: Vec<String> = (events..events + size).map(event).collect();
            lane.publish_batch(&batch).await?;
            events += size;
            audience.wait_for_deliveries(sent.iter().sum()).await?;
        }
        Ok(events as u64)
    }
}

#[async_trait]
impl Measure for Products {
    fn files(&self) -> usize {
        CONNECTIONS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut watched = vec![Vec::new(); CONNECTIONS];
        for product in 0..self.count {
            let filter = json!({ "productId": format!("p-{product}") });
            watched[self.connection(product)].push(json!({ "channel": CHANNEL, "where": filter }));
        }
        let dialect = |connection: usize| match &watched[connection][..] {
            [] => subscriber([json!({ "channel": "order-status" })]),
            frames => subscriber(frames.iter().cloned()),
        };
        let audience = Audience::open_as(&server, CONNECTIONS, dialect).await?;
        let mut sent = [0; CONNECTIONS];
        self.publish(&audience, &server, std::iter::repeat_n(BATCH, 10), &mut sent).await?;
        let meter = Meter::start(server.pid());
        let events = self.publish(&audience, &server, std::iter::repeat_n(BATCH, 200), &mut sent).await?;
        let batched = meter.stop().each(events);
        let meter = Meter::start(server.pid());
        let events = self.publish(&audience, &server, std::iter::repeat_n(1, 3_000), &mut sent).await?;
        let single = meter.stop().each(events);
        let seen = audience.close_if(|seen| seen.events == seen.next.last().copied().unwrap_or(0)).await?;
        let (got, published) = (seen.iter().map(|seen| seen.events).sum::<u64>(), sent.iter().sum::<u64>());
        if got != published {
            return Err(io::Error::other(format!("{got} of {published} events came")));
        }
        let [batches, singles] = if self.count == 100 { [FEW, FEW_SINGLE] } else { [MANY, MANY_SINGLE] };
        Ok(vec![
            CaseFigures { case: batches.into(), figures: batched },
            CaseFigures { case: singles.into(), figures: single },
        ])
    }
}

/// All subscribers get the events of one product, with one filter or without: two daemons in turn.
struct Same;

impl Same {
    const SUBSCRIBERS: usize = 9_900;
}

#[async_trait]
impl Measure for Same {
    fn files(&self) -> usize {
        2 * Self::SUBSCRIBERS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let filtered = TIDINGS.start(tempfile::tempdir()?)?.map_err(io::Error::other)?;
        let all = json!({ "channel": CHANNEL });
        let some = json!({ "channel": CHANNEL, "where": { "productId": "p-1" } });
        let none = Side::open(server, Self::SUBSCRIBERS, Some(subscriber([all]))).await?;
        let one = Side::open(filtered, Self::SUBSCRIBERS, Some(subscriber([some]))).await?;
        let (none, one) = compare_in_turns(none, one, 4).await?;
        Ok([(NONE, none), (ONE, one)].map(|(case, figures)| CaseFigures { case: case.into(), figures }).into())
    }
}
