//! `GET /v1/stream`: Server-Sent Events with ids, heartbeats and gaps, and resuming with `Last-Event-ID`.

use std::pin::pin;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::broker::redis_url;
use crate::support::each_broker::{TestBroker, over_each_broker_and_tls};
use crate::support::events::{epoch_and_offset, offset, order, sale};
use crate::support::http::Response;
use crate::support::node::{self, Node};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis::Redis;
use crate::support::{until, within};

over_each_broker_and_tls!(
    events_arrive_in_the_order_of_publication,
    last_event_id_resumes_after_that_event,
    one_id_resumes_several_channels_under_load,
    streams_of_the_same_channels_share_their_bytes_and_each_has_its_own_id,
    events_that_the_log_dropped_are_reported_as_a_gap_event,
    an_age_that_the_log_no_longer_reaches_is_reported_as_a_gap_event,
    a_filter_applies_and_heartbeats_advance_the_id,
    a_new_stream_has_an_id_at_once,
    a_stream_of_all_channels_resumes_with_a_cursor_that_lacks_a_channel,
    a_drain_ends_the_stream_cleanly,
    a_clients_last_id_is_taken_from_the_header_then_the_parameter_then_since,
    invalid_parameters_are_refused,
);

/// An open event stream, parsed as EventSource parses it.
pub struct Stream {
    response: reqwest::Response,
    read: String,
    pub last_id: String,
    retry: Option<u64>,
}

/// A Server-Sent Event: its type and its data as JSON.
#[derive(Debug)]
pub struct Event {
    pub kind: String,
    pub data: Value,
}

impl Stream {
    /// Opens a stream with these query parameters, and with a `Last-Event-ID` unless it is empty.
    pub async fn open(node: &Node, query: &str, last_id: &str) -> Self {
        Self::open_with(reqwest::Client::new().get(node.url(&format!("/v1/stream?{query}"))), last_id).await
    }

    /// Opens a stream with a credential.
    pub async fn with_token(node: &Node, query: &str, token: &str) -> Self {
        let request = reqwest::Client::new().get(node.url(&format!("/v1/stream?{query}")));
        Self::open_with(request.bearer_auth(token), "").await
    }

    /// Opens a stream with a request of the test.
    pub async fn open_with(mut request: reqwest::RequestBuilder, last_id: &str) -> Self {
        if !last_id.is_empty() {
            request = request.header("Last-Event-ID", last_id);
        }
        let response = within("the stream", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        assert!(response.headers().contains_key("x-request-id"));
        Self { response, read: String::new(), last_id: last_id.to_owned(), retry: None }
    }

    /// The next block of lines: its event, or `Some(None)` where it only moves the id. `None` at the end. Every block has
    /// data: some clients would report another one as an empty message, and others would not take its id.
    async fn block(&mut self) -> Option<Option<Event>> {
        let end = loop {
            if let Some(end) = self.read.find("\n\n") {
                break end + 2;
            }
            let chunk = within("a block", self.response.chunk()).await.unwrap()?;
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        };
        let block: String = self.read.drain(..end).collect();
        let (mut kind, mut data) = (String::new(), String::new());
        for line in block.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("id", id) => self.last_id = id.to_owned(),
                ("event", name) => {
                    // An id counts only once its event is complete.
                    assert!(data.is_empty(), "{block:?}");
                    kind = name.to_owned();
                }
                ("data", text) => data.push_str(text),
                ("retry", time) => self.retry = time.parse().ok(),
                ("" | ":", _) => {}
                other => panic!("{other:?}"),
            }
        }
        let data: Value = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {block:?}"));
        if kind == "cursor" {
            assert_eq!(data, json!({"type": "cursor"}));
            return Some(None);
        }
        Some(Some(Event { kind, data }))
    }

    /// The next event; skips blocks without one.
    pub async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.block().await.expect("the stream is open") {
                return event;
            }
        }
    }
}

/// Publishes `count` events in one batch, and returns the last position.
async fn publish(node: &Node, count: usize) -> String {
    let events: Vec<Value> = (0..count).map(|n| sale(&n.to_string())).collect();
    node.publish(&json!(events)).await.pop().unwrap().position
}

async fn events_arrive_in_the_order_of_publication(broker: TestBroker) {
    let node = broker.node().await;
    let mut stream = Stream::open(&node, "channel=inventory-change", "").await;
    let head = publish(&node, 3).await;
    for expected in 0..3 {
        let event = stream.event().await;
        assert_eq!((event.kind.as_str(), &event.data["type"]), ("inventory-change", &json!("inventory-change")));
        assert_eq!(event.data["data"]["productId"], expected.to_string());
    }
    assert_eq!(stream.last_id, format!("inventory-change={head}"));
    assert_eq!(node.channel("inventory-change").await["subscribers"], 1);
}

async fn last_event_id_resumes_after_that_event(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 10).await;
    let mut stream = Stream::open(&node, "channel=inventory-change&since=start", "").await;
    for _ in 0..4 {
        stream.event().await;
    }
    let last_id = stream.last_id.clone();
    drop(stream);
    publish(&node, 2).await;
    let mut stream = Stream::open(&node, "channel=inventory-change&since=start", &last_id).await;
    for expected in 4..12 {
        assert_eq!(stream.event().await.data["data"]["productId"], (expected % 10).to_string());
    }
}

async fn one_id_resumes_several_channels_under_load(broker: TestBroker) {
    const ALL: usize = 600;
    let node = broker.node().await;
    let publishing = async {
        for number in 0..ALL {
            node.publish(&json!([sale(&number.to_string()), order(&number.to_string())])).await;
        }
    };
    let reading = async {
        let mut last_id = String::new();
        let mut next = [0, 0];
        while next != [ALL, ALL] {
            let query = "channel=inventory-change&channel=order-status&since=start";
            let mut stream = Stream::open(&node, query, &last_id).await;
            // The client reconnects after every 97 events.
            for _ in 0..97 {
                if next == [ALL, ALL] {
                    break;
                }
                let event = stream.event().await;
                let (channel, key) = if event.kind == "order-status" { (1, "orderId") } else { (0, "productId") };
                assert_eq!(event.data["data"][key], next[channel].to_string(), "{}", event.kind);
                next[channel] += 1;
            }
            last_id = stream.last_id.clone();
        }
    };
    tokio::join!(publishing, reading);
}

async fn streams_of_the_same_channels_share_their_bytes_and_each_has_its_own_id(broker: TestBroker) {
    const QUERY: &str = "channel=inventory-change&channel=order-status";
    let node = broker.node().await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(Stream::open(&node, QUERY, "").await);
    }
    let publish = async || {
        let batch: Vec<Value> = (0..30).map(|n| if n % 3 == 0 { order("o") } else { sale("p") }).collect();
        node.publish(&json!(batch)).await;
    };
    publish().await;
    // This one is behind the others at first.
    streams.push(Stream::open(&node, &format!("{QUERY}&since=start"), "").await);
    publish().await;
    for mut stream in streams {
        let (mut sales, mut orders) = (0, 0);
        for _ in 0..60 {
            match &*stream.event().await.kind {
                "inventory-change" => sales += 1,
                _ => orders += 1,
            }
            let offsets: Vec<u64> =
                stream.last_id.split(',').map(|part| offset(part.split_once('=').unwrap().1)).collect();
            assert_eq!(offsets, [sales, orders]);
        }
    }
}

async fn events_that_the_log_dropped_are_reported_as_a_gap_event(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 50).await;
    let first = publish(&node, 1).await;
    for _ in 0..3 {
        publish(&node, 100).await;
    }
    let mut stream = Stream::open(&node, &format!("channel=inventory-change&since={first}"), "").await;
    let gap = stream.event().await;
    let position = format!("{}:251", epoch_and_offset(&first).0);
    let frame = json!({"type": "gap", "channel": "inventory-change", "from": first, "position": position});
    assert_eq!((gap.kind.as_str(), gap.data), ("gap", frame));
    assert_eq!(stream.last_id, format!("inventory-change={position}"));
    assert_eq!(stream.event().await.data["data"]["productId"], "50");
}

async fn an_age_that_the_log_no_longer_reaches_is_reported_as_a_gap_event(broker: TestBroker) {
    let node = broker.node_with(|config| config.broker.log_max_events = 5).await;
    let first = publish(&node, 10).await;
    let [from, position] = [0, 5].map(|offset| format!("{}:{offset}", epoch_and_offset(&first).0));
    let mut stream = Stream::open(&node, "channel=inventory-change&since=10m", "").await;
    let gap = stream.event().await;
    let frame = json!({"type": "gap", "channel": "inventory-change", "from": from, "position": position});
    assert_eq!((gap.kind.as_str(), gap.data), ("gap", frame));
    assert_eq!(stream.last_id, format!("inventory-change={position}"));
    assert_eq!(stream.event().await.data["data"]["productId"], "5");
}

async fn a_filter_applies_and_heartbeats_advance_the_id(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.heartbeat = Duration::from_millis(100)).await;
    let mut stream = Stream::open(&node, "channel=inventory-change&where=%7B%22productId%22%3A%227%22%7D", "").await;
    publish(&node, 100).await;
    assert_eq!(stream.event().await.data["data"]["productId"], "7");
    within("a heartbeat at the head", async {
        while stream.last_id.rsplit(':').next() != Some("100") {
            assert!(stream.block().await.expect("the stream is open").is_none());
        }
    })
    .await;
}

/// Without an id at once, a client that is disconnected before its first event could not resume.
async fn a_new_stream_has_an_id_at_once(broker: TestBroker) {
    let node = broker.node().await;
    let mut stream = Stream::open(&node, "channel=order-status&channel=inventory-change", "").await;
    assert!(stream.block().await.expect("the stream is open").is_none());
    let last_id = stream.last_id.clone();
    assert!(last_id.contains("inventory-change=") && last_id.contains("order-status="), "{last_id}");
    drop(stream);
    publish(&node, 2).await;
    let mut stream = Stream::open(&node, "channel=order-status&channel=inventory-change", &last_id).await;
    assert_eq!(stream.event().await.data["data"]["productId"], "0");
}

/// As after a restart of the daemon with one more type: clients of all channels resume with cursors that lack the new channel.
async fn a_stream_of_all_channels_resumes_with_a_cursor_that_lacks_a_channel(broker: TestBroker) {
    let node = broker.node().await;
    publish(&node, 2).await;
    let of_inventory = node.channel("inventory-change").await["position"].as_str().unwrap().to_owned();
    let cursor = format!("inventory-change={of_inventory}");
    let mut stream = Stream::open(&node, "", &cursor).await;
    node.publish(&order("1")).await;
    assert_eq!(stream.event().await.kind, "order-status");
    let named = node.get(&format!("/v1/stream?channel=order-status&since={cursor}")).await;
    named.problem(422, "invalid-position");
}

async fn a_drain_ends_the_stream_cleanly(broker: TestBroker) {
    let mut node = broker.node().await;
    let mut stream = Stream::open(&node, "channel=inventory-change", "").await;
    publish(&node, 1).await;
    stream.event().await;
    node.begin_stop();
    // A stream that ends within a chunk would be an error here.
    while stream.block().await.is_some() {}
    // A heartbeat may come at any time. Alone, the client comes back at once; the daemon's shortest `retry` is 500 ms.
    let end = stream.read.replace(": heartbeat\n", "");
    assert!(end.starts_with("retry: 500\n"), "{}", stream.read);
    // The last block is not complete, so that clients report no message.
    assert!(stream.read.contains("event: closed\n") && !stream.read.contains("\n\n"), "{}", stream.read);
}

async fn a_clients_last_id_is_taken_from_the_header_then_the_parameter_then_since(broker: TestBroker) {
    let node = broker.node().await;
    let head = publish(&node, 5).await;
    let epoch = epoch_and_offset(&head).0;
    let id = |offset: u64| format!("inventory-change={epoch}:{offset}");
    for (parameters, header, next) in [
        (format!("since=start&lastEventId={}", id(1)), String::new(), "1"),
        (format!("since={}&lastEventID={}", id(4), id(2)), String::new(), "2"),
        (format!("lastEventId={}", id(1)), id(3), "3"),
        (format!("since={}&lastEventId=", id(2)), String::new(), "2"),
    ] {
        let mut stream = Stream::open(&node, &format!("channel=inventory-change&{parameters}"), &header).await;
        assert!(stream.retry.is_none());
        assert_eq!(stream.event().await.data["data"]["productId"], next, "{parameters} {header}");
        assert!(stream.retry.is_some());
    }
    let request = node.request(reqwest::Method::GET, "/v1/stream?channel=inventory-change");
    let request = request.header("Last-Event-ID", id(1)).header("Last-Event-ID", id(2));
    Response::to(request).await.problem(422, "invalid-position");
}

async fn invalid_parameters_are_refused(broker: TestBroker) {
    let node = broker.node().await;
    for (query, status, code) in [
        ("channel=inventory-chang", 422, "unknown-channel"),
        ("channel=inventory-change&since=yesterday", 422, "invalid-position"),
        ("channel=inventory-change&where=%7B%22nope%22%3A1%7D", 422, "unknown-field"),
        ("chanel=inventory-change", 400, "bad-request"),
        ("where=%7B%22productId%22%3A%221%22%7D&where=%7B%7D", 400, "bad-request"),
        ("lastEventId=a&lastEventId=b", 400, "bad-request"),
    ] {
        let response: Response = node.get(&format!("/v1/stream?{query}")).await;
        response.problem(status, code);
    }
    for path in ["/v1/stream", "/v1/ws"] {
        let response = within("HEAD", reqwest::Client::new().head(node.url(path)).send()).await.unwrap();
        assert_eq!(response.status(), 405, "{path}: a HEAD request opens no stream");
    }
    assert_eq!(offset(node.channel("inventory-change").await["position"].as_str().unwrap()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_refused_as_soon_as_the_broker_is_known_to_be_silent() {
    let redis = Redis::start();
    let proxy = Proxy::start(redis.port).await;
    let node = Node::start(node::config(redis_url(proxy.port))).await;
    // The connection to Redis stays open and silent for some seconds, and each call of the broker takes its full timeout.
    proxy.set(Mode::Silent);
    until("the node is not ready", async || (node.get("/readyz").await.status == 503).then_some(())).await;
    let mut waiting = pin!(node.get("/v1/channels"));
    let refused = async {
        node.get("/v1/stream?since=10m").await.problem(503, "broker-unavailable");
        // Without the early refusal both would end at the same time.
        for _ in 0..20 {
            node.get("/healthz").await;
        }
    };
    tokio::select! {
        biased;
        response = &mut waiting => panic!("the stream waits for its call of the broker: {response:?}"),
        () = refused => {}
    }
}
