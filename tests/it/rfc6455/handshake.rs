//! The opening handshake (RFC 6455, section 4): which requests the daemon upgrades, which it refuses, and with what status.

use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::raw::{ACCEPT, KEY, RawConnection, ResponseHead, handshake, handshake_headers, text};

over_each_broker_and_reader!(
    a_handshake_is_answered_with_its_accept_key,
    header_names_and_tokens_are_case_insensitive,
    another_version_than_13_is_refused_with_the_supported_one,
    a_missing_or_malformed_key_is_refused,
    a_missing_or_repeated_host_is_refused,
    a_request_without_the_upgrade_headers_is_a_problem,
    the_subprotocol_is_selected_where_the_client_offers_it,
    no_extension_is_negotiated_that_was_not_offered,
    frames_in_the_same_segment_as_the_handshake_are_read,
    a_handshake_that_arrives_byte_by_byte_is_accepted,
);

/// Sends a handshake request with these header lines to a new node, and returns the response.
async fn response(broker: &TestBroker, lines: &[&str]) -> ResponseHead {
    let node = broker.node().await;
    let mut raw = RawConnection::connect(&node).await;
    raw.send(&handshake(lines)).await;
    raw.head().await
}

/// The lines of a valid handshake, without those that begin with `without`, and with the lines `with`.
fn changed<'a>(without: &str, with: &[&'a str]) -> Vec<&'a str> {
    let kept = handshake_headers().into_iter().filter(|line| without.is_empty() || !line.starts_with(without));
    kept.chain(with.iter().copied()).collect()
}

async fn a_handshake_is_answered_with_its_accept_key(broker: TestBroker) {
    let head = response(&broker, &handshake_headers()).await;
    assert!(handshake_headers()[4].ends_with(KEY));
    assert_eq!(head.status, 101);
    assert_eq!(head.all("sec-websocket-accept"), [ACCEPT]);
    assert!(head.all("upgrade")[0].eq_ignore_ascii_case("websocket"));
    assert!(head.all("connection")[0].eq_ignore_ascii_case("upgrade"));
    assert_eq!(head.all("x-request-id").len(), 1, "every response has a request id");
    assert!(head.all("content-length").is_empty(), "RFC 9110, section 8.6");
}

async fn header_names_and_tokens_are_case_insensitive(broker: TestBroker) {
    let head = response(
        &broker,
        &[
            "hOST: localhost",
            "CONNECTION: keep-alive, upgrade",
            "upgrade: WebSocket",
            "sec-websocket-version: 13",
            "SEC-WEBSOCKET-KEY:   dGhlIHNhbXBsZSBub25jZQ==  ",
            "Origin: http://localhost:3000",
        ],
    )
    .await;
    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(head.all("sec-websocket-accept"), [ACCEPT]);
}

async fn another_version_than_13_is_refused_with_the_supported_one(broker: TestBroker) {
    for version in
        [&["Sec-WebSocket-Version: 8"][..], &["Sec-WebSocket-Version: 14"], &["Sec-WebSocket-Version: x"], &[]]
    {
        let head = response(&broker, &changed("Sec-WebSocket-Version", version)).await;
        assert_eq!(head.status, 426, "{version:?}");
        assert_eq!(head.all("sec-websocket-version"), ["13"]);
        assert_eq!(head.all("x-request-id").len(), 1);
    }
}

async fn a_missing_or_malformed_key_is_refused(broker: TestBroker) {
    for key in [
        &[][..],
        &["Sec-WebSocket-Key:"],
        &["Sec-WebSocket-Key: short"],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"],
        &["Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ=="],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSBsb25nZXI="],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ] {
        let head = response(&broker, &changed("Sec-WebSocket-Key", key)).await;
        assert_eq!(head.status, 400, "{key:?}");
    }
}

async fn a_missing_or_repeated_host_is_refused(broker: TestBroker) {
    for host in [&[][..], &["Host: a", "Host: b"], &["Host: a", "Host: a"]] {
        let head = response(&broker, &changed("Host", host)).await;
        assert_eq!(head.status, 400, "{host:?}");
    }
}

async fn a_request_without_the_upgrade_headers_is_a_problem(broker: TestBroker) {
    for (without, with) in [
        ("Upgrade", &[][..]),
        ("Upgrade", &["Upgrade: h2c"]),
        ("Connection", &[]),
        ("Connection", &["Connection: keep-alive"]),
    ] {
        let head = response(&broker, &changed(without, with)).await;
        assert!([400, 426].contains(&head.status), "{without} {with:?}: {head:?}");
        assert_eq!(head.all("content-type"), ["application/problem+json"], "{without} {with:?}");
    }
    let node = broker.node().await;
    let mut raw = RawConnection::connect(&node).await;
    let older = String::from_utf8(handshake(&handshake_headers())).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    raw.send(older.as_bytes()).await;
    assert_ne!(raw.head().await.status, 101, "HTTP/1.0 has no upgrade");
}

async fn the_subprotocol_is_selected_where_the_client_offers_it(broker: TestBroker) {
    for (offered, chosen) in [
        (&["Sec-WebSocket-Protocol: tidings.v1"][..], &["tidings.v1"][..]),
        (&["Sec-WebSocket-Protocol: graphql-ws, tidings.v1"], &["tidings.v1"]),
        (&["Sec-WebSocket-Protocol: graphql-ws", "Sec-WebSocket-Protocol: tidings.v1"], &["tidings.v1"]),
        (&["Sec-WebSocket-Protocol: graphql-ws"], &[]),
        (&["Sec-WebSocket-Protocol: tidings.v10"], &[]),
        (&[], &[]),
    ] {
        let head = response(&broker, &changed("", offered)).await;
        assert_eq!(head.status, 101, "{offered:?}");
        assert_eq!(head.all("sec-websocket-protocol"), chosen, "{offered:?}");
    }
}

async fn no_extension_is_negotiated_that_was_not_offered(broker: TestBroker) {
    assert!(response(&broker, &handshake_headers()).await.all("sec-websocket-extensions").is_empty());
    let unknown = changed("", &["Sec-WebSocket-Extensions: x-unknown; a=1"]);
    let head = response(&broker, &unknown).await;
    assert_eq!(head.status, 101);
    assert!(head.all("sec-websocket-extensions").is_empty());
}

async fn frames_in_the_same_segment_as_the_handshake_are_read(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = RawConnection::connect(&node).await;
    let mut bytes = handshake(&handshake_headers());
    bytes.extend(text(r#"{"type":"subscribe","sub":"s","channel":"order-status"}"#));
    for _ in 0..100 {
        bytes.extend(text(r#"{"type":"ping"}"#));
    }
    raw.send(&bytes).await;
    raw.read_welcome().await;
    assert_eq!(raw.json().await["type"], "subscribed");
    for _ in 0..100 {
        assert_eq!(raw.json().await["type"], "pong");
    }
}

async fn a_handshake_that_arrives_byte_by_byte_is_accepted(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = RawConnection::connect(&node).await;
    for byte in handshake(&handshake_headers()) {
        raw.send(&[byte]).await;
    }
    raw.read_welcome().await;
}
