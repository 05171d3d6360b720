//! `tidings bench`: puts load on a daemon and measures what its subscribers see.
//!
//! Every event bears the time at which it was due, in its id, so that a daemon which holds the publisher up is charged for
//! it. Publisher and subscribers share this process's clock; the latency is from due to received.

mod load;
mod receiver;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::failure::{Failure, say};
use super::output::{BOLD, Output, human, thousands};
use super::remote::Remote;
use crate::client::{Client, Error};
use load::{Load, Published};
use receiver::{Seen, Shared};

/// Put load on a daemon: latency, deliveries a second, losses.
///
/// Opens N subscribers of one channel, publishes to it at an even rate, and checks that each subscriber gets every event
/// once and in order. Exits with 1 where one did not. The events are real: use a daemon that is there for it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings bench\n  tidings bench --connections 1000 --rate 500 --seconds 30\n  tidings bench --channel product-review --data '{\"stars\":5}' --json"
)]
pub struct Bench {
    /// Subscribers.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Events a second.
    #[arg(long, value_name = "R", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// For how long.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Channel to publish to.
    #[arg(long, default_value = "inventory-change")]
    channel: String,
    /// Data of the events; needed for another channel than inventory-change.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// The result, as `--json` prints it. Times are in microseconds.
#[derive(Debug, Serialize)]
struct Report {
    connections: u32,
    published: u64,
    published_per_s: u64,
    deliveries: u64,
    deliveries_per_s: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    /// Deliveries that are missing.
    lost: u64,
    /// Deliveries that came again, or after a later one.
    misordered: u64,
    reconnects: u64,
    /// From the first event to the last delivery.
    seconds: f64,
}

/// How long the last deliveries may stay away, from one to the next.
const STRAGGLERS: Duration = Duration::from_secs(5);

impl Bench {
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let load = Load::new(client.clone(), &self.channel, self.sample()?, self.rate, self.duration());
        warn_of_file_limit(self.connections);
        let shared = Arc::new(Shared::default());
        let (last, _) = watch::channel(None);
        let mut receivers = tokio::select! {
            receivers = self.connect(&client, &load, &shared, &last) => receivers?,
            _ = tokio::signal::ctrl_c() => return Err("interrupted before all were connected".to_owned().into()),
        };
        let bar = self.bar(u64::from(self.seconds) * 10, "{wide_bar} {msg}");
        let start = Instant::now();
        let mut published = Published::default();
        let publishing = load.run(start, shared.clock(start), &mut published, |elapsed| {
            bar.set_position(elapsed.as_millis() as u64 / 100);
            let rate = shared.deliveries.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64().max(1e-3);
            bar.set_message(format!(
                "{} deliveries a second, p99 {}",
                thousands(rate as u64),
                human(micros(shared.p99()))
            ));
        });
        tokio::select! {
            done = publishing => done?,
            // What was measured so far is worth something, too.
            _ = tokio::signal::ctrl_c() => {}
        }
        bar.finish_and_clear();
        let took = start.elapsed();
        last.send_replace(Some(published.last));
        let seen = gather(&mut receivers, &shared).await?;
        let report = self.report(&published, took, &seen, &shared, start);
        self.print(&report)?;
        if report.lost > 0 || report.misordered > 0 { Err(Failure::Said) } else { Ok(()) }
    }

    /// Opens the subscribers, one after the other: a thousand at once are an attack, not a load.
    async fn connect(
        &self,
        client: &Client,
        load: &Load,
        shared: &Arc<Shared>,
        last: &watch::Sender<Option<u64>>,
    ) -> Result<JoinSet<Result<Seen, Error>>, Failure> {
        let bar = self.bar(self.connections.into(), "connecting {wide_bar} {human_pos}/{human_len}");
        let mut receivers = JoinSet::new();
        for _ in 0..self.connections {
            let (ready, stands) = oneshot::channel();
            let (channel, shared) = (self.channel.clone(), shared.clone());
            receivers.spawn(receiver::run(client.clone(), channel, load.run_id(), shared, last.subscribe(), ready));
            if stands.await.is_err() {
                return Err(match receivers.join_next().await {
                    Some(Ok(Err(error))) => error.into(),
                    _ => "a subscriber ended before its time".to_owned().into(),
                });
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(receivers)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    fn report(&self, published: &Published, took: Duration, seen: &[Seen], shared: &Shared, start: Instant) -> Report {
        let latencies = shared.latencies();
        let end = shared.last_delivery().unwrap_or(start);
        let seconds = end.saturating_duration_since(start).as_secs_f64().max(1e-6);
        let deliveries = shared.deliveries.load(Ordering::Relaxed);
        let at = |quantile: f64| if latencies.is_empty() { 0 } else { latencies.value_at_quantile(quantile) };
        Report {
            connections: self.connections,
            published: published.count,
            published_per_s: (published.count as f64 / took.as_secs_f64().max(1e-6)) as u64,
            deliveries,
            deliveries_per_s: (deliveries as f64 / seconds) as u64,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: latencies.max(),
            lost: seen.iter().map(|seen| seen.lost).sum(),
            misordered: seen.iter().map(|seen| seen.misordered).sum(),
            reconnects: seen.iter().map(|seen| seen.reconnects).sum(),
            seconds,
        }
    }

    fn print(&self, report: &Report) -> Result<(), Failure> {
        let mut output = Output::new();
        if self.json {
            output.json(report)?;
            return Ok(output.flush()?);
        }
        let mut line = |name: &str, value: String| output.line(&format!("{name:<12} {value}"));
        line("published", format!("{} ({} a second)", thousands(report.published), thousands(report.published_per_s)))?;
        let rate = thousands(report.deliveries_per_s);
        line("delivered", format!("{}, {BOLD}{rate} a second{BOLD:#}", thousands(report.deliveries)))?;
        let times = [
            ("p50", report.p50_us),
            ("p90", report.p90_us),
            ("p99", report.p99_us),
            ("p99.9", report.p999_us),
            ("max", report.max_us),
        ];
        let times = times.map(|(name, time)| format!("{name} {}", human(micros(time))));
        line("latency", times.join(", "))?;
        line("lost", thousands(report.lost))?;
        line("misordered", thousands(report.misordered))?;
        line("reconnects", thousands(report.reconnects))?;
        Ok(output.flush()?)
    }

    /// The `data` of every event.
    fn sample(&self) -> Result<Value, Failure> {
        match &self.data {
            Some(data) => serde_json::from_str(data).map_err(|error| format!("--data is not JSON: {error}").into()),
            None if self.channel == "inventory-change" => {
                Ok(json!({ "productId": "bench", "oldQuantity": 100, "newQuantity": 95, "reason": "tidings bench" }))
            }
            None => Err(format!("give --data with what an event of {} bears", self.channel).into()),
        }
    }

    fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let shown = io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar
    }
}

/// Waits until every receiver has seen the last event, or nothing has come for a while.
async fn gather(receivers: &mut JoinSet<Result<Seen, Error>>, shared: &Shared) -> Result<Vec<Seen>, Failure> {
    let mut seen = Vec::new();
    let mut deliveries = shared.deliveries.load(Ordering::Relaxed);
    loop {
        match tokio::time::timeout(STRAGGLERS, receivers.join_next()).await {
            Ok(None) => return Ok(seen),
            Ok(Some(Ok(one))) => seen.push(one?),
            Ok(Some(Err(died))) => return Err(died.to_string().into()),
            Err(_) => {
                let now = shared.deliveries.load(Ordering::Relaxed);
                if now == deliveries {
                    // Each tells what it has.
                    shared.give_up.notify_waiters();
                }
                deliveries = now;
            }
        }
    }
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// A histogram of latencies: microseconds up to ten minutes, to three digits.
#[expect(clippy::expect_used, reason = "fails only for bounds that make no sense, and these are constants")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are right")
}

/// Says beforehand what would otherwise be a connection that cannot be made.
fn warn_of_file_limit(connections: u32) {
    // Other systems do not tell this way; there the connections that fail do.
    let Ok(limits) = std::fs::read_to_string("/proc/self/limits") else { return };
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let needed = u64::from(connections) + 50;
    if let Some(limit) = limit.and_then(|limit| limit.parse::<u64>().ok()).filter(|limit| *limit < needed) {
        say(&format!(
            "this process may open {limit} files, but {connections} connections need {needed}: raise it with `ulimit -n {needed}` \
             (the daemon needs as many)"
        ));
    }
}
