//! Fragmented messages and control frames between the fragments (RFC 6455, sections 5.4 and 5.5), and frames split over TCP
//! segments.

use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::raw::{CONTINUATION, FIN, Frame, PING, PONG, RawConnection, TEXT, frame, text};

over_each_broker_and_reader!(
    fragments_form_one_message,
    control_frames_between_fragments_are_answered_at_once,
    frames_that_arrive_byte_by_byte_are_read,
    many_frames_in_one_segment_are_all_answered,
    a_ping_is_answered_with_its_payload,
    an_unsolicited_pong_is_ignored,
    a_message_of_exactly_max_frame_bytes_is_accepted,
);

const PING_FRAME: &str = r#"{"type":"ping"}"#;

/// A node, and a WebSocket connection to it.
async fn connect(broker: &TestBroker) -> (crate::support::node::Node, RawConnection) {
    let node = broker.node().await;
    let raw = RawConnection::open(&node).await;
    (node, raw)
}

async fn fragments_form_one_message(broker: TestBroker) {
    let (_node, mut raw) = connect(&broker).await;
    // Each byte is a fragment, with empty fragments between. The name has characters of two, three and four bytes.
    let name = "é€😀";
    let message = format!(r#"{{"type":"subscribe","sub":"{name}","channel":"order-status"}}"#);
    raw.send(&frame(TEXT, b"")).await;
    for byte in message.bytes() {
        raw.send(&frame(CONTINUATION, &[byte])).await;
        raw.send(&frame(CONTINUATION, b"")).await;
    }
    raw.send(&frame(FIN | CONTINUATION, b"")).await;
    let subscribed = raw.json().await;
    assert_eq!((&subscribed["type"], &subscribed["sub"]), (&"subscribed".into(), &name.into()));
}

async fn control_frames_between_fragments_are_answered_at_once(broker: TestBroker) {
    let (_node, mut raw) = connect(&broker).await;
    raw.send(&frame(TEXT, b"{\"type\":")).await;
    for payload in [&b"one"[..], b"", b"two"] {
        raw.send(&frame(FIN | PING, payload)).await;
        assert_eq!(
            raw.frame().await,
            Frame { opcode: PONG, payload: payload.to_vec() },
            "a Ping is answered before the message is complete"
        );
    }
    raw.send(&frame(CONTINUATION, b"\"pi")).await;
    raw.send(&frame(FIN | PONG, b"unasked")).await;
    raw.send(&frame(FIN | CONTINUATION, b"ng\"}")).await;
    assert_eq!(raw.json().await["type"], "pong");
}

async fn frames_that_arrive_byte_by_byte_are_read(broker: TestBroker) {
    let (_node, mut raw) = connect(&broker).await;
    let long = format!(r#"{{{}"type":"unsubscribe","sub":"x"}}"#, " ".repeat(200));
    for message in [text(PING_FRAME), text(&long), text(PING_FRAME)] {
        for byte in message {
            raw.send(&[byte]).await;
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(raw.json().await["type"], "pong");
    assert_eq!(raw.json().await["code"], "unknown-subscription");
    assert_eq!(raw.json().await["type"], "pong");
    for byte in frame(FIN | PING, b"abc") {
        raw.send(&[byte]).await;
    }
    assert_eq!(raw.frame().await, Frame { opcode: PONG, payload: b"abc".to_vec() });
}

async fn many_frames_in_one_segment_are_all_answered(broker: TestBroker) {
    let (_node, mut raw) = connect(&broker).await;
    let mut bytes = Vec::new();
    for n in 0..100 {
        bytes.extend(text(&format!(r#"{{"type":"subscribe","sub":"{n}","channel":"order-status"}}"#)));
        bytes.extend(text("nonsense"));
    }
    raw.send(&bytes).await;
    for n in 0..100 {
        let subscribed = raw.json().await;
        assert_eq!((&subscribed["type"], &subscribed["sub"]), (&"subscribed".into(), &n.to_string().into()));
        assert_eq!(raw.json().await["code"], "malformed-json");
    }
}

async fn a_ping_is_answered_with_its_payload(broker: TestBroker) {
    let (_node, mut raw) = connect(&broker).await;
    for payload in [vec![], b"hello".to_vec(), vec![0xff; 1], (0..125).collect()] {
        raw.send(&frame(FIN | PING, &payload)).await;
        assert_eq!(raw.frame().await, Frame { opcode: PONG, payload });
    }
}

async fn an_unsolicited_pong_is_ignored(broker: TestBroker) {
    let (_node, mut raw) = connect(&broker).await;
    raw.send(&[frame(FIN | PONG, b""), frame(FIN | PONG, &[7; 125]), text(PING_FRAME)].concat()).await;
    assert_eq!(raw.json().await["type"], "pong");
}

async fn a_message_of_exactly_max_frame_bytes_is_accepted(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.max_frame_bytes = 70_000).await;
    let mut raw = RawConnection::open(&node).await;
    let largest = format!("{}{PING_FRAME}", " ".repeat(70_000 - PING_FRAME.len()));
    raw.send(&text(&largest)).await;
    assert_eq!(raw.json().await["type"], "pong");
    let (first, second) = largest.as_bytes().split_at(35_000);
    raw.send(&[frame(TEXT, first), frame(FIN | CONTINUATION, second)].concat()).await;
    assert_eq!(raw.json().await["type"], "pong");
}
