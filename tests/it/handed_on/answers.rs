//! `tail --forward-to`: signatures, TLS, what an answer of the receiver means, gaps, and what is printed.

use std::time::Duration;

use serde_json::Value;

use super::{daemon, forward, ids, publish};
use crate::support::certificates::Authority;
use crate::support::daemon::{Daemon, Ended, Running, run};
use crate::webhooks::receiver::{Answer, Receiver, SECRET, status, verified};

/// Runs a command in a thread of its own, beside the receiver.
async fn tail(daemon: &Daemon, arguments: &[&str]) -> Ended {
    let command = daemon.command(&[&["tail", "inventory-change", "--since", "start"], arguments].concat());
    tokio::task::spawn_blocking(move || run(command, "")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_signed_with_the_secret_of_the_file_or_with_the_one_that_is_shown() {
    let daemon = daemon();
    publish(&daemon, "a", 2);
    let receiver = Receiver::start(|_, _| status(200)).await;
    std::fs::write(daemon.folder.path().join("hook.secret"), SECRET).unwrap();
    let url = receiver.url();
    let ended = tail(&daemon, &["--forward-to", &url, "--secret-file", "hook.secret", "--count", "2"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(verified("npm", SECRET, &receiver.received()), ["ok", "ok"]);
    let ended = tail(&daemon, &["--forward-to", &url, "--count", "2"]).await;
    let start = ended.err.find("whsec_").unwrap_or_else(|| panic!("{ended:?}"));
    let shown = ended.err[start..].split_whitespace().next().unwrap();
    assert_eq!(verified("npm", shown, &receiver.received()[2..]), ["ok", "ok"]);
    assert_ne!(shown, SECRET);
    let first = &receiver.received()[0];
    assert_eq!(first.headers["content-type"], "application/cloudevents+json");
    assert_eq!(first.headers["webhook-id"], "a-1");
    assert_eq!(
        (first.event["type"].as_str(), &first.event["data"]["newQuantity"]),
        (Some("inventory-change"), &8.into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_tried_until_the_answer_is_2xx_and_each_answer_is_shown() {
    let daemon = daemon();
    publish(&daemon, "a", 4);
    let receiver = Receiver::start(|event, before| match (event["id"].as_str(), before) {
        (Some("a-2"), 0) => status(400),
        (Some("a-2"), 1) => status(503),
        (Some("a-3"), 0) => Answer { location: Some("/elsewhere".into()), ..status(307) },
        _ => status(202),
    })
    .await;
    let ended = tail(&daemon, &["--forward-to", &receiver.url(), "--count", "4", "--utc"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(receiver.taken(), ids("a", 4));
    let came: Vec<_> = receiver.received().iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(came, ["a-1", "a-2", "a-2", "a-2", "a-3", "a-3", "a-4"]);
    let lines: Vec<_> = ended.out.lines().collect();
    for (line, words) in
        lines.iter().zip(["  202 in ", "  400 in ", "  503 in ", "  202 in ", "  307 to ", "  202 in ", "  202 in "])
    {
        assert!(line.contains(words) && line.contains("inventory-change  p-1  "), "{words}: {line}");
        assert_eq!(line.contains("again in "), !words.contains("202"), "{line}");
        let redirect = "  307 to /elsewhere, a redirect, which is not followed, in ";
        assert_eq!(line.contains(redirect), words.contains("307"), "{line}");
    }
    assert_eq!(lines.len(), 7, "{ended:?}");
    let ended = tail(&daemon, &["--forward-to", &receiver.url(), "--count", "1", "--json"]).await;
    let line: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (&line["id"], &line["status"], &line["taken"], &line["attempt"]),
        (&"a-1".into(), &202.into(), &true.into(), &1.into())
    );
    assert!(line["ms"].as_f64().unwrap() > 0.0 && line["position"].as_str().unwrap().ends_with(":1"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_410_ends_the_command_and_retry_after_is_kept() {
    let daemon = daemon();
    publish(&daemon, "a", 2);
    let receiver = Receiver::start(|event, before| match (event["id"].as_str(), before) {
        (Some("a-1"), 0) => Answer { retry_after: Some("2".into()), ..status(429) },
        (Some("a-2"), _) => status(410),
        _ => status(200),
    })
    .await;
    // Not even an order to skip what fails goes on behind it.
    let flags = ["--forward-to", &receiver.url(), "--attempts", "3", "--skip-failed"];
    let ended = tail(&daemon, &flags).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("410: it wants no more events") && ended.err.contains("(id a-2)"), "{ended:?}");
    let received = receiver.received();
    assert!(received[1].at - received[0].at >= Duration::from_secs(2));
    assert_eq!(received.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_it_at_once_in_a_pause_and_after_the_answer_otherwise() {
    let daemon = daemon();
    publish(&daemon, "a", 2);
    let receiver = Receiver::start(|_, _| Answer { retry_after: Some("3600".into()), ..status(503) }).await;
    let url = receiver.url();
    let start = || forward(&daemon, &url);
    let ended = |tail: Running| tokio::task::spawn_blocking(move || tail.ended());
    let waiting = start();
    receiver.came(1).await;
    // The line of the answer is written before the pause begins.
    let waiting = tokio::task::spawn_blocking(move || {
        assert!(waiting.line().contains("again in 3600.0 s"));
        waiting
    })
    .await
    .unwrap();
    waiting.signal("INT");
    let end = ended(waiting).await.unwrap();
    assert!(end.code == Some(0) && end.err.contains("delivered: 0"), "{end:?}");
    receiver.answer(|_, _| Answer { delay: Duration::from_secs(1), ..status(200) });
    let busy = start();
    receiver.came(2).await;
    busy.signal("INT");
    let end = ended(busy).await.unwrap();
    assert!(
        end.code == Some(0) && end.err.contains("delivered: 1") && end.err.contains("stopping after the answer"),
        "{end:?}"
    );
    assert_eq!(receiver.taken(), ["a-1"]);
    // The second time it does not wait, and says what that means.
    receiver.answer(|_, _| Answer { delay: Duration::from_secs(3600), ..status(200) });
    let stuck = start();
    receiver.came(3).await;
    stuck.signal("INT");
    let stuck = tokio::task::spawn_blocking(move || {
        stuck.said("stopping after the answer");
        stuck.signal("INT");
        stuck.ended()
    });
    let end = stuck.await.unwrap();
    assert!(end.code == Some(1) && end.err.contains("the event a-2 may come twice"), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_delivered_as_webhooks_do() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--log-max-events", "3"], folder);
    publish(&daemon, "a", 1);
    let receiver = Receiver::start(|_, _| status(200)).await;
    let url = receiver.url();
    let flags = ["--forward-to", &url, "--position-file", "positions", "--count"];
    assert_eq!(tail(&daemon, &[&flags[..], &["1"]].concat()).await.code, Some(0));
    publish(&daemon, "b", 2_000);
    let ended = tail(&daemon, &[&flags[..], &["2"]].concat()).await;
    assert!(ended.code == Some(0) && ended.err.contains("are lost"), "{ended:?}");
    let received = receiver.received();
    let (gap, after) = (&received[1].event, &received[2].event);
    assert_eq!(
        (&gap["type"], &gap["source"], &gap["subject"]),
        (&"tidings.gap".into(), &"tidings".into(), &"inventory-change".into())
    );
    assert!(gap["data"]["from"].as_str().unwrap().ends_with(":1"), "{gap}");
    let lost = gap["data"]["position"].as_str().unwrap().rsplit_once(':').unwrap().1.parse::<usize>().unwrap();
    // The event a-1 has the offset 1, and b-1 the next.
    assert_eq!(after["id"], format!("b-{lost}"), "{gap}");
    assert!(lost > 1, "{gap}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_needs_a_trusted_certificate_and_takes_an_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let certificate = authority.certificate(&["127.0.0.1"]);
    // A daemon is an HTTPS server, too: it refuses the POST in its own way, over TLS.
    let flags = ["--listen", "127.0.0.1:0", "--tls-cert", &certificate.cert, "--tls-key", &certificate.key];
    let server = Daemon::with(&flags, tempfile::tempdir().unwrap());
    let daemon = daemon();
    publish(&daemon, "a", 1);
    let url = format!("{}/hook", server.url);
    let flags = ["--forward-to", &url, "--attempts", "1", "--json"];
    let reason = |ended: &Ended| {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        serde_json::from_str::<Value>(&ended.out).unwrap()
    };
    let answered = reason(&tail(&daemon, &[&flags[..], &["--forward-ca", &authority.cacert()]].concat()).await);
    assert_eq!(answered["status"], 404, "{answered}");
    for trusted in [&[][..], &["--forward-ca", &other.cacert()]] {
        let refused = reason(&tail(&daemon, &[&flags[..], trusted].concat()).await);
        assert!(refused["reason"].as_str().unwrap().contains("certificate"), "{refused}");
    }
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let daemon = daemon();
    let file = daemon.folder.path().join("text");
    std::fs::write(&file, "no secret").unwrap();
    let url = ["tail", "--forward-to", "http://127.0.0.1:9/"];
    for (flags, code, words) in [
        (&["tail", "--forward-to", "ftp://x"][..], 2, "not an https or http URL"),
        (&["tail", "--forward-to", "http://u:p@x/"], 2, "neither a user"),
        (&[&url[..], &["--exec", "cat"]].concat(), 2, "cannot be used with"),
        (&[&url[..], &["--jq", "."]].concat(), 2, "cannot be used with"),
        (&[&url[..], &["--attempts", "0"]].concat(), 2, "from 1 up, or `unlimited`"),
        (&[&url[..], &["--forward-timeout", "0s"]].concat(), 2, "above zero"),
        (&["tail", "--secret-file", "text"], 2, "--forward-to"),
        (&["tail", "--position-file", "positions"], 2, "give --forward-to or --exec"),
        (&[&url[..], &["--skip-failed"]].concat(), 2, "give --attempts"),
        (&[&url[..], &["--secret-file", "text"]].concat(), 1, "line 1: a secret is whsec_"),
        (&[&url[..], &["--secret-file", "none"]].concat(), 1, "none: there is no such file"),
        (&[&url[..], &["--forward-ca", "text"]].concat(), 1, "there is no certificate in PEM form"),
        (&[&url[..], &["--position-file", "text"]].concat(), 1, "is no position file"),
        (&[&url[..], &["--position-file", "p", "--since", "latest"]].concat(), 2, "--since latest"),
    ] {
        let ended = daemon.run(flags);
        assert!(ended.code == Some(code) && ended.err.contains(words), "{flags:?}: {ended:?}");
    }
}
