//! The client against a daemon that is played by the test, so that it can misbehave on purpose.

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

/// An address to play a daemon at, and a client of it.
async fn stage() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    (listener, client)
}

/// One connection of a subscriber, on the daemon's side.
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
        peer.say(json!({"type":"welcome","protocol":1,"session":"s","node":"n","heartbeatMs":heartbeat_ms})).await;
        peer
    }

    async fn say(&mut self, frame: Value) {
        self.0.send(Message::from(frame.to_string())).await.unwrap();
    }

    async fn heard(&mut self) -> Value {
        serde_json::from_str(self.0.next().await.unwrap().unwrap().to_text().unwrap()).unwrap()
    }

    /// Answers the `subscribe` frame that comes, and returns it.
    async fn subscribed(&mut self, position: &str) -> Value {
        let asked = self.heard().await;
        self.say(json!({"type":"subscribed","sub":asked["sub"],"channel":asked["channel"],"position":position})).await;
        asked
    }

    async fn event(&mut self, position: &str) {
        self.event_of(position, json!({})).await;
    }

    async fn event_of(&mut self, position: &str, data: Value) {
        self.say(json!({"type":"event","position":position,"event":{"type":"a","id":position,"data":data}})).await;
    }
}

/// What a subscriber is told, in short.
async fn told(subscriber: &mut Subscriber) -> String {
    match subscriber.next().await {
        Ok(Update::Connected { node }) => format!("connected {node}"),
        Ok(Update::Subscribed { channel, position }) => format!("subscribed {channel} {position}"),
        Ok(Update::Event(Delivery { channel, position, .. })) => format!("event {channel} {position}"),
        Ok(Update::Gap { channel, from, position }) => format!("gap {channel} {from} {position}"),
        Ok(Update::Disconnected { reason, .. }) => format!("disconnected: {reason}"),
        Ok(Update::Delayed { channel, reason, .. }) => format!("delayed {channel}: {reason}"),
        Err(error) => format!("error: {error}"),
    }
}

#[tokio::test]
async fn after_a_cut_it_goes_on_where_it_was_and_passes_a_gap_on() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.subscribed("e:5").await, json!({"type":"subscribe","sub":"s0","channel":"a","since":"10m"}));
        peer.event("e:6").await;
        peer.say(json!({"type":"a frame of a later version"})).await;
        drop(peer);
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.subscribed("e:9").await["since"], "e:6");
        peer.say(json!({"type":"gap","channel":"a","from":"e:6","position":"e:9"})).await;
        peer.event("e:10").await;
        drop(peer);
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.subscribed("e:10").await["since"], "e:10");
        drop(peer);
        // It stands nowhere else, however often it is cut.
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.subscribed("e:10").await["since"], "e:10");
        peer
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a").since("10m")]);
        let mut all = Vec::new();
        while all.iter().filter(|line: &&String| line.starts_with("subscribed")).count() < 4 {
            all.push(told(&mut subscriber).await);
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
async fn it_goes_on_at_the_next_node_when_one_sends_it_away_or_refuses_it() {
    let (listener, _) = stage().await;
    let (other, _) = stage().await;
    let (third, _) = stage().await;
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
    let client = Client::of_any([url(&listener), url(&other), url(&third)]).unwrap();
    let daemons = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.subscribed("e:5").await;
        let away = CloseFrame { code: CloseCode::Again, reason: "cut off".into() };
        peer.0.send(Message::Close(Some(away))).await.unwrap();
        let (mut stream, _) = other.accept().await.unwrap();
        head(&mut stream).await;
        let refusal = "HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 21\r\n\r\n{\"code\":\"overloaded\"}";
        stream.write_all(refusal.as_bytes()).await.unwrap();
        let mut peer = Peer::accept(&third, 25_000).await;
        assert_eq!(peer.subscribed("e:5").await["since"], "e:5");
        peer
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(told(&mut subscriber).await, "connected n");
        assert_eq!(told(&mut subscriber).await, "subscribed a e:5");
        assert_eq!(told(&mut subscriber).await, "disconnected: closed by the daemon: 1013 cut off");
        let Ok(Update::Disconnected { reason, retry_in }) = subscriber.next().await else { panic!("it was refused") };
        assert!(reason.contains("overloaded") && retry_in >= Duration::from_secs(1), "{reason} {retry_in:?}");
        assert_eq!(told(&mut subscriber).await, "connected n");
    };
    tokio::join!(daemons, client);
}

#[tokio::test]
async fn publishing_and_asking_go_on_at_the_next_node() {
    let (gone, _) = stage().await;
    let (listener, _) = stage().await;
    let urls = [&gone, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    drop(gone);
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        answer(&mut stream, r#"{"accepted":[{"id":"1","type":"a","position":"e:1","duplicate":false}]}"#).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        answer(&mut stream, r#"{"channels":[]}"#).await;
    };
    let client = async {
        let event = json!({"type":"a","id":"1"});
        let publisher = Client::of_any(&urls).unwrap();
        assert_eq!(publisher.publish(&event).await.unwrap().id, "1");
        assert_eq!(Client::of_any(&urls).unwrap().channels().await.unwrap(), []);
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn publishing_leaves_a_node_that_is_silent() {
    let (silent, _) = stage().await;
    let (listener, _) = stage().await;
    let urls = [&silent, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let id = request(&mut stream).await["id"].clone();
        answer(&mut stream, r#"{"accepted":[{"id":"1","type":"a","position":"e:1","duplicate":false}]}"#).await;
        id
    };
    let silence = async {
        let (mut stream, _) = silent.accept().await.unwrap();
        (request(&mut stream).await["id"].clone(), stream)
    };
    // However little patience there is.
    let publisher = Client::of_any(&urls).unwrap().with_patience(Duration::ZERO);
    let event = json!({"type":"a"});
    let (accepted, id, (asked, _stream)) = tokio::join!(publisher.publish(&event), daemon, silence);
    assert_eq!(accepted.unwrap().position.to_string(), "e:1");
    assert!(id.is_string() && id == asked, "{id} {asked}");
}

#[tokio::test]
async fn asking_leaves_a_node_that_is_silent() {
    let (silent, _) = stage().await;
    let (listener, _) = stage().await;
    let urls = [&silent, &listener].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        head(&mut stream).await;
        answer(&mut stream, r#"{"channels":[]}"#).await;
    };
    let reader = Client::of_any(&urls).unwrap();
    let (channels, ()) = tokio::join!(reader.channels(), daemon);
    assert_eq!(channels.unwrap(), []);
}

#[tokio::test]
async fn what_may_have_been_published_is_told_with_its_ids() {
    let (listener, client) = stage().await;
    let client = client.with_patience(Duration::ZERO);
    let not_now = |code: &str| {
        let body = json!({"code":code}).to_string();
        format!("HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let (unknown, refused) = (not_now("broker-unavailable"), not_now("draining"));
    let daemon = async {
        let mut ids = Vec::new();
        // The last one is cut off before an answer.
        for answer in [&unknown, &refused, ""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            ids.push(request(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
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
    assert!(matches!(second, Err(Error::Refused(_))), "it was not taken: {second:?}");
    let Err(Error::Unconfirmed { ids, .. }) = third else { panic!("{third:?}") };
    assert_eq!(json!(ids), json!(["mine", sent[2][1]["id"]]));
    drop(listener);
    let nobody = client.publish(&json!({"type":"a"})).await;
    assert!(matches!(nobody, Err(Error::Unreachable { sent: false, .. })), "{nobody:?}");
}

#[tokio::test]
async fn a_silent_daemon_is_left() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut silent = Peer::accept(&listener, 20).await;
        silent.subscribed("e:1").await;
        let again = Peer::accept(&listener, 25_000).await;
        (silent, again)
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(told(&mut subscriber).await, "connected n");
        assert_eq!(told(&mut subscriber).await, "subscribed a e:1");
        assert!(told(&mut subscriber).await.starts_with("disconnected: no sign of life"));
        assert_eq!(told(&mut subscriber).await, "connected n");
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn silence_is_noticed_by_a_consumer_that_does_other_things_too() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut silent = Peer::accept(&listener, 20).await;
        silent.subscribed("e:1").await;
        silent
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        loop {
            tokio::select! {
                update = told(&mut subscriber) => if update.starts_with("disconnected: no sign of life") { break },
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    };
    let both = async { tokio::join!(daemon, client) };
    timeout(Duration::from_secs(10), both).await.expect("it is left");
}

#[tokio::test]
async fn a_consumer_that_was_busy_for_long_is_no_silent_daemon() {
    let (listener, client) = stage().await;
    let (read_all, begin) = tokio::sync::oneshot::channel();
    let (sent, waiting) = tokio::sync::oneshot::channel();
    let daemon = async {
        let mut peer = Peer::accept(&listener, 20).await;
        peer.subscribed("e:1").await;
        begin.await.unwrap();
        peer.event("e:2").await;
        sent.send(()).unwrap();
        peer
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(told(&mut subscriber).await, "connected n");
        assert_eq!(told(&mut subscriber).await, "subscribed a e:1");
        assert!(futures_util::FutureExt::now_or_never(subscriber.next()).is_none());
        read_all.send(()).unwrap();
        waiting.await.unwrap();
        // The runtime, too, has not looked at the socket in that time.
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(told(&mut subscriber).await, "event a e:2");
    };
    // The daemon first, so that the client goes on before the runtime has looked at the socket.
    tokio::join!(biased; daemon, client);
}

#[tokio::test]
async fn a_daemon_that_drains_is_left_and_asked_again_when_it_said() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.subscribed("e:1").await;
        peer.say(json!({"type":"draining","reconnectInMs":300})).await;
        let drained = Instant::now();
        // What was under way still arrives.
        peer.event("e:2").await;
        peer.0.close(None).await.unwrap();
        Peer::accept(&listener, 25_000).await;
        assert!(drained.elapsed() >= Duration::from_millis(290));
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        let mut all = Vec::new();
        while all.len() < 5 {
            all.push(told(&mut subscriber).await);
        }
        assert_eq!(
            all,
            ["connected n", "subscribed a e:1", "event a e:2", "disconnected: closed by the daemon", "connected n"]
        );
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_not_asked_for_again() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        let asked = peer.heard().await;
        peer.say(json!({"type":"error","code":"unknown-channel","message":"no such","sub":asked["sub"]})).await;
        assert_eq!(peer.subscribed("e:1").await["channel"], "a");
        // Not now, which is no refusal.
        let asked = peer.heard().await;
        peer.say(json!({"type":"error","code":"broker-unavailable","message":"later","sub":asked["sub"]})).await;
        assert_eq!(peer.subscribed("e:1").await, asked);
        drop(peer);
        let mut peer = Peer::accept(&listener, 25_000).await;
        for channel in ["a", "c"] {
            assert_eq!(peer.subscribed("e:1").await["channel"], channel);
        }
        peer
    };
    let client = async {
        let wanted = [Subscription::to("b"), Subscription::to("a").only(json!({"x":1})), Subscription::to("c")];
        let mut subscriber = client.subscribe(wanted);
        let mut all = Vec::new();
        while all.len() < 9 {
            all.push(told(&mut subscriber).await);
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
async fn one_that_waits_is_asked_for_again_while_others_have_events_without_a_pause() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.subscribed("e:0").await;
        let asked = peer.heard().await;
        for failures in 0..3 {
            peer.say(json!({"type":"error","code":"broker-unavailable","message":"later","sub":asked["sub"]})).await;
            let mut offset = failures * 1_000_000;
            let again = loop {
                offset += 1;
                tokio::select! {
                    biased;
                    heard = peer.heard() => break heard,
                    () = tokio::task::yield_now() => peer.event(&format!("e:{offset}")).await,
                }
            };
            assert_eq!(again, asked);
        }
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a"), Subscription::to("b")]);
        loop {
            assert!(!told(&mut subscriber).await.starts_with("disconnected"));
        }
    };
    let either = async {
        tokio::select! {
            () = daemon => {}
            () = client => {}
        }
    };
    timeout(Duration::from_secs(30), either).await.expect("it comes to that");
}

#[tokio::test]
async fn a_connection_that_did_not_last_is_no_success() {
    let (listener, client) = stage().await;
    let daemon = async {
        loop {
            Peer::accept(&listener, 25_000).await.subscribed("e:1").await;
        }
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        // After a failure without a success in between, the pause may be longer than after the first.
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
    timeout(Duration::from_secs(30), either).await.expect("it comes to that");
}

#[tokio::test]
async fn a_close_for_good_is_an_error_and_any_other_is_not() {
    for code in [1009, 4001, 4003, 4004, 4005, 1000, 1013, 4008] {
        let (listener, client) = stage().await;
        let daemon = async {
            let mut peer = Peer::accept(&listener, 25_000).await;
            let close = CloseFrame { code: code.into(), reason: "so it is".into() };
            peer.0.send(Message::Close(Some(close))).await.unwrap();
            // Until it is answered.
            while let Some(Ok(_)) = peer.0.next().await {}
        };
        let client = async {
            let mut subscriber = client.subscribe([Subscription::to("a")]);
            assert_eq!(told(&mut subscriber).await, "connected n");
            match subscriber.next().await {
                Err(Error::Closed { code, .. }) => code,
                Ok(Update::Disconnected { reason, .. }) => {
                    assert!(reason.contains("so it is"), "{reason}");
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
async fn a_subscription_that_was_too_late_goes_on_from_its_own_place() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.subscribed("e:5").await["sub"], "s0");
        let late = peer.heard().await;
        assert_eq!((&late["sub"], &late["since"]), (&json!("s1"), &json!("e:3")));
        peer.event("e:6").await;
        peer.say(json!({"type":"error","code":"invalid-position","message":"too late","sub":"s1"})).await;

        let mut peer = Peer::accept(&listener, 25_000).await;
        let backfill = peer.subscribed("e:3").await;
        assert_eq!((&backfill["since"], &backfill["where"]), (&json!("e:3"), &Value::Null));
        let (first, second) = (peer.heard().await, peer.heard().await);
        assert_eq!((&first["since"], &second["since"]), (&Value::Null, &Value::Null));
        // s1 has none of them, the application has the last one from s0.
        peer.event_of("e:4", json!({"x":1})).await;
        peer.event_of("e:5", json!({"x":2})).await;
        peer.event_of("e:6", json!({"x":1})).await;
        for asked in [first, second] {
            peer.say(json!({"type":"subscribed","sub":asked["sub"],"channel":"a","position":"e:6"})).await;
        }
        assert_eq!(peer.heard().await, json!({"type":"unsubscribe","sub":backfill["sub"]}));
        peer.event_of("e:7", json!({"x":2})).await;
        drop(peer);

        let mut peer = Peer::accept(&listener, 25_000).await;
        for _ in 0..2 {
            assert_eq!(peer.subscribed("e:7").await["since"], "e:7");
        }
        peer
    };
    let client = async {
        let late = Subscription::to("a").since("e:3").only(json!({"x":1}));
        let mut subscriber = client.subscribe([Subscription::to("a"), late]);
        let mut all = Vec::new();
        while all.len() < 8 {
            all.push(told(&mut subscriber).await);
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
async fn a_subscription_that_could_not_be_served_yet_begins_where_it_wants() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.subscribed("e:5").await["sub"], "s0");
        peer.event("e:6").await;
        for code in ["broker-unavailable", "broker-unavailable", "invalid-position"] {
            let asked = peer.heard().await;
            assert_eq!((&asked["sub"], &asked["since"]), (&json!("s1"), &json!("start")));
            peer.say(json!({"type":"error","code":code,"message":"later","sub":"s1"})).await;
        }
        // The stream is past what it wants.
        let mut peer = Peer::accept(&listener, 25_000).await;
        let backfill = peer.heard().await;
        assert_eq!((&backfill["sub"], &backfill["since"]), (&json!("a1"), &json!("start")));
        peer.say(json!({"type":"error","code":"broker-unavailable","message":"later","sub":"a1"})).await;
        let mut peer = Peer::accept(&listener, 25_000).await;
        assert_eq!(peer.heard().await, backfill);
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a"), Subscription::to("a").since("start")]);
        while told(&mut subscriber).await != "delayed a: later" {}
        // Until the daemon has heard all that it wants.
        loop {
            told(&mut subscriber).await;
        }
    };
    tokio::select! {
        () = daemon => {}
        () = client => {}
    }
}

/// Reads a request without a body.
async fn head(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut bytes).await.unwrap();
    }
}

async fn answer(stream: &mut TcpStream, body: &str) {
    let answer = format!("HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Reads one HTTP request and answers its body's JSON.
async fn request(stream: &mut TcpStream) -> Value {
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
async fn publishing_is_tried_again_with_the_same_id() {
    let (listener, client) = stage().await;
    let daemon = async {
        let mut ids = Vec::new();
        for answer in [
            // Cut off before an answer, then not now, then taken.
            "",
            "HTTP/1.1 503 X\r\nretry-after: 0\r\nconnection: close\r\ncontent-length: 29\r\n\r\n{\"code\":\"broker-unavailable\"}",
            "HTTP/1.1 202 X\r\nconnection: close\r\ncontent-length: 85\r\n\r\n{\"accepted\":[{\"id\":\"x\",\"type\":\"a\",\"position\":\"e:1\",\"duplicate\":true}],\"cascaded\":[]}  ",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            ids.push(request(&mut stream).await["id"].clone());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    };
    let event = json!({"type":"a","data":{}});
    let (accepted, ()) = tokio::join!(client.publish(&event), daemon);
    assert_eq!(accepted.unwrap().position.to_string(), "e:1");
}

#[tokio::test]
async fn a_refusal_is_final() {
    let (listener, client) = stage().await;
    let daemon = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
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
fn a_daemon_is_named_by_an_http_url() {
    for (url, shown) in [
        ("http://127.0.0.1:7400", "http://127.0.0.1:7400/v1/ws"),
        ("http://h/bus?x#y", "http://h/bus/v1/ws"),
        ("http://h/bus/", "http://h/bus/v1/ws"),
    ] {
        assert_eq!(route(&base(url).unwrap(), &["v1", "ws"]).as_str(), shown);
    }
    assert!(matches!(Client::of_any::<&str>([]), Err(Error::Url(_))));
    for url in ["", "127.0.0.1:7400", "localhost:7400", "ftp://host", "http://"] {
        assert!(matches!(Client::new(url), Err(Error::Url(_))), "{url}");
    }
    for url in ["https://user:secret@host", "ftp://user:se#secret@host", "user:secret@host:7400", "http://a:secret@h:x"]
    {
        let Err(Error::Url(said)) = Client::new(url) else { panic!("{url}") };
        assert!(!said.contains("secret") && said.contains("h"), "{said}");
    }
}
