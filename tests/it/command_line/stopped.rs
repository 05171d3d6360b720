//! Ctrl-C and SIGTERM: the end of a command that runs until it is stopped, and the interruption of any other one.

use std::process::Command;

use crate::support::daemon::{Daemon, Ended, Running, run_by, tidings};
use crate::support::terminal::{Terminal, ended};

/// Stops a command when it has asked a daemon that does not answer.
fn stopped(arguments: &[&str], signal: &str) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    let (listener, url) = super::hung();
    let command = tidings(folder.path(), &[arguments, &["--url", &url]].concat());
    // A shell without job control has what it runs in the background ignore SIGINT: so would the children of this test.
    let running = Running::start(run_by(&["env", "--default-signal=INT"], &command));
    let (_request, _) = listener.accept().unwrap();
    running.signal(signal);
    running.ended()
}

#[test]
fn a_signal_is_the_normal_end_of_what_runs_until_it_is_stopped() {
    let daemon = Daemon::start();
    for signal in ["INT", "TERM"] {
        for arguments in [&["tail"][..], &["tail", "--exec", "true"]] {
            let ended = stopped(arguments, signal);
            assert_eq!(ended.code, Some(0), "{signal} while it connects: {arguments:?} {ended:?}");
            let tail = Running::start(daemon.command(arguments));
            tail.said("following");
            tail.signal(signal);
            let ended = tail.ended();
            assert_eq!(ended.code, Some(0), "{signal}: {arguments:?} {ended:?}");
        }
    }
    // `top` takes the terminal after it has connected.
    let (listener, url) = super::hung();
    for signal in ["INT", "TERM"] {
        let terminal = Terminal::new(80);
        let process = terminal.run(tidings(daemon.folder.path(), &["top", "--url", &url]));
        let (_request, _) = listener.accept().unwrap();
        let sent = Command::new("kill").args(["-s", signal, &process.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(ended(process).code(), Some(0), "{signal}");
    }
}

/// A shell shows 130 for Ctrl-C, and a loop around the command ends, too: a command that exits by itself with a code of its
/// own would be run again.
#[test]
fn a_command_that_is_stopped_before_it_is_done_ends_by_the_signal() {
    let order = ["order-status", "orderId=1", "newStatus=shipped"];
    for arguments in [
        &["history"][..],
        &["latest", "order-status"],
        &["channels"],
        &["nodes"],
        &["health"],
        &["doctor"],
        &["top", "--json"],
        &["bench"],
        &[&["publish"], &order[..]].concat(),
        &["publish", "order-status", "--data", "{}"],
        &[&["trigger"], &order[..]].concat(),
        &["history", "--retry-timeout", "1m"],
    ] {
        for signal in ["INT", "TERM"] {
            let ended = stopped(arguments, signal);
            assert_eq!(ended.code, None, "{signal}: {arguments:?} {ended:?}");
            assert!(!ended.err.contains("error: cannot"), "{signal}: {arguments:?} {ended:?}");
        }
    }
    let daemon = Daemon::start();
    let trigger = ["trigger", "order-status", "--count", "100000", "--rate", "10", "--json"];
    let trigger = Running::start(daemon.command(&trigger));
    trigger.line();
    trigger.signal("INT");
    let ended = trigger.ended();
    assert!(ended.code.is_none() && ended.err.contains("interrupted by Ctrl-C"), "{ended:?}");
    assert!(ended.err.contains("published: "), "{ended:?}");
}
