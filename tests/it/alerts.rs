//! docs/alerts.yml: Prometheus takes its rules, each fires when it should and not otherwise, and each metric exists.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use serde_json::json;
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::daemon::{Daemon, run};
use crate::support::flows;

const RULES: &str = include_str!("../../docs/alerts.yml");
const TESTS: &str = include_str!("../prometheus/alerts.yml");
const DEPLOYMENT: &str = include_str!("../../docs/deployment.md");
/// Where the metrics of programs with a cache are defined.
const CACHES: &str = include_str!("../../docs/cache.md");
/// They begin so.
const OF_CACHES: &str = "tidings_cache_";

/// Runs promtool in the root of the repository, which must succeed.
fn promtool(arguments: &[&str]) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = run(command, "");
    assert_eq!(ended.code, Some(0), "promtool {arguments:?}\n{}\n{}", ended.out, ended.err);
}

/// The entries of a list.
fn list<'a>(yaml: &'a Yaml, name: &str) -> impl Iterator<Item = &'a Yaml> {
    yaml[name].as_vec().into_iter().flatten()
}

/// All rules, each with the name of its alert.
fn rules() -> Vec<(String, Yaml)> {
    let document = YamlLoader::load_from_str(RULES).unwrap().remove(0);
    let rules = list(&document, "groups").flat_map(|group| list(group, "rules"));
    rules.map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule.clone())).collect()
}

#[test]
fn prometheus_takes_the_rules() {
    promtool(&["check", "rules", "docs/alerts.yml"]);
}

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    promtool(&["test", "rules", "tests/prometheus/alerts.yml"]);
    let document = YamlLoader::load_from_str(TESTS).unwrap().remove(0);
    let mut tested = BTreeMap::<_, BTreeSet<_>>::new();
    for test in list(&document, "tests").flat_map(|test| list(test, "alert_rule_test")) {
        let fires = list(test, "exp_alerts").next().is_some();
        tested.entry(test["alertname"].as_str().unwrap().to_owned()).or_default().insert(fires);
    }
    let both: BTreeMap<_, _> = rules().into_iter().map(|(name, _)| (name, BTreeSet::from([false, true]))).collect();
    assert_eq!(tested, both);
}

#[test]
fn each_alert_has_a_row_in_the_document_which_says_what_to_do() {
    for (name, rule) in rules() {
        assert_eq!(DEPLOYMENT.matches(&format!("| `{name}` |")).count(), 1, "{name} in docs/deployment.md");
        assert!(rule["annotations"]["summary"].as_str().is_some(), "{name} has no summary");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{name}: {severity:?}");
    }
    let rows = DEPLOYMENT.lines().filter(|line| line.starts_with("| `Tidings")).count();
    assert_eq!(rows, rules().len(), "rows of docs/deployment.md");
}

/// The names of metrics in an expression.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("tidings_")).map(|word| word.trim_end_matches("_bucket")).collect()
}

#[tokio::test]
async fn each_metric_of_the_rules_exists() {
    let folder = tempfile::tempdir().unwrap();
    flows::write(folder.path(), "");
    let daemon = Daemon::with(&["--listen", "127.0.0.1:0"], folder);
    // A metric with labels is exposed once it has a value.
    let refused =
        reqwest::Client::new().post(format!("{}/v1/events", daemon.url)).json(&json!({})).send().await.unwrap();
    assert_eq!(refused.status(), 422);
    let exposed = reqwest::get(format!("{}/metrics", daemon.url)).await.unwrap().text().await.unwrap();
    let mut missing = Vec::new();
    for (name, rule) in rules() {
        let expression = rule["expr"].as_str().unwrap();
        assert!(!metrics(expression).is_empty(), "{name}: {expression}");
        for metric in metrics(expression) {
            let exists = match metric.starts_with(OF_CACHES) {
                true => CACHES.contains(&format!("`{metric}")),
                false => exposed.contains(&format!("# HELP {metric} ")),
            };
            missing.extend((!exists).then(|| format!("{name}: {metric}")));
        }
    }
    assert_eq!(missing, [] as [String; 0]);
}
