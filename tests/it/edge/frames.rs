//! Frames that announce or unfold to more than they may: refused at once, and at no cost.

use std::net::SocketAddr;

use super::{READERS, node_with};
use crate::support::daemon::Daemon;
use crate::support::deflate::deflated;
use crate::support::raw::{CONTINUATION, FIN, RSV1, RawConnection, TEXT, Target, frame, text};

const OFFER: &str =
    "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover";

#[tokio::test]
async fn lengths_that_no_memory_has_are_refused_by_their_header() {
    let node = node_with(|_| {}).await;
    for reader in READERS {
        for length in [1_u64 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, u64::MAX] {
            for first in [FIN | TEXT, TEXT] {
                let mut raw = RawConnection::open_at(Target { address: node.address, reader }).await;
                let header = [&[first, 0x80 | 127][..], &length.to_be_bytes(), &[1, 2, 3, 4], b"bytes"].concat();
                raw.send(&header).await;
                assert!([1002, 1009].contains(&raw.close_code().await), "{reader:?} {length}");
            }
            let mut raw = RawConnection::open_at(Target { address: node.address, reader }).await;
            raw.send(
                &[frame(TEXT, b"{"), [&[FIN | CONTINUATION, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()]
                    .concat(),
            )
            .await;
            assert!([1002, 1009].contains(&raw.close_code().await), "{reader:?} {length}");
        }
    }
    RawConnection::open(&node).await;
}

/// Each of many clients announces the largest message and sends one byte of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_only_announces_costs_no_memory() {
    const CLIENTS: usize = 300;
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--max-frame-bytes", "1MiB"], tempfile::tempdir().unwrap());
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let before = daemon.process.resident();
    let mut open = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = RawConnection::open_at(address).await;
        raw.send(&[&[FIN | TEXT, 0xff][..], &(1_u64 << 20).to_be_bytes(), &[0; 4], b"{"].concat()).await;
        open.push(raw);
    }
    let grown = daemon.process.resident().saturating_sub(before);
    assert!(grown < 16 << 20, "the daemon grew by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_inflates_a_thousandfold_is_cut_off() {
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--compression"], tempfile::tempdir().unwrap());
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let bomb = frame(FIN | RSV1 | TEXT, &deflated(&vec![b' '; 30 << 20]));
    assert!(bomb.len() < 60 << 10, "{}", bomb.len());
    let before = daemon.process.resident();
    for _ in 0..20 {
        let mut raw = RawConnection::open_with(address, &[OFFER]).await;
        raw.send(&bomb).await;
        assert_eq!(raw.close_code().await, 1009);
    }
    let grown = daemon.process.resident().saturating_sub(before);
    assert!(grown < 10 << 20, "the daemon grew by {grown} bytes");
}

/// Without a limit on frames: what a message of many small parts costs is bounded by its size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_tiny_parts_costs_no_memory() {
    let flags = ["--listen", "127.0.0.1:0", "--frame-rate", "1000000000"];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let before = daemon.process.resident();
    let mut empty = RawConnection::open_at(address).await;
    empty.send(&frame(TEXT, b"")).await;
    let parts = frame(CONTINUATION, b"").repeat(10_000);
    for _ in 0..100 {
        empty.send(&parts).await;
    }
    empty.send(&[frame(FIN | CONTINUATION, b"?"), text(r#"{"type":"ping"}"#)].concat()).await;
    assert_eq!(empty.json().await["code"], "malformed-json");
    assert_eq!(empty.json().await["type"], "pong");
    let mut single = RawConnection::open_at(address).await;
    single.send(&[frame(TEXT, b""), frame(CONTINUATION, b"x").repeat(66_000)].concat()).await;
    assert_eq!(single.close_code().await, 1009);
    let grown = daemon.process.resident().saturating_sub(before);
    assert!(grown < 8 << 20, "the daemon grew by {grown} bytes");
}
