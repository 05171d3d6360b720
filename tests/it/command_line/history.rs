//! `tidings history` of a channel to which somebody publishes all the time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::daemon::Daemon;

const EVENT: &str = r#"{"type":"order-status","data":{"orderId":"1","newStatus":"shipped"}}"#;

/// Publishes an event.
fn publish(daemon: &str) {
    let mut stream = TcpStream::connect(daemon).unwrap();
    let length = EVENT.len();
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n";
    write!(stream, "{head}content-length: {length}\r\n\r\n{EVENT}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

/// A relay to the daemon. Before it passes on a question for events, it publishes one.
fn busy(daemon: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(&daemon).unwrap();
            let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            let daemon = daemon.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = client.read(&mut bytes) {
                    if bytes.starts_with(b"GET /v1/events") {
                        publish(&daemon);
                    }
                    server.write_all(&bytes[..n]).unwrap();
                }
            });
        }
    });
    url
}

#[test]
fn history_ends_while_events_are_published() {
    let daemon = Daemon::start();
    let address = daemon.url.strip_prefix("http://").unwrap().to_owned();
    for _ in 0..3 {
        publish(&address);
    }
    let url = busy(address);
    for (arguments, least) in [
        (&[][..], 3),
        (&["--since", "10m"], 3),
        (&["--since", "now"], 0),
        (&["--where", "orderId=1"], 3),
        (&["--where", "orderId=none"], 0),
    ] {
        let all = ["history", "order-status", "--limit", "4294967295", "--json", "--url", &url];
        let history = daemon.run(&[&all[..], arguments].concat());
        assert_eq!((history.code, &*history.err), (Some(0), ""), "{arguments:?} {history:?}");
        let printed = history.out.lines().count();
        // One more for each question, and there are few.
        assert!((least..least + 20).contains(&printed), "{arguments:?} {history:?}");
    }
}
