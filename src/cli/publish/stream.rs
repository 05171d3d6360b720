//! Events from stdin, in batches, one request after the other so that their order stays.

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::super::failure::{Failure, say, say_error, say_places};
use super::super::output::{Output, human, thousands};
use super::lines::{self, Line};
use crate::client::{Accepted, Client, Error, MAX_BATCH, Problem};

/// Bytes of lines in one request: few enough for every daemon's limit, many enough to be worth one.
const BATCH_BYTES: usize = 1024 * 1024;

/// Events of one request, and the line that each came from.
#[derive(Default)]
struct Batch {
    lines: Vec<u64>,
    events: Vec<Value>,
}

/// Publishes the lines of stdin: whole events, or the data of events of one type.
pub async fn run(client: &Client, event_type: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let mut progress = Progress::new(as_json);
    let outcome = tokio::select! {
        outcome = publish(client, event_type, &mut progress) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::Message("interrupted".into())),
    };
    progress.end()?;
    outcome
}

async fn publish(client: &Client, event_type: Option<&str>, progress: &mut Progress) -> Result<(), Failure> {
    let mut input = lines::stdin();
    let mut waiting: Option<Vec<Line>> = None;
    loop {
        let first = match waiting.take() {
            Some(lines) => Some(Ok(lines)),
            None => input.recv().await,
        };
        let Some(first) = first else { return Ok(()) };
        let mut taken = first?;
        // What has arrived meanwhile goes along; what has not is not waited for.
        let mut bytes: usize = taken.iter().map(|line| line.text.len()).sum();
        while taken.len() < MAX_BATCH && bytes < BATCH_BYTES {
            match input.try_recv() {
                Ok(Ok(more)) => {
                    bytes += more.iter().map(|line| line.text.len()).sum::<usize>();
                    taken.extend(more);
                }
                Ok(Err(error)) => {
                    send(client, taken, event_type, progress).await?;
                    return Err(error.into());
                }
                Err(_) => break,
            }
        }
        if taken.len() > MAX_BATCH {
            waiting = Some(taken.split_off(MAX_BATCH));
        }
        send(client, taken, event_type, progress).await?;
    }
}

/// Publishes these lines, up to one that is no JSON.
async fn send(
    client: &Client,
    lines: Vec<Line>,
    event_type: Option<&str>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut batch = Batch::default();
    let mut broken = None;
    for Line { number, text } in lines {
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => {
                batch.lines.push(number);
                batch.events.push(match event_type {
                    Some(event_type) => json!({ "type": event_type, "data": value }),
                    None => value,
                });
            }
            Err(error) => {
                broken = Some(format!("line {number}: not JSON: {error}"));
                break;
            }
        }
    }
    // A request that is too large is halved until it passes or is one event, which then is the one that is too large.
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        if part.events.is_empty() {
            continue;
        }
        match patiently(client.publish_all(&mut part.events)).await {
            Ok(accepted) => progress.accepted(&accepted)?,
            Err(Error::Refused(problem)) if problem.status == 413 && part.events.len() > 1 => {
                let half = part.events.len() / 2;
                let rest = Batch { lines: part.lines.split_off(half), events: part.events.split_off(half) };
                parts.extend([rest, part]);
            }
            Err(error) => return Err(refused(error, &part.lines)),
        }
    }
    progress.flush()?;
    broken.map_or(Ok(()), |message| Err(message.into()))
}

/// Waits for a request, and says so where that takes long.
async fn patiently<T>(request: impl Future<Output = T>) -> T {
    let mut request = pin!(request);
    tokio::select! {
        done = &mut request => done,
        () = tokio::time::sleep(Duration::from_secs(3)) => {
            say("the daemon takes nothing at the moment; trying again for up to a minute");
            request.await
        }
    }
}

/// Says which lines the daemon did not take, and why.
fn refused(error: Error, lines: &[u64]) -> Failure {
    let (first, last) = (lines.first().copied().unwrap_or(0), lines.last().copied().unwrap_or(0));
    match error {
        Error::Refused(Problem { detail, code, errors, .. }) => {
            say_error(&format!("{detail} ({code}): nothing of lines {first} to {last} was published"));
            say_places(&errors, |pointer| {
                let (index, rest) =
                    pointer.trim_start_matches('/').split_once('/').unwrap_or((pointer.trim_start_matches('/'), ""));
                match index.parse().ok().and_then(|index: usize| lines.get(index)) {
                    Some(line) if rest.is_empty() => format!("line {line}"),
                    Some(line) => format!("line {line}: /{rest}"),
                    None => pointer.to_owned(),
                }
            });
            Failure::Said
        }
        Error::Unconfirmed { ids, cause } => {
            say_error(&format!(
                "{cause}\nWhether lines {first} to {last} were published is not known; those before were. \
                 As whole events with these ids they can be published again, and are taken once:"
            ));
            lines.iter().zip(ids).for_each(|(line, id)| say(&format!("  line {line}: {id}")));
            Failure::Said
        }
        Error::Unreachable { .. } => {
            format!("{error}\nNothing of lines {first} to {last} was published; those before were.").into()
        }
        other => other.into(),
    }
}

/// What was published so far: as lines on stdout, and on a terminal as a bar on stderr.
struct Progress {
    output: Option<Output>,
    bar: ProgressBar,
    since: Instant,
    published: u64,
    duplicates: u64,
}

impl Progress {
    fn new(as_json: bool) -> Self {
        // Lines that scroll by on the same terminal are progress enough.
        let shown = io::stderr().is_terminal() && !(as_json && io::stdout().is_terminal());
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{spinner} published: {msg} ({elapsed})");
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        if shown {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Self { output: as_json.then(Output::ndjson), bar, since: Instant::now(), published: 0, duplicates: 0 }
    }

    fn accepted(&mut self, accepted: &[Accepted]) -> io::Result<()> {
        self.published += accepted.len() as u64;
        self.duplicates += accepted.iter().filter(|accepted| accepted.duplicate).count() as u64;
        self.bar.set_message(format!("{}, {} a second", thousands(self.published), thousands(self.rate())));
        match &mut self.output {
            Some(output) => accepted.iter().try_for_each(|accepted| output.json(accepted)),
            None => Ok(()),
        }
    }

    /// Events a second.
    fn rate(&self) -> u64 {
        (self.published as f64 / self.since.elapsed().as_secs_f64().max(1e-6)) as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.as_mut().map_or(Ok(()), Output::flush)
    }

    fn end(mut self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        self.flush()?;
        let taken = self.since.elapsed();
        let rate = self.rate();
        let repeated = match self.duplicates {
            0 => String::new(),
            some => format!(", {} of them were published before", thousands(some)),
        };
        let (published, rate) = (thousands(self.published), thousands(rate));
        say(&format!("published: {published} in {}, {rate} a second{repeated}", human(taken)));
        Ok(())
    }
}
