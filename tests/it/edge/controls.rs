//! Control characters from outside never reach a log line, an event stream's line or a header as they are.

use serde_json::json;
use tokio::io::AsyncReadExt;

use super::node_with;
use crate::support::daemon::Daemon;
use crate::support::events::{sale, with, with_data};
use crate::support::raw::{RawConnection, text};
use crate::support::within;

#[tokio::test]
async fn an_attribute_with_a_control_character_is_refused() {
    let node = node_with(|_| {}).await;
    for odd in ["a\rb", "a\nb", "a\0b", "a\u{1b}[2Jb", "a\u{7f}b", "a\u{85}b", "a\u{9b}b"] {
        for attribute in ["id", "source", "subject", "causationid", "myextension"] {
            node.post(&with(sale("1"), attribute, odd)).await.pointers("invalid-event");
        }
    }
}

#[tokio::test]
async fn a_line_of_an_event_stream_is_one_line() {
    let node = node_with(|_| {}).await;
    let mut raw = RawConnection::connect(node.address).await;
    raw.send(b"GET /v1/stream?channel=inventory-change HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(raw.head().await.status, 200);
    // Line ends within a text are escaped in JSON. Those between its tokens are the publisher's own.
    let odd = "x\r\nevent: gap\r\ndata: forged\n\n\r\rid: 7\0\u{1b}[2J\u{85}\u{2028}";
    let escaped = with_data(sale("first"), "reason", odd).to_string();
    let spaced = "{\"type\"\r\n:\r\"inventory-change\",\r\r\"data\":\r\n\n{\"productId\":\"second\",\n\n\"oldQuantity\"\r:1,\"newQuantity\":2,\"reason\":\"x\"\r\n}\n\n}\r\n\r\n";
    for body in [escaped.as_str(), spaced] {
        assert_eq!(node.post_as("application/json", body.to_owned()).await.status, 202, "{body:?}");
    }
    let mut stream = raw.unread();
    within("both events", async {
        while !String::from_utf8_lossy(&stream).contains("second") || !stream.ends_with(b"\n\n") {
            assert!(raw.stream.read_buf(&mut stream).await.unwrap() > 0, "{}", String::from_utf8_lossy(&stream));
        }
    })
    .await;
    let stream = String::from_utf8(stream).unwrap();
    assert!(
        !stream.contains('\r') && !stream.chars().any(|char| char.is_control() && char != '\n' && char != '\u{85}')
    );
    let mut events = 0;
    for line in stream.lines().filter(|line| !line.is_empty() && !line.starts_with(':')) {
        let (field, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
        match field {
            "event" => assert!(["inventory-change", "cursor"].contains(&value), "{line:?}"),
            "data" if value.contains("productId") => {
                events += 1;
                serde_json::from_str::<serde_json::Value>(value).unwrap_or_else(|error| panic!("{error}: {value:?}"));
            }
            "data" | "id" | "retry" => assert!(!value.contains("forged") && value != "7"),
            _ => panic!("{line:?}"),
        }
    }
    assert_eq!(events, 2, "{stream}");
}

/// Requests with control characters wherever a client can put them: raw, percent-encoded, and as UTF-8 of C1.
fn odd_requests() -> Vec<Vec<u8>> {
    let heads: [&[u8]; 9] = [
        b"GET /%0d%0aforged%1b%5b2J%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/stream?channel=%0d%0aforged%1b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/events?limit=%0aforged%1b%9b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/channels HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: \xc2\x9bforged\r\n\r\n",
        b"GET /v1/channels HTTP/1.1\r\nHost: localhost\r\nOrigin: https://\xc2\x9b31mforged\xc2\x85\r\n\r\n",
        b"GET /v1/channels HTTP/1.1\r\nHost: \xc2\x9b31mforged\xc2\x85\r\n\r\n",
        b"GET /v1/channels HTTP/1.1\r\nHost: localhost\r\nX: a\x1b[2Jforged\r\n\r\n",
        b"GET /v1/channels HTTP/1.1\r\nHost: localhost\r\nX: a\0forged\r\n\r\n",
        b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nSec-WebSocket-Protocol: \xc2\x9bforged\r\nUpgrade: \xc2\x9b\r\n\r\n",
    ];
    let mut requests: Vec<Vec<u8>> = heads.map(<[u8]>::to_vec).into();
    for document in [json!({"type": "\r\nforged\u{1b}[2J\u{9b}"}), with(sale("1"), "\r\nforged\u{1b}", "x")] {
        let body = document.to_string();
        let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:";
        requests.push(format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes());
    }
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_and_headers_have_no_control_characters_from_outside() {
    for format in ["json", "pretty"] {
        let folder = tempfile::tempdir().unwrap();
        let flags = ["--listen", "127.0.0.1:0", "--log-level", "debug"];
        let daemon = Daemon::starting(&flags, folder, |_| {});
        let address = daemon.url.strip_prefix("http://").unwrap().parse::<std::net::SocketAddr>().unwrap();
        // The daemon's own format is JSON in these tests; the other is started beside it.
        let (process, address) = match format {
            "json" => (daemon.process, address),
            _ => {
                let mut command =
                    crate::support::daemon::tidings(daemon.folder.path(), &["serve", "--log-format", "pretty"]);
                command.args(flags);
                let process = crate::support::daemon::Running::start(command);
                let line = process.said("http://127.0.0.1:");
                let after = line.split_once("http://").unwrap().1;
                let address: String =
                    after.chars().take_while(|char| char.is_ascii_digit() || ".:".contains(*char)).collect();
                (process, address.parse().unwrap())
            }
        };
        for request in odd_requests() {
            let mut raw = RawConnection::connect(address).await;
            raw.send(&request).await;
            // `head` fails the test where a header is no text.
            let head = raw.head().await;
            assert!(head.status >= 200);
            let values = head.values().collect::<Vec<_>>();
            assert!(!values.iter().any(|value| value.chars().any(char::is_control)), "{head:?}");
            assert!(!values.iter().any(|value| value.contains("forged")), "{head:?}");
        }
        let mut raw = RawConnection::open_at(address).await;
        raw.send(&text("{\"type\":\"subscribe\",\"sub\":\"\\r\\nforged\\u001b\",\"channel\":\"\\r\\nforged\\u009b\"}"))
            .await;
        assert_eq!(raw.json().await["type"], "error");
        process.signal("TERM");
        let err = process.ended().err;
        assert!(err.contains("refused"), "{format}: {err}");
        for line in err.lines() {
            let odd = |char: char| char.is_control() && char != '\t';
            assert!(!line.chars().any(odd), "{format}: {line:?}");
            assert!(!line.trim_start().starts_with("forged"), "{format}: {line:?}");
        }
    }
}
