//! Compares two servers in alternating turns, for differences of a few per cent.
//!
//! A shared machine can be 50 % faster in one minute than in the next. So both servers run with all their subscribers,
//! and get events in turn, for a fraction of a second each. A slow phase of the machine then affects both.

use std::io;
use std::sync::Arc;

use tidings::load::Dialect;

use crate::audience::Audience;
use crate::dialects::Lane;
use crate::events::Content;
use crate::results::Figures;
use crate::systems::Running;
use crate::usage::{Meter, Usage};

/// The number of turns of each server, after a first turn that is not measured.
const TURNS: u64 = 12;

/// One of the two servers, with its subscribers and the CPU time of its turns.
pub struct Side {
    server: Running,
    audience: Audience,
    lane: Lane,
    usage: Usage,
}

impl Side {
    /// Opens the subscribers, by default subscribed to all events.
    pub async fn open(server: Running, subscribers: usize, dialect: Option<Arc<Dialect>>) -> io::Result<Self> {
        let dialect = dialect.unwrap_or_else(|| Arc::new(server.dialect()));
        let audience = Audience::open_as(&server, subscribers, |_| dialect.clone()).await?;
        let lane = server.lane(0).await?;
        Ok(Self { server, audience, lane, usage: Usage::default() })
    }

    /// Publishes the events of one turn, and measures the server meanwhile.
    async fn turn(&mut self, events: u64) -> io::Result<()> {
        let content = Content::of_product("p-1");
        // The first event is not measured: it fills the CPU caches, which the other server has used meanwhile.
        self.audience.one_at_a_time(&mut self.lane, 1, &content).await?;
        let meter = Meter::start(self.server.pid());
        self.audience.one_at_a_time(&mut self.lane, events, &content).await?;
        self.usage += meter.stop();
        Ok(())
    }

    /// Disconnects the subscribers, and returns the cost of a delivery.
    async fn close(self, events: u64) -> io::Result<Figures> {
        let figures = self.usage.each(events * self.audience.size() as u64);
        self.audience.close().await?;
        Ok(figures)
    }
}

/// The cost of a delivery for each of two servers. In each turn, `events` are published one at a time.
pub async fn compare_in_turns(mut one: Side, mut other: Side, events: u64) -> io::Result<(Figures, Figures)> {
    for turn in 0..=TURNS {
        one.turn(events).await?;
        other.turn(events).await?;
        if turn == 0 {
            (one.usage, other.usage) = Default::default();
        }
    }
    Ok((one.close(TURNS * events).await?, other.close(TURNS * events).await?))
}
