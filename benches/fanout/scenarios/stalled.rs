//! One stalled subscriber among a thousand: the others' latency must not rise, and the stalled one must be closed.

use std::io;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use tidings::load::{Dialect, Frames, Message, upgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::{CaseFigures, Measure, Scenario, Step};
use crate::audience::Audience;
use crate::dialects::SUBSCRIBED;
use crate::events::Content;
use crate::pace::Pace;
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, TIDINGS};
use crate::table::{Column, Table};

pub const STALLED: &str = "stalled";
pub const WITHOUT: &str = "without";
pub const WITH: &str = "with one that is stalled";

pub const P50: &str = "p50 us";
pub const P99: &str = "p99 us";
/// The most that `tidings_outbox_bytes` showed.
pub const OUTBOX: &str = "outbox bytes";
/// 1 if the stalled subscriber was closed with 4008 or disconnected, 0 if it was still connected.
pub const CLOSED: &str = "closed";
/// The time until it was closed.
const AFTER: &str = "seconds to the end";

const SLOW_CONSUMERS: &str = "tidings_slow_consumers_total";
const CHANNEL: &str = "cache-invalidate";
const RATE: u32 = 50;
/// The length of a phase. The stalled subscriber's send buffer is full after about five seconds.
const PHASE: Duration = Duration::from_secs(10);

pub fn stalled() -> Scenario {
    Scenario {
        name: STALLED,
        about: "one subscriber of 1,000 does not read",
        rounds: usize::MAX,
        steps: vec![Step::new(TIDINGS, Stalled)],
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [
        Column::millis("p50 of the others", P50),
        Column::millis("p99 of the others", P99),
        Column::against_case("of that without", P99, WITHOUT),
        Column::kib("largest outbox", OUTBOX),
        Column::count("closed", CLOSED),
        Column::seconds("after", AFTER),
    ];
    let rows = [WITHOUT, WITH].map(|case| (case.to_owned(), sample_key(STALLED, case, TIDINGS.name)));
    Table::new("1,000 subscribers, 50 events of 4 KiB a second", "", &columns).rows(results, rows)
}

struct Stalled;

#[async_trait]
impl Measure for Stalled {
    fn files(&self) -> usize {
        1_000
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let keys: Vec<String> = (0..16).map(|number| format!("{number:0>250}")).collect();
        let content = Content::new(CHANNEL, "", &json!({ "keys": keys }));
        let dialect = std::sync::Arc::new(dialect());
        let mut audience = Audience::open_as(&server, 1_000, |_| dialect.clone()).await?;
        let mut pace = Pace::start(&server, 4, RATE).await?;

        let mut phase = async |time| {
            let events = pace.publish(&audience.shared, time, &content).await?;
            audience.wait_for_events(events).await?;
            io::Result::Ok(audience.shared.take_latencies())
        };
        phase(Duration::from_secs(1)).await?;
        // Half is measured before and half after, so that a drift of the machine affects both phases.
        let mut without = phase(PHASE / 2).await?;
        let stalled = stall(&server, &dialect).await?;
        let (stop, stopped) = oneshot::channel();
        let watching = tokio::spawn(watch_metrics(server.address, stopped));
        let with = phase(PHASE).await?;
        drop(stop);
        let watched = watching.await.map_err(io::Error::other)??;
        let closed = end_of(stalled).await?;
        without.add(phase(PHASE / 2).await?).map_err(io::Error::other)?;
        audience.close().await?;

        let figures = |latencies: &hdrhistogram::Histogram<u64>| {
            let at = |quantile| latencies.value_at_quantile(quantile) as f64;
            Figures::from([(P50.to_owned(), at(0.5)), (P99.to_owned(), at(0.99))])
        };
        let (without, mut with) = (figures(&without), figures(&with));
        with.insert(OUTBOX.into(), watched.most);
        with.insert(CLOSED.into(), f64::from(u8::from(closed)));
        with.extend(watched.closed_after.map(|after| (AFTER.to_owned(), after)));
        let taken = |case: &str, figures| CaseFigures { case: case.into(), figures };
        Ok(vec![taken(WITHOUT, without), taken(WITH, with)])
    }
}

fn dialect() -> Dialect {
    let path = format!("/v1/ws?channel={CHANNEL}");
    Dialect { path, confirmation: (SUBSCRIBED.to_vec(), 1), ..Dialect::default() }
}

/// Opens a subscriber that reads no events, with the smallest receive buffer that the kernel allows.
pub async fn stall(server: &Running, dialect: &Dialect) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let mut stream = socket.connect(server.address).await?;
    let mut read = upgrade(&mut stream, dialect).await?;
    while memchr::memmem::find(&read, SUBSCRIBED).is_none() {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(stream)
}

/// The daemon's metrics during the stalled phase.
#[derive(Default)]
struct Watched {
    /// The highest `tidings_outbox_bytes`.
    most: f64,
    /// The seconds until the daemon counted a slow consumer.
    closed_after: Option<f64>,
}

/// Reads the metrics every 50 ms until `stopped` is closed.
async fn watch_metrics(address: std::net::SocketAddr, mut stopped: oneshot::Receiver<()>) -> io::Result<Watched> {
    let (begun, mut watched) = (Instant::now(), Watched::default());
    while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        let metrics = metrics(address).await?;
        watched.most = watched.most.max(metric(&metrics, "tidings_outbox_bytes"));
        if metric(&metrics, SLOW_CONSUMERS) > 0.0 {
            watched.closed_after.get_or_insert(begun.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(watched)
}

/// The number of connections that the daemon closed because they did not read.
pub async fn slow_consumers(address: std::net::SocketAddr) -> io::Result<f64> {
    Ok(metric(&metrics(address).await?, SLOW_CONSUMERS))
}

/// The value of a metric without labels; 0 where there is none.
fn metric(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_default()
}

async fn metrics(address: std::net::SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Reads what the stalled subscriber was sent; returns whether it ends with 4008 or a disconnect.
pub async fn end_of(mut stream: TcpStream) -> io::Result<bool> {
    let (mut frames, mut code, mut buffer) = (Frames::default(), None, vec![0; 64 * 1024]);
    let reading = async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return true,
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
                Ok(read) => {
                    let taken = frames.take(&buffer[..read], |message| {
                        if let Message::Close(with) = message {
                            code = with;
                        }
                    });
                    if taken.is_err() {
                        return false;
                    }
                }
            }
        }
    };
    // If the daemon still serves the subscriber, the stream does not end.
    let ended = tokio::time::timeout(Duration::from_secs(1), reading).await.unwrap_or(false);
    match (ended, code) {
        (_, Some(4008)) | (true, None) => Ok(true),
        (false, None) => Ok(false),
        (_, Some(code)) => Err(io::Error::other(format!("the stalled subscriber was closed with {code}"))),
    }
}
