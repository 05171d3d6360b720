//! `tidings top` and slow consumers, with the real binary.

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
