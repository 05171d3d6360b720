//! What the Rust client says of servers that are no daemon, and of proxies that do not pass everything on.

use tidings::client::{Client, Subscription, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use tidings::config::BrokerUrl;

use super::table::Table;
use crate::support::node::{self, Node};

const HTML: &str = "content-type: text/html\r\ncontent-length: 0\r\nconnection: close";

pub async fn provoke(table: &mut Table) {
    table.section("The Rust client");
    for url in [
        "",
        "nonsense",
        "localhost:7400",
        "127.0.0.1:7400",
        "http://127.0.0.1:4300000",
        "wss://bus.example.com",
        "ws://127.0.0.1:7400",
        "ftp://127.0.0.1",
    ] {
        table.add(&format!("Client::new({url:?})"), &Client::new(url).err().expect("it is refused").to_string());
    }
    table.add("Client::for_nodes([])", &Client::for_nodes([""; 0]).err().expect("it is refused").to_string());
    for (what, response) in [
        ("an HTML page", format!("HTTP/1.1 200 OK\r\n{HTML}\r\n\r\n")),
        ("404 with HTML", format!("HTTP/1.1 404 Not Found\r\n{HTML}\r\n\r\n")),
        ("502 of a proxy", format!("HTTP/1.1 502 Bad Gateway\r\n{HTML}\r\n\r\n")),
        ("429 of a proxy", format!("HTTP/1.1 429 Too Many Requests\r\n{HTML}\r\n\r\n")),
        ("a redirect to HTTPS", format!("HTTP/1.1 301 Moved\r\nlocation: https://bus.example.com/\r\n{HTML}\r\n\r\n")),
        ("a TLS alert, as of an HTTPS port", "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{50}".to_owned()),
        (
            "426 of a daemon behind a proxy that drops `Upgrade`",
            "HTTP/1.1 426 Upgrade Required\r\ncontent-type: application/problem+json\r\ncontent-length: 27\r\n\
             connection: close\r\n\r\n{\"code\":\"upgrade-required\"}"
                .to_owned(),
        ),
        ("101 without its headers", "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned()),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        });
        let client = Client::new(&url).unwrap();
        if !what.starts_with("426") && !what.starts_with("101") {
            let error = client.channels().await.expect_err("no daemon");
            table.add(&format!("channels(), answered by {what}"), &error.to_string());
        }
        let first = client.subscribe([Subscription::to("order-status")]).next().await;
        let text = match first {
            Ok(tidings::client::Update::Disconnected { reason, .. }) => reason,
            other => other.expect_err("no daemon").to_string(),
        };
        table.add(&format!("subscribe(), answered by {what}"), &text);
        served.abort();
    }
    let unavailable = "HTTP/1.1 503 X\r\nretry-after: 3600\r\ncontent-length: 29\r\nconnection: close\r\n\r\n{\"code\":\"broker-unavailable\"}";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // The event has arrived when its last brace has.
        let mut request = Vec::new();
        while !request.ends_with(b"}") && stream.read_buf(&mut request).await.unwrap() > 0 {}
        stream.write_all(unavailable.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let unconfirmed = client.publish(&serde_json::json!({"type": "order-status", "data": {}})).await;
    table.add("publish(), answered by 503 broker-unavailable", &unconfirmed.expect_err("a 503").to_string());
    served.await.unwrap();
    let mut config = node::config(BrokerUrl::Memory);
    config.websocket.max_frame_bytes = 64;
    let node = Node::start(config).await;
    let client = Client::new(&node.url("")).unwrap();
    let mut subscriber = client.subscribe([Subscription::to(&"order-status".repeat(10))]);
    let closed = loop {
        if let Err(error) = subscriber.next().await {
            break error;
        }
    };
    table.add("subscribe() with a frame over max_frame_bytes", &closed.to_string());
    let mut client = Client::new("http://127.0.0.1:1").unwrap();
    table.add("channels(), nothing listens", &client.channels().await.expect_err("nothing listens").to_string());
    client = client.with_token("a\nb");
    let refused = client.subscribe([Subscription::to("a")]).next().await;
    table.add("subscribe() with a token of two lines", &refused.expect_err("no header").to_string());
    tokens(table).await;
}

/// What the client says of its token.
async fn tokens(table: &mut Table) {
    let client = Client::new("http://127.0.0.1:1").unwrap();
    let empty = client.clone().with_token("").channels().await;
    table.add("channels() with an empty token", &empty.expect_err("no token").to_string());
    let failing = Token::from_provider(|| async { Err("the login server is away") });
    let failed = client.with_token(failing).channels().await;
    table.add("channels(), the provider of the tokens fails", &failed.expect_err("no token").to_string());
    let refusal = "HTTP/1.1 401 X\r\ncontent-length: 26\r\nconnection: close\r\n\r\n{\"code\":\"unauthenticated\"}";
    for token in [None, Some("t")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        client = token.into_iter().fold(client, Client::with_token);
        let served = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
            stream.write_all(refusal.as_bytes()).await.unwrap();
        };
        let (refused, ()) = tokio::join!(client.channels(), served);
        let with = if token.is_some() { "with a token" } else { "without a token" };
        table.add(&format!("channels() {with}, answered by 401"), &refused.expect_err("a 401").to_string());
    }
    for code in [4004, 4005] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap().with_token("t");
        let served = async {
            let (stream, _) = listener.accept().await.unwrap();
            #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
            let accepted = accept_hdr_async(stream, |_: &Request, mut response: Response| {
                response.headers_mut().insert("sec-websocket-protocol", "tidings.v1".parse().unwrap());
                Ok(response)
            });
            let mut socket = accepted.await.unwrap();
            socket.close(Some(CloseFrame { code: code.into(), reason: "".into() })).await.unwrap();
            socket
        };
        let mut subscriber = client.subscribe([Subscription::to("a")]);
        let (closed, _socket) = tokio::join!(subscriber.next(), served);
        table.add(&format!("subscribe(), closed with {code}"), &closed.expect_err("it is final").to_string());
    }
}
