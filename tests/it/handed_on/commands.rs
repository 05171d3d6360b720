//! `tail --exec`: what the command gets, in which order, and what its exit code means.

use serde_json::Value;

use super::{daemon, ids, lines, publish, until};
use crate::support::daemon::Running;

#[test]
fn a_command_gets_each_event_in_order_and_one_at_a_time() {
    let daemon = daemon();
    publish(&daemon, "a", 20);
    // Two that run at once would see each other's folder.
    let command = "mkdir busy && cat >> events && echo \"$TIDINGS_TYPE $TIDINGS_ID $TIDINGS_SUBJECT $TIDINGS_POSITION\" && rmdir busy";
    let ended = daemon.run(&["tail", "inventory-change", "--since", "start", "--count", "20", "--exec", command]);
    assert!(ended.code == Some(0) && ended.err.contains("delivered: 20"), "{ended:?}");
    let words: Vec<Vec<&str>> = ended.out.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(words.iter().map(|line| line[1]).collect::<Vec<_>>(), ids("a", 20));
    for (number, line) in words.iter().enumerate() {
        assert_eq!((line[0], line[2]), ("inventory-change", "p-1"), "{ended:?}");
        assert!(line[3].ends_with(&format!(":{}", number + 1)), "{ended:?}");
    }
    let events = lines(&daemon.folder.path().join("events"));
    let events: Vec<Value> = events.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(), ids("a", 20));
    assert_eq!(events[0]["data"]["newQuantity"], 8);
}

#[test]
fn a_command_that_fails_ends_the_tail_and_comes_first_the_next_time() {
    let daemon = daemon();
    publish(&daemon, "a", 5);
    let command = "test $TIDINGS_ID != a-3 -o -e repaired || exit 7; echo $TIDINGS_ID";
    let arguments = ["tail", "inventory-change", "--since", "start", "--exec", command, "--position-file", "positions"];
    let ended = daemon.run(&arguments);
    assert_eq!((ended.code, &*ended.out), (Some(1), "a-1\na-2\n"), "{ended:?}");
    for words in ["ended with exit code 7", "(id a-3) is not done, and comes first the next time", "delivered: 2"] {
        assert!(ended.err.contains(words), "{words}: {ended:?}");
    }
    std::fs::write(daemon.folder.path().join("repaired"), "").unwrap();
    let ended = daemon.run(&[&arguments[..], &["--count", "3"]].concat());
    assert_eq!((ended.code, &*ended.out), (Some(0), "a-3\na-4\na-5\n"), "{ended:?}");
}

#[test]
fn without_a_file_the_command_says_where_to_go_on() {
    let daemon = daemon();
    publish(&daemon, "a", 3);
    let ended = daemon.run(&["tail", "inventory-change", "--since", "start", "--exec", "test $TIDINGS_ID != a-2"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("comes first in a run with the --since below"), "{ended:?}");
    let (_, cursor) = ended.err.trim().rsplit_once("--since ").unwrap_or_else(|| panic!("{ended:?}"));
    let exec = "echo $TIDINGS_ID";
    let ended = daemon.run(&["tail", "inventory-change", "--since", cursor, "--count", "2", "--exec", exec]);
    assert_eq!(ended.out, "a-2\na-3\n", "{ended:?}");
}

#[test]
fn attempts_are_counted_and_a_failed_event_can_be_skipped() {
    let daemon = daemon();
    publish(&daemon, "a", 3);
    let command = "echo $TIDINGS_ID; test $TIDINGS_ID != a-2";
    let tail = ["tail", "inventory-change", "--since", "start", "--exec", command, "--attempts", "2"];
    let ended = daemon.run(&tail);
    assert_eq!((ended.code, &*ended.out), (Some(1), "a-1\na-2\na-2\n"), "{ended:?}");
    assert!(ended.err.contains("again in") && ended.err.contains("after 2 attempts"), "{ended:?}");
    let ended = daemon.run(&[&tail[..], &["--skip-failed", "--count", "3"]].concat());
    assert_eq!((ended.code, &*ended.out), (Some(0), "a-1\na-2\na-2\na-3\n"), "{ended:?}");
    assert!(ended.err.contains("delivered: 2, 1 given up"), "{ended:?}");
}

#[test]
fn a_signal_waits_for_the_command_that_runs() {
    let daemon = daemon();
    publish(&daemon, "a", 3);
    let command = "touch begun; until test -e go; do sleep 0.02; done; echo $TIDINGS_ID";
    let arguments = ["tail", "inventory-change", "--since", "start", "--exec", command, "--position-file", "positions"];
    let tail = Running::start(daemon.command(&arguments));
    until("the command runs", || daemon.folder.path().join("begun").exists());
    tail.signal("TERM");
    tail.said("stopping after the command");
    std::fs::write(daemon.folder.path().join("go"), "").unwrap();
    let ended = tail.ended();
    assert_eq!((ended.code, &*ended.out), (Some(0), "a-1\n"), "{ended:?}");
    let positions = lines(&daemon.folder.path().join("positions")).join("");
    assert!(positions.contains(":1\""), "{positions}");
}

#[test]
fn a_command_that_reads_nothing_is_fine() {
    let daemon = daemon();
    publish(&daemon, "a", 20);
    let exec = ["--exec", "exec <&-; echo unread"];
    let ended = daemon.run(&[&["tail", "inventory-change", "--since", "start", "--count", "20"][..], &exec].concat());
    assert_eq!((ended.code, &*ended.out), (Some(0), &*"unread\n".repeat(20)), "{ended:?}");
}

#[test]
fn a_reader_that_leaves_ends_it_without_a_failure() {
    let daemon = daemon();
    publish(&daemon, "a", 30);
    let arguments = ["tail", "inventory-change", "--since", "start", "--exec", "sleep 0.05; cat"];
    let mut tail = Running::start(daemon.command(&arguments));
    tail.line();
    tail.stop_reading();
    let ended = tail.ended();
    assert!(ended.code == Some(0) && !ended.err.contains("error"), "{ended:?}");
}

#[test]
fn a_position_file_in_no_folder_names_the_folder() {
    let daemon = daemon();
    let arguments = ["tail", "inventory-change", "--exec", "true", "--position-file", "none/positions"];
    let ended = daemon.run(&arguments);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("cannot write none/positions: there is no folder none"), "{ended:?}");
}
