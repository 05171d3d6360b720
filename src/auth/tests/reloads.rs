//! Reading the files again: as a whole or not at all.

use super::*;
use crate::auth::reload::Reloaded;

/// An issuer with the key in `FILE`, for the grants of everybody in [anonymous].
fn issuer(iss: &str, file: &str) -> String {
    format!("[[issuer]]\niss = \"{iss}\"\naudience = [\"{AUDIENCE}\"]\nkey_file = \"{file}\"\n")
}

fn public(key: &PrivateKey) -> String {
    let PrivateKey::Own(own) = key else { panic!() };
    own.public_pem().unwrap()
}

#[tokio::test]
async fn a_reload_changes_what_changed_and_nothing_else() {
    let [one, two] = [PrivateKey::ed25519(), PrivateKey::ed25519()];
    let [kept, gone] = ["kept", "gone"].map(|name| ApiKey::generate(name).unwrap());
    let issuers = [issuer(ISSUER, "one"), issuer("https://two.example", "two")].concat();
    let text = [&*issuers, &kept.table, &gone.table].concat();
    let files = [("auth.toml", &*text), ("one", &*public(&one)), ("two", &*public(&two))];
    let setup = open(&files).unwrap();
    let changes = setup.auth.changes();
    let tokens = [one.token(&claims(json!({}))), two.token(&claims(json!({ "iss": "https://two.example" })))];
    let mut before = Vec::new();
    for credential in [&tokens[0], &tokens[1], &kept.text, &gone.text] {
        before.push(setup.principal(credential).await.unwrap());
    }
    assert_eq!(setup.auth.reload(), Ok(Reloaded::Unchanged));

    let changed = text.replace(&gone.table, "").replace(&issuer("https://two.example", "two"), "")
        + &(issuer("https://two.example", "two") + "grants = \"\"\n");
    setup.write("auth.toml", &changed);
    assert_eq!(setup.auth.reload(), Ok(Reloaded::Accepted));
    assert_eq!(*changes.borrow(), 1);
    let still: Vec<bool> = before.iter().map(|principal| setup.auth.still_accepts(principal)).collect();
    assert_eq!(still, [true, false, true, false]);
    assert_eq!(setup.refusal(&gone.text).await, Reason::ApiKey);
    let again = setup.principal(&tokens[1]).await.unwrap();
    assert!(setup.auth.still_accepts(&again));

    // A second key in the file of the first issuer, and then only that.
    setup.write("one", &(public(&one) + &public(&two)));
    assert_eq!(setup.auth.reload(), Ok(Reloaded::Accepted));
    assert!(setup.auth.still_accepts(&before[0]));
    setup.principal(&two.token(&claims(json!({})))).await.unwrap();
    setup.write("one", &public(&two));
    assert_eq!(setup.auth.reload(), Ok(Reloaded::Accepted));
    assert!(!setup.auth.still_accepts(&before[0]));
    assert_eq!(setup.refusal(&tokens[0]).await, Reason::Signature);
}

#[tokio::test]
async fn a_mistake_keeps_what_was_before() {
    let key = PrivateKey::ed25519();
    let text = issuer(ISSUER, "one");
    let setup = open(&[("auth.toml", &text), ("one", &public(&key))]).unwrap();
    let token = key.token(&claims(json!({})));
    let principal = setup.principal(&token).await.unwrap();
    for (wrong, mistake) in [
        ("[[issuer]]\n".to_owned(), "auth.toml:1: issuer[0]: `iss` is missing"),
        (
            text.clone() + "namespace = \"shop\"\n",
            "the namespace shop is new: the namespaces of a node are fixed until",
        ),
        (text.replace("one", "two"), "auth.toml:4: issuer[0].key_file: "),
        ("x".into(), "auth.toml:1: not TOML: "),
    ] {
        setup.write("auth.toml", &wrong);
        let mistakes = setup.auth.reload().unwrap_err();
        assert!(mistakes.iter().any(|found| found.contains(mistake)), "{mistakes:?}");
        assert_eq!(setup.auth.reload(), Ok(Reloaded::Unchanged), "a mistake is reported once");
        assert!(Arc::ptr_eq(&principal, &setup.principal(&token).await.unwrap()));
    }
    fs::remove_file(setup.path().join("auth.toml")).unwrap();
    assert_eq!(setup.auth.reload(), Ok(Reloaded::Deleted));
    assert_eq!(setup.auth.reload(), Ok(Reloaded::Unchanged));
    assert!(setup.auth.still_accepts(&principal));
    setup.write("auth.toml", &text);
    assert_eq!(setup.auth.reload(), Ok(Reloaded::Accepted));
    assert!(setup.auth.still_accepts(&principal));
    assert_eq!(*setup.auth.changes().borrow(), 1);
}

#[tokio::test]
async fn the_files_are_read_again_while_the_daemon_runs() {
    let [one, two] = ["one", "two"].map(|name| ApiKey::generate(name).unwrap());
    let setup = open(&[("auth.toml", &one.table)]).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(setup.auth.clone().run(stop.clone()));
    let mut changes = setup.auth.changes();
    setup.write("auth.toml", &two.table);
    changes.changed().await.unwrap();
    setup.principal(&two.text).await.unwrap();
    assert_eq!(setup.refusal(&one.text).await, Reason::ApiKey);
    setup.write("auth.toml", "nonsense");
    let metrics = setup.auth.metrics.clone();
    eventually("the mistake", || metrics.auth_config_stale.get() == 1).await;
    setup.principal(&two.text).await.unwrap();
    stop.cancel();
    running.await.unwrap();
}
