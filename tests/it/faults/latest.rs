//! Whether the newest event of each subject is that of the log, while the load goes on.
//!
//! A reader goes on from its last cursor, then reads the log, and then asks for all newest events. In one epoch, what it has
//! from the lists is at most as new as the log, and what it gets after the log at least. Without load, all are the same. It must
//! be told when a log was lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidings::event::Position;

use super::ledger::{CHANNELS, Ledger, Observation, SharedLedger, lock};
use crate::support::PATIENCE;

/// The most events in one answer: few enough for a node with a slow link.
const LIMIT: usize = 200;
/// Subjects that are asked for one by one, too, of each channel.
const ALONE: usize = 3;
/// The pause before what is not right yet is compared again: a node may answer with what it knew two seconds ago.
const RETRY: Duration = Duration::from_millis(250);

/// An event by its subject, with its position.
type Newest = HashMap<String, (Position, Value)>;

/// What a reader knows that asks now and then, at any node.
pub struct Latest {
    ledger: SharedLedger,
    channels: [Channel; CHANNELS.len()],
    /// How many newest events were compared with the log.
    compared: usize,
}

/// What it knows of one channel.
struct Channel {
    name: &'static str,
    /// Where it goes on in the log, as the API has said.
    since: String,
    log: Log,
    /// The cursor of its last list, and the newest events of all its lists together.
    cursor: Option<Position>,
    newest: Newest,
    /// How often it was told that the log of its cursor was lost.
    losses: usize,
}

/// The log of a channel, up to a moment.
#[derive(Default)]
struct Log {
    /// The position that the log begins after, as far as it was read.
    start: Option<Position>,
    newest: Newest,
}

impl Latest {
    pub fn new(ledger: SharedLedger) -> Self {
        let channel = |name| Channel {
            name,
            since: "start".into(),
            log: Log::default(),
            cursor: None,
            newest: Newest::new(),
            losses: 0,
        };
        Self { ledger, channels: CHANNELS.map(channel), compared: 0 }
    }

    /// How much was compared, in words.
    pub fn figures(&self) -> String {
        let subjects: usize = self.channels.iter().map(|channel| channel.newest.len()).sum();
        let losses: usize = self.channels.iter().map(|channel| channel.losses).sum();
        format!("latest: {} comparisons with the log, of {subjects} subjects, {losses} lost logs told", self.compared)
    }

    /// Compares the newest events that a node answers with, until they are right. What stays wrong becomes a violation.
    /// `is_quiet`: nothing is published meanwhile.
    pub async fn check(&mut self, url: &str, is_quiet: bool) {
        let start = Instant::now();
        for channel in &mut self.channels {
            loop {
                match channel.compare(url, &self.ledger, is_quiet).await {
                    Ok(compared) => {
                        self.compared += compared;
                        break;
                    }
                    Err(wrong) if start.elapsed() >= PATIENCE => {
                        let violation = format!("latest of {} at {url}: {wrong}", channel.name);
                        lock(&self.ledger).violations.push(violation);
                        break;
                    }
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
            }
        }
    }
}

impl Channel {
    /// Compares once; returns how many newest events. `Err`: what is wrong, or why nothing can be said yet.
    async fn compare(&mut self, url: &str, ledger: &SharedLedger, is_quiet: bool) -> Result<usize, String> {
        self.resume(url, ledger).await?;
        self.read_log(url).await?;
        let mut after = self.list(url, ledger, None).await?.newest;
        let compared = self.log.newest.len();
        if is_quiet && self.newest != after {
            return Err("what a reader has that resumed is not what a new one has".into());
        }
        self.ask_alone(url, &mut after).await?;
        let ledger = lock(ledger);
        let survived = |_: &str, at: &Position| at.offset <= survived(&ledger, self.name, at);
        judge(&self.newest, &self.log, &after, survived)?;
        Ok(compared)
    }

    /// Compares some subjects that are asked for one by one. Leaves those out of `after` that have no event.
    async fn ask_alone(&self, url: &str, after: &mut Newest) -> Result<(), String> {
        let subjects: Vec<_> = self.log.newest.keys().take(ALONE).cloned().collect();
        for subject in subjects {
            let found = reqwest::get(format!("{url}/v1/latest/{}/{subject}", self.name)).await.map_err(unread)?;
            match found.status().as_u16() {
                200 => {
                    let entry = of(&found.json().await.map_err(unread)?)?;
                    judge(&Newest::new(), &self.log, &[(subject.clone(), entry)].into(), |other, _| *other != subject)?;
                }
                404 => drop(after.remove(&subject)),
                status => return Err(format!("{subject} got status {status}")),
            }
        }
        Ok(())
    }

    /// Reads what the log has beyond what was read before.
    async fn read_log(&mut self, url: &str) -> Result<(), String> {
        loop {
            let page =
                get(&format!("{url}/v1/events?channel={}&limit={LIMIT}&since={}", self.name, self.since)).await?;
            for gap in page["gap"].as_array().into_iter().flatten() {
                // What is lost may have been the newest of any subject.
                self.log = Log { start: Some(position(&gap["position"])?), newest: Newest::new() };
            }
            let events = page["events"].as_array().ok_or("no list")?;
            let cursor = page["cursor"].as_str().ok_or("no cursor")?;
            for entry in events {
                let (position, event) = of(entry)?;
                let before = Position { offset: position.offset.saturating_sub(1), ..position.clone() };
                self.log.start.get_or_insert(before);
                self.log.newest.insert(subject(&event)?, (position, event));
            }
            self.since = cursor.to_owned();
            if events.len() < LIMIT {
                return Ok(());
            }
        }
    }

    /// Goes on with the list from the last cursor.
    async fn resume(&mut self, url: &str, ledger: &SharedLedger) -> Result<(), String> {
        let more = self.list(url, ledger, self.cursor.as_ref()).await?;
        let is_other = self.cursor.as_ref().is_some_and(|cursor| !cursor.same_epoch(&more.cursor));
        if more.told != is_other {
            let (from, to, told) = (&self.cursor, &more.cursor, more.told);
            lock(ledger).violations.push(format!("latest of {}: from {from:?} to {to}, gap: {told}", self.name));
        }
        if more.told {
            self.losses += 1;
            self.newest.clear();
        }
        self.cursor = Some(more.cursor);
        self.newest.extend(more.newest);
        Ok(())
    }

    /// The newest events of the subjects, or those that changed after a cursor. Answers that mix epochs are a violation at once.
    async fn list(&self, url: &str, ledger: &SharedLedger, since: Option<&Position>) -> Result<List, String> {
        let name = self.name;
        let mut list = List { newest: Newest::new(), cursor: "x:0".parse().map_err(|_| "a position")?, told: false };
        let mut cursor = since.map(|since| format!("&cursor={since}")).unwrap_or_default();
        loop {
            let page = get(&format!("{url}/v1/latest/{name}?limit={LIMIT}{cursor}")).await?;
            if page["gap"] != false {
                list.newest.clear();
                list.told = true;
            }
            list.cursor = position(&page["cursor"])?;
            for entry in page["events"].as_array().ok_or("no list")? {
                let (position, event) = of(entry)?;
                if !position.same_epoch(&list.cursor) {
                    let violation =
                        format!("one answer of {url} has {position} of {name} and the cursor {}", list.cursor);
                    lock(ledger).violations.push(violation);
                }
                list.newest.insert(subject(&event)?, (position, event));
            }
            if page["more"] == false {
                return Ok(list);
            }
            cursor = format!("&cursor={}", list.cursor);
        }
    }
}

/// A list of newest events, of all its pages.
struct List {
    newest: Newest,
    cursor: Position,
    /// Whether an answer said that the log of the cursor is lost.
    told: bool,
}

/// Compares the newest events of two moments with the log between them. One may be missing after it if `may_lack` says so.
fn judge(before: &Newest, log: &Log, after: &Newest, may_lack: impl Fn(&str, &Position) -> bool) -> Result<(), String> {
    for (subject, (position, event)) in before {
        let start = log.start.as_ref().ok_or("it has events, and the log has none")?;
        match log.newest.get(subject) {
            _ if !start.same_epoch(position) => return Err(format!("{position} is of another epoch than {start}")),
            Some((newest, _)) if newest.offset < position.offset => {
                return Err(format!("{subject} has an event at {position}, the log's newest is at {newest}"));
            }
            Some((newest, logged)) if newest == position && logged != event => {
                return Err(format!("{subject} at {position} is {event}, and in the log {logged}"));
            }
            None if position.offset > start.offset => {
                return Err(format!("{subject} has an event at {position} that the log lacks"));
            }
            Some(_) | None => {}
        }
    }
    for (subject, (newest, logged)) in &log.newest {
        match after.get(subject) {
            None if may_lack(subject, newest) => {}
            None => return Err(format!("{subject} has no event, the log has one at {newest}")),
            Some((position, _)) if !position.same_epoch(newest) => {
                return Err(format!("{position} is of another epoch than {newest}"));
            }
            Some((position, _)) if position.offset < newest.offset => {
                return Err(format!("{subject} has the event at {position}, the log's newest is at {newest}"));
            }
            Some((position, event)) if position == newest && event != logged => {
                return Err(format!("{subject} at {position} is {event}, and in the log {logged}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The offset up to which the log of this epoch has what survived the loss of an older one. No newest event is kept of that.
fn survived(ledger: &Ledger, channel: &str, epoch: &Position) -> u64 {
    let streams = ledger.streams.iter().filter(|stream| stream.channel == channel);
    let gaps = streams.flat_map(|stream| &stream.observations).filter_map(|seen| match seen {
        Observation::Gap { from, position } if position.same_epoch(epoch) && !from.same_epoch(epoch) => {
            Some(position.offset)
        }
        _ => None,
    });
    gaps.max().unwrap_or_default()
}

async fn get(url: &str) -> Result<Value, String> {
    let answer = reqwest::get(url).await.map_err(unread)?;
    let status = answer.status();
    let body: Value = answer.json().await.map_err(unread)?;
    if status == 200 { Ok(body) } else { Err(format!("{url}: {status}: {body}")) }
}

fn unread(error: reqwest::Error) -> String {
    error.to_string()
}

/// The position and the event of an entry.
fn of(entry: &Value) -> Result<(Position, Value), String> {
    Ok((position(&entry["position"])?, entry["event"].clone()))
}

fn subject(event: &Value) -> Result<String, String> {
    event["subject"].as_str().map(str::to_owned).ok_or_else(|| format!("no subject: {event}"))
}

fn position(value: &Value) -> Result<Position, String> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("{value} is no position"))
}

/// Tests of the comparison itself: it must find each kind of difference.
mod tests {
    use serde_json::json;

    use super::*;

    fn newest(entries: &[(&str, &str)]) -> Newest {
        let entry = |&(subject, position): &(&str, &str)| {
            (subject.to_owned(), (position.parse().expect("a position"), json!({"at": position})))
        };
        entries.iter().map(entry).collect()
    }

    fn judged(before: &[(&str, &str)], log: &[(&str, &str)], after: &[(&str, &str)]) -> String {
        let log = Log { start: "a:2".parse().ok(), newest: newest(log) };
        let may_lack = |_: &str, position: &Position| position.offset <= 2;
        judge(&newest(before), &log, &newest(after), may_lack).err().unwrap_or_default()
    }

    #[test]
    fn what_the_log_allows_is_right() {
        let log = [("x", "a:3"), ("y", "a:4")];
        assert_eq!(judged(&log, &log, &log), "");
        assert_eq!(judged(&[("x", "a:1"), ("z", "a:2")], &log, &[("x", "a:5"), ("y", "a:4"), ("z", "a:6")]), "");
        assert_eq!(judged(&[], &[("x", "a:2"), ("y", "a:3")], &[("y", "a:3")]), "");
    }

    #[test]
    fn each_difference_is_found() {
        let log = [("x", "a:3"), ("y", "a:4")];
        assert!(judged(&[("y", "a:5")], &log, &log).contains("the log's newest is at a:4"));
        assert!(judged(&[("z", "a:5")], &log, &log).contains("that the log lacks"));
        assert!(judged(&[("x", "b:3")], &log, &log).contains("another epoch"));
        assert!(judged(&log, &log, &[("x", "a:3")]).contains("y has no event"));
        assert!(judged(&log, &log, &[("x", "a:3"), ("y", "a:2")]).contains("the log's newest is at a:4"));
        assert!(judged(&log, &log, &[("x", "a:3"), ("y", "b:9")]).contains("another epoch"));
        let mut wrong = newest(&log);
        wrong.insert("x".into(), ("a:3".parse().expect("a position"), json!("another event")));
        let log = Log { start: "a:2".parse().ok(), newest: newest(&log) };
        assert!(judge(&Newest::new(), &log, &wrong, |_, _| false).is_err_and(|wrong| wrong.contains("another event")));
    }
}
