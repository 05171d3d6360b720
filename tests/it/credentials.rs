//! The commands that make and use tokens and API keys, as a user runs them: against a daemon that is played by the test where
//! it must expire, revoke or refuse a token.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::support::daemon::{Ended, Running, run, tidings};

/// Runs a command in a folder.
fn run_in(folder: &Path, arguments: &[&str]) -> Ended {
    run(tidings(folder, arguments), "")
}

/// Asserts that a command failed with exit code 1, and that stderr has each of these texts.
fn assert_fails(ended: &Ended, texts: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for text in texts {
        assert!(ended.err.contains(text), "{text:?} is not in {}", ended.err);
    }
}

fn assert_succeeds(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// A folder with what `auth init` writes.
fn initialised() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert_succeeds(&run_in(folder.path(), &["auth", "init"]));
    folder
}

/// A token that `token issue` makes in this folder.
fn issued(folder: &Path, arguments: &[&str]) -> String {
    let ended = run_in(folder, &[&["token", "issue"], arguments].concat());
    assert_succeeds(&ended);
    assert_eq!(ended.out.lines().count(), 1, "the token alone is on stdout");
    ended.out.trim().to_owned()
}

#[test]
fn auth_init_writes_a_configuration_and_keys_and_overwrites_nothing() {
    let folder = initialised();
    let path = |name: &str| folder.path().join(name);
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("auth-private.pem"), 0o600);
    assert!(fs::read_to_string(path("auth-public.pem")).unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
    let checked = run_in(folder.path(), &["config", "check", "--auth", "auth.toml"]);
    assert_succeeds(&checked);

    let names = ["auth.toml", "auth-private.pem", "auth-public.pem"];
    let before = names.map(|name| fs::read(path(name)).unwrap());
    assert_fails(&run_in(folder.path(), &["auth", "init"]), &["auth.toml", "exist", "nothing was written"]);
    assert_eq!(names.map(|name| fs::read(path(name)).unwrap()), before);
    // One file is enough, also a link to nowhere.
    for name in names {
        let other = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", other.path().join(name)).unwrap();
        assert_fails(&run_in(other.path(), &["auth", "init"]), &[name, "exists"]);
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1, "nothing is left behind");
    }
    // A file stands where the folder would be.
    let dir = path("auth.toml/none");
    assert_fails(&run_in(folder.path(), &["auth", "init", "--dir", dir.to_str().unwrap()]), &["auth.toml/none"]);
}

#[test]
fn the_steps_that_auth_init_names_work() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run_in(folder.path(), &["auth", "init"]);
    // The commands are indented further than the text.
    let commands = ended.err.lines().filter_map(|line| line.strip_prefix("     "));
    let steps: Vec<_> = commands.filter_map(|line| line.split_once(" token ")).collect();
    assert_eq!(steps.len(), 3, "{}", ended.err);
    for (program, rest) in steps {
        // As a shell runs it; the program is called by the name by which it was called.
        let script = format!("\"$0\" token {rest}");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-eu", "-c", &script, env!("CARGO_BIN_EXE_tidings")]).current_dir(folder.path());
        let ran = shell.output().unwrap();
        assert!(ran.status.success(), "{program} {rest}: {ran:?}");
    }
    let inspected = run_in(folder.path(), &["token", "inspect", "--token-file", "u42.token"]);
    assert_succeeds(&inspected);
    assert!(inspected.out.contains("order-status where customerId = \"u42\""), "{}", inspected.out);
}

#[test]
fn an_issued_token_has_the_claims_that_were_asked_for_and_is_accepted() {
    let folder = initialised();
    let token = issued(
        folder.path(),
        &[
            "--sub",
            "u42",
            "--publish",
            "inventory-change,data-update",
            "--subscribe",
            "order-*:customerId=u42",
            "--admin",
            "nodes",
            "--admin",
            "metrics",
            "--ttl",
            "90s",
        ],
    );
    let mut command = tidings(folder.path(), &["token", "inspect"]);
    command.env("TIDINGS_TOKEN", &token);
    let inspected = run(command, "");
    assert_succeeds(&inspected);
    for line in [
        r#"iss          "tidings""#,
        r#"sub          "u42""#,
        r#"aud          "tidings""#,
        "publish      inventory-change\n",
        "publish      data-update\n",
        r#"subscribe    order-status where customerId = "u42""#,
        "admin        nodes, metrics",
        "source       u42",
        "namespace    default",
    ] {
        assert!(inspected.out.contains(line), "{line:?} is not in {}", inspected.out);
    }
    assert!(inspected.err.contains("checked with auth.toml: the daemon would take it"), "{}", inspected.err);
    assert!(!inspected.out.contains(&token) && !inspected.err.contains(&token));
}

#[test]
fn a_token_that_the_daemon_would_refuse_is_not_made() {
    let folder = initialised();
    for (arguments, texts) in [
        (&["--subscribe", "order-status:customerid=u1"][..], &["did you mean `customerId`"][..]),
        (&["--subscribe", "order*status"], &["a `*` at its end only"]),
        (&["--subscribe", r#"{"channel":"order-status","where":{}}"#], &["a pin is an object with at least one field"]),
        (&["--key-file", "none.pem"], &["cannot read the key that signs from none.pem"]),
        (&["--key-file", "auth-public.pem"], &["this is a public key: signing takes the private one"]),
        (&["--auth", "none.toml"], &["cannot read none.toml", "`tidings auth init`"]),
        (&["--iss", "https://other.example/"], &["there is no [[issuer]] with `iss`"]),
        (&["--namespace", "shop"], &["choose no namespace"]),
    ] {
        let ended = run_in(folder.path(), &[&["token", "issue", "--sub", "u"], arguments].concat());
        assert_fails(&ended, texts);
        assert_eq!(ended.out, "");
    }
    let unknown = run_in(folder.path(), &["token", "issue", "--sub", "u", "--subscribe", "order-statu"]);
    assert_succeeds(&unknown);
    assert!(unknown.err.contains("did you mean `order-status`"), "{}", unknown.err);
    // The key of somebody else.
    let other = initialised();
    let key = other.path().join("auth-private.pem");
    let ended = run_in(folder.path(), &["token", "issue", "--sub", "u", "--key-file", key.to_str().unwrap()]);
    assert_fails(&ended, &["this is not the private key of", "auth-public.pem"]);
}

#[test]
fn inspect_says_why_a_token_would_be_refused() {
    let (folder, other) = (initialised(), initialised());
    let inspect = |token: &str| {
        fs::write(folder.path().join("token"), token).unwrap();
        run_in(folder.path(), &["token", "inspect", "--token-file", "token"])
    };
    let foreign = issued(other.path(), &["--sub", "u", "--subscribe", "*"]);
    let refused = inspect(&foreign);
    assert_fails(&refused, &["the daemon would refuse it: the signature"]);
    assert!(refused.out.contains("sub          \"u\""), "the claims are shown all the same: {}", refused.out);
    assert_fails(&inspect("hello"), &["this is no token"]);
    assert_fails(&inspect("tdg_unknown_abc"), &["the daemon would refuse it: there is no API key"]);
    assert_fails(&inspect(""), &["token is empty: it must hold the token"]);
    // Without the file of the daemon, what the token says of itself is shown and nothing is promised.
    let alone = tempfile::tempdir().unwrap();
    fs::write(alone.path().join("token"), &foreign).unwrap();
    let unchecked = run_in(alone.path(), &["token", "inspect", "--token-file", "token"]);
    assert_succeeds(&unchecked);
    assert!(
        unchecked.out.contains("subscribe    order-status") && unchecked.err.contains("not checked"),
        "{unchecked:?}"
    );
    // As an argument it is taken, with a warning.
    let shown = run_in(alone.path(), &["token", "inspect", &foreign]);
    assert_succeeds(&shown);
    assert!(shown.err.contains("warning: the token is in the list of processes"), "{}", shown.err);
}

#[test]
fn inspect_names_the_skew_to_which_an_expired_token_owes_its_validity() {
    let folder = initialised();
    let token = issued(folder.path(), &["--sub", "u", "--subscribe", "*", "--ttl", "1s"]);
    fs::write(folder.path().join("token"), &token).unwrap();
    let inspect = || run_in(folder.path(), &["token", "inspect", "--token-file", "token"]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let expired = loop {
        let inspected = inspect();
        assert_succeeds(&inspected);
        if inspected.err.contains("warning: it expired") {
            break inspected;
        }
        assert!(std::time::Instant::now() < end, "{inspected:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    assert!(expired.err.contains("`clock_skew`") && expired.err.contains("would take it"), "{expired:?}");
}

#[test]
fn an_api_key_is_printed_once_and_its_table_is_for_the_file() {
    let folder = initialised();
    let made = run_in(
        folder.path(),
        &[
            "token",
            "api-key",
            "--name",
            "shop/backend@eu",
            "--publish",
            "inventory-change",
            "--subscribe",
            "order-status:customerId=u1",
        ],
    );
    assert_succeeds(&made);
    let key = made.out.trim().to_owned();
    assert!(key.starts_with("tdg_") && made.out.lines().count() == 1, "{made:?}");
    assert!(!made.err.contains(&key), "the table has a hash only");
    let (_, table) = made.err.split_once("[[key]]").unwrap();
    let file = folder.path().join("auth.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n[[key]]{table}")).unwrap();
    assert_succeeds(&run_in(folder.path(), &["config", "check", "--auth", "auth.toml"]));
    let inspected = run(tidings(folder.path(), &["token", "inspect", "--token-file", "-"]), &format!("{key}\n"));
    assert_succeeds(&inspected);
    for line in
        ["publish      inventory-change", r#"order-status where customerId = "u1""#, "source       shop/backend@eu"]
    {
        assert!(inspected.out.contains(line), "{line:?} is not in {}", inspected.out);
    }
}

#[test]
fn an_api_key_that_its_file_would_refuse_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "shop \"backend\"", "a\nb", &"n".repeat(129)] {
        let ended = run_in(folder.path(), &["token", "api-key", "--name", name]);
        assert_fails(&ended, &["--name is the `source` of the program's events"]);
        assert_eq!(ended.out, "");
    }
}

/// A daemon that the test plays: reads a request, and answers it or opens a WebSocket.
struct Played {
    listener: TcpListener,
    url: String,
}

impl Played {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// Accepts a connection, and waits for the head of its request without reading it.
    fn accept(&self) -> (TcpStream, String) {
        let (stream, _) = self.listener.accept().unwrap();
        let mut bytes = [0; 4096];
        loop {
            let read = stream.peek(&mut bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[..read]);
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let head = head.to_owned();
                return (stream, head);
            }
            std::thread::yield_now();
        }
    }

    /// Answers the next request. Returns its head and its body.
    fn answer(&self, status: &str, body: &str) -> (String, String) {
        let (mut stream, head) = self.accept();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut request = vec![0; head.len() + 4 + length];
        stream.read_exact(&mut request).unwrap();
        let response =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(response.as_bytes()).unwrap();
        (head.clone(), String::from_utf8(request[head.len() + 4..].to_vec()).unwrap())
    }

    /// Answers what `tail order-status` asks before it connects, and opens its WebSocket, whose token must be this one.
    fn subscriber(&self, token: &str) -> WebSocket<TcpStream> {
        let (head, _) = self.answer("200 OK", "{}");
        assert!(head.starts_with("GET /v1/schemas/order-status "), "{head}");
        self.websocket(token)
    }

    fn websocket(&self, token: &str) -> WebSocket<TcpStream> {
        let (stream, head) = self.accept();
        assert!(format!("{head}\r\n").contains(&format!("uthorization: Bearer {token}\r\n")), "{head}");
        #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
        let accepted = tungstenite::accept_hdr(stream, |_: &Request, mut response: Response| {
            let protocol = "tidings.v1".parse().unwrap();
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok::<_, ErrorResponse>(response)
        });
        accepted.unwrap()
    }

    /// Whether somebody connects within a moment.
    fn is_asked_again(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        self.listener.accept().is_ok()
    }
}

fn send(socket: &mut WebSocket<TcpStream>, frame: &Value) {
    socket.send(Message::from(frame.to_string())).unwrap();
}

fn welcome(socket: &mut WebSocket<TcpStream>, expires_in_ms: Option<u64>) {
    let mut frame = json!({"type":"welcome","protocol":1,"session":"s","node":"n","heartbeatMs":25_000});
    if let Some(expires_in_ms) = expires_in_ms {
        frame["expiresInMs"] = expires_in_ms.into();
    }
    send(socket, &frame);
}

/// Receives the next frame.
fn receive(socket: &mut WebSocket<TcpStream>) -> Value {
    serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
}

fn confirm(socket: &mut WebSocket<TcpStream>) {
    let frame = receive(socket);
    send(socket, &json!({"type":"subscribed","sub":frame["sub"],"channel":frame["channel"],"position":"e:1"}));
}

fn close(socket: &mut WebSocket<TcpStream>, code: u16) {
    let _ = socket.close(Some(CloseFrame { code: code.into(), reason: "because".into() }));
    // The client may be gone before its echo.
    while socket.read().is_ok() {}
}

const REFUSED: &str = r#"{"status":401,"code":"unauthenticated","detail":"a valid credential is required"}"#;

fn played(part: impl FnOnce(&Played) + Send + 'static) -> (String, JoinHandle<Played>) {
    let daemon = Played::new();
    let url = daemon.url.clone();
    let playing = std::thread::spawn(move || {
        part(&daemon);
        daemon
    });
    (url, playing)
}

#[test]
fn each_way_to_give_a_token_sends_it_as_a_header() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "t1\n").unwrap();
    for (arguments, variable, stdin, sent, warned) in [
        (&[][..], None, "", "", false),
        (&[], Some(""), "", "", false),
        (&[], Some("t1"), "", "Bearer t1", false),
        (&["--token-file", "token"], Some("t2"), "", "Bearer t1", false),
        (&["--token-file", "-"], None, "t1\nmore", "Bearer t1", false),
        (&["--token", "t1"], Some("t2"), "", "Bearer t1", true),
    ] {
        let (url, playing) = played(move |daemon| {
            let (head, _) = daemon.answer("200 OK", r#"{"channels":[]}"#);
            let found = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
            assert_eq!(found, sent);
        });
        let mut command = tidings(folder.path(), &[&["channels", "--url", &url], arguments].concat());
        command.envs(variable.map(|token| ("TIDINGS_TOKEN", token)));
        let ended = run(command, stdin);
        playing.join().unwrap();
        assert_succeeds(&ended);
        assert_eq!(
            ended.err.contains("warning: --token is in the list of processes"),
            warned,
            "{arguments:?} {ended:?}"
        );
    }
}

#[test]
fn a_token_that_cannot_be_read_or_sent_is_an_error_without_the_token() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("empty", " \n"), ("two", "s3cret\ns3cret")] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let channels = |arguments: &[&str]| {
        // Nothing listens there: the token is refused before a connection is made.
        run_in(folder.path(), &[&["channels", "--url", "http://127.0.0.1:1"], arguments].concat())
    };
    assert_fails(&channels(&["--token-file", "none"]), &["cannot read the token from none: No such file"]);
    assert_fails(&channels(&["--token-file", "empty"]), &["empty is empty: it must hold the token"]);
    assert_fails(&channels(&["--token-file", "-"]), &["no token was given"]);
    assert_fails(&channels(&["--token", ""]), &["the token is empty"]);
    for ended in [channels(&["--token-file", "two"]), channels(&["--token", "s3cret s3cret"])] {
        assert_fails(&ended, &["the token has characters that no token has"]);
        assert!(!ended.err.contains("s3cret"), "{}", ended.err);
    }
    let both = channels(&["--token", "t", "--token-file", "two"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn a_refused_request_ends_a_command_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (token, text) in [
        (None, "the daemon wants a token, and there is none\nGive one with --token-file FILE, or in TIDINGS_TOKEN."),
        (Some("s3cret"), "the daemon does not accept the token; its log says why"),
    ] {
        let (url, playing) = played(|daemon| drop(daemon.answer("401 Unauthorized", REFUSED)));
        let mut command = tidings(folder.path(), &["nodes", "--url", &url, "--retry-timeout", "1h"]);
        command.envs(token.map(|token| ("TIDINGS_TOKEN", token)));
        let ended = run(command, "");
        assert_fails(&ended, &["not authenticated at ", text]);
        assert!(!ended.err.contains("s3cret"), "{}", ended.err);
        assert!(!playing.join().unwrap().is_asked_again(), "a refusal is not retried");
    }
}

#[test]
fn tail_ends_when_its_token_is_refused_has_expired_or_was_revoked() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "t1").unwrap();
    for (code, text) in [
        (4001, "the daemon does not accept the token"),
        (4003, "4003 because"),
        (4004, "the token was revoked"),
        (4005, "the token has expired"),
    ] {
        for arguments in [&["--token-file", "token"][..], &[]] {
            let (url, playing) = played(move |daemon| {
                let mut socket = daemon.subscriber("t1");
                welcome(&mut socket, Some(3_600_000));
                confirm(&mut socket);
                close(&mut socket, code);
            });
            let mut command = tidings(folder.path(), &[&["tail", "order-status", "--url", &url], arguments].concat());
            command.env("TIDINGS_TOKEN", "t1");
            let ended = run(command, "");
            assert_fails(&ended, &[text]);
            assert!(!playing.join().unwrap().is_asked_again(), "no connection follows a refusal");
        }
    }
    let (url, playing) = played(|daemon| {
        daemon.answer("200 OK", "{}");
        daemon.answer("401 Unauthorized", REFUSED);
    });
    let ended = run_in(folder.path(), &["tail", "order-status", "--url", &url, "--token-file", "token"]);
    assert_fails(&ended, &["not authenticated at ", "the daemon does not accept the token"]);
    // The file has the same token still, so it is not sent again.
    assert!(!playing.join().unwrap().is_asked_again());
}

#[test]
fn tail_reads_the_file_again_before_its_token_expires_and_after_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "t1").unwrap();
    let written = file.clone();
    let (url, playing) = played(move |daemon| {
        let mut socket = daemon.subscriber("t1");
        fs::write(&written, "t2\n").unwrap();
        welcome(&mut socket, Some(1_000));
        confirm(&mut socket);
        assert_eq!(receive(&mut socket), json!({"type":"auth","token":"t2"}));
        send(&mut socket, &json!({"type":"authenticated","expiresInMs":3_600_000}));
        let event = json!({"specversion":"1.0","id":"1","source":"t","type":"order-status","data":{"orderId":"1"}});
        send(&mut socket, &json!({"type":"event","position":"e:2","event":event}));
        fs::write(&written, "t3").unwrap();
        close(&mut socket, 4005);
        let mut socket = daemon.websocket("t3");
        welcome(&mut socket, None);
        confirm(&mut socket);
        let event = json!({"specversion":"1.0","id":"2","source":"t","type":"order-status","data":{"orderId":"2"}});
        send(&mut socket, &json!({"type":"event","position":"e:3","event":event}));
        while socket.read().is_ok() {}
    });
    let arguments = ["tail", "order-status", "--json", "--count", "2", "--url", &url, "--token-file", "token"];
    let tail = Running::start(tidings(folder.path(), &arguments));
    for id in ["1", "2"] {
        let line: Value = serde_json::from_str(&tail.line()).unwrap();
        assert_eq!(line["event"]["id"], id);
    }
    assert_succeeds(&tail.ended());
    playing.join().unwrap();
}

#[test]
fn revoke_sends_what_is_revoked_and_never_a_whole_key() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, body, said) in [
        (&["--jti", "j1"][..], json!({"jti":"j1"}), "the token j1 is revoked"),
        (&["--sub", "u42"], json!({"sub":"u42"}), "the tokens of u42 are revoked"),
        (&["--sub", "u42", "--issued-before", "1700000000"], json!({"sub":"u42","issuedBefore":1_700_000_000}), "u42"),
        (&["--key", "k7Qm2xWd"], json!({"key":"k7Qm2xWd"}), "the API key k7Qm2xWd is revoked"),
        (&["--key", "tdg_k7Qm2xWd_s3cret"], json!({"key":"k7Qm2xWd"}), "the API key k7Qm2xWd is revoked"),
    ] {
        let (url, playing) = played(move |daemon| {
            let (head, sent) = daemon.answer("204 No Content", "");
            assert!(head.starts_with("POST /v1/revocations ") && head.contains("authorization: Bearer t1"), "{head}");
            assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), body);
        });
        let mut command = tidings(folder.path(), &[&["token", "revoke", "--url", &url], arguments].concat());
        command.env("TIDINGS_TOKEN", "t1");
        let ended = run(command, "");
        playing.join().unwrap();
        assert_succeeds(&ended);
        assert!(ended.err.contains(said) && !ended.err.contains("s3cret"), "{}", ended.err);
    }
    for arguments in [&["token", "revoke"][..], &["token", "revoke", "--jti", "a", "--sub", "b"]] {
        assert_eq!(run_in(folder.path(), arguments).code, Some(2), "exactly one is revoked");
    }
    let (url, playing) = played(|daemon| {
        daemon.answer("403 Forbidden", r#"{"status":403,"code":"forbidden","detail":"the right `revoke` is missing"}"#);
    });
    let mut command = tidings(folder.path(), &["token", "revoke", "--jti", "j1", "--url", &url]);
    command.env("TIDINGS_TOKEN", "t1");
    assert_fails(&run(command, ""), &["(forbidden)"]);
    playing.join().unwrap();
}
