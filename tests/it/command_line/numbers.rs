//! Numbers on the command line: a wrong one is told what is expected, and a small rate is no zero.

use crate::support::daemon::{Daemon, run, tidings};

#[test]
fn a_wrong_number_is_told_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["tail", "--count"][..], "expected a whole number from 1 up"),
        (&["tail", "--sample"], "expected a whole number from 1 up"),
        (&["history", "--limit"], "expected a whole number from 1 to 4,294,967,295"),
        (&["trigger", "order-status", "--count"], "expected a whole number from 1 to 10,000,000"),
        (&["bench", "--connections"], "expected a whole number from 1 to 100,000"),
        (&["bench", "--rate"], "expected a whole number from 1 to 1,000,000"),
        (&["bench", "--seconds"], "expected a whole number from 1 to 86,400"),
    ] {
        for wrong in ["x", "0", "-1", "1.5", "", "99999999999999999999999"] {
            let flag = format!("{}={wrong}", arguments[arguments.len() - 1]);
            let ended = run(tidings(folder.path(), &[&arguments[..arguments.len() - 1], &[&flag]].concat()), "");
            assert_eq!(ended.code, Some(2), "{flag}: {ended:?}");
            assert!(ended.err.contains(expected), "{flag}: {ended:?}");
        }
    }
}

#[test]
fn a_rate_below_one_is_reported_as_it_is() {
    let daemon = Daemon::start();
    let ended = daemon.run(&["trigger", "order-status", "--count", "2", "--rate", "1.2"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Two events in 0.8 s and more, on however slow a machine.
    let line =
        ended.err.lines().find(|line| line.starts_with("published: 2 in ")).unwrap_or_else(|| panic!("{ended:?}"));
    let shown = line.split(", ").nth(1).unwrap().strip_suffix(" per second").unwrap();
    let rate: f64 = shown.parse().unwrap();
    assert!(rate > 0.0 && rate < 2.6 && shown.contains('.'), "{line}");
}
