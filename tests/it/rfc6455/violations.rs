//! Protocol violations (RFC 6455): the daemon closes with the code for each (1002, 1003, 1007, 1009), and ends the connection
//! cleanly.

use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::node::Node;
use crate::support::raw::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RawConnection, TEXT, close, frame, text, unmasked,
};

over_each_broker_and_reader!(
    invalid_framing_is_closed_with_1002,
    a_binary_message_is_closed_with_1003,
    text_that_is_not_utf8_is_closed_with_1007,
    a_message_over_the_limit_is_closed_with_1009_from_its_header_alone,
    an_invalid_close_frame_is_closed_with_1002,
    the_close_code_reaches_a_client_that_keeps_sending,
);

/// Sends these bytes and returns the close code of the daemon. The connection must then end without a reset.
async fn code_for(node: &Node, bytes: &[u8]) -> u16 {
    let mut raw = RawConnection::open(node).await;
    raw.send(bytes).await;
    let code = raw.close_code().await;
    raw.send(&close(code)).await;
    raw.expect_end().await;
    code
}

async fn invalid_framing_is_closed_with_1002(broker: TestBroker) {
    let node = broker.node().await;
    let mut wrong = vec![
        ("without a mask", unmasked(FIN | TEXT, b"{}")),
        ("an unmasked Ping", unmasked(FIN | PING, b"")),
        ("a continuation without a message", frame(FIN | CONTINUATION, b"x")),
        ("an unfinished continuation without a message", frame(CONTINUATION, b"")),
        ("a text within a text", [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat()),
        ("a Ping in fragments", frame(PING, b"x")),
        ("a Close in fragments", frame(CLOSE, &[3, 232])),
        ("a Ping too long", frame(FIN | PING, &[0; 126])),
        ("a Pong too long", frame(FIN | PONG, &[0; 126])),
        ("a Close too long", frame(FIN | CLOSE, &[b'x'; 126])),
    ];
    for bit in [0x40, 0x20, 0x10] {
        wrong.push(("a reserved bit", frame(FIN | bit | TEXT, b"{}")));
        wrong.push(("a reserved bit of a Ping", frame(FIN | bit | PING, b"")));
    }
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        wrong.push(("a reserved opcode", frame(FIN | opcode, b"")));
    }
    for (what, bytes) in wrong {
        assert_eq!(code_for(&node, &bytes).await, 1002, "{what}: {bytes:x?}");
    }
}

async fn a_binary_message_is_closed_with_1003(broker: TestBroker) {
    let node = broker.node().await;
    assert_eq!(code_for(&node, &frame(FIN | BINARY, br#"{"type":"ping"}"#)).await, 1003);
    assert_eq!(code_for(&node, &frame(FIN | BINARY, b"")).await, 1003);
    let fragments = [frame(BINARY, b"a"), frame(FIN | CONTINUATION, b"b")].concat();
    assert_eq!(code_for(&node, &fragments).await, 1003);
}

async fn text_that_is_not_utf8_is_closed_with_1007(broker: TestBroker) {
    let node = broker.node().await;
    for bytes in [
        &b"\xff"[..],
        b"\xc3",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    ] {
        assert_eq!(code_for(&node, &frame(FIN | TEXT, bytes)).await, 1007, "{bytes:x?}");
    }
    let cut = [frame(TEXT, b"\xe2\x82"), frame(FIN | CONTINUATION, b"x")].concat();
    assert_eq!(code_for(&node, &cut).await, 1007, "a character that the next fragment does not finish");
    let reason = [&1000_u16.to_be_bytes()[..], b"\xff"].concat();
    assert_eq!(code_for(&node, &frame(FIN | CLOSE, &reason)).await, 1007, "a reason that is no UTF-8");
}

async fn a_message_over_the_limit_is_closed_with_1009_from_its_header_alone(broker: TestBroker) {
    let node = broker.node_with(|config| config.websocket.max_frame_bytes = 1000).await;
    assert_eq!(code_for(&node, &text(&" ".repeat(1001))).await, 1009);
    let fragments = [frame(TEXT, &[b' '; 600]), frame(CONTINUATION, &[b' '; 600])].concat();
    assert_eq!(code_for(&node, &fragments).await, 1009, "the sum of fragments counts");
    for length in [1 << 20, 1 << 40, (1_u64 << 63) - 1, u64::MAX] {
        let mut raw = RawConnection::open(&node).await;
        raw.send(&[&[FIN | TEXT, 0x80 | 127][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat()).await;
        assert_eq!(raw.close_code().await, 1009, "a frame of {length} bytes, of which only the header came");
    }
}

async fn an_invalid_close_frame_is_closed_with_1002(broker: TestBroker) {
    let node = broker.node().await;
    assert_eq!(code_for(&node, &frame(FIN | CLOSE, &[3])).await, 1002, "half a code");
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        assert_eq!(code_for(&node, &close(code)).await, 1002, "{code}");
    }
}

async fn the_close_code_reaches_a_client_that_keeps_sending(broker: TestBroker) {
    let node = broker.node().await;
    let mut raw = RawConnection::open(&node).await;
    let mut bytes = frame(FIN | BINARY, b"x");
    for _ in 0..2000 {
        bytes.extend(text(r#"{"type":"ping"}"#));
    }
    raw.send(&bytes).await;
    assert_eq!(raw.close_code().await, 1003);
    raw.expect_end().await;
}
