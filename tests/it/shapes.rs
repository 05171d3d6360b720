//! The forms in which commands print events (`--jq`, `--format`, `--sample`), and what programs ask of the binary: `health` and
//! `man`.

use std::fs;

use crate::support::daemon::{Daemon, Ended, run, tidings};

/// Runs a command without a daemon.
fn alone(arguments: &[&str]) -> Ended {
    run(tidings(&std::env::temp_dir(), arguments), "")
}

fn publish(daemon: &Daemon, quantities: impl IntoIterator<Item = u32>) {
    for quantity in quantities {
        let quantity = format!("newQuantity={quantity}");
        let published =
            daemon.run(&["publish", "inventory-change", "productId=p/1", "oldQuantity=9", &quantity, "reason=a sale"]);
        assert_eq!(published.code, Some(0), "{published:?}");
    }
}

#[test]
fn a_program_and_a_template_shape_the_events_of_tail_and_history() {
    let daemon = Daemon::start();
    publish(&daemon, [3, 0]);
    for (flags, expected) in [
        (["--jq", ".event.data | [.newQuantity, .reason]"], "[3,\"a sale\"]\n[0,\"a sale\"]\n"),
        (["--jq", "select(.event.data.newQuantity == 0) | .event.subject"], "p/1\n"),
        (
            ["--format", "{type} {subject}\\t{data.newQuantity} {{{data.none}}}"],
            "inventory-change p/1\t3 {}\ninventory-change p/1\t0 {}\n",
        ),
    ] {
        let history = daemon.run(&[&["history", "inventory-change"][..], &flags].concat());
        assert_eq!((history.code, &*history.out), (Some(0), expected), "{history:?}");
        let count = expected.lines().count().to_string();
        // A program that prints one line still sees both events.
        let tail =
            daemon.run(&[&["tail", "inventory-change", "--since", "start", "--count", "2"][..], &flags].concat());
        assert_eq!((tail.code, &*tail.out), (Some(0), expected), "{count}: {tail:?}");
    }
}

#[test]
fn a_wrong_program_or_template_is_refused_before_anything_is_asked() {
    for (flags, fragment) in [
        (["--jq", ".event."], "at its end"),
        (["--jq", "nonsense(1)"], "there is no filter \"nonsense\""),
        (["--format", "{data.}"], "is no name"),
        (["--format", "{newStatus}"], "write {data.newStatus}"),
    ] {
        let ended = alone(&[&["tail", "--url", "http://127.0.0.1:1"][..], &flags].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.err.contains(fragment), "{ended:?}");
    }
}

#[test]
fn counts_are_at_the_right_of_their_columns() {
    let daemon = Daemon::start();
    publish(&daemon, 0..12);
    let listed = daemon.run(&["channels"]).out;
    let lines: Vec<_> = listed.lines().collect();
    let end = lines[0].find("RETAINED").unwrap() + "RETAINED".len();
    let retained: Vec<_> = lines[1..].iter().map(|line| line[..end].rsplit(' ').next().unwrap()).collect();
    assert!(retained.contains(&"12") && retained.contains(&"0"), "{listed}");
}

#[test]
fn what_is_not_there_or_not_known_is_said_in_the_words_of_the_command_line() {
    let daemon = Daemon::start();
    let webhooks = daemon.run(&["webhooks"]);
    assert_eq!((webhooks.code, &*webhooks.out), (Some(0), ""), "{webhooks:?}");
    assert!(webhooks.err.contains("this daemon has no webhook"), "{webhooks:?}");
    for arguments in
        [&["publish", "order-statu", "orderId=1"][..], &["tail", "order-statu"], &["publish", "nonsense", "-"]]
    {
        let ended = run(daemon.command(arguments), "{}\n");
        assert!(ended.code == Some(1) && !ended.err.contains("GET /v1"), "{ended:?}");
    }
    let seed = alone(&["trigger", "order-status", "--seed", "x"]);
    assert!(seed.code == Some(2) && seed.err.contains("expected a whole number from 0 to 4294967295"), "{seed:?}");
}

/// Otherwise a typing error makes empty lines, and no word.
#[test]
fn a_name_that_prints_nothing_is_said_once() {
    let daemon = Daemon::start();
    publish(&daemon, [3, 0]);
    let history = |format: &str| daemon.run(&["history", "inventory-change", "--format", format]);
    let misspelt = history("{data.newQuantiy}{data.productId}");
    assert_eq!((misspelt.code, &*misspelt.out), (Some(0), "p/1\np/1\n"), "{misspelt:?}");
    assert_eq!(misspelt.err.matches("--format: {data.newQuantiy} prints nothing").count(), 1, "{misspelt:?}");
    assert!(misspelt.err.contains("did you mean `newQuantity`?"), "{misspelt:?}");
    let nope = history("{nope}{subjct}");
    assert_eq!(nope.err.lines().count(), 2, "{nope:?}");
    assert!(
        nope.err.contains("the first event has no {nope}") && nope.err.contains("did you mean {subject}?"),
        "{nope:?}"
    );
    let several = ["tail", "order-status", "inventory-change", "--since", "start", "--count", "2", "--format"];
    let tail = daemon.run(&[&several[..], &["{data.newStatus}{data.newQuantity}"]].concat());
    assert!(tail.out == "3\n0\n" && !tail.err.contains("warning"), "one of the channels has each: {tail:?}");
    let tail = daemon.run(&[&several[..], &["{data.colour}"]].concat());
    assert!(tail.err.contains("{data.colour} prints nothing: no channel has this field"), "{tail:?}");
}

#[test]
fn a_position_is_one_of_one_channel() {
    let daemon = Daemon::start();
    for channels in [&[][..], &["order-status", "data-update"]] {
        let ended = daemon.run(&[&["tail", "--since", "k3q7:42"], channels].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.err.contains("name that channel alone") && ended.err.contains("order-status=k3q7:42"),
            "{ended:?}"
        );
    }
    publish(&daemon, [3, 0]);
    let position = daemon.run(&["history", "inventory-change", "--limit", "1", "--format", "{position}"]).out;
    let tail = ["tail", "inventory-change", "inventory-change", "--count", "1", "--format", "{data.newQuantity}"];
    let ended = daemon.run(&[&tail[..], &["--since", position.trim()]].concat());
    assert_eq!((ended.code, &*ended.out), (Some(0), "0\n"), "{ended:?}");
}

#[test]
fn an_event_that_a_program_cannot_take_is_named_and_does_not_end_the_command() {
    let daemon = Daemon::start();
    publish(&daemon, [3, 0]);
    let program = "if .event.data.newQuantity == 3 then error(\"three\") else .event.data.newQuantity end";
    let history = daemon.run(&["history", "inventory-change", "--jq", program]);
    assert_eq!((history.code, &*history.out), (Some(1), "0\n"), "{history:?}");
    assert!(history.err.contains("three") && history.err.contains(":1 of inventory-change"), "{history:?}");
}

#[test]
fn a_sample_prints_each_nth_event() {
    let daemon = Daemon::start();
    publish(&daemon, 1..=7);
    let flags = ["--since", "start", "--sample", "3", "--count", "2", "--format", "{data.newQuantity}"];
    let tail = daemon.run(&[&["tail", "inventory-change"][..], &flags].concat());
    assert_eq!((tail.code, &*tail.out), (Some(0), "3\n6\n"), "{tail:?}");
}

#[test]
fn one_look_of_top_has_rates_by_channel_subject_and_source() {
    let daemon = Daemon::start();
    let top = daemon.command(&["top", "inventory-change", "--json", "--time", "3s"]);
    let top = std::thread::spawn(move || run(top, ""));
    let mut published = 0;
    while !top.is_finished() {
        publish(&daemon, [1]);
        published += 1;
    }
    let ended = top.join().unwrap();
    let look: serde_json::Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let counted = look["rate"].as_f64().unwrap() * 3.0;
    assert!(counted > 0.0 && counted < f64::from(published) + 1.0, "{look}");
    for (list, name, value) in [
        ("channels", "channel", "inventory-change"),
        ("subjects", "subject", "p/1"),
        ("sources", "source", "anonymous"),
    ] {
        assert_eq!(look[list][0][name], value, "{look}");
        assert!(look[list][0]["rate"].as_f64().unwrap() > 0.0, "{look}");
    }
    assert_eq!(look["nodes"][0]["state"], "up", "{look}");
    let piped = daemon.run(&["top"]);
    assert!(piped.code == Some(1) && piped.err.contains("use --json"), "{piped:?}");
}

#[test]
fn health_answers_by_its_exit_code() {
    let daemon = Daemon::start();
    assert_eq!(daemon.run(&["health"]).out, "alive\n");
    let ready = daemon.run(&["health", "--ready", "--retry-timeout", "30s"]);
    assert_eq!((ready.code, &*ready.out), (Some(0), "ready\n"), "{ready:?}");
    let away = alone(&["health", "--url", "http://127.0.0.1:1"]);
    assert_eq!((away.code, &*away.out), (Some(1), ""), "{away:?}");
}

#[test]
fn a_manual_page_is_printed_or_all_are_written() {
    let page = alone(&["man", "token", "issue"]);
    assert!(page.out.contains(".TH tidings-token-issue 1"), "{page:?}");
    assert!(page.out.contains("tidings token issue"), "the examples are in it: {page:?}");
    // As the page's file is called.
    assert_eq!(alone(&["man", "token-issue"]).out, page.out);
    assert_eq!(alone(&["man", "token-api-key"]).out, alone(&["man", "token", "api-key"]).out);
    for page in [&page, &alone(&["man", "tail"]), &alone(&["man"])] {
        let head = page.out.lines().find(|line| line.starts_with(".TH")).unwrap();
        let source = concat!("\"tidings ", env!("CARGO_PKG_VERSION"), "\"");
        assert!(head.contains(source), "{head}");
    }
    let unknown = alone(&["man", "tial"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.err.contains("did you mean `tail`?"), "{unknown:?}");
    let folder = tempfile::tempdir().unwrap();
    let written = alone(&["man", "--out", folder.path().to_str().unwrap()]);
    assert_eq!(written.code, Some(0), "{written:?}");
    for name in ["tidings.1", "tidings-tail.1", "tidings-token-issue.1"] {
        assert!(fs::read_to_string(folder.path().join(name)).unwrap().starts_with(".ie"), "{name}");
    }
}
