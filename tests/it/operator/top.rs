//! `tidings top` with the real binary: slow consumers, the channels that are counted, and what becomes of the terminal.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::events::{sale, with};
use crate::support::raw::{self, RawConnection, Reader, Target};
use crate::support::until;

/// The real binary: a subscriber that stands still is what `top` shows as a slow consumer.
#[test]
fn top_shows_slow_consumers() {
    let daemon = Daemon::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let look = runtime.block_on(async {
        let address = daemon.url.strip_prefix("http://").unwrap().parse().unwrap();
        let mut slow = RawConnection::open_at(Target { address, reader: Reader::Direct }).await;
        slow.send(&raw::text(r#"{"type":"subscribe","sub":"s","channel":"inventory-change"}"#)).await;
        assert_eq!(slow.json().await["type"], "subscribed");
        let events: Vec<Value> = (0..100).map(|n| with(sale(&n.to_string()), "padding", "x".repeat(1000))).collect();
        let (http, events) = (reqwest::Client::new(), json!(events).to_string());
        until("it is behind", async || {
            let publish = http.post(format!("{}/v1/events", daemon.url)).header("content-type", "application/json");
            assert_eq!(publish.body(events.clone()).send().await.unwrap().status(), 202);
            let listed = http.get(format!("{}/v1/connections?limit=1", daemon.url)).send().await.unwrap();
            let listed: Value = listed.json().await.unwrap();
            // Far more than the kernel may still take, and less than the daemon closes the connection for.
            (listed["connections"][0]["bufferedBytes"].as_u64() > Some(256 * 1024)).then_some(())
        })
        .await;
        let top = daemon.run(&["top", "order-status", "--json", "--time", "100ms"]);
        let look: Value = serde_json::from_str(&top.out).unwrap_or_else(|_| panic!("{top:?}"));
        assert_eq!(look["slowConsumers"][0]["address"], slow.stream.local_addr().unwrap().to_string(), "{look}");
        look
    });
    assert_eq!(look["slowConsumers"].as_array().unwrap().len(), 1, "{look}");
    assert!(look["slowConsumers"][0]["bufferedBytes"].as_u64() > Some(0), "{look}");
}

/// The real binary: channels that are not counted are not shown, since they would have a rate of zero.
#[test]
fn top_shows_the_channels_that_it_counts() {
    let daemon = Daemon::start();
    for (arguments, expected) in [
        (&["order-status"][..], &["order-status"][..]),
        (&["--where", "newStatus=shipped"], &["order-status"]),
        (&["order-status", "data-update"], &["data-update", "order-status"]),
    ] {
        let top = daemon.run(&[&["top", "--json", "--time", "100ms"], arguments].concat());
        let look: Value = serde_json::from_str(&top.out).unwrap_or_else(|_| panic!("{top:?}"));
        let shown = look["channels"].as_array().unwrap().iter().map(|one| one["channel"].as_str().unwrap());
        let mut shown: Vec<_> = shown.collect();
        shown.sort_unstable();
        assert_eq!(shown, expected, "{arguments:?}");
    }
}

/// `tidings top` on a terminal of its own.
struct OnTerminal {
    script: Child,
    shown: Arc<Mutex<String>>,
    pid: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl OnTerminal {
    fn start(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut script = Command::new("script");
        script
            .args(["-qec", "stty rows 24 cols 100; echo $$ > pid; exec $TIDINGS top", "/dev/null"])
            .current_dir(folder.path());
        script.env("TIDINGS", env!("CARGO_BIN_EXE_tidings")).env("TIDINGS_URL", url).env("TERM", "xterm");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let shown = Arc::<Mutex<String>>::default();
        let (mut out, seen) = (script.stdout.take().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut bytes) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Self { script, shown, pid: folder.path().join("pid"), _folder: folder }
    }

    fn shows(&self, text: &str) {
        wait(text, || self.shown.lock().unwrap().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.script.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    fn ends(&mut self) {
        wait("it ends", || self.script.try_wait().unwrap().is_some());
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What became of a question that the relay holds back.
#[derive(Default)]
struct Held {
    is_on: AtomicBool,
    has_come: AtomicBool,
    is_over: AtomicBool,
}

/// A relay to the daemon that passes on no question about channels any more while it holds them.
fn relay(daemon: String, held: Arc<Held>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (mut server, held) = (TcpStream::connect(&daemon).unwrap(), held.clone());
            let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = client.read(&mut bytes) {
                    if held.is_on.load(Ordering::SeqCst) && bytes.starts_with(b"GET /v1/channels") {
                        held.has_come.store(true, Ordering::SeqCst);
                        let _ = client.read(&mut bytes);
                        held.is_over.store(true, Ordering::SeqCst);
                        return;
                    }
                    server.write_all(&bytes[..n]).unwrap();
                }
            });
        }
    });
    url
}

/// Keys work while the daemon hangs: with a question that it does not answer, the user may pause and leave.
#[test]
fn top_listens_to_keys_while_the_daemon_hangs() {
    let daemon = Daemon::start();
    let held = Arc::<Held>::default();
    let mut top = OnTerminal::start(&relay(daemon.url.replace("http://", ""), held.clone()));
    top.shows("leaves");
    held.is_on.store(true, Ordering::SeqCst);
    wait("a question is held back", || held.has_come.load(Ordering::SeqCst));
    top.press("p");
    top.shows("paused");
    assert!(!held.is_over.load(Ordering::SeqCst), "the key waited for the answer");
    top.press("q");
    top.ends();
}

/// SIGTERM, as of `timeout`, leaves the terminal as it was: on its first screen, and with its cursor.
#[test]
fn top_restores_the_terminal_when_it_is_terminated() {
    let daemon = Daemon::start();
    let mut top = OnTerminal::start(&daemon.url);
    top.shows("leaves");
    let pid = std::fs::read_to_string(&top.pid).unwrap();
    assert!(Command::new("kill").args(["-s", "TERM", pid.trim()]).status().unwrap().success());
    top.ends();
    top.shows("\u{1b}[?1049l");
    top.shows("\u{1b}[?25h");
}
