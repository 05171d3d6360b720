//! Filters: looking one up must not cost more where there are many, nor where many subscribers share one.
//!
//! The pair of the first: 1,000 connections are open in both, each event matches one subscription, and the events of a
//! batch go to connections that all differ, so that as many sockets are written. What differs is that there are 100
//! subscriptions, each of another product on another connection, or 100,000, a hundred on each connection.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use serde_json::{Value, json};
use tidings::load::{Dialect, client_frame};

use super::{Measure, Scenario, Step, Taken};
use crate::audience::Audience;
use crate::dialects::SUBSCRIBED;
use crate::events::{CHANNEL, Content};
use crate::results::{Results, whose};
use crate::systems::{Running, TIDINGS};
use crate::table::{Column, Table};
use crate::turns::{Side, in_turn};
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
/// Events of a request, none of which go to the same connection.
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
        let rows = [few, many].map(|case| (case.to_owned(), whose(INDEX, case, TIDINGS.name)));
        Table::new(title, "1,000 connections", &columns).rows(results, rows)
    };
    vec![
        pair("Events that match one subscription of many, 100 in a request", FEW, MANY),
        pair("Events that match one subscription of many, one at a time", FEW_SINGLE, MANY_SINGLE),
    ]
}

fn same_table(results: &Results) -> Table {
    let columns = [Column::micros("CPU a delivery", CPU), Column::against_case("of that without", CPU, NONE)];
    let rows = [NONE, ONE].map(|case| (case.to_owned(), whose(SAME, case, TIDINGS.name)));
    Table::new("9,900 subscribers of the same", "", &columns).rows(results, rows)
}

/// A subscriber with a subscription for each of these.
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

/// As many subscriptions as products.
struct Products {
    count: usize,
}

impl Products {
    /// The connection that watches a product: the few are spread over all, too.
    fn connection(&self, product: usize) -> usize {
        product * (CONNECTIONS / self.count.min(CONNECTIONS)) % CONNECTIONS
    }

    /// The product of an event. Of a batch, each is another connection's.
    fn product(&self, event: usize) -> usize {
        // A prime that divides neither count: after so many steps every product has been there.
        event * 997 % self.count
    }

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
                // Each connection is a lane of its own, so that it knows what it misses.
                let id = audience.shared.id(Instant::now(), connection, sent[connection]);
                sent[connection] += 1;
                Content::of_product(&format!("p-{product}")).posted(&id)
            };
            let batch: Vec<String> = (events..events + size).map(event).collect();
            lane.publish_batch(&batch).await?;
            events += size;
            audience.deliveries(sent.iter().sum()).await?;
        }
        Ok(events as u64)
    }
}

#[async_trait]
impl Measure for Products {
    fn files(&self) -> usize {
        CONNECTIONS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<Taken>> {
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
        Ok(vec![Taken { case: batches.into(), figures: batched }, Taken { case: singles.into(), figures: single }])
    }
}

/// Everybody watches the one product that there is, with a filter or without: two daemons in turn.
struct Same;

impl Same {
    const SUBSCRIBERS: usize = 9_900;
}

#[async_trait]
impl Measure for Same {
    fn files(&self) -> usize {
        2 * Self::SUBSCRIBERS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<Taken>> {
        let filtered = TIDINGS.start(tempfile::tempdir()?)?.map_err(io::Error::other)?;
        let all = json!({ "channel": CHANNEL });
        let some = json!({ "channel": CHANNEL, "where": { "productId": "p-1" } });
        let none = Side::open(server, Self::SUBSCRIBERS, Some(subscriber([all]))).await?;
        let one = Side::open(filtered, Self::SUBSCRIBERS, Some(subscriber([some]))).await?;
        let (none, one) = in_turn(none, one, 4).await?;
        Ok([(NONE, none), (ONE, one)].map(|(case, figures)| Taken { case: case.into(), figures }).into())
    }
}
