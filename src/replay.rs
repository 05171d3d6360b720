//! A replay: brings what the log has to one connection's subscriptions of a channel, until they are live.
//!
//! With `since: latest`, it first brings the newest event of each subject, in the order of the log: those up to the head that the
//! log has when the first of them are read. A subject that changes while they are read moves behind that head. So the events of the
//! log after the head are the rest, without loss or repetition.
//!
//! A replay goes at the pace of its peer: it reads the next part of the log when the peer has taken the last one. So no
//! connection is closed because its replay is behind, and one that never catches up is served from the log for ever. What
//! the log no longer has becomes a gap.

use std::time::Duration;

use crate::broker::{Entry, LatestPage, Page};
use crate::bus::LogReader;
use crate::event::Position;
use crate::hub::{ChannelStep, Feed, FeedOutcome};

/// The most events in one read of the log.
const PAGE: usize = 512;
/// Events in the first read, before the size of this channel's events is known.
const FIRST_PAGE: usize = 64;
/// Pause after a read of the log that failed or gave nothing.
const RETRY: Duration = Duration::from_millis(200);
/// A client's `subscribe` frames may arrive in several packets. This pause lets its subscriptions to one channel begin
/// together.
const SUBSCRIBE_DELAY: Duration = Duration::from_millis(10);

/// Feeds a replay until it is live or its subscriptions have ended. `channel` is the channel's name. Steps come to at most
/// `chunk` bytes at a time.
pub async fn run(reader: LogReader, mut feed: Feed, channel: &str, chunk: usize) {
    tokio::time::sleep(SUBSCRIBE_DELAY).await;
    if feed.latest && !list(&reader, &mut feed, channel, chunk).await {
        return;
    }
    let mut limit = FIRST_PAGE;
    while feed.ready().await {
        let page = match reader.read(&feed.position, limit).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(channel, %error, "a replay cannot read the log; it tries again");
                // On a slow link a smaller page may arrive in time.
                limit = (limit / 2).max(1);
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let empty = page.entries.is_empty();
        if !empty {
            limit = fitting(&page.entries, chunk);
        }
        for steps in chunks(steps(&feed, channel, page), chunk) {
            match feed.feed(steps).await {
                FeedOutcome::On | FeedOutcome::Full => {}
                FeedOutcome::Live | FeedOutcome::Gone => return,
            }
        }
        if empty {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Feeds the newest event of each subject. Returns whether the log has to be read after them.
async fn list(reader: &LogReader, feed: &mut Feed, channel: &str, chunk: usize) -> bool {
    let (mut head, mut limit): (Option<Position>, _) = (None, FIRST_PAGE);
    while feed.ready().await {
        let LatestPage { head: now, entries, more } = match reader.latest_page(feed.position.offset, limit).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(channel, %error, "a replay cannot read the newest events; it tries again");
                limit = (limit / 2).max(1);
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let (head, mut steps) = (head.get_or_insert_with(|| now.clone()), Vec::with_capacity(entries.len() + 1));
        let is_lost = !now.same_epoch(&feed.position);
        if !entries.is_empty() {
            limit = fitting(&entries, chunk);
        }
        let last = entries.last().map_or(0, |entry| entry.offset);
        if is_lost {
            // The newest events are lost with the log. A read of the log after what was sent tells the gap.
            steps.push(ChannelStep::known(feed.channel, feed.position.clone()));
        } else {
            let entries = entries.into_iter().filter(|entry| entry.offset <= head.offset);
            steps.extend(entries.map(|entry| {
                let position = Position { offset: entry.offset, ..head.clone() };
                ChannelStep::event(feed.channel, position, &entry.json)
            }));
            if !more || last >= head.offset {
                steps.push(ChannelStep::known(feed.channel, head.clone()));
            }
        }
        let is_end = steps.last().is_some_and(|step| step.frame().is_none());
        for steps in chunks(steps, chunk) {
            match feed.feed(steps).await {
                FeedOutcome::On | FeedOutcome::Full => {}
                FeedOutcome::Live | FeedOutcome::Gone => return false,
            }
        }
        if is_end {
            return true;
        }
    }
    false
}

/// How many events of the size of these come to about `chunk` bytes. A page is held until the peer has taken it, for thousands of
/// peers: so it is not much larger than what is sent at a time.
fn fitting(entries: &[Entry], chunk: usize) -> usize {
    let bytes: usize = entries.iter().map(|entry| entry.json.len()).sum();
    (chunk * entries.len() / bytes.max(1)).clamp(1, PAGE)
}

/// The steps from where the feed stands to the end of a page.
fn steps(feed: &Feed, name: &str, page: Page) -> Vec<ChannelStep> {
    let mut at = feed.position.clone();
    let mut steps = Vec::with_capacity(page.entries.len() + 1);
    if let Some(lost) = page.bounds.gap_after(&at) {
        steps.push(ChannelStep::gap(feed.channel, name, at, lost.clone()));
        at = lost;
    }
    for entry in page.entries {
        if entry.offset != at.offset + 1 {
            continue;
        }
        at.offset = entry.offset;
        steps.push(ChannelStep::event(feed.channel, at.clone(), &entry.json));
    }
    steps
}

/// Splits steps into chunks of at most `bytes`; a larger step is a chunk of its own. There is at least one chunk, which may
/// be empty.
fn chunks(steps: Vec<ChannelStep>, bytes: usize) -> Vec<Vec<ChannelStep>> {
    let mut chunks = vec![Vec::new()];
    let mut size = 0;
    for step in steps {
        size += step.size();
        if size > bytes
            && let Some(last) = chunks.last()
            && !last.is_empty()
        {
            size = step.size();
            chunks.push(Vec::new());
        }
        if let Some(last) = chunks.last_mut() {
            last.push(step);
        }
    }
    chunks
}
