//! `tidings top` in a terminal, which the test holds the other end of.

use std::process::{Child, Stdio};

use crate::support::daemon::Daemon;
use crate::support::terminal::{Terminal, ended};

/// Starts `top`, and waits until it shows something. The terminal does not control it, so that no SIGHUP ends it: as below `nohup`.
fn top(daemon: &Daemon) -> (Child, Terminal) {
    let mut terminal = Terminal::new(100);
    let mut command = daemon.command(&["top"]);
    command.stdin(terminal.end()).stdout(terminal.end()).stderr(Stdio::null());
    let process = command.spawn().unwrap();
    drop(command);
    terminal.wait_for("q leaves");
    (process, terminal)
}

#[test]
fn a_key_ends_top() {
    let daemon = Daemon::start();
    for key in ["q", "\x1b", "\x03"] {
        let (process, mut terminal) = top(&daemon);
        terminal.press("p");
        terminal.wait_for("paused");
        terminal.press(key);
        assert!(ended(process).success(), "{key:?}");
    }
}

#[test]
fn top_ends_with_its_terminal() {
    let daemon = Daemon::start();
    for is_paused in [false, true] {
        let (process, mut terminal) = top(&daemon);
        if is_paused {
            terminal.press("p");
            terminal.wait_for("paused");
        }
        drop(terminal);
        assert!(ended(process).success(), "paused: {is_paused}");
    }
}
