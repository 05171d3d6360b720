//! The prompt for a token, at a terminal that the test holds the other end of.

use std::process::Command;

use crate::support::daemon::{Daemon, tidings};
use crate::support::terminal::{Terminal, ended};

/// A script that goes on after Ctrl-C, as an interactive shell does, and runs `command` at the end.
fn script(daemon: &Daemon, command: &str) -> Command {
    let mut script = Command::new("sh");
    script.args(["-c", &format!("trap : INT; {command}; echo code $? over; read line")]);
    script.current_dir(daemon.folder.path());
    script.env("TIDINGS", env!("CARGO_BIN_EXE_tidings")).env("TIDINGS_URL", &daemon.url);
    script.env("XDG_CONFIG_HOME", daemon.folder.path().join("configuration"));
    script
}

#[test]
fn a_prompt_that_is_stopped_leaves_the_terminal_as_it_was() {
    let daemon = Daemon::start();
    for command in ["$TIDINGS channels --token-file -", "$TIDINGS token inspect"] {
        let mut terminal = Terminal::new(80);
        let process = terminal.controls(&script(&daemon, command));
        terminal.wait_for("token: ");
        assert!(!terminal.echoes(), "{command}: a secret is not shown");
        terminal.press("s3cret\x03");
        let shown = terminal.wait_for(" over");
        assert!(shown.ends_with("code 130 over") && !shown.contains("s3cret"), "{command}: {shown:?}");
        assert!(terminal.echoes(), "{command}: what is typed after it is shown");
        terminal.press("\n");
        assert!(ended(process).success(), "{command}");
    }
    // A signal that no key has sent.
    let mut terminal = Terminal::new(80);
    let process = terminal.controls(&tidings(daemon.folder.path(), &["token", "inspect"]));
    terminal.wait_for("token: ");
    let sent = Command::new("kill").args(["-s", "TERM", &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(ended(process).code(), None, "the signal ends it");
    assert!(terminal.echoes());
}

/// The modes are those of the shell while it has the terminal.
#[test]
fn a_prompt_that_is_suspended_hides_again_what_is_typed_when_it_goes_on() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::new(80);
    // `set -m` gives the command a process group of its own, as an interactive shell does.
    let process = terminal
        .controls(&script(&daemon, "set -m; $TIDINGS channels --json --token-file -; echo suspended; read line; fg"));
    terminal.wait_for("token: ");
    terminal.press("\x1a");
    terminal.wait_for("suspended");
    assert!(terminal.echoes());
    terminal.press("\n");
    terminal.wait_for("token: ");
    assert!(!terminal.echoes());
    terminal.press("secret\n");
    let shown = terminal.wait_for(" over");
    assert!(shown.contains(r#""type":"order-status""#) && shown.ends_with("code 0 over"), "{shown:?}");
    assert!(!shown.contains("secret"), "{shown:?}");
    terminal.press("\n");
    assert!(ended(process).success());
}

/// After the prompt, Ctrl-C does what it does without one.
#[test]
fn a_command_that_has_asked_for_a_token_ends_at_ctrl_c() {
    let daemon = Daemon::start();
    let (listener, url) = super::hung();
    let order = "orderId=1 newStatus=shipped";
    for (command, code) in [
        (format!("$TIDINGS channels --token-file - --url {url}"), 130),
        (format!("$TIDINGS publish order-status --data '{{}}' --id mine --token-file - --url {url}"), 130),
        (format!("$TIDINGS publish order-status {order} --token-file - --url {url}"), 130),
        (format!("$TIDINGS tail order-status --token-file - --url {url}"), 0),
    ] {
        let mut terminal = Terminal::new(80);
        let process = terminal.controls(&script(&daemon, &command));
        terminal.wait_for("token: ");
        terminal.press("secret\n");
        // It has asked the daemon, and waits for the answer.
        let (_request, _) = listener.accept().unwrap();
        terminal.press("\x03");
        let shown = terminal.wait_for(" over");
        assert!(shown.ends_with(&format!("code {code} over")), "{command}: {shown:?}");
        assert_eq!(shown.contains("repeat the command with --id mine"), command.contains("mine"), "{shown:?}");
        terminal.press("\n");
        assert!(ended(process).success(), "{command}");
    }
}
