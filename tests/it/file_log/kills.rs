//! `kill -9` under load: every acknowledged event is afterwards at the position that its publisher got.

use std::sync::Arc;

use serde_json::json;

use super::load::{Ledger, Load, post, wait_for_readyz};
use crate::support::daemon::Daemon;
use crate::support::events::{epoch_and_offset, sale};
use crate::support::subscriber::Subscriber;
use crate::support::until;

/// Kills a daemon so many times under load, and checks the log.
async fn kill_under_load(times: usize, sync: &str) {
    let flags = ["--listen", "127.0.0.1:0", "--broker", "file:log", "--file-sync", sync, "--log-max-events", "1000000"];
    let ledger = Arc::new(Ledger::default());
    let mut folder = tempfile::tempdir().unwrap();
    for _ in 0..times {
        let daemon = Daemon::with(&flags, folder);
        ledger.publish_again(&daemon.url).await;
        let load = Load::start(&ledger, &daemon.url, 16);
        let enough = ledger.acknowledged() + 500;
        until("the load makes progress", async || (ledger.acknowledged() >= enough).then_some(())).await;
        daemon.process.signal("KILL");
        load.stop().await;
        folder = daemon.folder;
    }
    ledger.check_log(folder.path()).await;
    // The log is also complete after a daemon that shut down in order.
    let daemon = Daemon::with(&flags, folder);
    ledger.publish_again(&daemon.url).await;
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.ended().code, Some(0));
    ledger.check_log(daemon.folder.path()).await;
    println!("killed {times} times with file_sync {sync}: all of {} events are there", ledger.acknowledged());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_in_the_kernel_is_lost() {
    kill_under_load(5, "os").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_synced_event_is_lost() {
    kill_under_load(3, "always").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_resumes_after_a_kill() {
    let flags = ["--listen", "127.0.0.1:0", "--broker", "file:log"];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    wait_for_readyz(&daemon.url, 200).await;
    let mut subscriber = Subscriber::connect_url(&format!("{}/v1/ws?channel=inventory-change", daemon.url)).await;
    subscriber.frame_of("subscribed").await;
    let events: Vec<_> = (1..=30).map(|n| sale(&n.to_string())).collect();
    assert_eq!(post(&daemon.url, &json!(events)).await.unwrap().0, 202);
    let last = subscriber.events(10).await.pop().unwrap().position;
    daemon.process.signal("KILL");
    daemon.process.ended();

    let daemon = Daemon::with(&flags, daemon.folder);
    wait_for_readyz(&daemon.url, 200).await;
    let mut subscriber = Subscriber::connect_url(&format!("{}/v1/ws", daemon.url)).await;
    let frame = json!({"type": "subscribe", "sub": "s", "channel": "inventory-change", "since": last});
    subscriber.say(frame).await;
    let subscribed = subscriber.frame_of("subscribed").await;
    assert_eq!((&subscribed["position"], &subscribed["recovered"]), (&json!(last), &json!(true)));
    assert_eq!(post(&daemon.url, &sale("31")).await.unwrap().0, 202);
    let (epoch, _) = epoch_and_offset(&last);
    for (offset, delivered) in (11..=31).zip(subscriber.events(21).await) {
        assert_eq!(delivered.position, format!("{epoch}:{offset}"));
        assert_eq!(delivered.event["data"]["productId"], json!(offset.to_string()));
    }
}
