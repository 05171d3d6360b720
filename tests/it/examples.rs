//! The programs of `examples/`, run as a user runs them. Those for Node are run by the TypeScript client's tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::daemon::{Daemon, Running, run};

/// An example, which has the daemon's URL and runs in the daemon's folder.
///
/// `cargo test` builds the examples before it runs any test; `cargo test --test it` does not.
fn example(daemon: &Daemon, name: &str) -> Command {
    // The test is in `target/PROFILE/deps`, the examples are in `target/PROFILE/examples`.
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    let source = format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    assert!(
        modified(&program) >= modified(source.as_ref()),
        "{} is missing or older than its source: run `cargo build --examples`",
        program.display()
    );
    let mut command = Command::new(program);
    command.current_dir(daemon.folder.path()).env("TIDINGS_URL", &daemon.url);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn publish_prints_positions_and_a_refusal() {
    let daemon = Daemon::start();
    let ended = run(example(&daemon, "publish"), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<_> = ended.out.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("published ")).count(), 3, "{lines:?}");
    assert!(lines[2].ends_with(":3"), "{lines:?}");
    assert_eq!(lines[3], "refused: invalid-event");
    assert!(lines[4].starts_with("  /data/newStatus: must be one of "), "{lines:?}");
}

#[test]
fn cache_sees_the_write_of_another_instance() {
    let daemon = Daemon::start();
    let ended = run(example(&daemon, "cache"), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<_> = ended.out.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("the database is asked")).count(), 2, "{lines:?}");
    assert!(lines.contains(&r#"after the write: Some("a chair")"#), "{lines:?}");
    assert!(lines.contains(&r#"written through: Some("a table")"#), "{lines:?}");
}

#[test]
fn cache_metrics_prints_the_counters() {
    let daemon = Daemon::start();
    let ended = run(example(&daemon, "cache_metrics"), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for line in [
        r#"tidings_cache_hits_total{level="1"} 9"#,
        r#"tidings_cache_hits_total{level="2"} 0"#,
        "tidings_cache_misses_total 1",
        "tidings_cache_loads_total 1",
    ] {
        assert!(ended.out.lines().any(|found| found == line), "{line}\n{}", ended.out);
    }
}

#[test]
fn subscribe_resumes_after_a_restart() {
    let daemon = Daemon::start();
    let status = |line: &str| {
        let (_, event) = line.split_once(' ').unwrap();
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        event["data"]["newStatus"].as_str().unwrap().to_owned()
    };
    let publish = |status: &str| {
        let field = format!("newStatus={status}");
        assert_eq!(daemon.run(&["publish", "order-status", "orderId=o-1", &field]).code, Some(0));
    };

    publish("pending");
    let first = Running::start(example(&daemon, "subscribe"));
    assert_eq!(status(&first.line()), "pending");
    publish("confirmed");
    assert_eq!(status(&first.line()), "confirmed");
    // The program may stop before it has saved the position of `confirmed`: then it repeats that event, and skips none.
    drop(first);
    publish("shipped");

    let second = Running::start(example(&daemon, "subscribe"));
    let mut next = status(&second.line());
    if next == "confirmed" {
        next = status(&second.line());
    }
    assert_eq!(next, "shipped");
}

#[test]
fn invalidate_removes_what_events_name() {
    let daemon = Daemon::start();
    let cache = Running::start(example(&daemon, "invalidate"));
    assert_eq!(cache.line(), "cached: page:/=<h1>Welcome</h1>, user:1=Ada, user:2=Grace");
    let invalidate = |data: &str| {
        assert_eq!(daemon.run(&["publish", "cache-invalidate", "--data", data]).code, Some(0));
    };
    invalidate(r#"{"tags":["admins"]}"#);
    assert_eq!(cache.line(), "cached: page:/=<h1>Welcome</h1>, user:1=Ada");
    invalidate(r#"{"keys":["user:1"]}"#);
    assert_eq!(cache.line(), "cached: page:/=<h1>Welcome</h1>");
    invalidate(r#"{"prefixes":["page:"]}"#);
    assert_eq!(cache.line(), "cached: nothing");
}
