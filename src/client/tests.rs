//! Tests of the client against a fake daemon: each test plays the daemon's side, so that it can misbehave on purpose.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use tokio::time::Instant;

use super::*;
use futures_util::{SinkExt, StreamExt};
use reqwest::header;

mod answers;
mod tokens;

/// A listener for a fake daemon, and a client of it.
async fn fake_daemon() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, client)
}

/// The daemon's side of one subscriber connection.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn accept(listener: &TcpListener, heartbeat_ms: u64) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
        let socket = accept_hdr_async(stream, |_: &Request, mut answer: Response| {
            let protocol = HeaderValue::from_static(crate::protocol::SUBPROTOCOL);
            answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
            Ok(answer)
        });
        let mut peer = Self(socket.await.unwrap());
        peer.send(json!({"type":"welcome","protocol":1,"session":"s","node":"n","heartbeatMs":heartbeat_ms})).await;
        peer
    }

    async fn send(&mut self, frame: Value) {
        self.0.send(Message::from(frame.to_string())).await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        serde_json::from_str(self.0.next().await.unwrap().unwrap().to_text().unwrap()).unwrap()
    }

    /// Receives a `subscribe` frame, confirms it at `position`, and returns it.
    async fn confirm(&mut self, position: &str) -> Value {
        let request = self.receive().await;
        let (sub, channel) = (&request["sub"], &request["channel"]);
        self.send(json!({"type":"subscribed","sub":sub,"channel":channel,"position":position})).await;
        request
    }

    async fn event(&mut self, position: &str) {
        self.event_of(position, json!({})).await;
    }

    async fn event_of(&mut self, position: &str, data: Value) {
        self.send(json!({"type":"event","position":position,"event":{"type":"a","id":position,"data":data}})).await;
    }
}

/// The next update or error of a subscriber, as one line.
async fn next_line(subscriber: &mut Subscriber) -> String {
    match subscriber.next().await {
        Ok(Update::Connected { node }) => format!("connected {node}"),
        Ok(Update::Subscribed { channel, position }) => format!("subscribed {channel} {position}"),
        Ok(Update::Event(Delivery { channel, position, .. })) => format!("event {channel} {position}"),
        Ok(Update::Gap { channel, from, position }) => format!("gap {channel} {from} {position}"),
        Ok(Update::Disconnected { reason, .. }) => format!("disconnected: {reason}"),
        Ok(Update::Delayed { channel, reason, .. }) => format!("delayed {channel}: {reason}"),
        Ok(Update::NotRenewed { reason }) => format!("not renewed: {reason}"),
        Ok(Update::Synced { positions, .. }) => format!("synced: {positions:?}"),
        Ok(Update::NotSynced { reason, .. }) => format!("not synced: {reason}"),
        Err(error) => format!("error: {error}"),
    }
}

#[tokio::test]
async fn a_subscriber_resumes_after_a_cut_and_reports_gaps() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.confirm("e:5").await, json!({"type":"subscribe","sub":"s0","channel":"a","since":"10m"}));
        peer.event("e:6").await;
        peer.send(json!({"type":"of a later version"})).await;
        drop(peer);
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.confirm("e:9").await["since"], "e:6");
        peer.send(json!({"type":"gap","channel":"a","from":"e:6","position":"e:9"})).await;
        peer.event("e:10").await;
        drop(peer);
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.confirm("e:10").await["since"], "e:10");
        drop(peer);
        // Another cut does not change the position.
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.confirm("e:10").await["since"], "e:10");
        peer
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a").since("10m")]);
        let mut all = Vec::new();
        while all.iter().filter(|line: &&String| line.starts_with("subscribed")).count() < 4 {
            all.push(next_line(&mut subscriber).await);
        }
        all.retain(|line| !line.starts_with("disconnected") && !line.starts_with("connected"));
        assert_eq!(
            all,
            [
                "subscribed a e:5",
                "event a e:6",
                "subscribed a e:9",
                "gap a e:6 e:9",
                "event a e:10",
                "subscribed a e:10",
                "subscribed a e:10",
            ]
        );
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn a_subscriber_moves_to_the_next_node_after_a_close_or_a_refusal() {
    let (listener, _) = fake_daemon().await;
    let (other, _) = fake_daemon().await;
    let (third, _) = fake_daemon().await;
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let client = Client::for_nodes([url(&listener), url(&other), url(&third)]).unwrap();
    let daemons = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.confirm("e:5").await;
        let close = CloseFrame { code: CloseCode::Again, reason: "partitioned".into() };
        peer.0.send(Message::Close(Some(close))).await.unwrap();
        let (mut stream, _) = other.accept().await.unwrap();
        read_head(&mut stream).await;
        let refusal = "HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 21\r\n\r\n{\"code\":\"overloaded\"}";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        let mut peer = Peer::accept(&third, 25_000).await;
        assert_eq!(peer.confirm("e:5").await["since"], "e:5");
        peer
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(next_line(&mut subscriber).await, "connected n");
        assert_eq!(next_line(&mut subscriber).await, "subscribed a e:5");
        assert_eq!(next_line(&mut subscriber).await, "disconnected: closed by the daemon: 1013 partitioned");
        let Ok(Update::Disconnected { reason, retry_in }) = subscriber.next().await else {
            panic!("expected a refusal")
        };
        assert!(reason.contains("overloaded") && retry_in >= Duration::from_secs(1), "{reason} {retry_in:?}");
        assert_eq!(next_line(&mut subscriber).await, "connected n");
    };
    tokio::join!(daemons, client);
}

#[tokio::test]
async fn requests_move_to_the_next_node_when_one_is_down() {
    let (gone, _) = fake_daemon().await;
    let (listener, _) = fake_daemon().await;
    let urls = [&gone, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    drop(gone);
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_json(&mut stream).await;
        respond(&mut stream, r#"{"accepted":[{"id":"1","type":"a","position":"e:1","duplicate":false}]}"#).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        respond(&mut stream, r#"{"channels":[]}"#).await;
    };
    let client = async {
        let event = json!({"type":"a","id":"1"});
        let publisher = Client::for_nodes(&urls).unwrap();
        assert_eq!(publisher.publish(&event).await.unwrap().id, "1");
        assert_eq!(Client::for_nodes(&urls).unwrap().channels().await.unwrap(), []);
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn publishing_moves_to_the_next_node_when_one_is_silent() {
    let (silent, _) = fake_daemon().await;
    let (listener, _) = fake_daemon().await;
    let urls = [&silent, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let id = read_json(&mut stream).await["id"].clone();
        respond(&mut stream, r#"{"accepted":[{"id":"1","type":"a","position":"e:1","duplicate":false}]}"#).await;
        id
    };
    let silence = async {
        let (mut stream, _) = silent.accept().await.unwrap();
        (read_json(&mut stream).await["id"].clone(), stream)
    };
    // Each node is tried once, even without a retry timeout.
    let publisher = Client::for_nodes(&urls).unwrap().with_retry_timeout(Duration::ZERO);
    let event = json!({"type":"a"});
    let (accepted, id, (first_id, _stream)) = tokio::join!(publisher.publish(&event), daemon, silence);
    assert_eq!(accepted.unwrap().position.to_string(), "e:1");
    assert!(id.is_string() && id == first_id, "{id} {first_id}");
}

#[tokio::test]
async fn reading_moves_to_the_next_node_when_one_is_silent() {
    let (silent, _) = fake_daemon().await;
    let (listener, _) = fake_daemon().await;
    let urls = [&silent, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        respond(&mut stream, r#"{"channels":[]}"#).await;
    };
    let reader = Client::for_nodes(&urls).unwrap();
    let (channels, ()) = tokio::join!(reader.channels(), daemon);
    assert_eq!(channels.unwrap(), []);
}

#[tokio::test]
async fn an_unconfirmed_publication_names_the_event_ids() {
    let (listener, client) = fake_daemon().await;
    let client = client.with_retry_timeout(Duration::ZERO);
    let unavailable = |code: &str| {
        let body = json!({"code":code}).to_string();
        format!("HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let (unknown, refused) = (unavailable("broker-unavailable"), unavailable("draining"));
    let daemon = async {
        let mut ids = Vec::new();
        // The last connection is cut without a response.
        for response in [&unknown, &refused, ""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            ids.push(read_json(&mut stream).await);
            stream.write_all(response.as_bytes()).await.unwrap();
        }
        ids
    };
    let publishing = async {
        let event = json!({"type":"a"});
        let (first, second) = (client.publish(&event).await, client.publish(&event).await);
        (first, second, client.publish_all(&mut [json!({"id":"mine"}), event]).await)
    };
    let ((first, second, third), sent) = tokio::join!(publishing, daemon);
    let Err(Error::Unconfirmed { ids, cause }) = first else { panic!("{first:?}") };
    assert!(matches!(*cause, Error::Refused(problem) if problem.code == "broker-unavailable"));
    assert_eq!(json!(ids[0]), sent[0]["id"]);
    assert!(matches!(second, Err(Error::Refused(_))), "draining means not published: {second:?}");
    let Err(Error::Unconfirmed { ids, .. }) = third else { panic!("{third:?}") };
    assert_eq!(json!(ids), json!(["mine", sent[2][1]["id"]]));
    drop(listener);
    let unreachable = client.publish(&json!({"type":"a"})).await;
    assert!(matches!(unreachable, Err(Error::Unreachable { sent: false, .. })), "{unreachable:?}");
}

#[tokio::test]
async fn a_subscriber_leaves_a_silent_daemon() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut silent = Peer::accept(&listener, 20).await;
        silent.confirm("e:1").await;
        let again = Peer::accept(&listener, 25_000).await;
        (silent, again)
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(next_line(&mut subscriber).await, "connected n");
        assert_eq!(next_line(&mut subscriber).await, "subscribed a e:1");
        assert!(next_line(&mut subscriber).await.starts_with("disconnected: no sign of life"));
        assert_eq!(next_line(&mut subscriber).await, "connected n");
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn silence_is_detected_when_next_is_cancelled_often() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut silent = Peer::accept(&listener, 20).await;
        silent.confirm("e:1").await;
        silent
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        loop {
            tokio::select! {
                update = next_line(&mut subscriber) => if update.starts_with("disconnected: no sign of life") { break },
                () = sleep(Duration::from_millis(10)) => {}
            }
        }
    };
    let both = async { tokio::join!(daemon, client) };
    timeout(Duration::from_secs(10), both).await.expect("the silence is detected");
}

#[tokio::test]
async fn a_busy_consumer_does_not_mistake_the_daemon_for_silent() {
    let (listener, client) = fake_daemon().await;
    let (read_all, begin) = tokio::sync::oneshot::channel();
    let (sent, waiting) = tokio::sync::oneshot::channel();
    let daemon = async {
        let mut peer = Peer::accept(&listener, 20).await;
        peer.confirm("e:1").await;
        begin.await.unwrap();
        peer.event("e:2").await;
        sent.send(()).unwrap();
        peer
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(next_line(&mut subscriber).await, "connected n");
        assert_eq!(next_line(&mut subscriber).await, "subscribed a e:1");
        assert!(futures_util::FutureExt::now_or_never(subscriber.next()).is_none());
        read_all.send(()).unwrap();
        waiting.await.unwrap();
        // Block the thread, so that the runtime does not poll the socket either.
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(next_line(&mut subscriber).await, "event a e:2");
    };
    // Poll the daemon first, so that the client runs before the runtime polls the socket.
    tokio::join!(biased; daemon, client);
}

#[tokio::test]
async fn a_subscriber_reconnects_to_a_draining_daemon_when_asked_to() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.confirm("e:1").await;
        peer.send(json!({"type":"draining","reconnectInMs":300})).await;
        let drained = Instant::now();
        // An event that was under way still arrives.
        peer.event("e:2").await;
        peer.0.close(None).await.unwrap();
        Peer::accept(&listener, 25_000).await;
        assert!(drained.elapsed() >= Duration::from_millis(290));
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        let mut all = Vec::new();
        while all.len() < 5 {
            all.push(next_line(&mut subscriber).await);
        }
        assert_eq!(
            all,
            ["connected n", "subscribed a e:1", "event a e:2", "disconnected: closed by the daemon", "connected n"]
        );
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn a_refused_subscription_is_reported_and_not_requested_again() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        let request = peer.receive().await;
        peer.send(json!({"type":"error","code":"unknown-channel","message":"no such","sub":request["sub"]})).await;
        assert_eq!(peer.confirm("e:1").await["channel"], "a");
        // `broker-unavailable` delays a subscription; it does not refuse it.
        let request = peer.receive().await;
        peer.send(json!({"type":"error","code":"broker-unavailable","message":"later","sub":request["sub"]})).await;
        assert_eq!(peer.confirm("e:1").await, request);
        drop(peer);
        let mut peer = Peer::accept(&listener, 25_000).await;
        for channel in ["a", "c"] {
            assert_eq!(peer.confirm("e:1").await["channel"], channel);
        }
        peer
    };
    let client = async {
        let subscriptions =
            [Subscription::to("b"), Subscription::to("a").filter(json!({"x":1})), Subscription::to("c")];
        let mut subscriber = client.subscribe(subscriptions);
        let mut all = Vec::new();
        while all.len() < 9 {
            all.push(next_line(&mut subscriber).await);
        }
        assert!(all.remove(5).starts_with("disconnected"));
        assert_eq!(
            all,
            [
                "connected n",
                "error: b: no such (unknown-channel)",
                "subscribed a e:1",
                "delayed c: later",
                "subscribed c e:1",
                "connected n",
                "subscribed a e:1",
                "subscribed c e:1",
            ]
        );
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn a_delayed_subscription_is_retried_while_another_one_receives_constantly() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.confirm("e:0").await;
        let request = peer.receive().await;
        for (failures, code) in ["broker-unavailable", "rate-limited", "broker-unavailable"].iter().enumerate() {
            peer.send(json!({"type":"error","code":code,"message":"later","sub":request["sub"]})).await;
            let mut offset = failures * 1_000_000;
            let again = loop {
                offset += 1;
                tokio::select! {
                    biased;
                    frame = peer.receive() => break frame,
                    () = tokio::task::yield_now() => peer.event(&format!("e:{offset}")).await,
                }
            };
            assert_eq!(again, request);
        }
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a"), Subscription::to("b")]);
        loop {
            assert!(!next_line(&mut subscriber).await.starts_with("disconnected"));
        }
    };
    let either = async {
        tokio::select! {
            () = daemon => {}
            () = client => {}
        }
    };
    timeout(Duration::from_secs(30), either).await.expect("it happens within 30 s");
}

#[tokio::test]
async fn a_short_connection_does_not_reset_the_backoff() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        loop {
            Peer::accept(&listener, 25_000).await.confirm("e:1").await;
        }
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        // A delay above 200 ms occurs only if the backoff was not reset.
        loop {
            if let Ok(Update::Disconnected { retry_in, .. }) = subscriber.next().await
                && retry_in > Duration::from_millis(200)
            {
                break;
            }
        }
    };
    let either = async {
        tokio::select! {
            () = daemon => {}
            () = client => {}
        }
    };
    timeout(Duration::from_secs(30), either).await.expect("it happens within 30 s");
}

#[tokio::test]
async fn only_a_final_close_code_is_an_error() {
    for code in [1009, 4001, 4003, 4004, 4005, 1000, 1011, 1013, 4008] {
        let (listener, client) = fake_daemon().await;
        let daemon = async {
            let mut peer = Peer::accept(&listener, 25_000).await;
            let close = CloseFrame { code: code.into(), reason: "the reason".into() };
            peer.0.send(Message::Close(Some(close))).await.unwrap();
            // Read until the client has answered the close frame.
            while let Some(Ok(_)) = peer.0.next().await {}
        };
        let client = async {
            let mut subscriber = client.subscribe([Subscription::to("a")]);
            assert_eq!(next_line(&mut subscriber).await, "connected n");
            match subscriber.next().await {
                Err(Error::Closed { code, .. }) => code,
                // tests/tokens.rs says which of these codes is which failure.
                Err(Error::Unauthenticated { .. }) => code,
                Ok(Update::Disconnected { reason, .. }) => {
                    assert!(reason.contains("the reason"), "{reason}");
                    0
                }
                other => panic!("{code}: {other:?}"),
            }
        };
        let ((), ended) = tokio::join!(daemon, client);
        assert_eq!(ended, if crate::protocol::CloseCode::is_final(code) { code } else { 0 });
    }
}

#[tokio::test]
async fn a_subscriber_resumes_after_a_failure_of_the_daemon() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.confirm("e:1").await;
        peer.event("e:2").await;
        let close = CloseFrame { code: CloseCode::Error, reason: "the replay failed".into() };
        peer.0.send(Message::Close(Some(close))).await.unwrap();
        // Read until the client has answered the close frame.
        while let Some(Ok(_)) = peer.0.next().await {}
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.confirm("e:2").await["since"], "e:2");
        peer.event("e:3").await;
        peer
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        let mut all = Vec::new();
        while all.len() < 7 {
            all.push(next_line(&mut subscriber).await);
        }
        let disconnected = all.remove(3);
        assert!(disconnected.contains("1011") && disconnected.contains("the replay failed"), "{disconnected}");
        let resumed =
            ["connected n", "subscribed a e:1", "event a e:2", "connected n", "subscribed a e:2", "event a e:3"];
        assert_eq!(all, resumed);
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn a_lagging_subscription_is_backfilled_from_its_own_position() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.confirm("e:5").await["sub"], "s0");
        let lagging = peer.receive().await;
        assert_eq!((&lagging["sub"], &lagging["since"]), (&json!("s1"), &json!("e:3")));
        peer.event("e:6").await;
        peer.send(json!({"type":"error","code":"invalid-position","message":"too late","sub":"s1"})).await;

        let mut peer = Peer::accept(&listener, 25_000).await;
        let backfill = peer.confirm("e:3").await;
        assert_eq!((&backfill["since"], &backfill["where"]), (&json!("e:3"), &Value::Null));
        let (first, second) = (peer.receive().await, peer.receive().await);
        assert_eq!((&first["since"], &second["since"]), (&Value::Null, &Value::Null));
        // s1 has received none of them. The application has e:6, which s0 has delivered.
        peer.event_of("e:4", json!({"x":1})).await;
        peer.event_of("e:5", json!({"x":2})).await;
        peer.event_of("e:6", json!({"x":1})).await;
        for request in [first, second] {
            peer.send(json!({"type":"subscribed","sub":request["sub"],"channel":"a","position":"e:6"})).await;
        }
        assert_eq!(peer.receive().await, json!({"type":"unsubscribe","sub":backfill["sub"]}));
        peer.event_of("e:7", json!({"x":2})).await;
        drop(peer);

        let mut peer = Peer::accept(&listener, 25_000).await;
        for _ in 0..2 {
            assert_eq!(peer.confirm("e:7").await["since"], "e:7");
        }
        peer
    };
    let client = async {
        let lagging = Subscription::to("a").since("e:3").filter(json!({"x":1}));
        let mut subscriber = client.subscribe([Subscription::to("a"), lagging]);
        let mut all = Vec::new();
        while all.len() < 8 {
            all.push(next_line(&mut subscriber).await);
            all.retain(|line| !line.starts_with("disconnected") && !line.starts_with("connected"));
        }
        assert_eq!(
            all,
            [
                "subscribed a e:5",
                "event a e:6",
                "event a e:4",
                "subscribed a e:6",
                "subscribed a e:6",
                "event a e:7",
                "subscribed a e:7",
                "subscribed a e:7",
            ]
        );
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn a_delayed_subscription_is_backfilled_from_its_since() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.confirm("e:5").await["sub"], "s0");
        peer.event("e:6").await;
        for code in ["broker-unavailable", "broker-unavailable", "invalid-position"] {
            let request = peer.receive().await;
            assert_eq!((&request["sub"], &request["since"]), (&json!("s1"), &json!("start")));
            peer.send(json!({"type":"error","code":code,"message":"later","sub":"s1"})).await;
        }
        // The stream has passed what s1 needs.
        let mut peer = Peer::accept(&listener, 25_000).await;
        let backfill = peer.receive().await;
        assert_eq!((&backfill["sub"], &backfill["since"]), (&json!("a1"), &json!("start")));
        peer.send(json!({"type":"error","code":"broker-unavailable","message":"later","sub":"a1"})).await;
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.receive().await, backfill);
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a"), Subscription::to("a").since("start")]);
        while next_line(&mut subscriber).await != "delayed a: later" {}
        // Poll the client until the fake daemon has finished.
        loop {
            next_line(&mut subscriber).await;
        }
    };
    tokio::select! {
        () = daemon => {}
        () = client => {}
    }
}

/// Reads an HTTP request without a body.
async fn read_head(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut bytes).await.unwrap();
    }
}

/// Responds with status 200 and this JSON body.
async fn respond(stream: &mut TcpStream, body: &str) {
    let answer = format!("HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Reads one HTTP request, and returns its JSON body.
async fn read_json(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(value) = serde_json::from_str(body)
        {
            return value;
        }
    }
}

#[tokio::test]
async fn publishing_is_retried_with_the_same_id() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut ids = Vec::new();
        for answer in [
            // No response at all, then a transient refusal, then success.
            "",
            "HTTP/1.1 503 X\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 29\r\n\r\n{\"code\":\"broker-unavailable\"}",
            "HTTP/1.1 202 X\r\nconnection: close\r\ncontent-length: 85\r\n\r\n{\"accepted\":[{\"id\":\"x\",\"type\":\"a\",\"position\":\"e:1\",\"duplicate\":true}],\"cascaded\":[]}  ",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            ids.push(read_json(&mut stream).await["id"].clone());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    };
    let event = json!({"type":"a","data":{}});
    let (accepted, ()) = tokio::join!(client.publish(&event), daemon);
    assert_eq!(accepted.unwrap().position.to_string(), "e:1");
}

#[tokio::test]
async fn a_refused_event_is_not_retried() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_json(&mut stream).await;
        let body = json!({"code":"invalid-event","detail":"no","errors":[{"pointer":"/data","message":"is required"}]})
            .to_string();
        let answer = format!("HTTP/1.1 422 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let event = json!({"type":"a"});
    let (accepted, ()) = tokio::join!(client.publish(&event), daemon);
    let Err(Error::Refused(problem)) = accepted else { panic!("{accepted:?}") };
    assert_eq!(
        (problem.status, problem.code.as_str(), problem.errors[0].pointer.as_str()),
        (422, "invalid-event", "/data")
    );
}

#[test]
fn a_daemon_url_is_validated_and_secrets_are_redacted() {
    for (url, shown) in [
        ("http://127.0.0.1:7400", "http://127.0.0.1:7400/v1/ws"),
        ("http://h/bus?x#y", "http://h/bus/v1/ws"),
        ("http://h/bus/", "http://h/bus/v1/ws"),
    ] {
        assert_eq!(route(&base(url).unwrap(), &["v1", "ws"]).as_str(), shown);
    }
    assert!(matches!(Client::for_nodes::<&str>([]), Err(Error::Url(_))));
    for url in ["", "127.0.0.1:7400", "localhost:7400", "ftp://host", "http://"] {
        assert!(matches!(Client::new(url), Err(Error::Url(_))), "{url}");
    }
    for url in ["wss://user:secret@host", "ftp://user:se#secret@host", "user:secret@host:7400", "http://a:secret@h:x"] {
        let Err(Error::Url(message)) = Client::new(url) else { panic!("{url}") };
        assert!(!message.contains("secret") && message.contains("h"), "{message}");
    }
}
