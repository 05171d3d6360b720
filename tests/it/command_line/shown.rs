//! What a terminal gets: tables that are narrower than their columns, and letters that could deceive the reader.

use crate::support::daemon::Daemon;
use crate::support::terminal::{Terminal, ended};

/// What a command shows at a terminal with so many columns, without colours.
fn shown(daemon: &Daemon, columns: u16, arguments: &[&str]) -> String {
    let mut terminal = Terminal::new(columns);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\"; echo code $? over", env!("CARGO_BIN_EXE_tidings")]).args(arguments);
    shell.env("TIDINGS_URL", &daemon.url).env("NO_COLOR", "1").env("XDG_CONFIG_HOME", daemon.folder.path());
    let process = terminal.run(shell);
    let shown = terminal.wait_for(" over").replace("\r\n", "\n");
    assert!(ended(process).success());
    let Some(shown) = shown.strip_suffix("code 0 over") else { panic!("{arguments:?}: {shown}") };
    shown.to_owned()
}

#[test]
fn a_table_fits_into_a_narrow_terminal() {
    let daemon = Daemon::start();
    for command in ["channels", "nodes"] {
        let wide = shown(&daemon, 200, &[command]);
        let piped = daemon.run(&[command]).out;
        assert_eq!(wide.lines().next(), piped.lines().next(), "{command}");
        let narrow = shown(&daemon, 40, &[command]);
        for line in narrow.lines() {
            assert!(line.chars().count() <= 40, "{command}: {line:?} of\n{narrow}");
        }
        // Nothing is left out, and each value has its name.
        let head: Vec<_> =
            piped.lines().next().unwrap().split("  ").map(str::trim).filter(|name| !name.is_empty()).collect();
        for name in &head[1..] {
            assert!(narrow.contains(name), "{command}: {name} is not in\n{narrow}");
        }
        for value in piped.lines().skip(1).flat_map(str::split_whitespace).filter(|value| !value.contains('T')) {
            assert!(narrow.contains(value), "{command}: {value} is not in\n{narrow}");
        }
    }
}

/// U+202E writes the rest of the line from right to left: `gpj.exe` looks like `exe.jpg`.
#[test]
fn letters_that_deceive_are_escaped_at_a_terminal_in_every_form() {
    let daemon = Daemon::start();
    let reason = "a\u{202e}b\u{200b} é👍";
    let data = format!("{{\"productId\":\"p\u{202e}1\",\"oldQuantity\":1,\"newQuantity\":0,\"reason\":\"{reason}\"}}");
    assert_eq!(daemon.run(&["publish", "inventory-change", "--data", &data]).code, Some(0));
    let tags = daemon.run(&["publish", "cache-invalidate", "--data", "{\"tags\":[\"x\u{202e}y\"]}"]);
    assert_eq!(tags.code, Some(0), "{tags:?}");
    for form in [
        &[][..],
        &["--json"],
        &["--jq", ".event"],
        &["--jq", ".event.data.reason"],
        &["--format", "{data.reason} {subject}"],
    ] {
        let text = shown(&daemon, 200, &[&["history", "inventory-change"], form].concat());
        assert!(!text.contains(['\u{202e}', '\u{200b}']), "{form:?}: {text:?}");
        assert!(text.contains("202e") && text.contains("200b") && text.contains("é👍"), "{form:?}: {text:?}");
        if form == ["--json"] {
            let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
            assert_eq!(line["event"]["data"]["reason"], reason, "nothing is lost");
        }
    }
    let tags = shown(&daemon, 200, &["history", "cache-invalidate"]);
    assert!(tags.contains("x\\u{202e}y"), "{tags:?}");
    // A pipe gets what was published.
    for form in [&["--jq", ".event.data.reason"][..], &["--format", "{data.reason}"]] {
        let piped = daemon.run(&[&["history", "inventory-change"], form].concat());
        assert_eq!(piped.out, format!("{reason}\n"), "{form:?}");
    }
}

/// A program that fails is a failure of the command, in the end.
#[test]
fn a_jq_program_that_fails_makes_the_exit_code_1() {
    let daemon = Daemon::start();
    for id in ["1", "2"] {
        let published = daemon.run(&["publish", "order-status", &format!("orderId={id}"), "newStatus=shipped"]);
        assert_eq!(published.code, Some(0), "{published:?}");
    }
    let fails = "if .event.subject == \"1\" then error(\"no\") else .event.subject end";
    for command in [&["history", "order-status"][..], &["tail", "order-status", "--since", "start", "--count", "2"]] {
        let ended = daemon.run(&[command, &["--jq", fails]].concat());
        assert_eq!((ended.code, &*ended.out), (Some(1), "2\n"), "{command:?} {ended:?}");
        assert!(ended.err.contains("the --jq program failed for 1 event"), "{command:?} {ended:?}");
        let ended = daemon.run(&[command, &["--jq", ".event.subject"]].concat());
        assert_eq!((ended.code, &*ended.out, ended.err.contains("failed")), (Some(0), "1\n2\n", false), "{ended:?}");
    }
    // Ctrl-C is the normal end of `tail`, whatever came before.
    let tail = daemon.tail(&["order-status", "--since", "start", "--jq", fails]);
    assert_eq!(tail.line(), "2");
    tail.signal("INT");
    assert_eq!(tail.ended().code, Some(0));
}
