//! `tidings tail` without names, while daemons with other types take each other's place: it follows what comes, and goes on
//! without what goes.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::daemon::{Daemon, Running};

/// A daemon at this address that keeps its log in its folder, with the own types of `types` there.
fn daemon_at(listen: &str, folder: tempfile::TempDir, has_own: bool) -> Daemon {
    let log = format!("file:{}", folder.path().join("log").display());
    let schemas: &[&str] = if has_own { &["--schemas", "types"] } else { &[] };
    Daemon::with(&[&["--listen", listen, "--broker", &log], schemas].concat(), folder)
}

/// A daemon without own types, whose folder has the types `review` and `visit` for the next one.
fn daemon() -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("types")).unwrap();
    for (name, field) in [("review", "stars"), ("visit", "page")] {
        let schema = format!(
            r#"{{"type":"object","properties":{{"sku":{{"type":"string"}},"{field}":{{"type":"string"}}}},"x-tidings-key":"sku"}}"#
        );
        fs::write(folder.path().join(format!("types/{name}.schema.json")), schema).unwrap();
    }
    daemon_at("127.0.0.1:0", folder, false)
}

/// Kills the daemon, and starts it again with or without the own types.
fn again(Daemon { process, url, folder }: Daemon, has_own: bool) -> Daemon {
    process.signal("KILL");
    process.ended();
    daemon_at(url.trim_start_matches("http://"), folder, has_own)
}

fn publish(daemon: &Daemon, arguments: &[&str]) {
    let published = daemon.run(&[&["publish"], arguments].concat());
    assert_eq!(published.code, Some(0), "{published:?}");
}

/// The type and the subject of the next event that a command prints as JSON.
fn next(tail: &Running) -> (String, String) {
    let line: Value = serde_json::from_str(&tail.line()).unwrap();
    let of = |name: &str| line["event"][name].as_str().unwrap().to_owned();
    (of("type"), of("subject"))
}

fn event(kind: &str, subject: &str) -> (String, String) {
    (kind.into(), subject.into())
}

#[test]
fn tail_follows_channels_that_come_and_goes_on_without_those_that_go() {
    let daemon = daemon();
    let tail = daemon.tail(&["--json"]);
    let daemon = again(daemon, true);
    // Published before the command can know of the channel.
    publish(&daemon, &["review", "sku=a"]);
    let line = tail.said("following, too");
    assert!(line.contains("review, visit"), "{line}");
    assert_eq!(next(&tail), event("review", "a"));
    publish(&daemon, &["visit", "sku=b"]);
    assert_eq!(next(&tail), event("visit", "b"));

    let daemon = again(daemon, false);
    for _ in ["review", "visit"] {
        tail.said("is not followed any more");
    }
    publish(&daemon, &["order-status", "orderId=c", "newStatus=shipped"]);
    assert_eq!(next(&tail), event("order-status", "c"));

    // It goes on where it was: nothing is missing, and nothing comes again.
    let daemon = again(daemon, true);
    publish(&daemon, &["review", "sku=d"]);
    tail.said("following, too");
    assert_eq!(next(&tail), event("review", "d"));
    publish(&daemon, &["visit", "sku=e"]);
    assert_eq!(next(&tail), event("visit", "e"));
}

#[test]
fn named_channels_and_a_filter_select_what_is_followed() {
    let daemon = daemon();
    let named = daemon.tail(&["order-status", "--json"]);
    let filtered = daemon.tail(&["--json", "--where", "productId=5"]);
    let daemon = again(daemon, true);
    let both = daemon.tail(&["--json", "--where", "stars=5"]);
    for tail in [&named, &filtered] {
        tail.said("connected again");
    }
    for (sku, stars) in [("a", "4"), ("b", "5")] {
        publish(&daemon, &["review", &format!("sku={sku}"), &format!("stars={stars}")]);
    }
    publish(&daemon, &["order-status", "orderId=5", "newStatus=shipped"]);
    publish(&daemon, &["inventory-change", "productId=5", "oldQuantity=1", "newQuantity=0", "reason=sale"]);
    assert_eq!(next(&both), event("review", "b"));
    assert_eq!(next(&named), event("order-status", "5"));
    assert_eq!(next(&filtered), event("inventory-change", "5"));
}

#[test]
fn a_filter_selects_among_the_channels_that_come() {
    let daemon = daemon();
    // Only a type that is there has the field.
    fs::write(
        daemon.folder.path().join("types/sale.schema.json"),
        r#"{"type":"object","properties":{"productId":{"type":"string"}},"x-tidings-key":"productId"}"#,
    )
    .unwrap();
    let tail = daemon.tail(&["--json", "--where", "productId=5"]);
    let daemon = again(daemon, true);
    for product in ["4", "5"] {
        publish(&daemon, &["sale", &format!("productId={product}")]);
    }
    let line = tail.said("following, too");
    assert!(line.contains("sale") && !line.contains("review"), "{line}");
    assert_eq!(next(&tail), event("sale", "5"));
}

#[test]
fn what_comes_is_handed_on_once_with_a_position_file() {
    let daemon = daemon();
    let flags = ["tail", "--position-file", "positions", "--exec", "echo $TIDINGS_SUBJECT"];
    let tail = Running::start(daemon.command(&flags));
    tail.said("following");
    let daemon = again(daemon, true);
    publish(&daemon, &["review", "sku=a"]);
    publish(&daemon, &["review", "sku=b"]);
    assert_eq!([tail.line(), tail.line()], ["a", "b"]);
    tail.signal("INT");
    assert_eq!(tail.ended().code, Some(0));
    publish(&daemon, &["review", "sku=c"]);
    let tail = Running::start(daemon.command(&flags));
    assert_eq!(tail.line(), "c");
}

/// Waits until somebody subscribes to a channel.
fn until_subscribed(daemon: &Daemon, channel: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    let is_subscribed = |line: &str| {
        let listed: Value = serde_json::from_str(line).unwrap();
        listed["type"] == channel && listed["subscribers"] == 1
    };
    while !daemon.run(&["channels", "--json"]).out.lines().any(is_subscribed) {
        assert!(Instant::now() < end, "nobody subscribes to {channel}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What comes and goes is seen in the list of channels. A message would stand across the screen.
#[test]
fn top_follows_channels_that_come_and_says_nothing_across_its_screen() {
    let daemon = daemon();
    // `script` gives the command a terminal.
    let mut script = Command::new("script");
    script.args(["-qec", "stty rows 30 cols 100; exec $TIDINGS top", "/dev/null"]).current_dir(daemon.folder.path());
    script.env("TIDINGS", env!("CARGO_BIN_EXE_tidings")).env("TIDINGS_URL", &daemon.url).env("TERM", "xterm");
    let mut top = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script is installed");
    until_subscribed(&daemon, "order-status");
    let daemon = again(daemon, true);
    until_subscribed(&daemon, "review");
    let daemon = again(daemon, false);
    until_subscribed(&daemon, "order-status");
    // It has gone on without the channels that went.
    let daemon = again(daemon, true);
    until_subscribed(&daemon, "visit");
    top.stdin.take().unwrap().write_all(b"q").unwrap();
    let ended = top.wait_with_output().unwrap();
    let screen = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{screen}");
    assert!(screen.contains("SUBSCRIBERS"), "{screen}");
    for message in ["following", "followed"] {
        assert!(!screen.contains(message), "{message:?} stands on the screen: {screen}");
    }
}
