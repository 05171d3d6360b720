//! Completion with the Tab key, as bash asks for it: the values of settings, and what the daemon knows.

use std::process::{Command, Stdio};

use crate::support::daemon::{Daemon, Running, run, tidings};
use crate::support::redis::free_port;

/// What bash completes for these words, of which the last one is being typed.
fn completed(words: &[&str], url: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a-file"), "").unwrap();
    std::fs::create_dir(folder.path().join("a-folder")).unwrap();
    let script = r#"
        set -eu
        source <("$TIDINGS" completions bash)
        COMP_WORDS=(tidings "$@") COMP_CWORD=$# COMP_TYPE=9
        _clap_complete_tidings tidings "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", script, "bash"]).args(words).current_dir(folder.path());
    bash.env("TIDINGS", env!("CARGO_BIN_EXE_tidings")).env("TIDINGS_URL", url).env_remove("TIDINGS_TOKEN");
    bash.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = Running::start(bash).ended();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{words:?} {ended:?}");
    ended.out.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn values_are_completed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("types")).unwrap();
    let own = r#"{"type":"object","properties":{"sku":{"type":"string"},"stars":{"type":"integer"}}}"#;
    std::fs::write(folder.path().join("types/review.schema.json"), own).unwrap();
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0", "--schemas", "types"], folder);
    let gone = format!("http://127.0.0.1:{}", free_port());
    let url_flag = format!("--url={}", daemon.url);
    let port = daemon.url.rsplit(':').next().unwrap();
    let types = ["cache-invalidate", "data-update", "finance-change", "inventory-change", "order-status", "review"];
    let cases: &[(&[&str], &str, &[&str])] = &[
        (&["serve", "--log-format", ""], &gone, &["pretty", "json"]),
        (&["serve", "--log-format", "p"], &gone, &["pretty"]),
        (&["config", "show", "--log-level", "de"], &gone, &["debug"]),
        (&["serve", "--file-sync", ""], &gone, &["os", "always"]),
        (&["serve", "--broker", "redis-s"], &gone, &["redis-sentinel://"]),
        (&["serve", "--heartbeat", ""], &gone, &[]),
        (&["serve", "--schemas", "a"], &gone, &["a-folder/"]),
        (&["serve", "--config", "a-"], &gone, &["a-file", "a-folder/"]),
        (&["completions", "z"], &gone, &["zsh"]),
        (&["tail", "--url", &gone, "--token", ""], &daemon.url, &[]),
        (&["publish", ""], &daemon.url, &types),
        (&["tail", "order-status", "i"], &daemon.url, &["inventory-change"]),
        (&["history", "re"], &daemon.url, &["review"]),
        (&["bench", "--channel", "o"], &daemon.url, &["order-status"]),
        (&["publish", &url_flag, "re"], &gone, &["review"]),
        (&["publish", "--url", &daemon.url, "re"], &gone, &["review"]),
        (&["publish", "review", "s"], &daemon.url, &["sku=", "stars="]),
        (&["tail", "review", "--where", ""], &daemon.url, &["sku=", "stars="]),
        (&["publish", "--url", &daemon.url, "review", "s"], &gone, &["sku=", "stars="]),
        (&["publish", "--id", "7", "--json", "review", "s"], &daemon.url, &["sku=", "stars="]),
        // Bash makes words of each `:` and `=`.
        (&["publish", "--url", "http", ":", "//127.0.0.1", ":", port, "review", "s"], &gone, &["sku=", "stars="]),
        (&["publish", "--url", "=", "http", ":", "//127.0.0.1", ":", port, "review", "s"], &gone, &["sku=", "stars="]),
        // Without a daemon there is nothing to complete, and nothing is said.
        (&["publish", ""], &gone, &[]),
        (&["tail", "--where", ""], &daemon.url, &[]),
        (&["tail", ""], "nonsense", &[]),
    ];
    for (words, url, expected) in cases {
        let mut found = completed(words, url);
        found.retain(|word| !word.starts_with('-'));
        let mut expected: Vec<_> = expected.iter().map(|word| (*word).to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{words:?}");
    }
}

#[test]
fn there_is_a_script_for_every_shell() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ended = run(tidings(folder.path(), &["completions", shell]), "");
        // The script calls the program as it was called.
        let program = env!("CARGO_BIN_EXE_tidings");
        assert!(ended.code == Some(0) && ended.out.contains(program), "{shell} {ended:?}");
        assert!(ended.out.contains("TIDINGS_COMPLETE"), "{shell} {ended:?}");
    }
}
