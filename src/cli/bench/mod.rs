//! `tidings bench`: puts load on a daemon and measures what its subscribers see.
//!
//! The id of every event holds the time at which it was due and its number. The latency is the time from due to received,
//! on the clock of this process, so a daemon that delays the publisher gets a higher latency (no coordinated omission).
//! From the numbers, each subscriber finds out which events it has lost.

mod pace;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::candidates;
use super::failure::{Failure, say, say_error, stopped};
use super::interrupt::Stops;
use super::number::whole;
use super::output::{BOLD, Output, human, thousands};
use super::remote::Remote;
use super::usage;
use crate::client::{Client, HistoryQuery};
use crate::event::Json;
use crate::load::{Dialect, Seen, Shared, Swarm, Tls};
use crate::suggest::{self, Known};
use pace::Pace;

/// Put load on a daemon, and measure latency, deliveries per second and losses.
///
/// Subscribes to one channel with N connections, publishes to it at a constant rate, and checks that each subscriber gets
/// every event once and in order. Exits with 1 if one does not. Other subscribers of the channel receive the events, too:
/// use a daemon that is not in production.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings bench\n  tidings bench --connections 1000 --rate 500 --seconds 30\n  tidings bench --channel product-review --data '{\"stars\":5}' --json"
)]
pub struct Bench {
    /// Number of subscribers.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u32>(1..=100_000))]
    connections: u32,
    /// Events to publish per second.
    #[arg(long, value_name = "R", default_value_t = 1_000, value_parser = whole::<u32>(1..=1_000_000))]
    rate: u32,
    /// How long to publish, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = whole::<u32>(1..=86_400))]
    seconds: u32,
    /// Channel to publish to.
    #[arg(long, default_value = "inventory-change", add = candidates::channels())]
    channel: String,
    /// Data of each event. Required for any channel other than inventory-change.
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
    /// Deliveries that did not arrive.
    lost: u64,
    /// Deliveries that arrived twice, or after a later one.
    misordered: u64,
    /// Subscribers whose connection the daemon or the network closed.
    disconnected: u64,
    /// Why one of them was disconnected.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_by: Option<String>,
    /// From the first event to the last delivery.
    seconds: f64,
}

/// How long to wait for the next of the last deliveries.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

impl Bench {
    pub async fn run(self) -> Result<(), Failure> {
        let client = self.remote.client()?;
        self.check_channel(&client).await?;
        let (data, shared) = (self.sample()?, Shared::new());
        warn_of_file_limit(self.connections);
        let mut stops = Stops::new()?;
        let swarm = tokio::select! {
            swarm = self.connect(&client, &shared) => swarm?,
            by = stops.next() => {
                return Err(stopped(by, " before all subscribers were connected"));
            }
        };
        let bar = self.bar(u64::from(self.seconds) * 10, "{wide_bar} {msg}");
        let start = Instant::now();
        let mut published = 0;
        let pace = Pace { client, channel: self.channel.clone(), data, rate: self.rate, duration: self.duration() };
        let publishing = pace.run(start, &shared, &mut published, |elapsed| {
            bar.set_position(elapsed.as_millis() as u64 / 100);
            let rate = shared.deliveries() as f64 / elapsed.as_secs_f64().max(1e-3);
            bar.set_message(format!(
                "{} deliveries per second, p99 {}",
                thousands(rate as u64),
                human(micros(shared.p99()))
            ));
        });
        let outcome = tokio::select! {
            outcome = publishing => outcome,
            // Report what was measured so far.
            by = stops.next() => {
                say(&format!("interrupted by {by}"));
                Ok(())
            }
        };
        // The next one ends it at once.
        drop(stops);
        bar.finish_and_clear();
        let elapsed = start.elapsed();
        let failed = outcome.is_err();
        match outcome {
            Err(error) if published > 0 => say_error(&format!("publishing ended after {}: {error}", human(elapsed))),
            outcome => outcome?,
        }
        shared.wait_for(published * u64::from(self.connections), DRAIN_TIMEOUT).await;
        let report = self.report(published, elapsed, &swarm.close().await, &shared, start);
        let passed = report.lost == 0 && report.misordered == 0 && !failed;
        match self.print(&report) {
            Ok(()) if passed => Ok(()),
            Ok(()) => Err(Failure::Reported),
            // The load has gone out, so this is no quiet end.
            Err(failure) => {
                if let Failure::ClosedPipe = failure {
                    say_error("stdout was closed before the report was printed");
                } else {
                    failure.report();
                }
                say(&format!("{} events were published; {} deliveries were lost.", published, report.lost));
                Err(Failure::Reported)
            }
        }
    }

    /// Fails if the channel does not exist, or may not be received. The load subscribers do not read errors, and would wait
    /// without end.
    async fn check_channel(&self, client: &Client) -> Result<(), Failure> {
        let channels = client.channels().await?;
        if channels.iter().any(|channel| channel.name == self.channel) {
            let query = HistoryQuery::default().channel(&self.channel).since("now").limit(1);
            return Ok(client.history(&query).await.map(drop)?);
        }
        let known = Known::new("channels", channels.iter().map(|channel| channel.name.as_str()));
        let known = Known { listed: "`tidings channels`", ..known };
        let refusal = format!("there is no channel {} at {}", suggest::quoted(&self.channel), client.url());
        Err(known.refuse(&refusal, &self.channel).into())
    }

    /// Opens the subscribers, and waits until all are subscribed.
    async fn connect(&self, client: &Client, shared: &Arc<Shared>) -> Result<Swarm, Failure> {
        let unreachable =
            |cause: &dyn std::fmt::Display| Failure::from(format!("cannot reach {}: {cause}", client.url()));
        let url = url::Url::parse(&client.url()).map_err(|error| unreachable(&error))?;
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        let address = resolve(host, port).await.map_err(|error| unreachable(&error))?;
        let tls = match url.scheme() {
            "https" => Some(Tls::to(host, client.tls_config().clone()).map_err(|error| unreachable(&error))?),
            _ => None,
        };
        let token = client.token().await?;
        let channel: String = url::form_urlencoded::byte_serialize(self.channel.as_bytes()).collect();
        let dialect = Arc::new(Dialect {
            tls,
            path: format!("{}v1/ws?channel={channel}", url.path()),
            host: Some(format!("{host}:{port}")),
            headers: token.map(|token| format!("Authorization: Bearer {}\r\n", token.expose())).unwrap_or_default(),
            confirmation: (br#""type":"subscribed""#.to_vec(), 1),
            ..Dialect::default()
        });
        let bar = self.bar(self.connections.into(), "connecting {wide_bar} {human_pos}/{human_len}");
        let swarm = Swarm::open(address, self.connections as usize, |_| dialect.clone(), shared, || bar.inc(1)).await;
        bar.finish_and_clear();
        swarm.map_err(|error| unreachable(&error))
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// Computes the report from what the publisher and the subscribers counted.
    fn report(&self, published: u64, elapsed: Duration, seen: &[Seen], shared: &Shared, start: Instant) -> Report {
        let latencies = shared.take_latencies();
        let end = shared.last_delivery().unwrap_or(start);
        let seconds = end.saturating_duration_since(start).as_secs_f64().max(1e-6);
        let deliveries = shared.deliveries();
        let at = |quantile: f64| if latencies.is_empty() { 0 } else { latencies.value_at_quantile(quantile) };
        Report {
            connections: self.connections,
            published,
            published_per_s: (published as f64 / elapsed.as_secs_f64().max(1e-6)) as u64,
            deliveries,
            deliveries_per_s: (deliveries as f64 / seconds) as u64,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: latencies.max(),
            // Includes the events after the last one that arrived, for disconnected subscribers too.
            lost: seen
                .iter()
                .map(|seen| seen.lost + published.saturating_sub(seen.next.first().copied().unwrap_or(0)))
                .sum(),
            misordered: seen.iter().map(|seen| seen.misordered).sum(),
            disconnected: seen.iter().filter(|seen| seen.ended.is_some()).count() as u64,
            disconnected_by: seen.iter().find_map(|seen| seen.ended.clone()),
            seconds,
        }
    }

    /// Prints the report on stdout.
    fn print(&self, report: &Report) -> Result<(), Failure> {
        let mut output = Output::new();
        if self.json {
            output.json(report)?;
            return output.flush();
        }
        let mut line = |name: &str, value: String| output.line(&format!("{name:<12} {value}"));
        line(
            "published",
            format!("{} ({} per second)", thousands(report.published), thousands(report.published_per_s)),
        )?;
        let rate = thousands(report.deliveries_per_s);
        line("delivered", format!("{}, {BOLD}{rate} per second{BOLD:#}", thousands(report.deliveries)))?;
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
        let why = report.disconnected_by.iter().map(|why| format!(" ({why})"));
        line("disconnected", why.fold(thousands(report.disconnected), |all, why| all + &why))?;
        output.flush()
    }

    /// The `data` of every event.
    fn sample(&self) -> Result<Value, Failure> {
        match &self.data {
            Some(data) => serde_json::from_str(data).map_err(|error| {
                let error = Json::parse(data).err().map_or_else(|| error.to_string(), |error| error.to_string());
                usage::exit(
                    "bench",
                    &format!(
                        "--data is not JSON: {error}; write an object in single quotes, as in --data '{{\"stars\":5}}'"
                    ),
                )
            }),
            None if self.channel == "inventory-change" => {
                Ok(json!({ "productId": "bench", "oldQuantity": 100, "newQuantity": 95, "reason": "tidings bench" }))
            }
            None => usage::exit(
                "bench",
                &format!(
                    "--data is missing: give the data of an event of {0} as JSON, which `tidings publish {0}` would take",
                    self.channel
                ),
            ),
        }
    }

    /// A progress bar on stderr, hidden if stderr is not a terminal.
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

/// Resolves a host to an address that accepts connections. `localhost` has two, and a daemon usually listens on one.
async fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let name = (host.trim_matches(['[', ']']), port);
    TcpStream::connect(name).await?.peer_addr()
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// Warns if this process may not open enough files for the connections.
fn warn_of_file_limit(connections: u32) {
    // Only Linux has this file. On other systems, the connections that fail show the limit.
    let Ok(limits) = std::fs::read_to_string("/proc/self/limits") else { return };
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let needed = u64::from(connections) + 50;
    if let Some(limit) = limit.and_then(|limit| limit.parse::<u64>().ok()).filter(|limit| *limit < needed) {
        say(&format!(
            "this process may open {limit} files, but {connections} connections need {needed}. Raise the limit with \
             `ulimit -n {needed}`. The daemon needs the same limit."
        ));
    }
}
