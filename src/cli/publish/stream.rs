//! Publishes the lines of stdin in batches, with a progress bar.
//!
//! There is one request at a time, so that the events keep their order.

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::{Duration, Instant};

use super::super::failure::{Failure, say, say_error, say_field_errors};
use super::super::output::{Output, human, thousands};
use super::lines::{self, Line};
use crate::client::{Accepted, Client, Error, EventText, MAX_BATCH, Problem};
use crate::event::Json;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The size of a batch, in bytes of its lines: below the usual limit of a request, and large enough to be efficient.
const BATCH_BYTES: usize = 1024 * 1024;

/// The events of one request, and the number of the line of each.
#[derive(Default)]
struct Batch {
    lines: Vec<u64>,
    events: Vec<EventText>,
}

/// Publishes the lines of stdin: whole events or, with an event type, the data of each event.
pub async fn run(client: &Client, event_type: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let mut progress = Progress::new(as_json);
    let outcome = tokio::select! {
        outcome = publish(client, event_type, &mut progress) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::Message("interrupted by Ctrl-C".into())),
    };
    progress.end()?;
    outcome
}

/// Collects batches from stdin and publishes them.
async fn publish(client: &Client, event_type: Option<&str>, progress: &mut Progress) -> Result<(), Failure> {
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
        let mut bytes: usize = batch.iter().map(|line| line.text.len()).sum();
        while batch.len() < MAX_BATCH && bytes < BATCH_BYTES {
            match input.try_recv() {
                Ok(Ok(more)) => {
                    bytes += more.iter().map(|line| line.text.len()).sum::<usize>();
                    batch.extend(more);
                }
                Ok(Err(error)) => {
                    send(client, batch, event_type, progress).await?;
                    return Err(error.into());
                }
                Err(_) => break,
            }
        }
        if batch.len() > MAX_BATCH {
            remainder = Some(batch.split_off(MAX_BATCH));
        }
        send(client, batch, event_type, progress).await?;
    }
}

/// Publishes these lines. At the first line that is not JSON, it publishes the lines before, then fails.
async fn send(
    client: &Client,
    lines: Vec<Line>,
    event_type: Option<&str>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut batch = Batch::default();
    let mut invalid_line = None;
    for Line { number, text } in lines {
        match Json::parse(&text) {
            Ok(value) => {
                batch.lines.push(number);
                batch.events.push(EventText::of(match event_type {
                    Some(event_type) => Json::Object(vec![("type".into(), event_type.into()), ("data".into(), value)]),
                    None => value,
                }));
            }
            Err(mut error) => {
                // A line of stdin is one line of JSON.
                error.line = usize::try_from(number).unwrap_or(usize::MAX);
                invalid_line = Some(format!("line {number}: not JSON: {error}"));
                break;
            }
        }
    }
    // Halve a batch that is too large for the daemon, until it fits or one event alone is too large.
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        if part.events.is_empty() {
            continue;
        }
        match report_delay(client.publish_texts(&part.events)).await {
            Ok(accepted) => progress.accepted(&accepted)?,
            Err(Error::Refused(problem)) if problem.status == 413 && part.events.len() > 1 => {
                let half = part.events.len() / 2;
                let rest = Batch { lines: part.lines.split_off(half), events: part.events.split_off(half) };
                parts.extend([rest, part]);
            }
            Err(error) => return Err(report_failure(error, &part.lines)),
        }
    }
    progress.flush()?;
    invalid_line.map_or(Ok(()), |message| Err(message.into()))
}

/// Waits for a request, and reports on stderr if it takes longer than 3 s.
async fn report_delay<T>(request: impl Future<Output = T>) -> T {
    let mut request = pin!(request);
    tokio::select! {
        done = &mut request => done,
        () = tokio::time::sleep(Duration::from_secs(3)) => {
            say("the daemon has not accepted the events yet; retrying for up to a minute");
            request.await
        }
    }
}

/// Reports which lines were not published, and why.
fn report_failure(error: Error, lines: &[u64]) -> Failure {
    let (first, last) = (lines.first().copied().unwrap_or(0), lines.last().copied().unwrap_or(0));
    match error {
        Error::Refused(Problem { detail, code, errors, .. }) => {
            say_error(&format!("{detail} ({code}): nothing of lines {first} to {last} was published"));
            say_field_errors(&errors, |pointer| {
                let (index, rest) =
                    pointer.trim_start_matches('/').split_once('/').unwrap_or((pointer.trim_start_matches('/'), ""));
                match index.parse().ok().and_then(|index: usize| lines.get(index)) {
                    Some(line) if rest.is_empty() => format!("line {line}"),
                    Some(line) => format!("line {line}: /{rest}"),
                    None => pointer.to_owned(),
                }
            });
            Failure::Reported
        }
        Error::Unconfirmed { ids, cause } => {
            say_error(&format!(
                "{cause}\nIt is not known whether lines {first} to {last} were published. All lines before were. To publish \
                 them safely, send them again as whole events with these ids; the daemon takes an id only once:"
            ));
            lines.iter().zip(ids).for_each(|(line, id)| say(&format!("  line {line}: {id}")));
            Failure::Reported
        }
        Error::Unreachable { .. } => {
            format!("{error}\nNothing of lines {first} to {last} was published. All lines before were.").into()
        }
        other => other.into(),
    }
}

/// The progress: counts what was published, prints accepted events with `--json`, and shows a progress bar on a terminal.
struct Progress {
    output: Option<Output>,
    bar: ProgressBar,
    started: Instant,
    published: u64,
    duplicates: u64,
}

impl Progress {
    fn new(as_json: bool) -> Self {
        // With --json on the same terminal, the lines would tear the bar apart.
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
        Self { output: as_json.then(Output::ndjson), bar, started: Instant::now(), published: 0, duplicates: 0 }
    }

    /// Counts and prints the accepted events of one request.
    fn accepted(&mut self, accepted: &[Accepted]) -> io::Result<()> {
        self.published += accepted.len() as u64;
        self.duplicates += accepted.iter().filter(|accepted| accepted.duplicate).count() as u64;
        self.bar.set_message(format!("{}, {} per second", thousands(self.published), thousands(self.rate())));
        match &mut self.output {
            Some(output) => accepted.iter().try_for_each(|accepted| output.json(accepted)),
            None => Ok(()),
        }
    }

    /// Published events per second.
    fn rate(&self) -> u64 {
        (self.published as f64 / self.started.elapsed().as_secs_f64().max(1e-6)) as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.as_mut().map_or(Ok(()), Output::flush)
    }

    /// Removes the bar and reports the totals.
    fn end(mut self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        self.flush()?;
        let elapsed = self.started.elapsed();
        let rate = self.rate();
        let duplicates = match self.duplicates {
            0 => String::new(),
            count => format!("; {} of them had been published before", thousands(count)),
        };
        let (published, rate) = (thousands(self.published), thousands(rate));
        say(&format!("published: {published} in {}, {rate} per second{duplicates}", human(elapsed)));
        Ok(())
    }
}
