//! A disk that is full: publishers are told 503, everything else goes on, and when there is room again so do they.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use super::load::{Ledger, Load, post, says_of_itself, status};
use crate::support::daemon::Daemon;
use crate::support::events::offset;
use crate::support::subscriber::Subscriber;
use crate::support::until;

/// How the disk becomes full.
enum Disk {
    /// It is small, and something else takes the rest of it.
    Small(Mount),
    /// No file may become larger, as with `ulimit -f`: for machines on which tests may not mount anything.
    Limited,
}

struct Mount(std::path::PathBuf);

impl Disk {
    fn at(folder: &Path) -> Self {
        fs::create_dir(folder.join("log")).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(folder.join("log")).status();
        match mounted {
            Ok(status) if status.success() => Self::Small(Mount(folder.join("log"))),
            _ => Self::Limited,
        }
    }

    fn fill(&self, daemon: u32, folder: &Path) {
        match self {
            Self::Small(Mount(at)) => {
                let mut ballast = File::create(at.join("ballast")).unwrap();
                while ballast.write_all(&[0; 4096]).is_ok() {}
            }
            Self::Limited => {
                let largest = fs::metadata(folder.join("log/log.sqlite-wal")).map_or(0, |file| file.len());
                limit(daemon, &format!("{}:unlimited", largest + 16 * 4096));
            }
        }
    }

    fn make_room(&self, daemon: u32) {
        match self {
            Self::Small(Mount(at)) => fs::remove_file(at.join("ballast")).unwrap(),
            Self::Limited => limit(daemon, "unlimited:unlimited"),
        }
    }
}

fn limit(daemon: u32, size: &str) {
    let done = Command::new("prlimit").args(["--pid", &daemon.to_string(), &format!("--fsize={size}")]).status();
    assert!(done.unwrap().success(), "prlimit --fsize={size}");
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn payment(id: &str) -> Value {
    let data = json!({"entity": "payment", "id": id, "amountMinor": 1, "currency": "EUR"});
    json!({"type": "finance-change", "id": id, "data": data})
}

async fn filled(disk: fn(&Path) -> Disk, sync: &str) {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path());
    let flags = ["--listen", "127.0.0.1:0", "--broker", "file:log", "--file-sync", sync, "--log-max-events", "1000000"];
    let daemon = Daemon::with(&flags, folder);
    let (url, process) = (daemon.url.clone(), daemon.process.id());
    says_of_itself(&url, 200).await;
    let mut subscriber = Subscriber::connect_url(&format!("{url}/v1/ws?channel=finance-change")).await;
    subscriber.frame_of("subscribed").await;
    let (_, first) = post(&url, &payment("first")).await.unwrap();
    assert_eq!(subscriber.event().await.position, first["accepted"][0]["position"]);

    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&ledger, &url, 8);
    until("the load goes on", async || (ledger.acknowledged() >= 500).then_some(())).await;
    disk.fill(process, daemon.folder.path());
    says_of_itself(&url, 503).await;
    load.stop().await;
    // What does not fit is refused as "not known", with all that the contract wants; nothing else is.
    let many: Vec<Value> = (0..1000).map(|n| payment(&format!("{n} {}", "x".repeat(200)))).collect();
    let refused = reqwest::Client::new().post(format!("{url}/v1/events")).json(&many).send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "broker-unavailable");
    for path in ["/healthz", "/v1/channels", "/v1/schemas"] {
        assert_eq!(status(&url, path).await, 200, "{path}");
    }
    subscriber.pong_is_next().await;

    disk.make_room(process);
    says_of_itself(&url, 200).await;
    let after =
        until("publishing works again", async || post(&url, &payment("after")).await.filter(|(code, _)| *code == 202));
    let (_, after) = after.await;
    let delivered = subscriber.event().await;
    assert_eq!((&delivered.event["id"], offset(&delivered.position)), (&json!("after"), 2));
    assert_eq!(delivered.position, after["accepted"][0]["position"]);
    ledger.send_again(&url).await;
    let load = Load::start(&ledger, &url, 8);
    let enough = ledger.acknowledged() + 200;
    until("the load goes on", async || (ledger.acknowledged() >= enough).then_some(())).await;

    // And it is all there after a kill.
    daemon.process.signal("KILL");
    load.stop().await;
    let folder = daemon.folder;
    drop(daemon.process);
    ledger.is_in(folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_disk() {
    filled(Disk::at, "os").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_disk_that_is_waited_for() {
    filled(Disk::at, "always").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_the_size_of_files() {
    filled(|_| Disk::Limited, "os").await;
}
