//! A daemon that has opened as many files as it may: it refuses new clients at once and serves the old ones.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::raw::{RawConnection, handshake, handshake_headers, text};
use crate::support::{until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_free_file_new_clients_are_refused_and_old_ones_served() {
    let flags = ["--listen", "127.0.0.1:0", "--max-connections", "100000"];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    let address: SocketAddr = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut old = RawConnection::open_at(address).await;
    let limit = Command::new("prlimit").args(["--pid", &daemon.process.id().to_string(), "--nofile=64:64"]).status();
    assert!(limit.unwrap().success());
    let mut open = Vec::new();
    // More than there are files: all are answered, by a 101 or by a 503 from the kernel's queue.
    let mut refused = 0;
    for _ in 0..100 {
        let mut raw = RawConnection::connect(address).await;
        // The refusal may come before the request is sent, and the reset with it.
        let _ = within(
            "the request",
            tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &handshake(&handshake_headers())),
        )
        .await;
        let answer = raw.first_line().await;
        match answer.as_deref() {
            Some("HTTP/1.1 101 Switching Protocols") => open.push(raw),
            None | Some("HTTP/1.1 503 Service Unavailable") => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused >= 30 && open.len() > 20, "{refused} refused, {} open", open.len());
    old.send(&text(r#"{"type":"ping"}"#)).await;
    assert_eq!(old.json().await["type"], "pong");
    daemon.process.said("cannot accept connections");
    drop(open);
    until("there are free files", async || {
        let mut raw = RawConnection::connect(address).await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &handshake(&handshake_headers())).await;
        (raw.first_line().await.as_deref() == Some("HTTP/1.1 101 Switching Protocols")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_a_tenth_of_the_files_is_left_for_other_uses() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("limited.sh");
    std::fs::write(
        &program,
        format!("ulimit -n 400\nexec {} serve --log-format json --listen 127.0.0.1:0\n", env!("CARGO_BIN_EXE_tidings")),
    )
    .unwrap();
    let mut command = Command::new("sh");
    command.arg(&program).current_dir(folder.path());
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let process = crate::support::daemon::Running::start(command);
    let listening: Value = serde_json::from_str(&process.said(r#""message":"listening""#)).unwrap();
    let address: SocketAddr = listening["url"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let mut open = Vec::new();
    loop {
        let mut raw = RawConnection::connect(address).await;
        raw.send(&handshake(&handshake_headers())).await;
        let head = raw.head().await;
        if head.status != 101 {
            assert_eq!((head.status, head.all("retry-after").len()), (503, 1), "{head:?}");
            let problem: Value = serde_json::from_slice(&raw.body(&head).await).unwrap();
            assert_eq!(problem["code"], "overloaded");
            break;
        }
        open.push(raw);
    }
    assert_eq!(open.len(), 360);
}
