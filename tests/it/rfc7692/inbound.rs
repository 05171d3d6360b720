//! Compressed messages from a client (RFC 7692, sections 6 and 7.2): the daemon reads them, bounds their decompressed size, and
//! closes with the right code where they are invalid.

use std::net::SocketAddr;

use super::{OFFER, connect_with_offer, node_with_compression};
use crate::support::daemon::Daemon;
use crate::support::deflate::{Compressor, deflated};
use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::node::Node;
use crate::support::raw::{
    BINARY, CONTINUATION, FIN, Frame, PING, PONG, RSV1, RawConnection, TEXT, close, frame, text,
};

over_each_broker_and_reader!(
    a_compressed_message_is_read,
    compressed_fragments_form_one_message,
    uncompressed_messages_are_accepted_too,
    rsv1_is_allowed_only_on_the_first_frame_of_a_message,
    a_payload_that_cannot_be_decompressed_is_closed_with_1007,
    the_size_limit_applies_to_the_decompressed_message,
    a_message_that_depends_on_an_earlier_one_is_closed_with_1007,
);

const PING_FRAME: &str = r#"{"type":"ping"}"#;

/// A compressed text message in one frame.
fn compressed(message: &str) -> Vec<u8> {
    frame(FIN | RSV1 | TEXT, &deflated(message.as_bytes()))
}

/// Sends these bytes on a connection with compression, and returns the close code. The connection must then end without a reset.
async fn code_for(node: &Node, bytes: &[u8]) -> u16 {
    let mut raw = connect_with_offer(node).await;
    raw.send(bytes).await;
    let code = raw.close_code().await;
    raw.send(&close(code)).await;
    raw.expect_end().await;
    code
}

async fn a_compressed_message_is_read(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let mut raw = connect_with_offer(&node).await;
    raw.send(&compressed(r#"{"type":"subscribe","sub":"é€😀","channel":"order-status"}"#)).await;
    let subscribed = raw.json().await;
    assert_eq!((&subscribed["type"], &subscribed["sub"]), (&"subscribed".into(), &"é€😀".into()));
    let last = [miniz_oxide::deflate::compress_to_vec(PING_FRAME.as_bytes(), 9), vec![0]].concat();
    let stored = miniz_oxide::deflate::compress_to_vec(PING_FRAME.as_bytes(), 0);
    for payload in [deflated(PING_FRAME.as_bytes()), last, [stored, vec![0]].concat()] {
        raw.send(&frame(FIN | RSV1 | TEXT, &payload)).await;
        assert_eq!(raw.json().await["type"], "pong", "{payload:x?}");
    }
    raw.send(&frame(FIN | RSV1 | TEXT, &[0])).await;
    assert_eq!(raw.json().await["code"], "malformed-json", "the empty message");
}

async fn compressed_fragments_form_one_message(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let mut raw = connect_with_offer(&node).await;
    for _ in 0..3 {
        raw.send(&frame(RSV1 | TEXT, b"")).await;
        for byte in deflated(PING_FRAME.as_bytes()) {
            raw.send(&frame(CONTINUATION, &[byte])).await;
            raw.send(&frame(FIN | PING, b"between")).await;
            assert_eq!(raw.frame().await, Frame { opcode: PONG, payload: b"between".to_vec() });
        }
        raw.send(&frame(FIN | CONTINUATION, b"")).await;
        assert_eq!(raw.json().await["type"], "pong");
    }
}

async fn uncompressed_messages_are_accepted_too(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let mut raw = connect_with_offer(&node).await;
    let fragments = [frame(TEXT, b"{\"type\":"), frame(FIN | CONTINUATION, b"\"ping\"}")].concat();
    raw.send(&[text(PING_FRAME), compressed(PING_FRAME), fragments, compressed(PING_FRAME)].concat()).await;
    for _ in 0..4 {
        assert_eq!(raw.json().await["type"], "pong");
    }
    assert_eq!(raw.inflated, 0, "the short responses are not compressed");
}

async fn rsv1_is_allowed_only_on_the_first_frame_of_a_message(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let payload = deflated(PING_FRAME.as_bytes());
    let (first, second) = payload.split_at(5);
    for (what, bytes) in [
        ("a continuation", [frame(RSV1 | TEXT, first), frame(FIN | RSV1 | CONTINUATION, second)].concat()),
        ("a continuation of plain text", [frame(TEXT, b"{"), frame(FIN | RSV1 | CONTINUATION, second)].concat()),
        ("a Ping", frame(FIN | RSV1 | PING, b"")),
        ("a Pong", frame(FIN | RSV1 | PONG, b"")),
        ("a Close", frame(FIN | RSV1 | 0x8, b"")),
        ("another bit", frame(FIN | 0x20 | TEXT, PING_FRAME.as_bytes())),
        ("all bits", frame(FIN | 0x70 | TEXT, &payload)),
    ] {
        assert_eq!(code_for(&node, &bytes).await, 1002, "{what}");
    }
    assert_eq!(code_for(&node, &frame(FIN | RSV1 | BINARY, &payload)).await, 1003);
    // Without negotiated compression the bit is invalid: once without an offer, once with compression disabled.
    let off = broker.node().await;
    for mut raw in [RawConnection::open(&node).await, RawConnection::open_with(&off, &[OFFER]).await] {
        raw.send(&compressed(PING_FRAME)).await;
        assert_eq!(raw.close_code().await, 1002);
    }
}

async fn a_payload_that_cannot_be_decompressed_is_closed_with_1007(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    for payload in [&b"\x06"[..], &[0xff; 40], PING_FRAME.as_bytes(), &[0x01, 0x05, 0, 0, 0], &[0x02, 0x08, 0x01]] {
        assert_eq!(code_for(&node, &frame(FIN | RSV1 | TEXT, payload)).await, 1007, "{payload:x?}");
    }
    for no_utf8 in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80"] {
        assert_eq!(code_for(&node, &frame(FIN | RSV1 | TEXT, &deflated(no_utf8))).await, 1007, "{no_utf8:x?}");
    }
    let fragments = [frame(RSV1 | TEXT, &[0xff; 20]), frame(FIN | CONTINUATION, &[0xff; 20])].concat();
    assert_eq!(code_for(&node, &fragments).await, 1007);
}

async fn the_size_limit_applies_to_the_decompressed_message(broker: TestBroker) {
    const LIMIT: usize = 70_000;
    let node = broker
        .node_with(|config| {
            config.websocket.compression = true;
            config.websocket.max_frame_bytes = LIMIT;
        })
        .await;
    let padded = |length: usize| format!("{}{PING_FRAME}", " ".repeat(length - PING_FRAME.len()));
    let mut raw = connect_with_offer(&node).await;
    raw.send(&compressed(&padded(LIMIT))).await;
    assert_eq!(raw.json().await["type"], "pong", "the largest");
    // Stored without compression, the payload is a little longer than the limit; only the decompressed size counts.
    let stored = [miniz_oxide::deflate::compress_to_vec(padded(LIMIT).as_bytes(), 0), vec![0]].concat();
    assert!(stored.len() > LIMIT);
    raw.send(&frame(FIN | RSV1 | TEXT, &stored)).await;
    assert_eq!(raw.json().await["type"], "pong", "the largest, stored");

    assert_eq!(code_for(&node, &compressed(&padded(LIMIT + 1))).await, 1009);
    let bomb = deflated(&vec![b' '; 32 << 20]);
    assert!(bomb.len() < LIMIT, "{}", bomb.len());
    assert_eq!(code_for(&node, &frame(FIN | RSV1 | TEXT, &bomb)).await, 1009, "a decompression bomb");
    let (first, second) = bomb.split_at(bomb.len() / 2);
    let fragments = [frame(RSV1 | TEXT, first), frame(FIN | CONTINUATION, second)].concat();
    assert_eq!(code_for(&node, &fragments).await, 1009, "a decompression bomb in fragments");
    let mut raw = connect_with_offer(&node).await;
    raw.send(&[&[FIN | RSV1 | TEXT, 0x80 | 127][..], &(1_u64 << 20).to_be_bytes(), &[1, 2, 3, 4]].concat()).await;
    assert_eq!(raw.close_code().await, 1009, "refused from the frame header alone");
}

async fn a_message_that_depends_on_an_earlier_one_is_closed_with_1007(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let mut raw = connect_with_offer(&node).await;
    let mut compressor = Compressor::default();
    let message = r#"{"type":"subscribe","sub":"a rather long name","channel":"order-status"}"#;
    raw.send(&frame(FIN | RSV1 | TEXT, &compressor.deflated(message.as_bytes()))).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    let dependent = compressor.deflated(message.as_bytes());
    assert!(dependent.len() < 20, "the second payload refers to the first message");
    raw.send(&frame(FIN | RSV1 | TEXT, &dependent)).await;
    assert_eq!(raw.close_code().await, 1007, "client_no_context_takeover was agreed");
}

/// A client sends a few bytes that decompress to the largest message, a thousand times before it reads the responses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_highly_compressed_messages_costs_no_memory() {
    let daemon = Daemon::with(
        &["--listen", "127.0.0.1:0", "--compression", "--frame-rate", "1000000"],
        tempfile::tempdir().unwrap(),
    );
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let largest = compressed(&format!("{}{PING_FRAME}", " ".repeat((64 << 10) - PING_FRAME.len())));
    let before = daemon.process.resident();
    for _ in 0..4 {
        let mut raw = RawConnection::open_with(address, &[OFFER]).await;
        for _ in 0..1_000 {
            raw.send(&largest).await;
        }
        for _ in 0..1_000 {
            assert_eq!(raw.json().await["type"], "pong");
        }
    }
    let grown = daemon.process.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "the daemon grew by {grown} bytes");
}
