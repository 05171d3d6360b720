//! A full disk: publishers get 503 and everything else works; once there is room, publishing works again.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::load::{Ledger, Load, post, status, wait_for_readyz};
use crate::support::daemon::Daemon;
use crate::support::disk::Disk;
use crate::support::events::offset;
use crate::support::subscriber::Subscriber;
use crate::support::until;

fn payment(id: &str) -> Value {
    let data = json!({"entity": "payment", "id": id, "amountMinor": 1, "currency": "EUR"});
    json!({"type": "finance-change", "id": id, "data": data})
}

/// Fills the disk of a daemon's log under load, makes room again, and checks that no acknowledged event is lost.
async fn fill(disk: fn(&Path) -> Disk, sync: &str) {
    let folder = tempfile::tempdir().unwrap();
    let disk = disk(folder.path());
    let flags = ["--listen", "127.0.0.1:0", "--broker", "file:log", "--file-sync", sync, "--log-max-events", "1000000"];
    let daemon = Daemon::with(&flags, folder);
    let (url, process) = (daemon.url.clone(), daemon.process.id());
    wait_for_readyz(&url, 200).await;
    let mut subscriber = Subscriber::connect_url(&format!("{url}/v1/ws?channel=finance-change")).await;
    subscriber.frame_of("subscribed").await;
    let (_, first) = post(&url, &payment("first")).await.unwrap();
    assert_eq!(subscriber.event().await.position, first["accepted"][0]["position"]);

    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&ledger, &url, 8);
    until("the load makes progress", async || (ledger.acknowledged() >= 500).then_some(())).await;
    disk.fill(process);
    wait_for_readyz(&url, 503).await;
    load.stop().await;
    // A batch that does not fit gets the 503 of the contract.
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
    wait_for_readyz(&url, 200).await;
    let after =
        until("publishing works again", async || post(&url, &payment("after")).await.filter(|(code, _)| *code == 202));
    let (_, after) = after.await;
    let delivered = subscriber.event().await;
    assert_eq!((&delivered.event["id"], offset(&delivered.position)), (&json!("after"), 2));
    assert_eq!(delivered.position, after["accepted"][0]["position"]);
    ledger.publish_again(&url).await;
    let load = Load::start(&ledger, &url, 8);
    let enough = ledger.acknowledged() + 200;
    until("the load makes progress", async || (ledger.acknowledged() >= enough).then_some(())).await;

    // All acknowledged events survive a kill.
    daemon.process.signal("KILL");
    load.stop().await;
    let folder = daemon.folder;
    drop(daemon.process);
    ledger.check_log(folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk() {
    fill(|folder| Disk::small(folder, "12m"), "os").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_with_a_sync_at_each_commit() {
    fill(|folder| Disk::small(folder, "12m"), "always").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_file_sizes() {
    fill(Disk::limited, "os").await;
}
