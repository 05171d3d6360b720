//! permessage-deflate: the server compresses each frame once for all connections that negotiated it.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tidings::load::{Dialect, Events};

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::events::Content;
use crate::results::{Results, sample_key};
use crate::systems::{Running, TIDINGS};
use crate::table::{Column, Table};
use crate::usage::{CPU, Meter};

pub const COMPRESSION: &str = "compression";
pub const PLAIN: &str = "plain";
pub const COMPRESSED: &str = "compressed";

const OFFER: &str =
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
const SUBSCRIBERS: usize = 1_000;
const EVENTS: u64 = 300;
/// The length of the reason, in bytes. It makes an event of 1,024 bytes.
const REASON: usize = 740;

pub fn compression() -> Scenario {
    let system = || TIDINGS.with(&["--compression"]);
    Scenario {
        name: COMPRESSION,
        about: "1,000 compressed subscribers, and 1,000 plain ones",
        rounds: usize::MAX,
        steps: vec![
            Step::new(system(), Compression { compressed: false }),
            Step::new(system(), Compression { compressed: true }),
        ],
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [Column::micros("CPU a delivery", CPU), Column::against_case("of plain", CPU, PLAIN)];
    let rows = [PLAIN, COMPRESSED].map(|case| (case.to_owned(), sample_key(COMPRESSION, case, TIDINGS.name)));
    Table::new("Events of 1 KiB to 1,000 subscribers, one at a time", "", &columns).rows(results, rows)
}

struct Compression {
    compressed: bool,
}

#[async_trait]
impl Measure for Compression {
    fn files(&self) -> usize {
        SUBSCRIBERS
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let mut dialect = server.dialect();
        if self.compressed {
            dialect = Dialect { headers: OFFER.into(), events: Events::Compressed, ..dialect };
        }
        let dialect = Arc::new(dialect);
        let mut audience = Audience::open_as(&server, SUBSCRIBERS, |_| dialect.clone()).await?;
        let (mut lane, content) = (server.lane(0).await?, Content::because("p-1", &prose()));
        audience.one_at_a_time(&mut lane, EVENTS / 10, &content).await?;
        let meter = Meter::start(server.pid());
        audience.one_at_a_time(&mut lane, EVENTS, &content).await?;
        let figures = meter.stop().each(EVENTS * SUBSCRIBERS as u64);
        audience.close().await?;
        let case = if self.compressed { COMPRESSED } else { PLAIN };
        Ok(vec![CaseFigures { case: case.into(), figures }])
    }
}

/// Words in an order that does not repeat. They compress about as well as prose does.
fn prose() -> String {
    const WORDS: [&str; 24] = [
        "the",
        "warehouse",
        "order",
        "was",
        "counted",
        "again",
        "after",
        "a",
        "delivery",
        "from",
        "supplier",
        "and",
        "some",
        "items",
        "were",
        "found",
        "damaged",
        "in",
        "transit",
        "so",
        "stock",
        "has",
        "been",
        "corrected",
    ];
    let (mut text, mut state) = (String::new(), 1u32);
    while text.len() < REASON {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += WORDS[(state >> 16) as usize % WORDS.len()];
        text += " ";
    }
    text.truncate(REASON);
    text
}
