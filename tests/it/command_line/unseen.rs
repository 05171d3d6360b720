//! What a token may not see, and fields that no channel has: `tail`, `history` and `top` without the name of a channel.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, run, tidings};

/// The commands that follow all channels.
const ALL: [&[&str]; 3] = [&["tail"], &["history"], &["top", "--json"]];

#[test]
fn a_token_that_may_subscribe_to_nothing_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let here = |arguments: &[&str]| run(tidings(folder.path(), arguments), "");
    assert_eq!(here(&["auth", "init"]).code, Some(0));
    let file = folder.path().join("auth.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[anonymous]\npublish = [\"data-update\"]\n")).unwrap();
    let issued = here(&["token", "issue", "--sub", "p", "--publish", "order-status"]).out;
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--auth", file.to_str().unwrap()], folder);
    std::fs::write(daemon.folder.path().join("p.token"), issued).unwrap();
    for command in ALL {
        for filter in [&[][..], &["--where", "orderId=1"]] {
            let with = daemon.run(&[command, filter, &["--token-file", "p.token"]].concat());
            let without = daemon.run(&[command, filter].concat());
            assert_eq!((with.code, without.code), (Some(1), Some(1)), "{with:?} {without:?}");
            assert!(with.err.contains("the token may subscribe to no channel"), "{command:?} {with:?}");
            assert!(with.err.contains("tidings token inspect` shows what it grants"), "{command:?} {with:?}");
            assert!(without.err.contains("without a token"), "{command:?} {without:?}");
            assert!(without.err.contains("--token-file"), "{command:?} {without:?}");
            for ended in [with, without] {
                assert!(!ended.err.contains("field"), "{command:?} {ended:?}");
            }
        }
    }
}

/// An operator is shown all channels, to look at: `tail` has nothing to print, `top` shows the channels and the nodes.
#[test]
fn an_operator_who_may_follow_none_of_the_channels_looks_at_them_and_has_nothing_to_tail() {
    let folder = tempfile::tempdir().unwrap();
    let here = |arguments: &[&str]| run(tidings(folder.path(), arguments), "");
    assert_eq!(here(&["auth", "init"]).code, Some(0));
    let file = folder.path().join("auth.toml");
    let issued = here(&["token", "issue", "--sub", "o", "--admin", "nodes"]).out;
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--auth", file.to_str().unwrap()], folder);
    std::fs::write(daemon.folder.path().join("o.token"), issued).unwrap();
    for more in [&[][..], &["--exec", "true"]] {
        let tail = daemon.run(&[&["tail", "--token-file", "o.token"], more].concat());
        assert_eq!(tail.code, Some(1), "{tail:?}");
        assert!(tail.err.contains("the credential needs these channels in its list `subscribe`"), "{tail:?}");
    }
    let top = daemon.run(&["top", "--json", "--time", "1s", "--token-file", "o.token"]);
    let look: Value = serde_json::from_str(&top.out).unwrap_or_else(|_| panic!("{top:?}"));
    assert_eq!(top.code, Some(0), "{top:?}");
    assert_eq!((&look["rate"], look["nodes"].as_array().map(Vec::len)), (&json!(0.0), Some(1)), "{look}");
    assert!(look["channels"].as_array().unwrap().iter().any(|one| one["channel"] == "order-status"), "{look}");
}

#[test]
fn the_nearest_field_of_all_channels_is_named() {
    let daemon = Daemon::start();
    for command in ALL {
        for (filter, words) in [
            (&["--where", "productID=1"][..], "no channel has the field \"productID\"; did you mean `productId`?"),
            (
                &["--where", "orderId=1", "--where", "newStaus=shipped"],
                "no channel has all of the fields \"orderId\", \"newStaus\"; did you mean `newStatus`?",
            ),
            // Each is a field, of another channel.
            (
                &["--where", "orderId=1", "--where", "productId=1"],
                "no channel has all of the fields \"orderId\", \"productId\"",
            ),
        ] {
            let ended = daemon.run(&[command, filter].concat());
            assert_eq!(ended.code, Some(1), "{command:?} {ended:?}");
            assert!(ended.err.contains(words), "{words:?}: {command:?} {ended:?}");
            assert_eq!(ended.err.contains("did you mean"), words.contains("did you mean"), "{command:?} {ended:?}");
            assert!(!ended.err.contains("GET /v1"), "{command:?} {ended:?}");
        }
    }
}

#[test]
fn a_daemon_without_bridges_and_sinks_says_so() {
    let daemon = Daemon::start();
    for kind in ["bridge", "sink"] {
        let ended = daemon.run(&[kind, "dead", "x"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(&format!("there is no {kind} \"x\" here (there are no {kind}s)")), "{ended:?}");
    }
}
