//! From the broker's log to one connection: what a subscription with `since` is owed, until it has come to what is live.
//!
//! A replay goes at the pace of its peer: the next part of the log is read when the last was taken, so that nobody is
//! closed for being behind, and one that never catches up is served from the log for ever. What the log no longer has
//! becomes a gap.

use std::sync::Arc;
use std::time::Duration;

use crate::admission::Admission;
use crate::broker::{Backend, BrokerError, Page};
use crate::event::{Catalog, ChannelId, Since};
use crate::hub::{Begin, Delivery, Feed, FeedOutcome};
use crate::protocol::event_frame;

/// Events in one read of the log, at most.
const PAGE: usize = 512;
/// In the first: nothing is known yet of how large they are.
const FIRST_PAGE: usize = 64;
/// Between two attempts to read a log that cannot be read, or to find what is not there yet.
const RETRY: Duration = Duration::from_millis(200);
/// How long somebody waits to be told where his stream begins.
const TURN: Duration = Duration::from_secs(5);
/// What a client says in one breath may come in pieces: its subscriptions to one channel begin together.
const BREATH: Duration = Duration::from_millis(10);

/// Where a subscription with `since` begins, said when it is its turn.
///
/// # Errors
/// Where the log cannot be read.
pub async fn begin(
    broker: &dyn Backend,
    admission: &Arc<Admission>,
    channel: ChannelId,
    since: &Since,
) -> Result<Begin, BrokerError> {
    let turn = tokio::time::timeout(TURN, admission.read_permit());
    let _turn = turn.await.map_err(|_| BrokerError::Unavailable("too many read the log".into()))?;
    let mut log = broker.bounds(channel, None).await?;
    if let Since::After(position) = since
        && position.epoch != log.epoch
    {
        // Some of what it has may have survived.
        log = broker.bounds(channel, Some(position)).await?;
    }
    let (first, head) = (log.start(), log.head());
    let after = |position| Begin::After { position, lost: None };
    Ok(match since {
        Since::Now | Since::Cursor(_) => Begin::Live { recovered: true },
        Since::Start => after(first),
        Since::AcceptedFrom(moment) => after(broker.position_at(channel, *moment).await?),
        Since::After(position) => {
            let kept = position.same_epoch(&first) && position.offset >= first.offset;
            match kept {
                true if position.offset <= head.offset => after(position.clone()),
                // It claims to have seen what the log has not. That is said, and proves nothing: anybody can write a position.
                true => Begin::After { position: head, lost: Some(position.clone()) },
                false => Begin::After { position: first, lost: Some(position.clone()) },
            }
        }
    })
}

/// Feeds a subscription until it is live, or nobody wants it any more. Steps come to at most `chunk` bytes at a time.
pub async fn run(
    broker: Arc<dyn Backend>,
    catalog: Arc<Catalog>,
    admission: Arc<Admission>,
    mut feed: Feed,
    chunk: usize,
) {
    tokio::time::sleep(BREATH).await;
    let name = catalog.get(feed.channel).name.clone();
    let mut limit = FIRST_PAGE;
    while feed.room().await {
        let turn = admission.read_permit().await;
        let page = broker.read(feed.channel, Some(&feed.position), limit).await;
        // Not for as long as the peer takes it.
        drop(turn);
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(channel = %name, %error, "a replay cannot read the log; trying on");
                // On a slow link less may come in time.
                limit = (limit / 2).max(1);
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let stuck = page.entries.is_empty();
        // What was read is held until the peer has taken it, for each of thousands: not much more than it is sent at a time.
        let bytes: usize = page.entries.iter().map(|entry| entry.json.len()).sum();
        if !stuck {
            limit = (chunk * page.entries.len() / bytes.max(1)).clamp(1, PAGE);
        }
        for steps in chunks(steps(&feed, &name, page), chunk) {
            match feed.feed(steps).await {
                FeedOutcome::On | FeedOutcome::Full => {}
                FeedOutcome::Live | FeedOutcome::Gone => return,
            }
        }
        if stuck {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// What a page says to one who stands where the feed stands.
fn steps(feed: &Feed, name: &str, page: Page) -> Vec<Delivery> {
    let mut at = feed.position.clone();
    let mut steps = Vec::with_capacity(page.entries.len() + 1);
    if let Some(lost) = page.bounds.gap_after(&at) {
        steps.push(Delivery::gap(feed.channel, name, at, lost.clone()));
        at = lost;
    }
    for entry in page.entries {
        if entry.offset != at.offset + 1 {
            continue;
        }
        at.offset = entry.offset;
        let text = event_frame(&at, &entry.json);
        steps.push(Delivery::event(feed.channel, at.clone(), &text));
    }
    steps
}

/// In parts of at most so many bytes, but for a step that is larger alone. At least one, which may be empty.
fn chunks(steps: Vec<Delivery>, bytes: usize) -> Vec<Vec<Delivery>> {
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
