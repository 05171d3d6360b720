//! How long the commands wait for a daemon: by default an unreachable one fails them at once, with its address and the cause;
//! with `--retry-timeout` they wait for it.

use std::time::Instant;

use crate::support::PATIENCE;
use crate::support::daemon::{Daemon, Running, run, tidings};
use crate::support::redis::{Redis, free_port};

/// Arguments of every command that talks to a daemon.
const COMMANDS: [&[&str]; 7] = [
    &["channels"],
    &["nodes"],
    &["history"],
    &["tail", "--count", "1", "--since", "start"],
    &["publish", "order-status", "orderId=1", "newStatus=shipped"],
    &["publish", "order-status", "--data", r#"{"orderId":"1","newStatus":"shipped"}"#],
    &["bench", "--seconds", "1", "--connections", "1", "--rate", "10"],
];

#[test]
fn an_unreachable_daemon_fails_a_command_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let fails = |arguments: &[&str], stdin: &str| {
        let ended = run(tidings(folder.path(), arguments), stdin);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{arguments:?} {ended:?}");
        assert!(!ended.err.contains("retrying"), "{arguments:?} {ended:?}");
        ended.err
    };
    for command in COMMANDS {
        let err = fails(&[command, &["--url", &url]].concat(), "");
        assert!(err.contains(&format!("error: cannot reach {url}: Connection refused")), "{command:?} {err}");
        assert!(err.contains("tidings serve"), "{command:?} {err}");
    }
    let order = "{\"orderId\":\"1\",\"newStatus\":\"shipped\"}\n";
    let err = fails(&["publish", "order-status", "-", "--url", &url], order);
    assert!(err.contains("Connection refused") && err.contains("Nothing from line 1 on was published"), "{err}");
    // No resolver asks the network for a name with such a long label.
    let nowhere = format!("http://{}.invalid", "x".repeat(64));
    let err = fails(&["channels", "--url", &nowhere], "");
    assert!(err.contains(&format!("cannot reach {nowhere}: failed to lookup address")), "{err}");
}

#[test]
fn with_a_retry_timeout_a_command_waits_for_the_daemon() {
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}");
    let folder = tempfile::tempdir().unwrap();
    let waiting: Vec<_> = COMMANDS
        .iter()
        .enumerate()
        .map(|(number, command)| {
            let mut command = tidings(folder.path(), &[command, &["--url", &url][..]].concat());
            // The flag and the variable mean the same.
            match number % 2 {
                0 => command.args(["--retry-timeout", "5m"]),
                _ => command.env("TIDINGS_RETRY_TIMEOUT", "5m"),
            };
            let running = Running::start(command);
            running.said("Connection refused; retrying for up to 300.0 s");
            running
        })
        .collect();
    let daemon = Daemon::with(&["--listen", &address], tempfile::tempdir().unwrap());
    for (running, command) in waiting.into_iter().zip(COMMANDS) {
        let ended = running.ended();
        assert_eq!(ended.code, Some(0), "{command:?} {ended:?}");
    }
    let ended = daemon.run(&["channels", "--retry-timeout", "5"]);
    assert!(ended.code == Some(2) && ended.err.contains("expected a duration such as"), "{ended:?}");
}

/// A command with fields asks for the schema first. Without its broker, a daemon cannot check the credential of that request.
#[test]
fn a_command_that_asks_for_the_schema_first_is_retried_as_publishing_is() {
    let mut redis = Redis::durable();
    let folder = tempfile::tempdir().unwrap();
    let offline = |arguments: &[&str]| {
        let ended = run(tidings(folder.path(), arguments), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out
    };
    offline(&["auth", "init"]);
    let token = offline(&["token", "issue", "--sub", "me", "--publish", "*", "--subscribe", "*"]);
    std::fs::write(folder.path().join("me.token"), token).unwrap();
    let broker = format!("redis://127.0.0.1:{}", redis.port);
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--auth", "auth.toml", "--broker", &broker], folder);
    let order = ["order-status", "orderId=1", "newStatus=shipped", "--token-file", "me.token"];
    let publish = |command: &str, more: &[&str]| daemon.command(&[&[command], &order[..], more].concat());
    let at_once = ["--retry-timeout", "0s"];
    let until = |words: &str| {
        let start = Instant::now();
        loop {
            let ended = run(publish("publish", &at_once), "");
            if ended.out.contains(words) || ended.err.contains(words) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{words}: {ended:?}");
        }
    };
    until("order-status");
    redis.kill();
    until("credentials cannot be checked now");
    let waiting = ["publish", "trigger"].map(|command| {
        let running = Running::start(publish(command, &[]));
        running.said("credentials cannot be checked now");
        running
    });
    redis.run();
    for running in waiting {
        let ended = running.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

#[test]
fn a_stream_of_events_survives_a_restart_of_the_daemon() {
    let daemon = Daemon::start();
    let address = daemon.url.trim_start_matches("http://").to_owned();
    let mut command = daemon.command(&["publish", "order-status", "-", "--json"]);
    let (input, mut lines) = std::io::pipe().unwrap();
    command.stdin(input);
    let publishing = Running::start(command);
    let mut publish = |number: u32| {
        use std::io::Write;
        writeln!(lines, "{{\"orderId\":\"{number}\",\"newStatus\":\"shipped\"}}").unwrap();
    };
    publish(1);
    publishing.line();
    daemon.process.signal("TERM");
    let Daemon { process, folder, .. } = daemon;
    assert_eq!(process.ended().code, Some(0));
    publish(2);
    publishing.said("retrying for up to 60.0 s");
    let _daemon = Daemon::with(&["--listen", &address], folder);
    publishing.line();
    drop(lines);
    let ended = publishing.ended();
    assert!(ended.code == Some(0) && ended.err.contains("published: 2 in "), "{ended:?}");
}

/// A server takes a request and never answers; then the user loses patience.
#[test]
fn an_interrupted_publish_says_what_may_be_published() {
    use std::io::Read;

    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let order = "{\"orderId\":\"1\",\"newStatus\":\"shipped\"}";
    let input = folder.path().join("input");
    std::fs::write(&input, format!("{order}\n{order}\n")).unwrap();
    for (arguments, signal, told) in [
        (&["publish", "order-status", "-"][..], "INT", ["by Ctrl-C", "whether lines 1 to 2 were", "with --id-prefix "]),
        (&["publish", "order-status", "-"], "TERM", ["by SIGTERM", "whether lines 1 to 2 were", "with --id-prefix "]),
        (
            &["publish", "order-status", "--data", order, "--id", "mine"],
            "INT",
            ["by Ctrl-C", "not known whether the event was published", "with --id mine:"],
        ),
    ] {
        let mut command = tidings(folder.path(), &[arguments, &["--url", &url]].concat());
        command.stdin(std::fs::File::open(&input).unwrap());
        let publishing = Running::start(command);
        let (mut request, _) = listener.accept().unwrap();
        assert!(request.read(&mut [0; 100]).unwrap() > 0);
        publishing.signal(signal);
        let ended = publishing.ended();
        assert_eq!(ended.code, None, "the signal ends it: {ended:?}");
        for text in told {
            assert!(ended.err.contains(text), "{text:?} {ended:?}");
        }
    }
}
