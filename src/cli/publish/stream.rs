//! Publishes the lines of stdin in batches, with a progress bar.
//!
//! There is one request at a time, so that the events keep their order. At a failure, the lines before it are published and
//! the lines after it are not; `stop.rs` reports which line it is and how to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::failure::{Failure, say};
use super::super::interrupt::Stops;
use super::super::progress::Progress;
use super::super::remote::{Remote, retrying};
use super::lines::{self, Line};
use super::stop::Stop;
use crate::client::{Accepted, Client, Error, EventText, MAX_BATCH, Problem};
use crate::event::Json;

/// The size of a batch, in bytes of its lines: below the usual limit of a request, and large enough to be efficient.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long a batch is retried once a daemon has accepted events. Long, since starting a stream again is laborious.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// The events of one request, and the number of the line of each.
#[derive(Default)]
struct Batch {
    lines: Vec<u64>,
    events: Vec<EventText>,
}

/// Publishes lines of stdin.
struct Stream<'a> {
    client: Client,
    /// Whether the user chose how long to retry.
    has_retry_timeout: bool,
    /// The type of each event, if a line holds only the data.
    event_type: Option<&'a str>,
    id_prefix: &'a str,
    progress: Progress,
    /// The lines of the batch that is being published.
    in_flight: Option<[u64; 2]>,
    /// Whether the current failure of the daemon was reported.
    said: Arc<AtomicBool>,
}

/// Publishes the lines of stdin: whole events or, with an event type, the data of each event. An event without an id gets
/// `id_prefix` and the number of its line.
pub async fn run(
    remote: &Remote,
    event_type: Option<&str>,
    id_prefix: Option<String>,
    as_json: bool,
) -> Result<(), Failure> {
    let id_prefix = id_prefix.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let progress = Progress::new(as_json);
    let said = Arc::new(AtomicBool::new(false));
    let client = remote.client()?.on_retry(report_once(progress.bar(), said.clone()));
    let has_retry_timeout = remote.retry_timeout().is_some();
    let mut stream =
        Stream { client, has_retry_timeout, event_type, id_prefix: &id_prefix, progress, in_flight: None, said };
    let mut stops = Stops::new()?;
    let outcome = tokio::select! {
        outcome = stream.publish() => outcome,
        by = stops.next() => Err(Stop::Interrupted { by }),
    };
    let in_flight = stream.in_flight;
    // First the bar, so that no message is written into it.
    let written = stream.progress.end(outcome.is_ok());
    match outcome {
        Ok(()) => written,
        Err(stop) => Err(stop.report(in_flight, &id_prefix)),
    }
}

/// Reports the first error of an outage, above the progress bar.
fn report_once(bar: indicatif::ProgressBar, said: Arc<AtomicBool>) -> impl Fn(&Error, Duration) + Send + Sync {
    move |error, timeout| {
        if !said.swap(true, Ordering::Relaxed) {
            bar.suspend(|| say(&retrying(error, timeout)));
        }
    }
}

impl Stream<'_> {
    /// Collects batches from stdin and publishes them.
    async fn publish(&mut self) -> Result<(), Stop> {
        let mut input = lines::stdin();
        let mut remainder: Option<Vec<Line>> = None;
        loop {
            let first = match remainder.take() {
                Some(lines) => Some(Ok(lines)),
                None => input.recv().await,
            };
            let Some(first) = first else { return Ok(()) };
            let mut batch = first?;
            // Add the lines that have already arrived, but do not wait for more.
            let mut bytes: usize = batch.iter().map(Line::size).sum();
            while batch.len() < MAX_BATCH && bytes < BATCH_BYTES {
                match input.try_recv() {
                    Ok(Ok(more)) => {
                        bytes += more.iter().map(Line::size).sum::<usize>();
                        batch.extend(more);
                    }
                    Ok(Err(error)) => {
                        self.send(batch).await?;
                        return Err(error.into());
                    }
                    Err(_) => break,
                }
            }
            if batch.len() > MAX_BATCH {
                remainder = Some(batch.split_off(MAX_BATCH));
            }
            self.send(batch).await?;
        }
    }

    /// Publishes these lines. At the first line that is wrong, it publishes the lines before, then fails.
    async fn send(&mut self, lines: Vec<Line>) -> Result<(), Stop> {
        let mut batch = Batch::default();
        let mut stop = None;
        for Line { number, text } in lines {
            let value = text.as_deref().map_err(|error| (*error).to_owned()).and_then(|text| {
                Json::parse(text).map_err(|mut error| {
                    // A line of stdin is one line of JSON.
                    error.line = usize::try_from(number).unwrap_or(usize::MAX);
                    format!("not JSON: {error}")
                })
            });
            match value {
                Ok(value) => {
                    batch.lines.push(number);
                    batch.events.push(self.event(number, value));
                }
                Err(error) => {
                    stop = Some(Stop::Unreadable { line: number, error });
                    break;
                }
            }
        }
        // Halve a batch that is too large for the daemon, until it fits or one event alone is too large.
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let [Some(first), Some(last)] = [part.lines.first(), part.lines.last()].map(Option::<&u64>::copied) else {
                continue;
            };
            self.in_flight = Some([first, last]);
            let result = self.client.publish_texts(&part.events).await;
            if !matches!(result, Err(Error::Unconfirmed { .. })) {
                self.in_flight = None;
            }
            match result {
                Ok(accepted) => self.accepted(&accepted),
                Err(Error::Refused(problem)) if problem.status == 413 && part.events.len() > 1 => {
                    let half = part.events.len() / 2;
                    let rest = Batch { lines: part.lines.split_off(half), events: part.events.split_off(half) };
                    parts.extend([rest, part]);
                }
                Err(Error::Refused(problem)) => {
                    // The daemon publishes nothing of a batch with a wrong event: publish the lines before it alone.
                    let wrong = first_wrong_event(&problem).filter(|index| *index < part.lines.len()).unwrap_or(0);
                    stop = Some(Stop::Refused { problem, line: part.lines[wrong], lines: part.lines.clone() });
                    part.lines.truncate(wrong);
                    part.events.truncate(wrong);
                    parts = vec![part];
                }
                Err(Error::Unconfirmed { cause, .. }) => return Err(Stop::Unconfirmed { cause: *cause }),
                Err(error) => return Err(Stop::Failed { error, line: first }),
            }
        }
        self.progress.flush();
        stop.map_or(Ok(()), Err)
    }

    /// The event of a line.
    fn event(&self, line: u64, value: Json<'_>) -> EventText {
        let mut event = match self.event_type {
            Some(event_type) => Json::Object(vec![("type".into(), event_type.into()), ("data".into(), value)]),
            None => value,
        };
        if let Json::Object(attributes) = &mut event {
            attributes.retain(|(name, value)| name != "id" || !value.is_null());
            if !attributes.iter().any(|(name, _)| name == "id") {
                attributes.push(("id".into(), format!("{}-{line}", self.id_prefix).into()));
            }
        }
        EventText::of(event)
    }

    fn accepted(&mut self, accepted: &[Accepted]) {
        self.progress.accepted(accepted);
        self.said.store(false, Ordering::Relaxed);
        if !self.has_retry_timeout {
            self.client = self.client.clone().with_retry_timeout(RETRY_TIMEOUT);
            self.has_retry_timeout = true;
        }
    }
}

/// The index of the first wrong event of a batch, if the problem names one.
fn first_wrong_event(problem: &Problem) -> Option<usize> {
    problem.errors.iter().filter_map(|error| error.pointer.split('/').nth(1)?.parse().ok()).min()
}
