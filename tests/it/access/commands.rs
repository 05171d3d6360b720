//! The steps that `tidings auth init` prints, with the real binary from both sides.

use std::fs;

use crate::support::daemon::{Daemon, Ended, run, tidings};

#[test]
fn customers_see_only_their_own_orders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let offline = |arguments: &[&str]| {
        let ended = run(tidings(&path, arguments), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out
    };
    offline(&["auth", "init"]);
    let everything = ["--publish", "*", "--subscribe", "*", "--admin", "nodes,metrics,connections,revoke,flows"];
    fs::write(path.join("me.token"), offline(&[&["token", "issue", "--sub", "me"], &everything[..]].concat())).unwrap();
    let own = ["token", "issue", "--sub", "u42", "--subscribe", "order-status:customerId=u42"];
    fs::write(path.join("u42.token"), offline(&own)).unwrap();
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--auth", "auth.toml"], folder);
    let as_me = |arguments: &[&str]| daemon.run(&[arguments, &["--token-file", "me.token"]].concat());
    let as_customer = |arguments: &[&str]| daemon.run(&[arguments, &["--token-file", "u42.token"]].concat());
    let succeeds = |ended: Ended| {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.out
    };
    let fails = |ended: Ended, text: &str| assert!(ended.code != Some(0) && ended.err.contains(text), "{ended:?}");

    for (order, customer) in [("1", "u43"), ("2", "u42"), ("3", "u43")] {
        let customer = format!("customerId={customer}");
        let order = format!("orderId={order}");
        succeeds(as_me(&["publish", "order-status", &order, "newStatus=shipped", &customer]));
    }
    let tail = succeeds(as_customer(&["tail", "--since", "start", "--count", "1", "--json"]));
    assert!(tail.contains(r#""orderId":"2""#), "{tail}");
    let history = succeeds(as_customer(&["history", "--json"]));
    assert!(history.lines().count() == 1 && history.contains(r#""orderId":"2""#), "{history}");
    let channels = succeeds(as_customer(&["channels"]));
    assert!(channels.lines().count() == 2 && channels.contains("order-status") && channels.contains("–"), "{channels}");
    assert_eq!(succeeds(as_me(&["channels"])).lines().count(), 6);

    fails(as_customer(&["publish", "order-status", "orderId=4", "newStatus=shipped"]), "does not grant this");
    fails(as_customer(&["nodes"]), "does not grant this");
    // The daemon says the same to everything that it refuses. The command knows what it asked for.
    for (arguments, needed) in [
        (
            &["publish", "order-status", "orderId=4", "newStatus=shipped"][..],
            "To publish order-status, the credential needs order-status in its list `publish`",
        ),
        (&["nodes"], "To list the nodes, the credential needs `nodes` in its list `admin`"),
        (&["webhooks"], "To list the webhooks, the credential needs `nodes` in its list `admin`"),
        (&["webhook", "dead", "x"], "needs `flows` in its list `admin`"),
        (
            &["token", "revoke", "--sub", "me"],
            "To revoke credentials, the credential needs `revoke` in its list `admin`",
        ),
        (&["history", "data-update"], "To read data-update, the credential needs data-update in its list `subscribe`"),
        (&["tail", "data-update"], "To read data-update, the credential needs data-update in its list `subscribe`"),
    ] {
        let ended = as_customer(arguments);
        assert!(ended.err.contains("tidings token inspect` shows what it grants"), "{ended:?}");
        fails(ended, needed);
    }
    let lines = "{\"orderId\":\"4\",\"newStatus\":\"shipped\"}\n";
    let publish = ["publish", "order-status", "-", "--token-file", "u42.token"];
    let ended = run(daemon.command(&publish), lines);
    assert!(
        ended.err.contains("To publish the type of line 1") && ended.err.contains("publish the same input"),
        "{ended:?}"
    );
    fails(daemon.run(&["channels"]), "not authenticated");
    succeeds(as_me(&["nodes"]));
    succeeds(as_me(&["token", "revoke", "--sub", "u42"]));
    fails(as_customer(&["history"]), "not authenticated");
    fails(as_customer(&["tail", "--since", "start"]), "not authenticated");
    succeeds(as_me(&["history"]));
}

#[test]
fn auth_init_makes_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let init = |dir: &str| run(tidings(folder.path(), &["auth", "init", "--dir", dir]), "");
    let ended = init("new/below");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for name in ["auth.toml", "auth-public.pem", "auth-private.pem"] {
        assert!(folder.path().join("new/below").join(name).exists(), "{name}");
    }
    fs::write(folder.path().join("file"), "").unwrap();
    let ended = init("file/below");
    assert!(ended.code == Some(1) && ended.err.contains("cannot make the folder file/below"), "{ended:?}");
}
