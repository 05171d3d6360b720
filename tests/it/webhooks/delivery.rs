//! Signatures, order, retries, dead letters, gaps and stops, with one daemon.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::receiver::{
    Answer, Receiver, SECRET, daemon, folder, listed, metric, publish, ready, sale, state, status, table, verified,
};
use crate::support::daemon::{Daemon, Running};
use crate::support::until;

const SALES: &str = "[\"inventory-change\"]";

fn private(more: &str) -> String {
    format!("allow_private = true\n{more}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_is_the_event_and_the_reference_libraries_verify_it() {
    let receiver = Receiver::start(|_, _| status(204)).await;
    let channels = "[\"inventory-change\", \"cache-invalidate\"]";
    let daemon = daemon(&table(&receiver.url(), channels, &private("")), &[]).await;
    let odd = json!({"type": "cache-invalidate", "id": "é 1%", "data": {"tags": ["größe"]}});
    publish(&daemon, &[sale("a.b", "1"), odd]).await;
    let received = receiver.came(2).await;
    assert_eq!(verified("npm", SECRET, &received), ["ok", "ok"]);
    assert_eq!(verified("PyPI", SECRET, &received), ["ok", "ok"]);
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert!(verified("npm", other, &received).iter().all(|verdict| verdict != "ok"));

    let sold = received.iter().find(|one| one.id() == "a.b").unwrap();
    assert_eq!(sold.headers["content-type"], "application/cloudevents+json");
    assert_eq!(sold.headers["webhook-id"], "a.b");
    assert!(sold.headers["user-agent"].starts_with("tidings/"));
    let history: Value =
        reqwest::get(format!("{}/v1/events?channel=inventory-change", daemon.url)).await.unwrap().json().await.unwrap();
    assert_eq!(sold.event, history["events"][0]["event"]);
    let odd = received.iter().find(|one| one.id() == "é 1%").unwrap();
    assert_eq!(odd.headers["webhook-id"], "%C3%A9%201%25");

    // A rotation: signed with both from the next reading of the file on.
    std::fs::write(daemon.folder.path().join("hook.secret"), format!("{other}\n{SECRET}\n")).unwrap();
    let mut number = 0;
    let both = until("both secrets sign", async || {
        number += 1;
        publish(&daemon, &[sale(&format!("r{number}"), "1")]).await;
        let received = receiver.came(2 + number).await;
        let last = received.last().unwrap().clone();
        last.headers["webhook-signature"].contains(' ').then_some(last)
    })
    .await;
    for secret in [SECRET, other] {
        assert_eq!(verified("npm", secret, std::slice::from_ref(&both)), ["ok"]);
        assert_eq!(verified("PyPI", secret, std::slice::from_ref(&both)), ["ok"]);
    }
    until("all is counted", async || {
        (metric(&daemon, "tidings_webhook_attempts_total").await >= (2 + number) as f64).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_secret_file_is_logged_with_its_webhook() {
    let receiver = Receiver::start(|_, _| status(200)).await;
    let daemon = daemon(&table(&receiver.url(), SALES, &private("")), &[]).await;
    let (url, file) = (daemon.url.clone(), daemon.folder.path().join("hook.secret"));
    // The file is read for a delivery.
    let publishing = tokio::spawn(async move {
        loop {
            let data = json!({"productId": "a", "oldQuantity": 1, "newQuantity": 2, "reason": "sale"});
            let _ = crate::file_log::load::post(&url, &json!({"type": "inventory-change", "data": data})).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    for (text, fault) in [("", "there is no secret"), ("hunter2", "line 1: a secret is whsec_")] {
        std::fs::write(&file, text).unwrap();
        let line = daemon.process.said(fault);
        assert!(line.contains(r#""webhook":"hook""#) && !line.contains("hunter2"), "{line}");
    }
    publishing.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_subject_stay_in_order_while_some_are_tried_again() {
    // The first attempts of every third event fail in different ways. What matters is the order of those that succeed.
    let receiver = Receiver::start(|event, before| {
        let number: usize = event["id"].as_str().and_then(|id| id.split('-').nth(1)?.parse().ok()).unwrap_or_default();
        match number % 3 {
            0 if before == 0 => status([500, 302, 429][number / 3 % 3]),
            _ => status(200),
        }
    })
    .await;
    let daemon = daemon(&table(&receiver.url(), SALES, &private("concurrency = 3")), &[]).await;
    let events: Vec<Value> = (0..40).map(|number| sale(&format!("e-{number}"), &format!("p{}", number % 5))).collect();
    publish(&daemon, &events).await;
    let taken = receiver.took(40).await;
    for product in 0..5 {
        let of_product = |id: &&String| {
            let number: usize = id.split('-').nth(1).unwrap().parse().unwrap();
            number % 5 == product
        };
        let expected: Vec<String> = (0..40).filter(|n| n % 5 == product).map(|n| format!("e-{n}")).collect();
        assert_eq!(taken.iter().filter(of_product).cloned().collect::<Vec<_>>(), expected);
    }
    assert_eq!(receiver.received().len(), 40 + 14, "no event was sent more often than it had to be");
    until("nothing is left", async || {
        (listed(&daemon)["lag"] == 0 && metric(&daemon, "tidings_flow_lag_events").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_fails_holds_up_no_other_and_retry_after_is_heeded() {
    let receiver = Receiver::start(|event, before| match (event["subject"].as_str(), before) {
        (Some("bad"), 0) => Answer { retry_after: Some("3".into()), ..status(409) },
        _ => status(200),
    })
    .await;
    let daemon = daemon(&table(&receiver.url(), SALES, &private("concurrency = 1")), &[]).await;
    publish(&daemon, &[sale("bad", "bad"), sale("good-1", "1"), sale("good-2", "2")]).await;
    assert_eq!(receiver.took(2).await, ["good-1", "good-2"]);
    let listed = state(&daemon, "failing").await;
    assert_eq!((&listed["reason"], &listed["lag"]), (&json!("the receiver answered 409"), &json!(1)));
    receiver.took(3).await;
    let bad: Vec<_> = receiver.received().into_iter().filter(|one| one.id() == "bad").collect();
    assert_eq!(bad.len(), 2);
    assert!(bad[1].at - bad[0].at >= Duration::from_secs(3));
    state(&daemon, "delivering").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_says_when_to_come_again_gets_nothing_before() {
    for code in [429, 503] {
        let first = OnceLock::new();
        let receiver = Receiver::start(move |_, _| match first.get_or_init(Instant::now).elapsed() {
            early if early < Duration::from_secs(1) => Answer { retry_after: Some("3".into()), ..status(code) },
            _ => status(200),
        })
        .await;
        let daemon = daemon(&table(&receiver.url(), SALES, &private("concurrency = 4")), &[]).await;
        let events: Vec<_> = (0..20).map(|number| sale(&number.to_string(), &number.to_string())).collect();
        publish(&daemon, &events).await;
        receiver.took(20).await;
        let received = receiver.received();
        let refused = received.iter().take_while(|one| one.answered == Some(code)).count();
        assert!((1..=4).contains(&refused) && received.len() == 20 + refused, "{refused} of {}", received.len());
        assert!(received[refused].at - received[0].at >= Duration::from_secs(3), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_whose_last_event_was_given_up_is_not_failing() {
    let receiver = Receiver::start(|event, _| status(if event["id"] == "poison" { 400 } else { 200 })).await;
    let daemon = daemon(&table(&receiver.url(), SALES, &private("max_attempts = 1")), &[]).await;
    publish(&daemon, &[sale("poison", "p")]).await;
    let listed = until("the dead letter", async || {
        Some(listed(&daemon)).filter(|listed| listed["lag"] == 0 && listed["dead"] == 1)
    });
    let listed = listed.await;
    assert_eq!((&listed["state"], &listed["reason"]), (&json!("delivering"), &json!("the receiver answered 400")));
    let shown = daemon.run(&["webhooks"]).out;
    assert!(shown.contains("SINCE") && shown.contains(listed["since"].as_str().unwrap()), "{shown}");
    publish(&daemon, &[sale("good", "p")]).await;
    receiver.took(1).await;
    until("the reason is over", async || {
        let listed = crate::webhooks::receiver::listed(&daemon);
        (listed["reason"].is_null() && listed["lag"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reason_of_a_dead_letter_is_over_when_its_replay_was_delivered() {
    let receiver = Receiver::start(|_, _| status(400)).await;
    let daemon = daemon(&table(&receiver.url(), SALES, &private("max_attempts = 1")), &[]).await;
    publish(&daemon, &[sale("poison", "p")]).await;
    let given_up = async || (listed(&daemon)["reason"] == "the receiver answered 400").then_some(());
    until("the reason", given_up).await;
    until("the dead letter", async || (listed(&daemon)["dead"] == 1).then_some(())).await;
    receiver.answer(|_, _| status(200));
    let replayed = daemon.run(&["webhook", "replay", "hook", "--all"]);
    assert_eq!(replayed.code, Some(0), "{}", replayed.err);
    assert_eq!(listed(&daemon)["reason"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_the_last_time_is_a_dead_letter_and_later_events_go_on() {
    let receiver = Receiver::start(|event, _| status(if event["id"] == "poison" { 400 } else { 200 })).await;
    let daemon = daemon(&table(&receiver.url(), SALES, &private("max_attempts = 2")), &[]).await;
    publish(&daemon, &[sale("1", "p"), sale("poison", "p"), sale("2", "p")]).await;
    assert_eq!(receiver.took(2).await, ["1", "2"]);
    assert_eq!(receiver.received().iter().filter(|one| one.id() == "poison").count(), 2);
    assert_eq!(metric(&daemon, "tidings_flow_dead_total").await, 1.0);

    let dead = daemon.run(&["webhook", "dead", "hook", "--json"]);
    let letter: Value = serde_json::from_str(&dead.out).unwrap();
    assert_eq!((&letter["id"], &letter["attempts"]), (&json!("poison"), &json!(2)));
    assert_eq!(letter["reason"], "the receiver answered 400");
    assert_eq!(letter["event"]["data"]["productId"], "p");
    assert!(letter["position"].as_str().unwrap().ends_with(":2"));
    assert_eq!(listed(&daemon)["dead"], 1);
    let dead = daemon.run(&["webhook", "dead", "hook"]);
    assert!(dead.out.contains("poison") && dead.out.contains("the receiver answered 400"), "{}", dead.out);

    let failed = daemon.run(&["webhook", "replay", "hook", "--id", "poison"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.err.contains("the receiver answered 400"), "{}", failed.err);
    let unknown = daemon.run(&["webhook", "replay", "hook", "--id", "no such"]);
    assert!(unknown.err.contains("has no dead letter"), "{}", unknown.err);
    receiver.answer(|_, _| status(200));
    let replayed = daemon.run(&["webhook", "replay", "hook", "--all"]);
    assert_eq!(replayed.code, Some(0), "{}", replayed.err);
    assert_eq!(receiver.took(3).await, ["1", "2", "poison"]);
    assert_eq!(listed(&daemon)["dead"], 0);

    let test = daemon.run(&["webhook", "test", "hook"]);
    assert_eq!(test.code, Some(0), "{}", test.err);
    let sent = receiver.received().pop().unwrap();
    assert_eq!(sent.event["type"], "tidings.test");
    assert_eq!(verified("npm", SECRET, &[sent]), ["ok"]);
    receiver.answer(|_, _| status(500));
    let test = daemon.run(&["webhook", "test", "hook"]);
    assert!(test.code == Some(1) && test.err.contains("the receiver answered 500"), "{}", test.err);
    let unknown = daemon.run(&["webhook", "test", "hok"]);
    assert!(unknown.err.contains("did you mean `hook`?"), "{}", unknown.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_410_stops_the_webhook_over_restarts_and_a_gap_is_told_when_it_is_resumed() {
    let receiver = Receiver::start(|event, _| status(if event["id"] == "2" { 410 } else { 200 })).await;
    let tables = table(&receiver.url(), SALES, &private("concurrency = 1"));
    let flags = ["--listen", "127.0.0.1:0", "--broker", "file:log", "--log-max-events", "3", "--drain", "1s"];
    let first = ready(Daemon::with(&flags, folder(&tables))).await;
    publish(&first, &[sale("1", "p")]).await;
    assert_eq!(receiver.took(1).await, ["1"]);
    publish(&first, &[sale("2", "p")]).await;
    let stopped = state(&first, "stopped").await;
    assert_eq!(stopped["reason"], "the receiver answered 410");
    until("the metric says so", async || (metric(&first, "tidings_webhook_stopped").await == 1.0).then_some(())).await;
    let events: Vec<Value> = (3..10).map(|number| sale(&number.to_string(), "p")).collect();
    publish(&first, &events).await;
    first.process.signal("TERM");
    let folder = first.folder;
    assert_eq!(first.process.ended().code, Some(0));

    let second = ready(Daemon::with(&flags, folder)).await;
    assert_eq!(state(&second, "stopped").await["lag"], 8);
    until("the lag", async || (metric(&second, "tidings_flow_lag_events").await == 8.0).then_some(())).await;
    let age = metric(&second, "tidings_flow_lag_seconds").await;
    let older = async || (metric(&second, "tidings_flow_lag_seconds").await > age).then_some(());
    until("the lag grows while the webhook is stopped", older).await;
    publish(&second, &[sale("10", "p")]).await;
    until("the next event", async || (metric(&second, "tidings_flow_lag_events").await == 9.0).then_some(())).await;
    assert_eq!(receiver.received().len(), 2);
    receiver.answer(|_, _| status(200));
    let resumed = second.run(&["webhook", "resume", "hook"]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert!(resumed.err.contains("goes on within seconds"), "{resumed:?}");
    let taken = receiver.took(5).await;
    assert_eq!(taken[2..], ["8", "9", "10"]);
    let resumed = second.run(&["webhook", "resume", "hook"]);
    assert!(resumed.code == Some(0) && resumed.err.contains("was not stopped"), "{resumed:?}");
    let gap = receiver.received().into_iter().find(|one| one.event["type"] == "tidings.gap").unwrap();
    let data = &gap.event["data"];
    assert_eq!((taken[1].as_str(), &data["channel"]), (gap.id(), &json!("inventory-change")));
    let offset = |name: &str| data[name].as_str().unwrap().split(':').nth(1).unwrap().to_owned();
    assert_eq!([offset("from"), offset("position")], ["1", "7"]);
    assert_eq!(verified("PyPI", SECRET, &[gap]), ["ok"]);
    assert_eq!(metric(&second, "tidings_flow_gaps_total").await, 1.0);
    assert_eq!(state(&second, "delivering").await["lag"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_and_a_beginning_are_heeded_and_nothing_is_delivered_again_after_a_restart() {
    let receiver = Receiver::start(|_, _| status(200)).await;
    let flags = ["--listen", "127.0.0.1:0", "--broker", "file:log", "--drain", "1s"];
    let before = ready(Daemon::with(&flags, folder(""))).await;
    publish(&before, &[sale("old", "p"), sale("other", "q")]).await;
    before.process.signal("TERM");
    let folder = before.folder;
    assert_eq!(before.process.ended().code, Some(0));
    let write = |more: &str| {
        let tables = table(&receiver.url(), SALES, &private(more));
        std::fs::write(folder.path().join("tidings.toml"), tables).unwrap();
    };
    write("where = { productId = \"p\" }\nsince = \"start\"");
    let path = folder.path().to_owned();
    let daemon = ready(Daemon::with(&flags, folder)).await;
    publish(&daemon, &[sale("left out", "q"), sale("new", "p")]).await;
    assert_eq!(receiver.took(2).await, ["old", "new"]);
    until("the progress is kept", async || (listed(&daemon)["lag"] == 0).then_some(())).await;
    daemon.process.signal("KILL");
    let folder = daemon.folder;
    drop(daemon.process);
    assert_eq!(path, folder.path());
    let again = ready(Daemon::with(&flags, folder)).await;
    publish(&again, &[sale("last", "p")]).await;
    assert_eq!(receiver.took(3).await, ["old", "new", "last"]);
}

/// The log may lose an event that is tried again, and with it the position behind which all is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_delivered_beyond_a_gap_is_not_delivered_again_after_a_restart() {
    let receiver = Receiver::start(|event, _| status(if event["subject"] == "bad" { 500 } else { 200 })).await;
    let flags = ["--listen", "127.0.0.1:0", "--broker", "file:log", "--log-max-events", "4", "--drain", "1s"];
    let first = ready(Daemon::with(&flags, folder(&table(&receiver.url(), SALES, &private(""))))).await;
    publish(&first, &[sale("0", "bad")]).await;
    for number in 1..10 {
        publish(&first, &[sale(&number.to_string(), &format!("p{number}"))]).await;
    }
    receiver.took(9).await;
    first.process.signal("TERM");
    let folder = first.folder;
    assert_eq!(first.process.ended().code, Some(0));
    let second = ready(Daemon::with(&flags, folder)).await;
    let taken = receiver.took(10).await;
    assert!(taken[9].starts_with("gap:inventory-change:"), "{taken:?}");
    publish(&second, &[sale("last", "p1")]).await;
    until("nothing is left", async || (listed(&second)["lag"] == 0).then_some(())).await;
    assert_eq!(receiver.taken()[10..], ["last"], "what is done is not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_does_not_answer_in_time_is_asked_again_and_large_answers_are_not_read() {
    let receiver = Receiver::start(|_, before| match before {
        0 => Answer { delay: Duration::from_secs(60), ..status(200) },
        _ => status(200),
    })
    .await;
    let daemon = daemon(&table(&receiver.url(), SALES, &private("timeout = \"200ms\"")), &[]).await;
    let begun = Instant::now();
    publish(&daemon, &[sale("slow", "p")]).await;
    assert_eq!(receiver.took(1).await, ["slow"]);
    assert!(begun.elapsed() < Duration::from_secs(60));
    let attempts = reqwest::get(format!("{}/metrics", daemon.url)).await.unwrap().text().await.unwrap();
    assert!(attempts.contains(r#"outcome="timeout"} 1"#), "{attempts}");
}

/// The route of `examples/webhook-next`, with `revalidateTag` and `revalidatePath` printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_for_next_forgets_what_events_name_and_refuses_a_wrong_signature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("tests/webhooks/node_modules");
    assert!(packages.exists(), "{} is missing: make setup installs it", packages.display());
    let mut command = Command::new("node");
    command.arg(root.join("tests/webhooks/next.mjs")).arg(SECRET);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let route = Running::start(command);
    let url = format!("http://127.0.0.1:{}/api/tidings", route.line());
    let channels = "[\"inventory-change\", \"cache-invalidate\", \"order-status\"]";
    let daemon = daemon(&table(&url, channels, &private("max_attempts = 1")), &[]).await;
    let invalidate = json!({"type": "cache-invalidate", "data": {"tags": ["products", "prices"]}});
    publish(&daemon, &[invalidate]).await;
    assert_eq!([route.line(), route.line()], ["revalidateTag products", "revalidateTag prices"]);
    publish(&daemon, &[sale("1", "123")]).await;
    assert_eq!(route.line(), "revalidateTag products:123");
    std::fs::write(daemon.folder.path().join("hook.secret"), "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        .unwrap();
    until("the new secret signs", async || {
        publish(&daemon, &[sale(&format!("s-{:?}", Instant::now()), "124")]).await;
        (route.line() == "refused").then_some(())
    })
    .await;
}
