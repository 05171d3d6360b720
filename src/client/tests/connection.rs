//! Tests of a subscriber's connection: when it is lost, how the subscriber notices, and how it resumes.

use super::*;

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
        let mut all = next_lines(&mut subscriber, 7).await;
        let disconnected = all.remove(3);
        assert!(disconnected.contains("1011") && disconnected.contains("the replay failed"), "{disconnected}");
        let resumed =
            ["connected n", "subscribed a e:1", "event a e:2", "connected n", "subscribed a e:2", "event a e:3"];
        assert_eq!(all, resumed);
    };
    tokio::join!(daemon, client);
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
        let all = next_lines(&mut subscriber, 5).await;
        assert_eq!(
            all,
            ["connected n", "subscribed a e:1", "event a e:2", "disconnected: closed by the daemon", "connected n"]
        );
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn a_subscriber_leaves_a_silent_daemon() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        // It sends nothing but `welcome`: whatever followed could come too late on a busy machine.
        let silent = Peer::accept(&listener, 20).await;
        let again = Peer::accept(&listener, 25_000).await;
        (silent, again)
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(next_line(&mut subscriber).await, "connected n");
        assert!(next_line(&mut subscriber).await.starts_with("disconnected: no sign of life"));
        assert_eq!(next_line(&mut subscriber).await, "connected n");
    };
    tokio::join!(daemon, client);
}

#[tokio::test]
async fn silence_is_detected_when_next_is_cancelled_often() {
    let (listener, client) = fake_daemon().await;
    let daemon = Peer::accept(&listener, 20);
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
        let mut peer = Peer::accept(&listener, 400).await;
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
        std::thread::sleep(Duration::from_millis(1_100));
        assert_eq!(next_line(&mut subscriber).await, "event a e:2");
    };
    // Poll the daemon first, so that the client runs before the runtime polls the socket.
    tokio::join!(biased; daemon, client);
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
    let final_codes = [1009, 4001, 4003, 4004, 4005].map(|code| (code, true));
    let others = [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 4008, 4009, 4029].map(|code| (code, false));
    for (code, is_final) in final_codes.into_iter().chain(others) {
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
        assert_eq!(ended, if is_final { code } else { 0 });
    }
}

/// What the daemon had not answered when it closed the connection for good is answered by the subscriber.
#[tokio::test]
async fn a_sync_is_answered_also_where_the_connection_ends_for_good() {
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.confirm("e:1").await;
        assert_eq!(peer.receive().await["type"], "sync");
        let close = CloseFrame { code: 4003.into(), reason: "no".into() };
        peer.0.send(Message::Close(Some(close))).await.unwrap();
        while let Some(Ok(_)) = peer.0.next().await {}
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(next_lines(&mut subscriber, 2).await, ["connected n", "subscribed a e:1"]);
        let asked = subscriber.sync();
        let error = subscriber.next().await.unwrap_err();
        assert!(matches!(error, Error::Closed { code: 4003, .. }), "{error:?}");
        let Ok(Update::NotSynced { sync, .. }) = subscriber.next().await else { panic!("no answer") };
        assert_eq!(Some(sync), asked);
        subscriber
    };
    let (_, mut subscriber) = tokio::join!(daemon, client);
    // The error was the report of that connection.
    let (_, next) = tokio::join!(Peer::accept(&listener, 25_000), subscriber.next());
    assert!(matches!(next, Ok(Update::Connected { .. })), "{next:?}");
}

#[tokio::test]
async fn a_pause_that_the_daemon_asks_for_is_at_most_a_day() {
    let day = Duration::from_secs(24 * 3600);
    // More than a clock can count, and more than a number can have.
    for seconds in ["18446744073709551615", "99999999999999999999999999"] {
        let (listener, client) = fake_daemon().await;
        let body = r#"{"code":"overloaded"}"#;
        let refusal = format!("HTTP/1.1 503 X\r\nretry-after: {seconds}\r\ncontent-length: 21\r\n\r\n{body}");
        let daemon = async {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_head(&mut stream).await;
                stream.write_all(refusal.as_bytes()).await.unwrap();
            }
        };
        let client = async {
            let listed = client.clone().with_retry_timeout(Duration::ZERO).channels().await;
            let updated = client.subscribe([Subscription::to("a")]).next().await;
            (listed, updated)
        };
        let ((), (listed, updated)) = tokio::join!(daemon, client);
        let Err(Error::Refused(problem)) = listed else { panic!("{listed:?}") };
        assert_eq!(problem.retry_after, Some(day), "{seconds}");
        let Ok(Update::Disconnected { retry_in, .. }) = updated else { panic!("{updated:?}") };
        assert!((day..=day + Duration::from_secs(10)).contains(&retry_in), "{retry_in:?}");
    }
    let (listener, client) = fake_daemon().await;
    let daemon = async {
        let mut peer = Peer::accept(&listener, 25_000).await;
        peer.send(json!({"type":"draining","reconnectInMs":u64::MAX})).await;
        peer.0.close(None).await.unwrap();
        while let Some(Ok(_)) = peer.0.next().await {}
    };
    let client = async {
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        assert_eq!(next_line(&mut subscriber).await, "connected n");
        subscriber.next().await
    };
    let ((), updated) = tokio::join!(daemon, client);
    let Ok(Update::Disconnected { retry_in, .. }) = updated else { panic!("{updated:?}") };
    assert!(retry_in <= day, "{retry_in:?}");
}
