//! `error` frames, and the reasons of close frames.

use serde_json::json;
use tidings::config::BrokerUrl;
use tokio_tungstenite::tungstenite::Message;

use super::table::Table;
use crate::support::node::{self, Node};
use crate::support::raw::{self, RawConnection};
use crate::support::subscriber::Subscriber;

pub async fn provoke(table: &mut Table) {
    let mut config = node::config(BrokerUrl::Memory);
    config.websocket.max_subscriptions = 2;
    config.websocket.max_frame_bytes = 1024;
    let node = Node::start(config).await;
    table.section("WebSocket: frames");
    let mut subscriber = Subscriber::to(&node, "order-status").await;
    node.publish(&json!({"type": "order-status", "data": {"orderId": "1", "newStatus": "shipped"}})).await;
    subscriber.event().await;
    for text in [
        "hello",
        "[]",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":"subcribe","sub":"t","channel":"order-status"}"#,
        r#"{"type":"event"}"#,
        r#"{"type":"subscribe","channel":"order-status"}"#,
        r#"{"type":"subscribe","sub":7,"channel":"order-status"}"#,
        r#"{"type":"subscribe","sub":"","channel":"order-status"}"#,
        r#"{"type":"subscribe","sub":"t","channel":"order-status","were":{}}"#,
        r#"{"type":"subscribe","sub":"t","channel":"order-status","filter":{}}"#,
        r#"{"type":"subscribe","sub":"t","channel":"order-statu"}"#,
        r#"{"type":"subscribe","sub":"t","channel":"nonsense"}"#,
        r#"{"type":"subscribe","sub":"t","channel":"order-status","where":{"newStatus":"shippd"}}"#,
        r#"{"type":"subscribe","sub":"t","channel":"order-status","where":{"orderid":"1"}}"#,
        r#"{"type":"subscribe","sub":"t","channel":"order-status","since":"yesterday"}"#,
        r#"{"type":"subscribe","sub":"t","channel":"order-status","since":"start"}"#,
        r#"{"type":"subscribe","sub":"s","channel":"order-status"}"#,
        r#"{"type":"unsubscribe","sub":"t"}"#,
        r#"{"type":"ping","extra":1}"#,
    ] {
        subscriber.send(Message::text(text)).await;
        table.frame(text, &subscriber.frame_of("error").await);
    }
    subscriber.subscribe("t", "data-update").await;
    let one_more = r#"{"type":"subscribe","sub":"u","channel":"data-update"}"#;
    subscriber.send(Message::text(one_more)).await;
    table.frame(&format!("{one_more}, with max_subscriptions = 2"), &subscriber.frame_of("error").await);
    for query in [
        "channel=order-statu",
        "chanel=order-status",
        "since=10m",
        "channel=order-status&channel=data-update&since=k3:4",
    ] {
        let path = format!("/v1/ws?{query}");
        let mut subscriber = Subscriber::connect_to(&node, &path).await;
        table.frame(&format!("GET {path}"), &subscriber.frame_of("error").await);
    }

    table.section("WebSocket: close reasons");
    for (what, bytes) in [
        ("a binary frame", raw::frame(0x82, b"x")),
        ("a frame without a mask", raw::unmasked(0x81, b"x")),
        ("a message of 2 KiB, with max_frame_bytes = 1024", raw::frame(0x81, &[b'x'; 2048])),
        ("text that is not UTF-8", raw::frame(0x81, b"\xff")),
        ("an unknown opcode", raw::frame(0x83, b"x")),
        ("a fragmented Ping", raw::frame(0x09, b"x")),
        ("a reserved bit", raw::frame(0xA1, b"x")),
        ("a continuation of nothing", raw::frame(0x80, b"x")),
        ("half a close code", raw::frame(0x88, b"x")),
        ("a close code that may not be sent", raw::frame(0x88, &1005_u16.to_be_bytes())),
        ("a close reason that is not UTF-8", raw::frame(0x88, &[0x03, 0xE8, 0xFF])),
    ] {
        let mut connection = RawConnection::open(&node).await;
        connection.send(&bytes).await;
        let (code, reason) = close(&mut connection).await;
        table.add(what, &format!("{code} {reason}"));
    }
}

/// The code and the reason of the close frame that comes.
async fn close(connection: &mut RawConnection) -> (u16, String) {
    loop {
        let frame = connection.frame().await;
        if frame.opcode == 0x8 {
            let (code, reason) = frame.payload.split_at(2);
            return (u16::from_be_bytes([code[0], code[1]]), String::from_utf8(reason.to_vec()).unwrap());
        }
    }
}
