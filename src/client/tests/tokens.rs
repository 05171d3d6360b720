//! Tests of the token: where it is sent, when it is renewed, and which refusals are final.

use std::sync::Mutex;

use tokio_tungstenite::tungstenite::handshake::server::ErrorResponse;

use super::*;

/// A provider that returns these tokens in turn, then the last one for ever, and how often it was called.
fn provider(tokens: &[&'static str]) -> (Token, Arc<AtomicUsize>) {
    let (tokens, calls) = (tokens.to_vec(), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    let token = Token::from_provider(move || {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        let token = tokens[call.min(tokens.len() - 1)];
        async move { Ok::<_, String>(token.into()) }
    });
    (token, calls)
}

const REFUSED: &str = r#"{"status":401,"code":"unauthenticated","detail":"a valid credential is required"}"#;

/// Accepts a handshake whose `Authorization` is one of `valid`, and refuses others with 401. Returns the value, and the
/// connection if it was accepted.
async fn handshake(listener: &TcpListener, valid: &[&str]) -> (String, Option<Peer>) {
    let (stream, _) = listener.accept().await.unwrap();
    let sent = Mutex::new(String::new());
    #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
    let socket = accept_hdr_async(stream, |request: &Request, mut response: Response| {
        let value = request.headers().get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
        value.clone_into(&mut sent.lock().unwrap());
        if !valid.contains(&value) {
            let mut refusal = ErrorResponse::new(Some(REFUSED.to_owned()));
            *refusal.status_mut() = reqwest::StatusCode::UNAUTHORIZED;
            return Err(refusal);
        }
        let protocol = HeaderValue::from_static(crate::protocol::SUBPROTOCOL);
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    });
    let socket = socket.await.ok();
    (sent.into_inner().unwrap(), socket.map(Peer))
}

/// Accepts a connection with this token, and sends `welcome`.
async fn accept(listener: &TcpListener, token: &str, expires_in_ms: Option<u64>) -> Peer {
    let bearer = format!("Bearer {token}");
    let (sent, peer) = handshake(listener, &[&bearer]).await;
    assert_eq!(sent, bearer);
    let mut peer = peer.unwrap();
    let mut welcome = json!({"type":"welcome","protocol":1,"session":"s","node":"n","heartbeatMs":25_000});
    if let Some(expires_in_ms) = expires_in_ms {
        welcome["expiresInMs"] = expires_in_ms.into();
    }
    peer.send(welcome).await;
    peer
}

async fn close(peer: &mut Peer, code: u16) {
    let frame = CloseFrame { code: CloseCode::from(code), reason: "because".into() };
    peer.0.send(Message::Close(Some(frame))).await.unwrap();
}

/// The lines of a subscriber until its first error, without the reconnects.
async fn until_error(subscriber: &mut Subscriber) -> (Vec<String>, Error) {
    let mut lines = Vec::new();
    loop {
        match subscriber.next().await {
            Ok(Update::Event(event)) => lines.push(format!("event {}", event.position)),
            Ok(Update::NotRenewed { reason }) => lines.push(format!("not renewed: {reason}")),
            Ok(_) => {}
            Err(error) => return (lines, error),
        }
    }
}

/// Plays the daemon, while the client runs until its first error.
async fn against<T>(client: Client, daemon: impl Future<Output = T>) -> (T, Vec<String>, Error) {
    let mut subscriber = client.subscribe([Subscription::to("a")]);
    let (played, (lines, error)) = tokio::join!(daemon, until_error(&mut subscriber));
    (played, lines, error)
}

fn unauthenticated(client: &Client, cause: AuthFailure) -> Error {
    Error::Unauthenticated { url: client.url(), cause }
}

#[tokio::test]
async fn a_token_is_a_header_of_every_request_and_is_renewed_on_the_live_connection() {
    let (listener, client) = fake_daemon().await;
    let (token, calls) = provider(&["t1", "t2", "t3"]);
    let client = client.with_token(token);
    let daemon = async {
        let mut peer = accept(&listener, "t1", Some(1_000)).await;
        peer.confirm("e:1").await;
        assert_eq!(peer.receive().await, json!({"type":"auth","token":"t2"}));
        peer.send(json!({"type":"authenticated","expiresInMs":1_000})).await;
        peer.event("e:2").await;
        assert_eq!(peer.receive().await, json!({"type":"auth","token":"t3"}));
        peer.send(json!({"type":"authenticated"})).await;
        peer.event("e:3").await;
        drop(peer);
        // A reconnect takes the token that was accepted last.
        let mut peer = accept(&listener, "t3", None).await;
        assert_eq!(peer.confirm("e:3").await["since"], "e:3");
        close(&mut peer, 4004).await;
        peer
    };
    let expected = unauthenticated(&client, AuthFailure::Revoked);
    let (_, lines, error) = against(client, daemon).await;
    assert_eq!((lines, error), (vec!["event e:2".into(), "event e:3".into()], expected));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_refused_renewal_changes_nothing_and_is_tried_again() {
    let (listener, client) = fake_daemon().await;
    let (token, _) = provider(&["t1", "t2", "t3"]);
    let client = client.with_token(token);
    let daemon = async {
        let mut peer = accept(&listener, "t1", Some(1_500)).await;
        peer.confirm("e:1").await;
        assert_eq!(peer.receive().await["token"], "t2");
        peer.send(json!({"type":"error","code":"unauthenticated","message":"not this one"})).await;
        peer.event("e:2").await;
        assert_eq!(peer.receive().await["token"], "t3");
        close(&mut peer, 4003).await;
        peer
    };
    let (_, lines, error) = against(client, daemon).await;
    assert_eq!(lines, ["not renewed: not this one", "event e:2"]);
    assert!(matches!(error, Error::Closed { code: 4003, .. }) && error.is_forbidden(), "{error:?}");
}

#[tokio::test]
async fn a_provider_that_fails_is_asked_again_and_one_that_has_no_token_ends_the_subscriber() {
    let (listener, client) = fake_daemon().await;
    let calls = AtomicUsize::new(0);
    let client = client.with_token(Token::from_provider(move || {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                0 | 2 => Err("away"),
                1 => Ok("t1".into()),
                _ => Ok("".into()),
            }
        }
    }));
    let daemon = async {
        let mut peer = accept(&listener, "t1", Some(60_000)).await;
        peer.confirm("e:1").await;
        peer.send(json!({"type":"authenticated","expiresInMs":0})).await;
        // Nothing but the end follows: there is no connection without a token.
        assert!(peer.0.next().await.is_none_or(|message| message.is_err()));
    };
    let ((), lines, error) = against(client, daemon).await;
    assert_eq!(lines, ["not renewed: cannot get a token: away"]);
    assert_eq!(error, Error::no_token(AuthFailure::Empty));
}

#[tokio::test]
async fn an_expired_token_is_replaced_if_there_is_a_newer_one() {
    let (listener, client) = fake_daemon().await;
    let (token, calls) = provider(&["t1", "t2", "t2"]);
    let renewing = client.clone().with_token(token);
    let daemon = async {
        let mut peer = accept(&listener, "t1", Some(3_600_000)).await;
        peer.confirm("e:1").await;
        close(&mut peer, 4005).await;
        let mut again = accept(&listener, "t2", Some(3_600_000)).await;
        assert_eq!(again.confirm("e:1").await["since"], "e:1");
        close(&mut again, 4005).await;
        (peer, again)
    };
    let expired = unauthenticated(&client, AuthFailure::Expired);
    let (_, _, error) = against(renewing, daemon).await;
    assert_eq!(error, expired);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let daemon = async {
        let mut peer = accept(&listener, "t1", Some(1_000)).await;
        close(&mut peer, 4005).await;
        peer
    };
    let (_, _, error) = against(client.with_token("t1"), daemon).await;
    assert_eq!(error, expired);
}

#[tokio::test]
async fn a_refused_handshake_is_final_but_a_held_token_is_replaced_once() {
    let (listener, client) = fake_daemon().await;
    let (token, calls) = provider(&["t1", "t2", "t3"]);
    for (client, cause, sent) in [
        (client.clone(), AuthFailure::Missing, ""),
        (client.clone().with_token("t1"), AuthFailure::Refused, "Bearer t1"),
        (client.clone().with_token(provider(&["t1", "t2"]).0), AuthFailure::Refused, "Bearer t1"),
    ] {
        let expected = unauthenticated(&client, cause);
        let ((authorization, _), _, error) = against(client, handshake(&listener, &[])).await;
        assert_eq!((&*authorization, error), (sent, expected));
    }
    let daemon = async {
        drop(accept(&listener, "t1", None).await);
        let mut sent = Vec::new();
        for valid in ["Bearer t2", "Bearer t2", "", ""] {
            sent.push(handshake(&listener, &[valid]).await.0);
        }
        sent
    };
    let (sent, _, error) = against(client.clone().with_token(token), daemon).await;
    assert_eq!(sent, ["Bearer t1", "Bearer t2", "Bearer t2", "Bearer t3"]);
    assert_eq!(error, unauthenticated(&client, AuthFailure::Refused));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn each_close_code_of_a_refused_token_is_a_failure_of_its_own() {
    let (listener, client) = fake_daemon().await;
    for (code, token, cause) in [
        (4001, Some("t"), AuthFailure::Refused),
        (4001, None, AuthFailure::Missing),
        (4004, Some("t"), AuthFailure::Revoked),
        (4005, Some("t"), AuthFailure::Expired),
    ] {
        let client = match token {
            Some(token) => client.clone().with_token(token),
            None => client.clone(),
        };
        let expected = unauthenticated(&client, cause);
        let daemon = async {
            let (_, peer) = handshake(&listener, &["Bearer t", ""]).await;
            let mut peer = peer.unwrap();
            close(&mut peer, code).await;
            peer
        };
        let (_, _, error) = against(client, daemon).await;
        assert_eq!(error, expected, "{code}");
        assert!(error.is_unauthenticated() && !error.is_forbidden() && !error.is_transient());
    }
}

#[tokio::test]
async fn a_channel_that_a_renewal_takes_away_is_an_error_of_that_subscription_alone() {
    let (listener, client) = fake_daemon().await;
    let (token, _) = provider(&["t1", "t2"]);
    let client = client.with_token(token);
    let daemon = async {
        let mut peer = accept(&listener, "t1", Some(1_000)).await;
        peer.confirm("e:1").await;
        peer.confirm("e:1").await;
        assert_eq!(peer.receive().await["token"], "t2");
        peer.send(json!({"type":"authenticated"})).await;
        peer.send(json!({"type":"unsubscribed","sub":"s1"})).await;
        peer.send(json!({"type":"error","code":"forbidden","message":"not allowed","sub":"s1"})).await;
        peer.event("e:2").await;
        drop(peer);
        // It is not requested again.
        let mut peer = accept(&listener, "t2", None).await;
        assert_eq!(peer.confirm("e:2").await["sub"], "s0");
        peer.send(json!({"type":"pong"})).await;
        peer.event("e:3").await;
        peer
    };
    let mut subscriber = client.subscribe([Subscription::to("a"), Subscription::to("b")]);
    let receiving = async {
        let (_, error) = until_error(&mut subscriber).await;
        assert!(error.is_forbidden(), "{error:?}");
        let mut events = Vec::new();
        while events.len() < 2 {
            let line = next_line(&mut subscriber).await;
            events.extend(line.starts_with("event").then_some(line));
        }
        assert_eq!(events, ["event a e:2", "event a e:3"]);
    };
    tokio::join!(daemon, receiving);
}

/// Reads a request; returns its `Authorization`, and sends the response.
async fn answer(listener: &TcpListener, status: &str, body: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let response = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(response.as_bytes()).await.unwrap();
    let head = String::from_utf8(bytes).unwrap();
    let value = head.lines().find_map(|line| line.strip_prefix("authorization: "));
    value.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_refused_request_is_sent_once_more_with_a_new_token() {
    const CHANNELS: &str = r#"{"channels":[]}"#;
    let (listener, client) = fake_daemon().await;
    let renewing = client.clone().with_token(provider(&["t1", "t2"]).0);
    let daemon = async {
        let first = answer(&listener, "200 OK", CHANNELS).await;
        let refused = answer(&listener, "401 Unauthorized", REFUSED).await;
        [first, refused, answer(&listener, "200 OK", CHANNELS).await]
    };
    let calls = async { (renewing.channels().await, renewing.channels().await) };
    let (sent, (first, second)) = tokio::join!(daemon, calls);
    assert_eq!(sent, ["Bearer t1", "Bearer t1", "Bearer t2"]);
    assert_eq!((first, second), (Ok(vec![]), Ok(vec![])));

    // A new token that is refused, a fixed one, and none: one request each, even with time to retry.
    for (client, cause, sent) in [
        (client.clone().with_token(provider(&["t1", "t2"]).0), AuthFailure::Refused, "Bearer t1"),
        (client.clone().with_token("t1"), AuthFailure::Refused, "Bearer t1"),
        (client.clone(), AuthFailure::Missing, ""),
    ] {
        let client = client.with_retry_timeout(Duration::from_secs(600));
        let (authorization, listed) = tokio::join!(answer(&listener, "401 Unauthorized", REFUSED), client.channels());
        assert_eq!((&*authorization, listed), (sent, Err(unauthenticated(&client, cause))));
    }
    let forbidden = r#"{"status":403,"code":"forbidden","detail":"not allowed"}"#;
    let (_, listed) = tokio::join!(answer(&listener, "403 Forbidden", forbidden), client.channels());
    assert!(listed.as_ref().is_err_and(Error::is_forbidden), "{listed:?}");
}
