//! Two servers that take turns: how they are compared where a difference of a few per cent matters.
//!
//! A shared machine can be half again as fast in one minute as in the next. So both stand with all their subscribers, and
//! each is given some events in turn, a fraction of a second at a time: what slows down one slows down the other.

use std::io;
use std::sync::Arc;

use tidings::load::Dialect;

use crate::audience::Audience;
use crate::dialects::Lane;
use crate::events::Content;
use crate::results::Figures;
use crate::systems::Running;
use crate::usage::{Meter, Usage};

/// Turns of each, after one that is not counted.
const TURNS: u64 = 12;

/// One of the two.
pub struct Side {
    server: Running,
    audience: Audience,
    lane: Lane,
    usage: Usage,
}

impl Side {
    /// With so many subscribers: of all events, where they say nothing else.
    pub async fn open(server: Running, subscribers: usize, dialect: Option<Arc<Dialect>>) -> io::Result<Self> {
        let dialect = dialect.unwrap_or_else(|| Arc::new(server.dialect()));
        let audience = Audience::open_as(&server, subscribers, |_| dialect.clone()).await?;
        let lane = server.lane(0).await?;
        Ok(Self { server, audience, lane, usage: Usage::default() })
    }

    async fn turn(&mut self, events: u64) -> io::Result<()> {
        let content = Content::of_product("p-1");
        // It finds the caches as the other left them, which is not what is measured.
        self.audience.one_at_a_time(&mut self.lane, 1, &content).await?;
        let meter = Meter::start(self.server.pid());
        self.audience.one_at_a_time(&mut self.lane, events, &content).await?;
        self.usage += meter.stop();
        Ok(())
    }

    /// What a delivery took.
    async fn close(self, events: u64) -> io::Result<Figures> {
        let figures = self.usage.each(events * self.audience.size() as u64);
        self.audience.close().await?;
        Ok(figures)
    }
}

/// What a delivery takes each of them, where events come one at a time, so many in a turn.
pub async fn in_turn(mut one: Side, mut other: Side, events: u64) -> io::Result<(Figures, Figures)> {
    for turn in 0..=TURNS {
        one.turn(events).await?;
        other.turn(events).await?;
        if turn == 0 {
            (one.usage, other.usage) = Default::default();
        }
    }
    Ok((one.close(TURNS * events).await?, other.close(TURNS * events).await?))
}
