//! What `tidings doctor` says of a credential, of the origin of pages, and of what was looked at.

use serde_json::Value;

use super::{Fault, assert_finds, doctor, proxy};
use crate::support::daemon::{Daemon, run, tidings};

#[test]
fn a_missing_token_and_one_without_grants_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = |arguments: &[&str]| run(tidings(folder.path(), arguments), "");
    assert_eq!(here(&["auth", "init"]).code, Some(0));
    let auth = folder.path().join("auth.toml");
    let flags = ["--listen", "127.0.0.1:0", "--auth", auth.to_str().unwrap()];
    let daemon = Daemon::with(&flags, tempfile::tempdir().unwrap());
    assert_finds(&daemon.url, &[], "access", &["wants a token", "--token-file"]);
    let file = folder.path().join("token");
    let token = ["--token-file", file.to_str().unwrap()];
    let issue = |grants: &[&str]| {
        let issued = here(&[&["token", "issue", "--sub", "me"], grants].concat());
        assert_eq!(issued.code, Some(0), "{issued:?}");
        std::fs::write(&file, &issued.out).unwrap();
    };
    issue(&[]);
    assert_finds(&daemon.url, &token, "access", &["grants no channel", "auth.toml"]);
    // A publisher needs no channel to read.
    for (grants, says) in [
        (&["--publish", "order-status"][..], "no channel may be read, 1 type may be published"),
        (&["--publish", "*"], "no channel may be read, 5 types may be published"),
        (&["--subscribe", "order-status"], "1 channel may be read"),
        // An operator is shown all channels, to look at.
        (&["--admin", "nodes"], "no channel may be read, and the token has an admin right"),
        (&["--admin", "nodes", "--subscribe", "order-status"], "1 channel may be read"),
    ] {
        issue(grants);
        let ended = doctor(&daemon.url, &token);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.contains(&format!("ok       access      {says}\n")), "{says}: {ended:?}");
    }
}

#[test]
fn what_is_no_origin_is_refused_before_anything_is_asked() {
    let daemon = Daemon::start();
    for (wrong, hint) in [
        ("shop", ""),
        ("shop.example", "write https://shop.example"),
        ("https://shop.example/", "write https://shop.example, without the slash"),
        ("https://*.shop.example", "one origin"),
        ("*", "one origin"),
        ("https://shop.example/cart", ""),
        ("https://shop.example, https://b.example", ""),
        ("", ""),
    ] {
        let ended = doctor(&daemon.url, &["--origin", wrong]);
        assert_eq!((ended.code, &*ended.out), (Some(2), ""), "{wrong:?}: {ended:?}");
        assert!(ended.err.contains("expected SCHEME://HOST or SCHEME://HOST:PORT"), "{wrong:?}: {ended:?}");
        assert!(ended.err.contains(hint), "{wrong:?}: {ended:?}");
    }
    for origin in ["https://shop.example", "http://localhost:3000", "http://[::1]:3000", "tauri://app.example"] {
        let ended = doctor(&daemon.url, &["--origin", origin]);
        assert!(ended.code.is_some() && ended.out.contains(&format!("pages of {origin} are")), "{ended:?}");
    }
}

#[test]
fn the_path_behind_a_proxy_is_shown_and_a_broker_has_no_url() {
    let daemon = Daemon::start();
    // The daemon's routes below a path.
    let address = proxy(&daemon.url, Fault::Path);
    let ended = doctor(&format!("{address}/bus/"), &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.starts_with(&format!("{address}/bus/\n")), "{ended:?}");
    // A password is not shown.
    let secret = address.replace("http://", "http://me:s3cret@");
    let ended = doctor(&format!("{secret}/bus/"), &["--json"]);
    assert!(ended.out.contains(&format!("\"url\":\"{address}/bus/\"")) && !ended.out.contains("s3cret"), "{ended:?}");
    let file = daemon.folder.path().join("a.toml");
    std::fs::write(&file, "").unwrap();
    let ended = doctor(&daemon.url, &["--json", "--config", file.to_str().unwrap()]);
    let lines: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let broker = lines.iter().find(|line| line["check"] == "broker").unwrap_or_else(|| panic!("{ended:?}"));
    assert_eq!((&broker["config"], broker.get("url")), (&file.to_str().unwrap().into(), None), "{broker}");
    for line in lines.iter().filter(|line| line["check"] != "broker") {
        assert_eq!((&line["url"], line.get("config")), (&daemon.url.as_str().into(), None), "{line}");
    }
}
