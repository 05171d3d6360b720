//! `tidings doctor`: planted faults between a command and a daemon, each named with what to do.

mod access;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::certificates::Authority;
use crate::support::daemon::{Daemon, Ended, run, run_by, tidings};
use crate::support::redis::{Redis, documented_user};

/// What a proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Answers everything itself, with a page.
    Page,
    /// Says that it is an hour later.
    Clock,
    /// Does not pass on the headers of a WebSocket handshake, as nginx by its defaults.
    NoUpgrade,
    /// Holds event streams back.
    Buffers,
    /// Compresses event streams, or says so.
    Compresses,
    /// Closes connections after a while.
    Cuts,
    /// Drops the headers that let a page read an answer.
    NoCors,
    /// Has the daemon below `/bus/`.
    Path,
}

/// Starts a proxy of a daemon that lasts until the test's process ends. Its address.
fn proxy(daemon: &str, fault: Fault) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let daemon = daemon.strip_prefix("http://").unwrap().to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let daemon = daemon.clone();
            std::thread::spawn(move || pass(client, &daemon, fault));
        }
    });
    url
}

/// Passes one request on, and its answer back.
fn pass(mut client: TcpStream, daemon: &str, fault: Fault) -> io::Result<()> {
    let mut request = head(&mut client)?;
    if fault == Fault::Path {
        request = request.replacen(" /bus/", " /", 1);
    }
    let is = |path: &str| request.starts_with(&format!("GET {path}"));
    let (is_socket, is_stream, is_health) = (is("/v1/ws"), is("/v1/stream"), is("/healthz"));
    if fault == Fault::Page {
        return client.write_all(
            b"HTTP/1.1 200 OK\r\nserver: bakery\r\ncontent-type: text/html\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
        );
    }
    if !is_socket || fault == Fault::NoUpgrade {
        // One request for each connection.
        request = without(&request, &["connection", "upgrade"]).replacen("\r\n", "\r\nconnection: close\r\n", 1);
    }
    let mut daemon = TcpStream::connect(daemon)?;
    daemon.write_all(request.as_bytes())?;
    let mut answer = head(&mut daemon)?;
    match fault {
        Fault::Clock if is_health => {
            let later = "Fri, 01 Jan 2100 00:00:00 GMT";
            answer = without(&answer, &["date"]).replacen("\r\n", &format!("\r\ndate: {later}\r\n"), 1);
        }
        Fault::NoCors => answer = without(&answer, &["access-control-allow-origin"]),
        Fault::Compresses if is_stream => answer = answer.replacen("\r\n", "\r\ncontent-encoding: gzip\r\n", 1),
        Fault::Buffers if is_stream => {
            // Until the client is tired of it.
            return client.read(&mut [0; 1]).map(drop);
        }
        _ => {}
    }
    client.write_all(answer.as_bytes())?;
    let (mut from, mut to) = (client.try_clone()?, daemon.try_clone()?);
    std::thread::spawn(move || io::copy(&mut from, &mut to));
    if fault == Fault::Cuts && (is_socket || is_stream) {
        let (daemon, client) = (daemon.try_clone()?, client.try_clone()?);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(700));
            [client, daemon].map(|socket| socket.shutdown(Shutdown::Both))
        });
    }
    io::copy(&mut daemon, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// The head of a request or an answer, with its empty line.
fn head(socket: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn without(head: &str, names: &[&str]) -> String {
    let is_named = |line: &str| names.iter().any(|name| line.to_lowercase().starts_with(&format!("{name}:")));
    head.split_inclusive("\r\n").filter(|line| !is_named(line)).collect()
}

fn doctor(url: &str, arguments: &[&str]) -> Ended {
    run(tidings(&std::env::temp_dir(), &[&["doctor", "--url", url], arguments].concat()), "")
}

/// The findings that are warnings or problems, as check and message with fix.
fn troubles(ended: &Ended) -> Vec<(String, String)> {
    let findings = ended.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let troubles = findings.filter(|finding| matches!(finding["level"].as_str(), Some("warning" | "problem")));
    troubles
        .map(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_else(|| panic!("{name} of {finding}")).to_owned();
            (text("check"), format!("{} | {}", text("message"), text("fix")))
        })
        .collect()
}

/// Asserts that the doctor finds exactly this, and says so by its exit code.
#[track_caller]
fn assert_finds(url: &str, arguments: &[&str], check: &str, fragments: &[&str]) {
    let ended = doctor(url, &[&["--json"], arguments].concat());
    let found = troubles(&ended);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(found.len(), 1, "{ended:?}");
    assert_eq!(found[0].0, check, "{ended:?}");
    for fragment in fragments {
        assert!(found[0].1.contains(fragment), "{fragment:?} is not in {found:?}");
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_sound_daemon_has_no_finding() {
    let daemon = Daemon::start();
    for url in [daemon.url.clone(), proxy(&daemon.url, Fault::None)] {
        let ended = doctor(&url, &["--idle", "1s"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for line in [
            "ok       websocket",
            "ok       stream",
            "ok       idle stream",
            "ok       clock",
            "ok       ready",
            "ok       connections",
        ] {
            assert!(ended.out.contains(line), "{line:?} is not in {}", ended.out);
        }
    }
    let before = daemon.run(&["channels", "--json"]).out;
    doctor(&daemon.url, &[]);
    assert_eq!(daemon.run(&["channels", "--json"]).out, before, "nothing was published");
}

/// A terminal that is silent for a minute seems to hang. Without one, nobody waits.
#[test]
fn at_a_terminal_it_says_what_it_waits_for() {
    let daemon = Daemon::start();
    let words = "keeping a WebSocket and an event stream open for 300.0 ms";
    let mut script = std::process::Command::new("script");
    script.args(["-qec", "exec $TIDINGS doctor --idle 300ms", "/dev/null"]).stdin(Stdio::null());
    script.env("TIDINGS", env!("CARGO_BIN_EXE_tidings")).env("TIDINGS_URL", &daemon.url);
    let shown = script.output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains(words), "{shown:?}");
    let ended = doctor(&daemon.url, &["--idle", "300ms"]);
    assert!(ended.code == Some(0) && ended.err.is_empty(), "{ended:?}");
}

#[test]
fn faults_on_the_way_are_named_with_what_to_do() {
    let daemon = Daemon::start();
    let origin = ["--origin", "https://shop.example"];
    for (fault, arguments, check, fragments) in [
        (Fault::Page, &[][..], "daemon", &["by bakery", "not by a daemon", "--url"][..]),
        (Fault::Clock, &[], "clock", &["behind the daemon", "NTP"]),
        (Fault::NoUpgrade, &[], "websocket", &["Upgrade and Connection"]),
        (Fault::Buffers, &[], "stream", &["did not come within 5 s", "proxy_buffering off"]),
        (Fault::Compresses, &[], "stream", &["compressed on the way (gzip)", "text/event-stream"]),
        (Fault::None, &origin, "origin", &["are refused", "--allowed-origins https://shop.example"]),
    ] {
        assert_finds(&proxy(&daemon.url, fault), arguments, check, fragments);
    }
}

#[test]
fn connections_that_are_cut_while_idle_are_named() {
    let daemon = Daemon::start();
    let ended = doctor(&proxy(&daemon.url, Fault::Cuts), &["--json", "--idle", "20s"]);
    let found = troubles(&ended);
    let checks: Vec<_> = found.iter().map(|(check, _)| check.as_str()).collect();
    assert_eq!(checks, ["idle socket", "idle stream"], "{ended:?}");
    assert!(found.iter().all(|(_, text)| text.contains("closed after") && text.contains("heartbeat")), "{found:?}");
}

#[test]
fn a_page_that_may_not_read_the_answer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--allowed-origins", "https://shop.example"];
    let daemon = Daemon::with(&flags, folder);
    let origin = ["--origin", "https://shop.example"];
    assert_eq!(doctor(&daemon.url, &origin).code, Some(0));
    assert_finds(&proxy(&daemon.url, Fault::NoCors), &origin, "origin", &["Access-Control-Allow-Origin", "proxy"]);
}

#[test]
fn a_daemon_that_cannot_be_reached_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_finds(&format!("http://{closed}"), &[], "address", &["no connection to 127.0.0.1", "start a daemon"]);
    assert_finds("http://tidings.invalid:7400", &[], "address", &["tidings.invalid has no address", "spelling"]);
    // Over TLS to a port without it.
    let daemon = Daemon::start();
    let https = daemon.url.replace("http:", "https:");
    assert_finds(&https, &[], "tls", &["handshake failed", "http://"]);
    // A process that accepts connections and hangs.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hung.local_addr().unwrap());
    assert_finds(&url, &[], "daemon", &["GET /healthz is not answered within 5 s", "hangs"]);
}

#[test]
fn a_certificate_that_is_not_trusted_or_ends_soon_is_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let daemon = |certificate: &crate::support::certificates::Certificate| {
        let flags = ["--listen", "127.0.0.1:0", "--tls-cert", &certificate.cert, "--tls-key", &certificate.key];
        Daemon::with(&flags, tempfile::tempdir().unwrap())
    };
    let sound = daemon(&authority.certificate(&["127.0.0.1"]));
    let trusted = ["--cacert", &authority.cacert()];
    let ended = doctor(&sound.url, &trusted);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_finds(&sound.url, &["--ca", &other.cacert()], "tls", &["handshake failed", "--cacert FILE"]);
    let misnamed = daemon(&authority.certificate(&["bus.example"]));
    assert_finds(&misnamed.url, &trusted, "tls", &["handshake failed", "alternative names"]);
    let ending = daemon(&authority.certificate_for_days(&["127.0.0.1"], 3));
    assert_finds(&ending.url, &trusted, "tls", &["ends in 2 days, at 20", "T00:00:00Z", "renew"]);
    let expired = daemon(&authority.certificate_for_days(&["127.0.0.1"], -2));
    let found = &["the certificate has expired at 20", "T00:00:00Z", "renew"];
    assert_finds(&expired.url, &trusted, "tls", found);
    // Somebody in between could show any certificate.
    assert_finds(&sound.url, &["--insecure-tls"], "tls", &["is not checked", "--cacert FILE"]);
    // Without TLS to a port that takes nothing else.
    let http = sound.url.replace("https:", "http:");
    assert_finds(&http, &[], "daemon", &["this port takes TLS only", "https://"]);
}

#[test]
fn a_client_certificate_that_is_missing_is_named() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["127.0.0.1"]);
    let ca = authority.cacert();
    let flags = ["--tls-cert", &certificate.cert, "--tls-key", &certificate.key, "--tls-client-ca", &ca];
    let daemon = Daemon::with(&[&["--listen", "127.0.0.1:0"], &flags[..]].concat(), tempfile::tempdir().unwrap());
    assert_finds(&daemon.url, &["--ca", &ca], "daemon", &["CertificateRequired", "--client-cert", "--client-key"]);
}

#[test]
fn a_daemon_without_its_broker_and_a_lost_node_are_named() {
    let mut redis = Redis::start();
    let broker = format!("redis://127.0.0.1:{}", redis.port);
    let flags = ["--listen", "127.0.0.1:0", "--broker", &broker];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    let ready = daemon.run(&["health", "--ready", "--retry-timeout", "30s"]);
    assert_eq!(ready.code, Some(0), "{ready:?}");
    let ended = doctor(&daemon.url, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let crashed = Daemon::with(&flags, tempfile::tempdir().unwrap());
    until("both nodes are listed", || daemon.run(&["nodes", "--json"]).out.lines().count() == 2);
    crashed.process.signal("KILL");
    until("the node is lost", || daemon.run(&["nodes", "--json"]).out.contains("\"lost\""));
    assert_finds(&daemon.url, &[], "nodes", &["1 of 2 nodes are lost", "its log"]);
    redis.kill();
    until("the daemon is not ready", || daemon.run(&["health", "--ready"]).code == Some(1));
    let found = troubles(&doctor(&daemon.url, &["--json"]));
    let ready = found.iter().find(|(check, _)| check == "ready").unwrap_or_else(|| panic!("{found:?}"));
    assert!(ready.1.contains("the daemon's log") && ready.1.contains("config check --connect"), "{ready:?}");
    // With the configuration, the broker alone is the finding.
    let file = daemon.folder.path().join("tidings.toml");
    std::fs::write(&file, format!("broker = \"{broker}\"\n")).unwrap();
    let found = troubles(&doctor(&daemon.url, &["--json", "--config", file.to_str().unwrap()]));
    let of_the_broker = found.iter().filter(|(check, _)| matches!(&**check, "ready" | "round trip"));
    assert_eq!(of_the_broker.map(|(check, _)| &**check).collect::<Vec<_>>(), ["round trip"], "{found:?}");
}

#[test]
fn without_an_address_the_daemon_of_the_configuration_is_examined() {
    let authority = Authority::new();
    let certificate = authority.certificate(&["127.0.0.1"]);
    let flags = ["--listen", "127.0.0.1:0", "--tls-cert", &certificate.cert, "--tls-key", &certificate.key];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    let here = |listen: &str, more: &[&str]| {
        let tls = format!("tls_cert = {:?}\ntls_key = {:?}\n", certificate.cert, certificate.key);
        std::fs::write(&file, format!("listen = \"{listen}\"\ninsecure = true\n{tls}")).unwrap();
        let arguments = ["doctor", "--config", "tidings.toml", "--cacert", &authority.cacert()];
        run(tidings(folder.path(), &[&arguments[..], more].concat()), "")
    };
    let address = daemon.url.strip_prefix("https://").unwrap();
    let ended = here(address, &[]);
    assert!(ended.code == Some(0) && ended.out.starts_with(&format!("{}\n", daemon.url)), "{ended:?}");
    // Every address of the machine is reached at its own.
    let ended = here(&address.replace("127.0.0.1", "0.0.0.0"), &[]);
    assert!(ended.code == Some(0) && ended.out.starts_with(&format!("{}\n", daemon.url)), "{ended:?}");
    let closed = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let ended = here(address, &["--url", &closed]);
    assert!(ended.out.starts_with(&format!("{closed}\n")), "the flag wins: {ended:?}");
    let ended = here("127.0.0.1:0", &[]);
    assert!(ended.code == Some(1) && ended.err.contains("--url"), "{ended:?}");
    // A mistake in the file is the only finding: nobody knows which daemon it is about.
    let ended = here("nowhere", &[]);
    assert!(ended.code == Some(1) && ended.out.starts_with("tidings.toml\n"), "{ended:?}");
    assert!(ended.out.contains("problem  config"), "{ended:?}");
}

#[test]
fn what_the_broker_lacks_is_named_with_the_daemons_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start();
    let file = folder.path().join("tidings.toml");
    let configured = |broker: &str| {
        std::fs::write(&file, format!("broker = \"{broker}\"\n")).unwrap();
        doctor(&daemon.url, &["--json", "--config", file.to_str().unwrap()])
    };
    let durable = Redis::durable();
    let sound = configured(&format!("redis://127.0.0.1:{}", durable.port));
    assert_eq!(sound.code, Some(0), "{sound:?}");
    for check in ["round trip", "server", "eviction", "persistence"] {
        assert!(sound.out.contains(&format!("\"check\":\"{check}\",\"level\":\"ok\"")), "{check}: {sound:?}");
    }
    let shown = doctor(&daemon.url, &["--config", file.to_str().unwrap()]);
    let (_, lines) = shown.out.split_once("tidings.toml\n").unwrap_or_else(|| panic!("{shown:?}"));
    let begins = lines.lines().map(|line| line.chars().nth(26) == Some(' ') && line.chars().nth(27) != Some(' '));
    assert!(
        begins.clone().count() > 5 && begins.clone().all(|begins| begins),
        "the messages are in one column: {lines}"
    );
    let faulty = Redis::with(&["--maxmemory-policy", "allkeys-lru", "--appendonly", "no"]);
    documented_user(&faulty, "~tidings:*");
    let found = troubles(&configured(&format!("redis://127.0.0.1:{}", faulty.port)));
    assert_eq!(found.len(), 2, "{found:?}");
    for (check, fix) in [("eviction", "set maxmemory-policy noeviction"), ("persistence", "set appendonly yes")] {
        assert!(found.iter().any(|(name, text)| name == check && text.contains(fix)), "{check}: {found:?}");
    }
    faulty.cli(&["acl", "setuser", "tidings", "-xadd"]);
    let ended = configured(&format!("redis://tidings:s3cret@127.0.0.1:{}", faulty.port));
    let found = troubles(&ended);
    let rights = found.iter().find(|(check, _)| check == "round trip").unwrap_or_else(|| panic!("{found:?}"));
    assert!(rights.1.contains("+xadd") && rights.1.contains("docs/redis.md"), "{rights:?}");
    assert!(ended.code == Some(1) && !ended.out.contains("s3cret"), "{ended:?}");
    let away = troubles(&configured("redis://tidings.invalid:6379"));
    assert!(away.len() == 1 && away[0].0 == "round trip", "{away:?}");
    assert!(away[0].1.starts_with("no connection to Redis: failed to lookup address information: "), "{away:?}");
    assert!(away[0].1.contains("| check `broker` in the configuration"), "{away:?}");
    let wrong = troubles(&configured("ftp://x"));
    assert!(wrong.len() == 1 && wrong[0].0 == "config" && wrong[0].1.contains("broker"), "{wrong:?}");
    // Without the file, it says which command tells more.
    let ended = doctor(&daemon.url, &[]);
    assert!(ended.code == Some(0) && ended.out.contains("--config FILE"), "{ended:?}");
}

#[test]
fn a_low_limit_on_open_files_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::starting(&["--listen", "127.0.0.1:0"], folder, |command| {
        *command = run_by(&["sh", "-c", "ulimit -n 300; exec \"$0\" \"$@\""], command);
    });
    assert_finds(&daemon.url, &[], "connections", &["of 270 are open", "LimitNOFILE"]);
}
