//! Processes that are killed in the middle: every event arrives, in order, and twice only where an answer was lost.

use super::endpoint::Endpoint;
use super::{daemon, daemon_at, forward, ids, lines, publish, until};
use crate::support::daemon::{Daemon, Running};

/// The order in which events came first, and how many came again.
fn first_and_again(received: &[String]) -> (Vec<String>, usize) {
    let mut first: Vec<String> = Vec::new();
    for id in received {
        if !first.contains(id) {
            first.push(id.clone());
        }
    }
    let again = received.len() - first.len();
    (first, again)
}

#[test]
fn a_daemon_that_is_killed_changes_nothing_in_the_ledger() {
    let daemon = daemon();
    let endpoint = Endpoint::start(0, &daemon.folder.path().join("ledger"), "0.01");
    let tail = forward(&daemon, &endpoint.url());
    publish(&daemon, "a", 60);
    until("some events came", || endpoint.received().len() >= 10);
    let listen = daemon.url.strip_prefix("http://").unwrap().to_owned();
    daemon.process.signal("KILL");
    let Daemon { process, folder, .. } = daemon;
    drop(process.ended());
    tail.said("disconnected");
    let daemon = daemon_at(&listen, folder);
    publish(&daemon, "b", 60);
    until("all events came", || endpoint.received().len() >= 120);
    tail.signal("INT");
    let ended = tail.ended();
    assert!(ended.code == Some(0) && ended.err.contains("delivered: 120"), "{ended:?}");
    assert_eq!(endpoint.received(), [ids("a", 60), ids("b", 60)].concat());
}

#[test]
fn a_receiver_that_is_killed_gets_every_event_in_order() {
    let daemon = daemon();
    let ledger = daemon.folder.path().join("ledger");
    let mut endpoint = Endpoint::start(0, &ledger, "0.005");
    let tail = forward(&daemon, &endpoint.url());
    publish(&daemon, "a", 150);
    for kill in 1..=3 {
        until("some events came", || endpoint.received().len() >= kill * 30);
        let address = endpoint.kill();
        while !tail.line().contains("again in") {}
        endpoint = Endpoint::start(address.port(), &ledger, "0.005");
    }
    let last = "a-150".to_owned();
    until("the last event came", || endpoint.received().last() == Some(&last));
    tail.signal("TERM");
    let ended = tail.ended();
    assert!(ended.code == Some(0) && ended.err.contains("delivered: 150"), "{ended:?}");
    let (first, again) = first_and_again(&endpoint.received());
    assert_eq!(first, ids("a", 150));
    assert!(again <= 3, "an event comes again only if its answer was lost: {again}");
}

#[test]
fn a_command_that_is_stopped_or_killed_goes_on_where_it_was() {
    let daemon = daemon();
    let endpoint = Endpoint::start(0, &daemon.folder.path().join("ledger"), "0.02");
    let mut kills = 0;
    publish(&daemon, "a", 80);
    for (number, signal) in ["INT", "KILL", "TERM", "KILL"].into_iter().enumerate() {
        let tail = forward(&daemon, &endpoint.url());
        // Before, a signal ends it as it ends any program.
        tail.said("following");
        until("some events came", || endpoint.received().len() >= (number + 1) * 12);
        tail.signal(signal);
        let ended = tail.ended();
        assert_eq!(ended.code, (signal != "KILL").then_some(0), "{ended:?}");
        kills += usize::from(signal == "KILL");
    }
    let tail = forward(&daemon, &endpoint.url());
    // The file is its own. An event that comes is no sign of that: the last one of the killed command may still be under way.
    tail.said("following");
    // A second one with the same file would deliver everything twice.
    let second = forward(&daemon, &endpoint.url()).ended();
    assert!(second.code == Some(1) && second.err.contains("in use by another `tail`"), "{second:?}");
    let last = "a-80".to_owned();
    until("the last event came", || endpoint.received().last() == Some(&last));
    tail.signal("INT");
    assert_eq!(tail.ended().code, Some(0));
    let (first, again) = first_and_again(&endpoint.received());
    assert_eq!(first, ids("a", 80));
    assert!(again <= kills, "only a killed command delivers an event again: {again}");
    let positions = lines(&daemon.folder.path().join("positions")).join("");
    assert!(
        positions.starts_with("{\"positions\":{\"inventory-change\":\"") && positions.contains(":80\""),
        "{positions}"
    );
}

#[test]
fn what_is_published_while_the_command_is_away_comes_the_next_time() {
    let daemon = daemon();
    let endpoint = Endpoint::start(0, &daemon.folder.path().join("ledger"), "0");
    let arguments = ["tail", "inventory-change", "--forward-to", &endpoint.url(), "--position-file", "positions"];
    publish(&daemon, "before", 3);
    let tail = Running::start(daemon.command(&arguments));
    // It begins now, and says so in the file before the first event.
    let positions = daemon.folder.path().join("positions");
    until("the positions are written", || lines(&positions).join("").contains(":3\""));
    tail.signal("INT");
    assert_eq!(tail.ended().code, Some(0));
    publish(&daemon, "away", 5);
    let tail = Running::start(daemon.command(&arguments));
    publish(&daemon, "here", 2);
    until("all events came", || endpoint.received().len() >= 7);
    tail.signal("INT");
    assert_eq!(tail.ended().code, Some(0));
    assert_eq!(endpoint.received(), [ids("away", 5), ids("here", 2)].concat());
}
