//! The closing handshake (RFC 6455, section 7): the daemon answers a close frame, sends nothing after it, and ends the TCP
//! connection cleanly.

use tokio::io::AsyncWriteExt;

use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::events::sale;
use crate::support::raw::{CLOSE, CONTINUATION, FIN, Frame, PING, RawConnection, TEXT, close, frame, text};
use crate::support::subscriber::Subscriber;
use crate::support::until;

over_each_broker_and_reader!(
    a_close_frame_is_answered_with_its_code_and_the_connection_ends,
    a_close_frame_without_a_code_is_answered,
    a_close_frame_within_a_fragmented_message_is_answered,
    frames_after_the_close_frame_are_not_answered,
    no_event_follows_the_close_frame,
    a_connection_that_ends_without_a_close_frame_is_removed,
    a_half_closed_connection_is_removed,
);

async fn a_close_frame_is_answered_with_its_code_and_the_connection_ends(broker: TestBroker) {
    let node = broker.node().await;
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        for reason in ["", "bye ✓", &"r".repeat(123)] {
            let mut raw = RawConnection::open(&node).await;
            raw.send(&frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason.as_bytes()].concat())).await;
            assert_eq!(raw.close_code().await, code);
            raw.expect_end().await;
        }
    }
}

async fn a_close_frame_without_a_code_is_answered(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = RawConnection::open(&node).await;
    raw.send(&frame(FIN | CLOSE, b"")).await;
    let Frame { opcode, payload } = raw.frame().await;
    assert_eq!(opcode, CLOSE);
    assert!(payload.is_empty() || payload == 1000_u16.to_be_bytes(), "{payload:?}");
    raw.expect_end().await;
}

async fn a_close_frame_within_a_fragmented_message_is_answered(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = RawConnection::open(&node).await;
    raw.send(&[frame(TEXT, b"{\"type\""), frame(CONTINUATION, b":"), close(1001)].concat()).await;
    assert_eq!(raw.frame().await, Frame { opcode: CLOSE, payload: 1001_u16.to_be_bytes().to_vec() });
    raw.expect_end().await;
}

async fn frames_after_the_close_frame_are_not_answered(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = RawConnection::open(&node).await;
    let mut bytes = close(1000);
    for _ in 0..1000 {
        bytes.extend(text(r#"{"type":"ping"}"#));
        bytes.extend(frame(FIN | PING, b"x"));
    }
    raw.send(&bytes).await;
    assert_eq!(raw.frame().await.opcode, CLOSE);
    raw.expect_end().await;
}

async fn no_event_follows_the_close_frame(broker: TestBroker) {
    let node = broker.node().await;
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    let mut raw = RawConnection::open(&node).await;
    raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw.send(&close(1000)).await;
    assert_eq!(raw.frame().await.opcode, CLOSE);
    node.publish(&sale("1")).await;
    witness.event().await;
    raw.expect_end().await;
}

async fn a_connection_that_ends_without_a_close_frame_is_removed(broker: TestBroker) {
    let node = broker.node().await;
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    for _ in 0..20 {
        let mut raw = RawConnection::open(&node).await;
        raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
        // The response is left unread, so the operating system ends the connection with a reset.
        drop(raw);
        node.publish(&sale("1")).await;
        witness.event().await;
    }
    until("only the witness is left", async || (node.metric("tidings_connections").await == 1.0).then_some(())).await;
    assert_eq!(node.channel("inventory-change").await["subscribers"], 1);
}

async fn a_half_closed_connection_is_removed(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = RawConnection::open(&node).await;
    raw.stream.shutdown().await.expect("the client's half is closed");
    raw.read_to_end().await;
    until("the connection is removed", async || (node.metric("tidings_connections").await == 0.0).then_some(())).await;
}
