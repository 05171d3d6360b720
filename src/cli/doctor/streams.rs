//! Connections that stay: whether a WebSocket and an event stream come through at all, at once, and for how long.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::output::human;
use super::finding::Finding;
use crate::client::{Client, Subscriber, Subscription, Update};

/// How long the first bytes of a stream may take. The daemon sends them at once.
const FIRST_BYTES: Duration = Duration::from_secs(5);
/// How long a WebSocket may take.
const OPENING: Duration = Duration::from_secs(15);

/// Opens one of each.
pub async fn open(node: &Client, channel: &str) -> Vec<Finding> {
    let socket = match websocket(node, channel).await {
        Ok((subscriber, took)) => {
            subscriber.close().await;
            Finding::ok("websocket", format!("subscribed in {}", human(took)))
        }
        Err(finding) => finding,
    };
    let stream = match stream(node, channel).await {
        Ok((_, took)) => Finding::ok("stream", format!("the first bytes came in {}", human(took))),
        Err(finding) => finding,
    };
    vec![socket, stream]
}

/// A WebSocket with a confirmed subscription, and how long that took.
async fn websocket(node: &Client, channel: &str) -> Result<(Subscriber, Duration), Finding> {
    const CHECK: &str = "websocket";
    let begun = Instant::now();
    let mut subscriber = node.subscribe([Subscription::to(channel)]);
    let opening = async {
        loop {
            match subscriber.next().await {
                Ok(Update::Subscribed { .. }) => return Ok(()),
                Ok(Update::Disconnected { reason, .. } | Update::Delayed { reason, .. }) => return Err(reason),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    match timeout(OPENING, opening).await {
        Ok(Ok(())) => Ok((subscriber, begun.elapsed())),
        Ok(Err(reason)) => {
            let fix = "if a proxy is in between, let it use HTTP/1.1 to the daemon, and pass on the headers Upgrade and Connection; otherwise the daemon's log says why. Clients fall back to event streams meanwhile";
            Err(Finding::problem(CHECK, reason, fix))
        }
        Err(_) => {
            let fix = "something accepts the WebSocket and passes nothing on: look at the proxy in between";
            Err(Finding::problem(CHECK, "no subscription within 15 s", fix))
        }
    }
}

/// An event stream whose first bytes have come, and how long they took.
async fn stream(node: &Client, channel: &str) -> Result<(Response, Duration), Finding> {
    const CHECK: &str = "stream";
    let buffers = || {
        let fix = "something in between holds answers back: `proxy_buffering off` in nginx, no compression of text/event-stream elsewhere";
        Finding::problem(CHECK, "the first bytes of an event stream did not come within 5 s", fix)
    };
    let begun = Instant::now();
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/event-stream"))]);
    let parameters = [("channel", channel)];
    let opening = node.stream(&["v1", "stream"], &parameters, headers);
    let mut response = match timeout(FIRST_BYTES, opening).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(Finding::problem(CHECK, error.to_string(), "look at the daemon's log")),
        Err(_) => return Err(buffers()),
    };
    let header =
        |name| response.headers().get(&name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (media, coding, status) = (header(CONTENT_TYPE), header(CONTENT_ENCODING), response.status());
    if !status.is_success() || !media.starts_with("text/event-stream") {
        let message = format!("GET /v1/stream is answered with {status} and {media:?}");
        return Err(Finding::problem(CHECK, message, "check that the proxy passes /v1/stream on to the daemon"));
    }
    match timeout(FIRST_BYTES, response.chunk()).await {
        Ok(Ok(Some(_))) => {}
        Ok(_) => {
            let fix = "look at the proxy in between: it may not pass on answers without a length";
            return Err(Finding::problem(CHECK, "the event stream ended before its first byte", fix));
        }
        Err(_) => return Err(buffers()),
    }
    if !coding.is_empty() && coding != "identity" {
        let message = format!("the event stream is compressed on the way ({coding}), which can hold events back");
        return Err(Finding::warning(CHECK, message, "leave text/event-stream out of the proxy's compression"));
    }
    Ok((response, begun.elapsed()))
}

/// Keeps one of each open for a while, without an event of ours.
pub async fn idle(node: &Client, channel: &str, time: Duration) -> Vec<Finding> {
    let until = Instant::now() + time;
    let (socket, stream) = tokio::join!(idle_websocket(node, channel, until), idle_stream(node, channel, until));
    vec![socket, stream]
}

const RAISE: &str =
    "raise the idle timeout of whatever stands in between above `heartbeat` of the daemon (25s), or lower `heartbeat`";

async fn idle_websocket(node: &Client, channel: &str, until: Instant) -> Finding {
    const CHECK: &str = "idle socket";
    let mut subscriber = match websocket(node, channel).await {
        Ok((subscriber, _)) => subscriber,
        Err(finding) => return Finding { check: CHECK, ..finding },
    };
    let begun = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(until) => {
                subscriber.close().await;
                return Finding::ok(CHECK, format!("open for {}", human(begun.elapsed())));
            }
            update = subscriber.next() => match update {
                Ok(Update::Disconnected { reason, .. }) => {
                    return Finding::problem(CHECK, format!("closed after {}: {reason}", human(begun.elapsed())), RAISE);
                }
                Ok(_) => {}
                Err(error) => return Finding::problem(CHECK, error.to_string(), "look at the daemon's log"),
            },
        }
    }
}

async fn idle_stream(node: &Client, channel: &str, until: Instant) -> Finding {
    const CHECK: &str = "idle stream";
    let mut response = match stream(node, channel).await {
        Ok((response, _)) => response,
        Err(finding) => return Finding { check: CHECK, ..finding },
    };
    let begun = Instant::now();
    let (mut last, mut longest) = (begun, Duration::ZERO);
    loop {
        tokio::select! {
            () = sleep_until(until) => {
                longest = longest.max(last.elapsed());
                return Finding::ok(CHECK, format!("open for {}, never silent for longer than {}", human(begun.elapsed()), human(longest)));
            }
            chunk = response.chunk() => match chunk {
                Ok(Some(_)) => {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                _ => return Finding::problem(CHECK, format!("closed after {}", human(begun.elapsed())), RAISE),
            },
        }
    }
}
