//! `tidings config check` with every kind of mistake.

use std::fs;

use super::table::Table;
use crate::support::daemon::{Ended, run, tidings};

/// Values that a setting refuses.
const VALUES: &[(&str, &str)] = &[
    ("listen", "7499"),
    ("listen", ":7499"),
    ("listen", "127.0.0.1"),
    ("listen", "127.0.0.1:99999"),
    ("listen", "example.com:7400"),
    ("listen", "here"),
    ("listen", "0.0.0.0:7400"),
    ("insecure", "yes"),
    ("admin-listen", "0.0.0.0:7401"),
    ("admin-listen", "127.0.0.1:7400"),
    ("allowed-origins", "shop.example"),
    ("allowed-origins", "https://shop.example/"),
    ("allowed-origins", "*"),
    ("allowed-hosts", "http://bus"),
    ("allowed-hosts", "::1"),
    ("allowed-hosts", "*"),
    ("trusted-proxies", "10.0.0.0/33"),
    ("frame-rate", "0"),
    ("node-id", "a b"),
    ("advertise", "bus-1"),
    ("drain", "25"),
    ("drain", "1w"),
    ("heartbeat", "0s"),
    ("heartbeat", "9999h"),
    ("log-max-events", "0"),
    ("max-event-bytes", "64kb"),
    ("max-event-bytes", "9GiB"),
    ("namespace", ""),
    ("prefix", "a*"),
    ("file-sync", "allways"),
    ("bus-message", "positions"),
    ("log-format", "prety"),
    ("log-level", "verbose"),
    ("log-level", "inof"),
    ("log-level", "tidings=verbose"),
];

/// Brokers that are refused.
const BROKERS: &[&str] = &[
    "memry",
    "kafka://127.0.0.1",
    "reddis://127.0.0.1",
    "127.0.0.1:6379",
    "file:",
    "upstash+https://h",
    "redis://",
    "redis://h:port",
    "redis://…",
    "redis://h:1,h:2",
    "redis://h/#",
    "redis://h/many",
    "redis://h?db=1",
    "redis://user@h",
    "redis+unix://",
    "redis-cluster://h/1",
    "redis-sentinel://h",
    "rediss://h?tls=false",
    "redis://h?tls=maybe",
    "rediss://h?cacert=missing.pem",
    "rediss://h?cacert=empty.pem",
    "rediss://h?cert=empty.pem",
    "redis+unix:///run/redis.sock?tls=true",
];

pub fn provoke(table: &mut Table) {
    table.section("Configuration");
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str]| run(tidings(folder.path(), &[&["config", "check"], arguments].concat()), "");
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    for (name, value) in VALUES {
        let flag = format!("--{name}={value}");
        table.command(&format!("tidings config check {flag}"), &first_line(check(&[&flag])));
    }
    for broker in BROKERS {
        table.command(&format!("tidings config check --broker '{broker}'"), &first_line(check(&["--broker", broker])));
    }
    for arguments in [&["--config", "missing.toml"][..], &["--schemas", "missing"], &["--schemas", "empty.pem"]] {
        table.command(&format!("tidings config check {}", arguments.join(" ")), &first_line(check(arguments)));
    }
    for file in [
        "max_events_bytes = 1",
        "nonsense = 1",
        "listen = [1]",
        "allowed_hosts = [1]",
        "listen =",
        "drain = '1s'\ndrain = '2s'",
    ] {
        fs::write(folder.path().join("tidings.toml"), file).unwrap();
        table.command(&format!("tidings config check, with the file {file:?}"), &first_line(check(&[])));
    }
    fs::remove_file(folder.path().join("tidings.toml")).unwrap();
    let mut command = tidings(folder.path(), &["config", "check"]);
    command.envs([("TIDINGS_HEARTBEET", "1s"), ("TIDINGS_SERVICE_HOST", "x")]);
    let warned = run(command, "").err;
    let mut lines: Vec<_> = warned.lines().filter(|line| line.contains("warning")).collect();
    lines.sort_unstable();
    table.add("$ TIDINGS_HEARTBEET=1s TIDINGS_SERVICE_HOST=x tidings config check", &lines.join("\n"));
    let small = check(&["--max-body-bytes", "1KiB"]);
    table.add("$ tidings config check --max-body-bytes 1KiB", small.err.lines().next().unwrap());
}

/// Without the hints that follow each mistake of the configuration.
fn first_line(mut ended: Ended) -> Ended {
    ended.err = ended.err.lines().filter(|line| !line.contains("tidings serve --help`")).collect::<Vec<_>>().join("\n");
    ended
}
