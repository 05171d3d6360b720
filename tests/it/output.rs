//! Commands whose output cannot be written: stdout is a closed pipe or a full disk, or stderr is closed.
//!
//! A closed pipe ends a command that only reads, without an error. A command with effects goes on, and says so. A full disk
//! is a failure of every command.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::daemon::{Daemon, Ended, Running, run, tidings};

/// What stdout or stderr of a command is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sink {
    /// A pipe whose reader has closed it, as `head` does.
    ClosedPipe,
    /// A disk without space.
    FullDisk,
}

impl Sink {
    fn open(self) -> Stdio {
        match self {
            Self::FullDisk => File::options().write(true).open("/dev/full").unwrap().into(),
            Self::ClosedPipe => {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                writer.into()
            }
        }
    }
}

/// Runs a command with this stdout until it exits.
fn into(mut command: Command, sink: Sink, stdin: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(sink.open());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    let ended = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ended { code: ended.status.code(), out: String::new(), err: String::from_utf8(ended.stderr).unwrap() }
}

/// Lines of stdin for `publish order-status -`.
fn orders(count: usize) -> String {
    (0..count).map(|n| format!("{{\"orderId\":\"{n}\",\"newStatus\":\"shipped\"}}\n")).collect()
}

/// How many events the channel holds.
fn retained(daemon: &Daemon, channel: &str) -> u64 {
    let channels = daemon.run(&["channels", "--json"]).out;
    let channels = channels.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    channels.into_iter().find(|entry| entry["type"] == channel).unwrap()["retained"].as_u64().unwrap()
}

const READERS: [&[&str]; 12] = [
    &["history", "order-status"],
    &["history", "order-status", "--json"],
    &["tail", "order-status", "--since", "start", "--count", "1"],
    &["channels"],
    &["channels", "--json"],
    &["nodes"],
    &["config", "show"],
    &["config", "show", "--defaults"],
    &["schema", "check", "review.schema.json"],
    &["completions", "bash"],
    &["--help"],
    &["--version"],
];

#[test]
fn a_full_disk_is_a_failure_and_a_closed_pipe_ends_a_reader() {
    let daemon = Daemon::start();
    fs::write(daemon.folder.path().join("review.schema.json"), r#"{"type":"object"}"#).unwrap();
    assert_eq!(run(daemon.command(&["publish", "order-status", "-"]), &orders(3)).code, Some(0));
    for arguments in READERS {
        let ended = into(daemon.command(arguments), Sink::FullDisk, "");
        assert_eq!(ended.code, Some(1), "{arguments:?} {ended:?}");
        assert!(ended.err.contains("cannot write to stdout: No space left on device"), "{arguments:?} {ended:?}");
        let ended = into(daemon.command(arguments), Sink::ClosedPipe, "");
        assert_eq!(ended.code, Some(0), "{arguments:?} {ended:?}");
        assert!(!ended.err.contains("error"), "{arguments:?} {ended:?}");
    }
}

#[test]
fn publishing_goes_on_when_its_output_is_lost() {
    let daemon = Daemon::start();
    let mut published = 0;
    let mut check = |arguments: &[&str], stdin: &str, count: u64| {
        for sink in [Sink::ClosedPipe, Sink::FullDisk] {
            let ended = into(daemon.command(arguments), sink, stdin);
            published += count;
            assert_eq!(retained(&daemon, "order-status"), published, "{arguments:?} {sink:?} {ended:?}");
            match sink {
                Sink::ClosedPipe => {
                    assert_eq!(ended.code, Some(0), "{arguments:?} {ended:?}");
                    assert!(ended.err.contains("stdout was closed"), "{arguments:?} {ended:?}");
                }
                Sink::FullDisk => {
                    assert_eq!(ended.code, Some(1), "{arguments:?} {ended:?}");
                    let cause = "cannot write to stdout: No space left on device";
                    assert!(ended.err.contains(cause), "{arguments:?} {ended:?}");
                }
            }
            // The user must not publish again what is published.
            let said = if count == 1 { "was published".into() } else { format!("published: {}", thousands(count)) };
            assert!(ended.err.contains(&said), "{said:?} {ended:?}");
        }
    };
    check(&["publish", "order-status", "-", "--json"], &orders(2500), 2500);
    check(&["publish", "order-status", "orderId=1", "newStatus=shipped"], "", 1);
    check(&["publish", "order-status", "--data", r#"{"orderId":"1","newStatus":"shipped"}"#, "--json"], "", 1);
}

/// A number below a million with its separator.
fn thousands(count: u64) -> String {
    format!("{},{:03}", count / 1000, count % 1000)
}

#[test]
fn bench_fails_when_its_report_is_lost() {
    let daemon = Daemon::start();
    for sink in [Sink::ClosedPipe, Sink::FullDisk] {
        let arguments = ["bench", "--connections", "1", "--rate", "10", "--seconds", "1", "--json"];
        let ended = into(daemon.command(&arguments), sink, "");
        assert_eq!(ended.code, Some(1), "{sink:?} {ended:?}");
        assert!(ended.err.contains("10 events were published"), "{sink:?} {ended:?}");
    }
}

#[test]
fn tail_ends_as_soon_as_its_stdout_is_closed() {
    let daemon = Daemon::start();
    let mut tail = daemon.tail(&["order-status"]);
    // No event comes after this: the closed pipe alone ends the command.
    daemon.run(&["publish", "order-status", "orderId=1", "newStatus=shipped"]);
    tail.line();
    tail.stop_reading();
    daemon.run(&["publish", "order-status", "orderId=1", "newStatus=shipped"]);
    let ended = tail.ended();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn a_closed_stderr_is_no_panic() {
    let daemon = Daemon::start();
    for sink in [Sink::ClosedPipe, Sink::FullDisk] {
        for (arguments, code) in [
            (&["publish", "order-status", "-"][..], 0),
            (&["publish", "order-status", "orderId=1"], 1),
            (&["tail", "nowhere"], 1),
            (&["tail", "--since", "start", "--count", "1"], 0),
            (&["schema", "export", "--out", "out"], 0),
            (&["serve", "--schemas", "nowhere"], 1),
            (&["bench", "--channel", "nonsense"], 1),
            (&["config", "check"], 0),
            (&["nonsense"], 2),
        ] {
            let mut command = daemon.command(arguments);
            command.stderr(sink.open());
            let ended = into(command, Sink::FullDisk, &orders(3));
            let expected = if code == 0 && arguments[0] == "tail" { 1 } else { code };
            assert_eq!(ended.code, Some(expected), "{arguments:?} {sink:?}");
        }
    }
}

/// The daemon's log has no reader any more. The daemon serves as before.
#[test]
fn a_daemon_survives_the_loss_of_its_log() {
    let folder = tempfile::tempdir().unwrap();
    for sink in [Sink::ClosedPipe, Sink::FullDisk] {
        let port = crate::support::redis::free_port();
        let listen = format!("127.0.0.1:{port}");
        for format in ["json", "pretty"] {
            let arguments = ["serve", "--listen", &listen, "--log-format", format, "--log-level", "debug"];
            let mut daemon = tidings(folder.path(), &arguments);
            let mut daemon = daemon.stdout(Stdio::null()).stderr(sink.open()).spawn().unwrap();
            let url = format!("http://{listen}");
            let published = || {
                let sale = ["publish", "order-status", "orderId=1", "newStatus=shipped", "--url", &url];
                Running::start(tidings(folder.path(), &sale)).ended().code == Some(0)
            };
            let start = std::time::Instant::now();
            while !published() {
                assert!(start.elapsed() < crate::support::PATIENCE, "{sink:?} {format}");
            }
            assert!(published(), "{sink:?} {format}");
            assert!(Command::new("kill").args(["-s", "TERM", &daemon.id().to_string()]).status().unwrap().success());
            assert_eq!(daemon.wait().unwrap().code(), Some(0), "{sink:?} {format}");
        }
    }
}

/// A command that writes files leaves none that is cut off, and says which one failed.
#[test]
fn generated_files_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, old) in [(["schema", "export"], "event.schema.json"), (["codegen", "typescript"], "events.ts")] {
        let out = folder.path().join(arguments[0]);
        fs::create_dir(&out).unwrap();
        fs::write(out.join(old), "old").unwrap();
        let all = [&arguments[..], &["--out", out.to_str().unwrap()]].concat();
        // A limit on the size of a file stands in for a full disk; its signal is ignored.
        let mut shell = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_tidings");
        shell
            .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh", program])
            .args(&all)
            .current_dir(folder.path());
        let ended = run_shell(shell);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(&format!("{}/", out.display())), "the file is named: {ended:?}");
        assert!(ended.err.contains("File too large"), "{ended:?}");
        assert_eq!(fs::read_to_string(out.join(old)).unwrap(), "old");
        let left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        for name in left {
            let name = name.to_str().unwrap();
            assert!(!name.starts_with('.') && !name.ends_with(".tmp"), "{name} is left");
        }
    }
}

fn run_shell(mut shell: Command) -> Ended {
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(shell).ended()
}

/// On a terminal, messages stand below the progress bar's place, and nothing of the bar is left.
#[test]
fn a_failed_stream_leaves_nothing_of_its_progress_bar() {
    let daemon = Daemon::start();
    // `script` gives the command a terminal. The last line comes after the first one was published and the bar was drawn.
    let typed = r#"(echo '{"orderId":"1","newStatus":"shipped"}'
        until $TIDINGS channels --json | grep -q '"type":"order-status".*"retained":1'; do sleep 0.1; done
        sleep 1; echo wrong) | $TIDINGS publish order-status -"#;
    let mut script = Command::new("script");
    script.args(["-qec", typed, "/dev/null"]).current_dir(daemon.folder.path());
    script.env("TIDINGS", env!("CARGO_BIN_EXE_tidings")).env("TIDINGS_URL", &daemon.url).env("TERM", "xterm");
    script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Running::start(script).ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let (bar, after) = ended.out.rsplit_once("\r\u{1b}[2K").unwrap_or_else(|| panic!("no bar was drawn: {ended:?}"));
    assert!(bar.contains("published: 1,"), "{ended:?}");
    let lines: Vec<_> = after.lines().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
    assert!(lines[0].starts_with("published: 1 in "), "{lines:?}");
    assert!(lines[1].starts_with("error: line 2: not JSON"), "{lines:?}");
    assert!(lines[2].ends_with("Nothing from line 2 on was published."), "{lines:?}");
}

/// An event may have texts that are escape sequences. No form of output brings one to the terminal.
#[test]
fn texts_of_events_send_no_escape_sequence_to_the_terminal() {
    let daemon = Daemon::start();
    let data = "{\"productId\":\"1\",\"oldQuantity\":1,\"newQuantity\":0,\"reason\":\"a\u{9b}31mred\u{7f}\"}";
    let published = daemon.run(&["publish", "inventory-change", "--data", data]);
    assert_eq!(published.code, Some(0), "{published:?}");
    for form in ["", "--json", "--jq .event", "--jq .event.data.reason", "--format {data.reason}"] {
        let mut script = Command::new("script");
        script.args(["-qec", &format!("$TIDINGS history inventory-change {form}"), "/dev/null"]);
        script.env("TIDINGS", env!("CARGO_BIN_EXE_tidings")).env("TIDINGS_URL", &daemon.url).env("TERM", "xterm");
        script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = Running::start(script).ended();
        assert!(ended.out.contains("31mred"), "{form}: {ended:?}");
        assert!(!ended.out.contains(['\u{9b}', '\u{7f}']), "{form}: {ended:?}");
        if form == "--json" {
            let line: Value = serde_json::from_str(ended.out.trim()).unwrap();
            assert_eq!(line["event"]["data"]["reason"], "a\u{9b}31mred\u{7f}", "nothing is lost");
        }
    }
    // A pipe gets what was published.
    let piped = daemon.run(&["history", "inventory-change", "--json"]);
    assert!(piped.out.contains("a\u{9b}31mred\u{7f}"), "{piped:?}");
}
