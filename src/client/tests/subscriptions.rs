//! Tests of single subscriptions on one connection: refused, delayed, and backfilled when they lag.

use super::*;

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
        let mut all = next_lines(&mut subscriber, 9).await;
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
async fn the_last_events_of_a_backfill_pass_the_filters() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.confirm("e:5").await;
        peer.receive().await;
        peer.send(json!({"type":"error","code":"invalid-position","message":"too late","sub":"s1"})).await;

        let mut peer = Peer::accept(&listener, 25_000).await;
        let backfill = peer.confirm("e:3").await;
        for _ in 0..2 {
            peer.confirm("e:3").await;
        }
        let ended = json!({"type":"unsubscribe","sub":backfill["sub"]});
        assert_eq!(peer.receive().await, ended);
        // The daemon has sent these before it handled the frame.
        peer.event_of("e:6", json!({"x":3})).await;
        peer.event_of("e:7", json!({"x":2})).await;
        peer.send(json!({"type":"unsubscribed","sub":backfill["sub"]})).await;
        peer.event_of("e:8", json!({"x":1})).await;
        peer
    };
    let client = async {
        let [first, lagging] = [json!({"x":1}), json!({"x":2})].map(|filter| Subscription::to("a").filter(filter));
        let mut subscriber = client.subscribe([first, lagging.since("e:3")]);
        let mut events = Vec::new();
        while events.len() < 2 {
            events.push(next_line(&mut subscriber).await);
            events.retain(|line| line.starts_with("event"));
        }
        assert_eq!(events, ["event a e:7", "event a e:8"]);
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
