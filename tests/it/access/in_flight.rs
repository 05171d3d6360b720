//! Answers with events whose credential ends while they are sent: nothing is delivered after its end.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::{Value, json};
use tidings::config::BrokerUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::world::{World, now};
use crate::latest::{ORDERS, keeping};
use crate::support::events::{order, with};
use crate::support::node::{self, Node};
use crate::support::{until, within};

/// The routes whose answers have many events.
const PATHS: [&str; 2] = ["/v1/events?channel=order-status&limit=1000", "/v1/latest/order-status?limit=1000"];

/// A node with 12 MB of events, which is more than the buffers of two sockets hold.
async fn filled() -> (World, Node, String) {
    let world = World::with("", "");
    let text = std::fs::read_to_string(world.file()).unwrap();
    std::fs::write(world.file(), format!("clock_skew = \"0s\"\n{text}")).unwrap();
    let mut config = world.over(node::config(BrokerUrl::Memory));
    keeping(&mut config);
    let node = Node::start(config).await;
    let admin = world.token(json!({"sub": "admin", "tidings": {"publish": ["*"], "admin": ["revoke"]}}));
    for batch in 0..4 {
        let event = |number| with(order(&format!("o{batch}-{number}")), "padding", "x".repeat(60_000));
        node.publish_as(&admin, &Value::from_iter((0..50).map(event))).await;
    }
    (world, node, admin)
}

/// A client that sends a request and reads no more than the head of its response; and the length of the body.
async fn asking(address: SocketAddr, path: &str, token: &str) -> (TcpStream, usize) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let mut client = socket.connect(address).await.unwrap();
    let length = ask(&mut client, path, token).await;
    (client, length)
}

async fn ask(client: &mut TcpStream, path: &str, token: &str) -> usize {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("a head", client.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    length.parse().unwrap()
}

/// Waits until the connection is cut, and reads what had arrived.
async fn rest(client: &mut TcpStream) -> usize {
    until("the connection is cut", async || client.take_error().unwrap().map(drop)).await;
    let mut rest = Vec::new();
    let _ = within("the end", client.read_to_end(&mut rest)).await;
    rest.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_flight_ends_with_its_token() {
    let (world, node, _) = filled().await;
    for path in PATHS {
        let token = world.token(json!({"exp": now() + 3, "tidings": {"subscribe": [ORDERS]}}));
        let (mut client, length) = asking(node.address, path, &token).await;
        let rest = rest(&mut client).await;
        assert!(length > 10_000_000 && rest < length, "{path}: {rest} of {length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_flight_ends_when_its_token_is_revoked() {
    let (world, node, admin) = filled().await;
    for path in PATHS {
        let [revoked, other] = ["r", "o"]
            .map(|name| world.token(json!({"jti": format!("{name}{path}"), "tidings": {"subscribe": [ORDERS]}})));
        let (mut client, length) = asking(node.address, path, &revoked).await;
        let (mut spared, whole) = asking(node.address, path, &other).await;
        // An answer that was sent before has no effect on its connection.
        let (mut done, short) = asking(node.address, "/v1/events?channel=order-status&limit=1", &revoked).await;
        within("the answer", done.read_exact(&mut vec![0; short])).await.unwrap();
        let response =
            node.ask(Method::POST, "/v1/revocations", &admin, Some(&json!({"jti": format!("r{path}")}))).await;
        assert_eq!(response.status, 204, "{}", response.text);
        let rest = rest(&mut client).await;
        assert!(rest < length, "{path}: {rest} of {length}");
        within("the answer", spared.read_exact(&mut vec![0; whole])).await.unwrap();
        ask(&mut done, "/healthz", "").await;
    }
}
