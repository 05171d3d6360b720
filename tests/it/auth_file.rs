//! `tidings config check --auth FILE`, run as a program.

use std::fs;

use crate::support::daemon::{run, tidings};

#[test]
fn config_check_reads_the_access_file() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        fs::write(folder.path().join("auth.toml"), text).unwrap();
        run(tidings(folder.path(), &["config", "check", "--auth", "auth.toml"]), "")
    };
    let good = check("[anonymous]\nsubscribe = [\"cache-invalidate\"]\n");
    assert_eq!(good.code, Some(0), "{good:?}");

    let wrong = check("[anonymous]\nsubscribe = [\"a*b\"]\n\n[[issuer]]\nis = \"https://issuer.example/\"\n");
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    for mistake in [
        "auth.toml:2: anonymous.subscribe[0]: a channel's name has a `*` at its end only",
        "auth.toml:5: issuer[0]: unknown key \"is\"; did you mean `iss`?",
        "auth.toml:4: issuer[0]: `audience` is missing",
    ] {
        assert!(wrong.err.contains(mistake), "{mistake} is not in {}", wrong.err);
    }

    let suspicious = check("[anonymous]\nsubscribe = [\"order-statu\"]\n");
    assert_eq!(suspicious.code, Some(0), "{suspicious:?}");
    assert!(suspicious.err.contains("there is no channel \"order-statu\""), "{}", suspicious.err);

    fs::remove_file(folder.path().join("auth.toml")).unwrap();
    let missing = run(tidings(folder.path(), &["config", "check"]), "");
    assert_eq!(missing.code, Some(0), "{missing:?}");
    let mut command = tidings(folder.path(), &["config", "check"]);
    command.env("TIDINGS_AUTH", "none.toml");
    let missing = run(command, "");
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.err.contains("cannot read none.toml: there is no such file"), "{}", missing.err);
}
