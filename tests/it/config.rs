//! `tidings config show` and `config check`, run as programs: values with their sources, and the errors of mistakes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::{Ended, run, tidings};
use crate::support::flows;

fn config(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let mut command = tidings(folder, &[&["config"], arguments].concat());
    command.envs(env.iter().copied());
    run(command, "")
}

#[test]
fn config_show_prints_each_value_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("tidings.toml", "heartbeat = \"1s\"\nbroker = \"redis://u:s3cret@127.0.0.1:1\"\n");
    write("other.toml", "namespace = \"other\"");

    let shown = config(folder.path(), &["show", "--json", "--drain", "1m"], &[("TIDINGS_PREFIX", "p:")]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let values: Vec<Value> = shown.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| {
        let found = values.iter().find(|value| value["name"] == name).unwrap();
        (found["value"].as_str().unwrap_or("none"), found["from"].as_str().unwrap())
    };
    assert_eq!(of("heartbeat"), ("1s", "tidings.toml:1"));
    assert_eq!(of("broker"), ("redis://u:***@127.0.0.1:1", "tidings.toml:2"));
    assert_eq!(of("prefix"), ("p:", "TIDINGS_PREFIX"));
    assert_eq!(of("drain"), ("1m", "--drain"));
    assert_eq!(of("max_event_bytes"), ("64KiB", "default"));
    assert_eq!(of("schemas"), ("none", "default"));

    let table = config(folder.path(), &["show", "--config", "other.toml"], &[]).out;
    assert!(table.lines().any(|line| line.split_whitespace().eq(["namespace", "other", "other.toml:1"])), "{table}");
    assert!(table.lines().any(|line| line.split_whitespace().eq(["heartbeat", "25s", "default"])), "{table}");

    let defaults = config(folder.path(), &["show", "--defaults"], &[]).out;
    write("tidings.toml", &defaults);
    assert_eq!(config(folder.path(), &["check"], &[]).code, Some(0));
}

#[test]
fn config_check_names_the_setting_of_each_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = |arguments: &[&str], env: &[(&str, &str)], words: &str| {
        let ended = config(folder.path(), &[&["check"], arguments].concat(), env);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(words), "{words:?} is not in {}", ended.err);
    };
    assert_eq!(config(folder.path(), &["check"], &[("TIDINGS_SERVICE_HOST", "x")]).code, Some(0));
    wrong(&["--heartbeat", "25"], &[], "heartbeat (--heartbeat): expected a duration");
    wrong(&[], &[("TIDINGS_DRAIN", "soon")], "drain (TIDINGS_DRAIN): expected a duration");
    wrong(&["--listen", "0.0.0.0:7400"], &[], "listen (--listen): 0.0.0.0:7400 is not a loopback address");
    wrong(&["--schemas", "missing"], &[], "cannot read the schemas folder missing: there is no such file");
    wrong(&["--config", "missing.toml"], &[], "cannot read the configuration file missing.toml");
    fs::write(folder.path().join("tidings.toml"), "max_events_bytes = 1").unwrap();
    wrong(&[], &[], "tidings.toml:1: unknown key max_events_bytes; did you mean `max_event_bytes`?");
}

#[test]
fn a_bridge_of_the_brokers_own_redis_is_checked_with_the_brokers_flag_or_variable() {
    let folder = tempfile::tempdir().unwrap();
    let table = "[[bridge]]\nname = 'b'\nchannels = ['a']\ntype = 'order-status'\n";
    fs::write(folder.path().join("b.toml"), table).unwrap();
    let file = ["check", "--config", "b.toml"];
    let missing = config(folder.path(), &file, &[]);
    assert!(missing.code == Some(1) && missing.err.contains("--broker or TIDINGS_BROKER gives"), "{missing:?}");
    let broker = "redis://127.0.0.1:1";
    let by_flag = config(folder.path(), &[&file[..], &["--broker", broker]].concat(), &[]);
    assert_eq!(by_flag.code, Some(0), "{by_flag:?}");
    let doctor = |env: &[(&str, &str)]| {
        let mut command = tidings(folder.path(), &["doctor", "--url", "http://127.0.0.1:1", "--config", "b.toml"]);
        command.envs(env.iter().copied());
        run(command, "").out
    };
    let found = doctor(&[]);
    assert!(found.contains("`redis` is missing") && found.contains("variables such as TIDINGS_BROKER"), "{found}");
    let found = doctor(&[("TIDINGS_BROKER", broker)]);
    assert!(!found.contains("`redis` is missing") && found.contains("Connection refused"), "{found}");
}

#[test]
fn an_address_that_is_not_loopback_needs_insecure() {
    let folder = tempfile::tempdir().unwrap();
    let refused = run(tidings(folder.path(), &["serve", "--listen", "0.0.0.0:0"]), "");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("--insecure"), "{}", refused.err);
    let shown = config(folder.path(), &["check", "--listen", "0.0.0.0:0", "--insecure"], &[]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
}

#[test]
fn the_members_of_all_tables_are_shown_with_their_lines_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let more = "[audit]\nfile = \"audit.ndjson\"\n\n[types.order-status]\nlatest = \"7d\"\n";
    flows::write(folder.path(), more);
    let file = folder.path().join("tidings.toml");
    let text = fs::read_to_string(&file).unwrap().replace("redis://127", "redis://user:s3cret@127");
    fs::write(&file, text).unwrap();
    let (json, table) = (config(folder.path(), &["show", "--json"], &[]), config(folder.path(), &["show"], &[]));
    let rows: Vec<Value> = json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (name, value, from) in [
        ("audit.file", "audit.ndjson", "tidings.toml:2"),
        ("audit.on_failure", "continue", "default"),
        ("types.order-status.latest", "7d", "tidings.toml:5"),
        ("bridge[0].redis", "redis://user:***@127.0.0.1:1", "tidings.toml:9"),
        ("sink[0].channels", r#"["order-status"]"#, "tidings.toml:16"),
        ("webhook[0].url", "http://127.0.0.1:1/", "tidings.toml:24"),
    ] {
        let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {}", json.out));
        assert_eq!((&row["value"], &row["from"]), (&json!(value), &json!(from)), "{name}");
        let line = table.out.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.contains(value) && line.ends_with(from), "{line}");
    }
    assert!(!json.out.contains("s3cret") && !table.out.contains("s3cret"), "{}", json.out);
}
