//! The daemon answers a handshake in the same way whether its own parser or hyper reads it.
//!
//! The test makes many requests out of a valid handshake, most of them wrong or odd, and sends each over both.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tidings::config::BrokerUrl;

use crate::support::node::{Node, config};
use crate::support::raw::{RawConnection, Reader, Target, close, handshake_headers};
use crate::support::seed;

/// The requests that are compared.
const REQUESTS: usize = 600;

const REQUEST_LINES: [&str; 22] = [
    "GET /v1/ws?channel=order-status HTTP/1.1",
    "GET /v1/ws?channel=order-status&channel=inventory-change HTTP/1.1",
    "GET /v1/ws?channel=order-status&channel=nope&where=%7B%22orderId%22%3A%221%22%7D HTTP/1.1",
    "GET /v1/ws?channel=order-status&where={\"orderId\":\"1\"} HTTP/1.1",
    "GET /v1/ws?channel=order-status&where={} HTTP/1.1",
    "GET /v1/ws?channel=order-status&since=now HTTP/1.1",
    "GET /v1/ws?channel=order-status&since=start HTTP/1.1",
    "GET /v1/ws?channel=order%2Dstatus&since=never HTTP/1.1",
    "GET /v1/ws?since=now HTTP/1.1",
    "GET /v1/ws?chanel=order-status HTTP/1.1",
    "GET /v1/ws? HTTP/1.1",
    "GET /v1/ws?channel=order-status#part HTTP/1.1",
    "GET /v1/ws?channel=\u{e9} HTTP/1.1",
    "GET /v1/ws/ HTTP/1.1",
    "GET /v1/wsx HTTP/1.1",
    "GET /v1/w%73 HTTP/1.1",
    "GET http://localhost/v1/ws HTTP/1.1",
    "GET /v1/ws HTTP/1.0",
    "GET /v1/ws HTTP/2.0",
    "POST /v1/ws HTTP/1.1",
    "get /v1/ws HTTP/1.1",
    "GET  /v1/ws HTTP/1.1",
];

const LINES: [&str; 44] = [
    "Origin: http://localhost:3000",
    "Origin: https://evil.example",
    "origin: null",
    "Host: localhost:7400",
    "X-Forwarded-For: 192.0.2.1",
    "Host: 127.0.0.1.evil.example",
    "Host: other",
    "host:",
    "Connection: keep-alive",
    "Connection: keep-alive,  Upgrade ,x",
    "Connection: close",
    "connection: upgrade",
    "Connection: Upgrade\u{e9}",
    "Upgrade: h2c, WebSocket",
    "Upgrade: h2c",
    "Upgrade: websocket2",
    "Sec-WebSocket-Version: 8",
    "Sec-WebSocket-Version: 13, 8",
    "Sec-WebSocket-Version:13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Key: short",
    "SEC-WEBSOCKET-KEY:   AAAAAAAAAAAAAAAAAAAAAA==\t",
    "Sec-WebSocket-Protocol: tidings.v1",
    "Sec-WebSocket-Protocol: a, tidings.v1 ,b",
    "Sec-WebSocket-Protocol: TIDINGS.V1",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8",
    "Sec-WebSocket-Extensions: x-unknown; a=1",
    "Sec-WebSocket-Extensions: permessage-deflate;",
    "X-Request-Id: mine",
    "x-request-id: other",
    "X-Request-Id: not usable",
    "X-Request-Id:",
    "Content-Length: 0",
    "Content-Length: 4",
    "Content-Length: x",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: x",
    "Expect: 100-continue",
    "Bad Header: x",
    "No-Colon",
    " folded",
    "X-Control: a\u{1}b",
    "Accept-Language: de\t,en",
];

/// A request, complete up to the empty line, and a Close behind it.
fn request(random: &mut StdRng) -> Vec<u8> {
    let first = match random.random_bool(0.5) {
        true => "GET /v1/ws HTTP/1.1",
        false => REQUEST_LINES.choose(random).expect("one"),
    };
    let mut lines: Vec<String> = handshake_headers().into_iter().map(str::to_owned).collect();
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..lines.len());
        match random.random_range(0..10) {
            0 => drop(lines.remove(at)),
            1 => lines.push(lines[at].clone()),
            2 => lines[at] = lines[at].to_ascii_uppercase(),
            3 => lines[at] = lines[at].to_ascii_lowercase(),
            4 => lines.push(format!("Cookie: {}", "x".repeat(random.random_range(0..12_000)))),
            5 => lines.extend((0..random.random_range(0..150)).map(|number| format!("X-{number}: {number}"))),
            _ => lines.insert(at, (*LINES.choose(random).expect("one")).to_owned()),
        }
        if lines.is_empty() {
            break;
        }
    }
    let end = if random.random_bool(0.9) { "\r\n" } else { "\n" };
    let mut request =
        [vec![first.to_owned()], lines, vec![String::new(), String::new()]].concat().join(end).into_bytes();
    request.extend(close(1000));
    request
}

/// Everything that the daemon answers, up to the end of the connection. What differs each time is masked.
async fn answer(node: &Node, reader: Reader, request: &[u8]) -> String {
    let mut raw = RawConnection::connect(Target { reader, address: node.address }).await;
    raw.send(request).await;
    let answer = raw.read_to_end().await;
    let answer = answer.iter().map(|byte| char::from(*byte)).collect::<String>();
    answer.lines().map(|line| if line.starts_with("date: ") { "date" } else { line }).map(mask_ids).collect()
}

/// The line without UUIDs.
fn mask_ids(line: &str) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let is_id = |text: &str| {
            text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
        };
        let (kept, length) = match rest.get(..36).is_some_and(is_id) {
            true => ("ID", 36),
            false => (&rest[..next.len_utf8()], next.len_utf8()),
        };
        masked.push_str(kept);
        rest = &rest[length..];
    }
    masked + "\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_is_answered_the_same_whoever_reads_it() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut opened = 0;
    for compression in [false, true] {
        let mut config = config(BrokerUrl::Memory);
        config.websocket.compression = compression;
        // The first heartbeat of a connection may come at any time.
        config.websocket.heartbeat = Duration::from_secs(3600);
        let node = Node::start(config).await;
        for _ in 0..REQUESTS / 2 {
            let request = request(&mut random);
            let direct = answer(&node, Reader::Direct, &request).await;
            let by_hyper = answer(&node, Reader::Hyper, &request).await;
            assert_eq!(direct, by_hyper, "{}", String::from_utf8_lossy(&request));
            opened += usize::from(direct.starts_with("HTTP/1.1 101 "));
        }
    }
    // Otherwise the requests would only compare hyper with itself.
    assert!(opened > REQUESTS / 10, "{opened}");
}
