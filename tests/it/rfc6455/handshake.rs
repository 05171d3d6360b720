//! The opening handshake (RFC 6455, section 4): what is answered and what is refused.

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::raw::{ACCEPT, Head, KEY, Raw, text, upgrade, usual};

over_each_broker!(
    a_handshake_is_answered_with_its_accept_key,
    header_names_and_tokens_are_read_as_http_reads_them,
    a_version_other_than_thirteen_is_told_which_one_to_use,
    a_missing_or_malformed_key_is_refused,
    a_missing_or_doubled_host_is_refused,
    a_request_that_does_not_ask_for_websocket_is_told_to,
    the_subprotocol_is_chosen_where_it_is_offered,
    no_extension_is_agreed_that_was_not_offered,
    frames_in_the_same_segment_as_the_handshake_are_taken,
    a_handshake_cut_into_single_bytes_is_taken,
);

/// The answer to a handshake with these lines.
async fn answer(broker: &TestBroker, lines: &[&str]) -> Head {
    let node = broker.node().await;
    let mut raw = Raw::connect(node.address).await;
    raw.send(&upgrade(lines)).await;
    raw.head().await
}

/// The usual lines without those that begin so, and with others.
fn changed<'a>(without: &str, with: &[&'a str]) -> Vec<&'a str> {
    let kept = usual().into_iter().filter(|line| without.is_empty() || !line.starts_with(without));
    kept.chain(with.iter().copied()).collect()
}

async fn a_handshake_is_answered_with_its_accept_key(broker: TestBroker) {
    let head = answer(&broker, &usual()).await;
    assert!(usual()[4].ends_with(KEY));
    assert_eq!(head.status, 101);
    assert_eq!(head.all("sec-websocket-accept"), [ACCEPT]);
    assert!(head.all("upgrade")[0].eq_ignore_ascii_case("websocket"));
    assert!(head.all("connection")[0].eq_ignore_ascii_case("upgrade"));
    assert_eq!(head.all("x-request-id").len(), 1, "every response bears one");
    assert!(head.all("content-length").is_empty(), "RFC 9110, section 8.6");
}

async fn header_names_and_tokens_are_read_as_http_reads_them(broker: TestBroker) {
    let head = answer(
        &broker,
        &[
            "hOST: localhost",
            "CONNECTION: keep-alive, upgrade",
            "upgrade: WebSocket",
            "sec-websocket-version: 13",
            "SEC-WEBSOCKET-KEY:   dGhlIHNhbXBsZSBub25jZQ==  ",
            "Origin: https://shop.example",
        ],
    )
    .await;
    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(head.all("sec-websocket-accept"), [ACCEPT]);
}

async fn a_version_other_than_thirteen_is_told_which_one_to_use(broker: TestBroker) {
    for version in
        [&["Sec-WebSocket-Version: 8"][..], &["Sec-WebSocket-Version: 14"], &["Sec-WebSocket-Version: x"], &[]]
    {
        let head = answer(&broker, &changed("Sec-WebSocket-Version", version)).await;
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
        let head = answer(&broker, &changed("Sec-WebSocket-Key", key)).await;
        assert_eq!(head.status, 400, "{key:?}");
    }
}

async fn a_missing_or_doubled_host_is_refused(broker: TestBroker) {
    for host in [&[][..], &["Host: a", "Host: b"], &["Host: a", "Host: a"]] {
        let head = answer(&broker, &changed("Host", host)).await;
        assert_eq!(head.status, 400, "{host:?}");
    }
}

async fn a_request_that_does_not_ask_for_websocket_is_told_to(broker: TestBroker) {
    for (without, with) in [
        ("Upgrade", &[][..]),
        ("Upgrade", &["Upgrade: h2c"]),
        ("Connection", &[]),
        ("Connection", &["Connection: keep-alive"]),
    ] {
        let head = answer(&broker, &changed(without, with)).await;
        assert!([400, 426].contains(&head.status), "{without} {with:?}: {head:?}");
        assert_eq!(head.all("content-type"), ["application/problem+json"], "{without} {with:?}");
    }
    let node = broker.node().await;
    let mut raw = Raw::connect(node.address).await;
    let older = String::from_utf8(upgrade(&usual())).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    raw.send(older.as_bytes()).await;
    assert_ne!(raw.head().await.status, 101, "HTTP/1.0 has no upgrade");
}

async fn the_subprotocol_is_chosen_where_it_is_offered(broker: TestBroker) {
    for (offered, chosen) in [
        (&["Sec-WebSocket-Protocol: tidings.v1"][..], &["tidings.v1"][..]),
        (&["Sec-WebSocket-Protocol: graphql-ws, tidings.v1"], &["tidings.v1"]),
        (&["Sec-WebSocket-Protocol: graphql-ws", "Sec-WebSocket-Protocol: tidings.v1"], &["tidings.v1"]),
        (&["Sec-WebSocket-Protocol: graphql-ws"], &[]),
        (&["Sec-WebSocket-Protocol: tidings.v10"], &[]),
        (&[], &[]),
    ] {
        let head = answer(&broker, &changed("", offered)).await;
        assert_eq!(head.status, 101, "{offered:?}");
        assert_eq!(head.all("sec-websocket-protocol"), chosen, "{offered:?}");
    }
}

async fn no_extension_is_agreed_that_was_not_offered(broker: TestBroker) {
    assert!(answer(&broker, &usual()).await.all("sec-websocket-extensions").is_empty());
    let unknown = changed("", &["Sec-WebSocket-Extensions: x-unknown; a=1"]);
    let head = answer(&broker, &unknown).await;
    assert_eq!(head.status, 101);
    assert!(head.all("sec-websocket-extensions").is_empty());
}

async fn frames_in_the_same_segment_as_the_handshake_are_taken(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = Raw::connect(node.address).await;
    let mut bytes = upgrade(&usual());
    bytes.extend(text(r#"{"type":"subscribe","sub":"s","channel":"order-status"}"#));
    for _ in 0..100 {
        bytes.extend(text(r#"{"type":"ping"}"#));
    }
    raw.send(&bytes).await;
    raw.welcomed().await;
    assert_eq!(raw.json().await["type"], "subscribed");
    for _ in 0..100 {
        assert_eq!(raw.json().await["type"], "pong");
    }
}

async fn a_handshake_cut_into_single_bytes_is_taken(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = Raw::connect(node.address).await;
    for byte in upgrade(&usual()) {
        raw.send(&[byte]).await;
    }
    raw.welcomed().await;
}
