//! Where nothing is sent to: addresses that are not public, and the targets of redirects.

use serde_json::Value;

use super::receiver::{Answer, Receiver, daemon, publish, sale, status, table};

const SALES: &str = "[\"inventory-change\"]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_an_address_that_is_not_public() {
    let receiver = Receiver::start(|_, _| status(200)).await;
    let port = receiver.address.port();
    let hosts = ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1"];
    let tables: String = hosts
        .iter()
        .enumerate()
        .map(|(number, host)| {
            let url = format!("http://{host}:{port}/hook");
            table(&url, SALES, "max_attempts = 1").replace("\"hook\"", &format!("\"hook-{number}\""))
        })
        .collect();
    let daemon = daemon(&tables, &[]).await;
    publish(&daemon, &[sale("1", "p")]).await;
    for (number, host) in hosts.iter().enumerate() {
        let name = format!("hook-{number}");
        let letter = crate::support::until(&format!("{host} is given up"), async || {
            let dead = daemon.run(&["webhook", "dead", &name, "--json"]);
            serde_json::from_str::<Value>(dead.out.lines().next()?).ok()
        })
        .await;
        let reason = letter["reason"].as_str().unwrap();
        assert!(reason.starts_with("nothing was sent: ") && reason.contains("`allow_private`"), "{host}: {reason}");
        let test = daemon.run(&["webhook", "test", &name]);
        assert!(test.code == Some(1) && test.err.contains("nothing was sent"), "{host}: {}", test.err);
    }
    assert_eq!(receiver.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed() {
    let trap = Receiver::start(|_, _| status(200)).await;
    let to = trap.url();
    let receiver = Receiver::start(move |event, _| match event["id"].as_str() {
        Some("good") => status(200),
        Some(id) => Answer { location: Some(to.clone()), ..status(id.parse().unwrap()) },
        None => status(500),
    })
    .await;
    let more = "allow_private = true\nmax_attempts = 1";
    let daemon = daemon(&table(&receiver.url(), SALES, more), &[]).await;
    let codes = ["301", "302", "303", "307", "308"];
    let events: Vec<Value> = codes.iter().map(|code| sale(code, "p")).chain([sale("good", "p")]).collect();
    publish(&daemon, &events).await;
    assert_eq!(receiver.took(1).await, ["good"]);
    assert_eq!(trap.received().len(), 0);
    let dead = daemon.run(&["webhook", "dead", "hook"]);
    assert!(codes.iter().all(|code| dead.out.contains(&format!("answered {code}, a redirect"))), "{}", dead.out);
}
