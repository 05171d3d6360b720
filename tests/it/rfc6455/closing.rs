//! The closing handshake (RFC 6455, section 7): answered, final, and a clean end of the TCP connection.

use tokio::io::AsyncWriteExt;

use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::events::sale;
use crate::support::raw::{CLOSE, CONTINUATION, FIN, Frame, PING, Raw, TEXT, close, frame, text};
use crate::support::subscriber::Subscriber;
use crate::support::until;

over_each_broker!(
    a_close_is_answered_with_its_code_and_the_connection_ends,
    a_close_without_a_code_is_answered,
    a_close_within_a_message_is_answered,
    what_is_sent_after_the_close_is_not_answered,
    no_event_follows_a_close,
    a_connection_that_just_ends_is_forgotten,
    a_half_closed_connection_is_ended,
);

async fn a_close_is_answered_with_its_code_and_the_connection_ends(broker: TestBroker) {
    let node = broker.node().await;
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        for reason in ["", "bye ✓", &"r".repeat(123)] {
            let mut raw = Raw::upgraded(&node).await;
            raw.send(&frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason.as_bytes()].concat())).await;
            assert_eq!(raw.closed_with().await, code);
            raw.ends().await;
        }
    }
}

async fn a_close_without_a_code_is_answered(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = Raw::upgraded(&node).await;
    raw.send(&frame(FIN | CLOSE, b"")).await;
    let Frame { opcode, payload } = raw.frame().await;
    assert_eq!(opcode, CLOSE);
    assert!(payload.is_empty() || payload == 1000_u16.to_be_bytes(), "{payload:?}");
    raw.ends().await;
}

async fn a_close_within_a_message_is_answered(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = Raw::upgraded(&node).await;
    raw.send(&[frame(TEXT, b"{\"type\""), frame(CONTINUATION, b":"), close(1001)].concat()).await;
    assert_eq!(raw.frame().await, Frame { opcode: CLOSE, payload: 1001_u16.to_be_bytes().to_vec() });
    raw.ends().await;
}

async fn what_is_sent_after_the_close_is_not_answered(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = Raw::upgraded(&node).await;
    let mut bytes = close(1000);
    for _ in 0..1000 {
        bytes.extend(text(r#"{"type":"ping"}"#));
        bytes.extend(frame(FIN | PING, b"x"));
    }
    raw.send(&bytes).await;
    assert_eq!(raw.frame().await.opcode, CLOSE);
    raw.ends().await;
}

async fn no_event_follows_a_close(broker: TestBroker) {
    let node = broker.node().await;
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    let mut raw = Raw::upgraded(&node).await;
    raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
    assert_eq!(raw.json().await["type"], "subscribed");
    raw.send(&close(1000)).await;
    assert_eq!(raw.frame().await.opcode, CLOSE);
    node.publish(&sale("1")).await;
    witness.event().await;
    raw.ends().await;
}

async fn a_connection_that_just_ends_is_forgotten(broker: TestBroker) {
    let node = broker.node().await;
    let mut witness = Subscriber::to(&node, "inventory-change").await;
    for _ in 0..20 {
        let mut raw = Raw::upgraded(&node).await;
        raw.send(&text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
        // Not even the answer is read: what is left unread makes the end a reset.
        drop(raw);
        node.publish(&sale("1")).await;
        witness.event().await;
    }
    until("only the witness is left", async || (node.metric("tidings_connections").await == 1.0).then_some(())).await;
    assert_eq!(node.channel("inventory-change").await["subscribers"], 1);
}

async fn a_half_closed_connection_is_ended(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = Raw::upgraded(&node).await;
    raw.stream.shutdown().await.expect("our half is closed");
    raw.rest().await;
    until("it is forgotten", async || (node.metric("tidings_connections").await == 0.0).then_some(())).await;
}
