//! Files with secrets that other users of the machine may read: a warning when the daemon starts, in `config check`, and in
//! the commands that read tokens.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::daemon::{Running, run, tidings};

const AUTH: &str = "[[issuer]]\niss = \"i\"\naudience = [\"a\"]\nsecret_file = \"issuer.secret\"\n";

/// A folder with an `auth.toml`, its secret, a private key and a token, all with this mode.
fn folder(mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("auth.toml", AUTH), ("issuer.secret", &"s".repeat(32)), ("tls.key", "k"), ("me.token", "t")] {
        fs::write(folder.path().join(name), text).unwrap();
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).unwrap();
    }
    folder
}

/// The standard error of two checks: of the access file and TLS, and of the certificate for Redis, which does not exist.
fn check(folder: &Path) -> String {
    let own = ["config", "check", "--auth", "auth.toml", "--tls-cert", "tls.cert", "--tls-key", "tls.key"];
    let redis = ["config", "check", "--broker", "rediss://127.0.0.1:1?cert=tls.cert&key=tls.key"];
    [&own[..], &redis].map(|arguments| run(tidings(folder, arguments), "").err).concat()
}

#[test]
fn config_check_names_each_file_and_the_command() {
    let exposed = check(folder(0o644).path());
    for (file, holds) in [
        ("issuer.secret", "the secret of an issuer"),
        ("tls.key", "the private key of TLS"),
        ("tls.key", "the private key for Redis"),
    ] {
        let warning = exposed.lines().find(|line| line.contains(holds)).unwrap_or_else(|| panic!("{holds}: {exposed}"));
        assert!(warning.contains("(mode 644): chmod 600 ") && warning.ends_with(file), "{warning}");
    }
    assert!(!check(folder(0o600).path()).contains("chmod"));
}

#[test]
fn the_daemon_warns_when_it_starts() {
    let folder = folder(0o640);
    let mut command = tidings(folder.path(), &["serve", "--listen", "127.0.0.1:0", "--auth", "auth.toml"]);
    command.env("TIDINGS_LOG_FORMAT", "json");
    let process = Running::start(command);
    let line = process.said("chmod 600");
    assert!(line.contains("\"level\":\"WARN\"") && line.contains("issuer.secret"), "{line}");
}

#[test]
fn a_command_warns_of_its_token_file() {
    for (mode, warns) in [(0o644, true), (0o600, false)] {
        let folder = folder(mode);
        let ended = run(tidings(folder.path(), &["token", "inspect", "--token-file", "me.token"]), "");
        assert_eq!(ended.err.contains("me.token holds a token"), warns, "{ended:?}");
    }
}
