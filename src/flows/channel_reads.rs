//! Reads several channels for a flow side by side, so that the backlog of one does not hold up the others.
//!
//! Each channel has one read under way or one page that waits here. The next read of a channel begins when the flow takes
//! its page, so the channels take turns, and a quiet channel costs no read of its log.

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{ChannelReader, Step};

/// The reads of a flow's channels.
pub struct ChannelReads {
    /// The most steps of a page.
    limit: usize,
    under_way: FuturesUnordered<BoxFuture<'static, Page>>,
    /// The pages that came while the flow did other work, in their order.
    waiting: VecDeque<Page>,
}

/// What one read of a channel brought.
struct Page {
    channel: String,
    reader: ChannelReader,
    steps: Vec<Step>,
}

impl ChannelReads {
    /// The reads of these channels, each by its name. A page has at most `limit` steps.
    pub fn new(channels: Vec<(String, ChannelReader)>, limit: usize) -> Self {
        let reads = Self { limit, under_way: FuturesUnordered::new(), waiting: VecDeque::new() };
        channels.into_iter().for_each(|(channel, reader)| reads.begin(channel, reader));
        reads
    }

    /// The next steps of a channel, with its name. Waits until there are some; without channels, forever.
    ///
    /// Cancel safe: a read goes on with the next call.
    pub async fn next(&mut self) -> (String, Vec<Step>) {
        loop {
            if let Some(Page { channel, reader, steps }) = self.waiting.pop_front() {
                self.begin(channel.clone(), reader);
                return (channel, steps);
            }
            self.go_on().await;
        }
    }

    /// Does other work, and goes on with the reads meanwhile. A read that nobody polls keeps its permit, which other readers
    /// of the log wait for.
    pub async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.go_on() => {}
            }
        }
    }

    fn begin(&self, channel: String, mut reader: ChannelReader) {
        let limit = self.limit;
        self.under_way.push(Box::pin(async move {
            let steps = reader.next(limit).await;
            Page { channel, reader, steps }
        }));
    }

    /// Waits until a read ends, and keeps its page.
    async fn go_on(&mut self) {
        match self.under_way.next().await {
            Some(page) => self.waiting.push_back(page),
            None => std::future::pending().await,
        }
    }
}
