//! The tables of a file as `tidings config show` prints them: one row for each member, without secrets.

use std::path::Path;

use url::Url;

use super::audit::{AUDIT, DEFAULTS};
use super::redis_url::RedisUrl;
use super::source::Source;
use super::toml_tree::{Member, Node, Value};
use super::types::TYPES;

/// The value of a member of a table, and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownMember {
    /// As in mistakes: `audit.file`, `webhook[0].url`, `types.order-status.latest`.
    pub name: String,
    /// As JSON, but for strings, and without secrets.
    pub value: String,
    pub source: Source,
}

/// The members of the table or tables in the value of a key, in the order of the file.
pub fn members_of(file: &Path, text: &str, key: &str, node: &Node) -> Vec<ShownMember> {
    let mut shown = Vec::new();
    let mut add = |path: &str, members: &[Member]| {
        for Member { name, at, node } in members {
            let line = text.as_bytes()[..(*at).min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
            let source = Source::File { path: file.into(), line };
            shown.push(ShownMember { name: format!("{path}.{name}"), value: value_of(name, node), source });
        }
    };
    match &node.value {
        Value::Array(tables) => {
            for (number, table) in tables.iter().enumerate() {
                add(&format!("{key}[{number}]"), table.as_table().unwrap_or_default());
            }
        }
        Value::Table(tables) if key == TYPES => {
            for Member { name, node, .. } in tables {
                add(&format!("{key}.{name}"), node.as_table().unwrap_or_default());
            }
        }
        Value::Table(members) => add(key, members),
        _ => {}
    }
    if key == AUDIT {
        let is_given = |name: &str| node.get(name).is_some();
        shown.extend(DEFAULTS.iter().filter(|(name, _)| !is_given(name)).map(|(name, value)| ShownMember {
            name: format!("{key}.{name}"),
            value: (*value).to_owned(),
            source: Source::Default,
        }));
    }
    shown
}

fn value_of(name: &str, node: &Node) -> String {
    // A secret belongs into a file. Who writes it here by mistake must not find it in a log.
    let is_secret = ["secret", "token", "password", "key"].iter().any(|word| name.contains(word));
    match &node.value {
        Value::String(_) if is_secret && !name.ends_with("_file") => "***".into(),
        Value::String(text) => without_secrets(text),
        Value::Array(_) | Value::Table(_) => redacted(node).to_json().to_string(),
        Value::Other(what) => format!("a {what}"),
        Value::Number(_) | Value::Bool(_) => node.to_json().to_string(),
    }
}

/// The same value, whose URLs have no secrets.
fn redacted(node: &Node) -> Node {
    let value = match &node.value {
        Value::String(text) => Value::String(without_secrets(text)),
        Value::Array(nodes) => Value::Array(nodes.iter().map(redacted).collect()),
        Value::Table(members) => {
            let redacted = |member: &Member| Member { node: redacted(&member.node), ..member.clone() };
            Value::Table(members.iter().map(redacted).collect())
        }
        other => other.clone(),
    };
    Node { at: node.at, value }
}

/// A URL without its password and its query. Any other text as it is.
fn without_secrets(text: &str) -> String {
    if !text.contains("://") {
        return text.to_owned();
    }
    if let Some(url) = RedisUrl::parse(text) {
        return url.map_or_else(|_| "*** (not a URL)".into(), |url| url.to_string());
    }
    let Ok(mut url) = Url::parse(text) else { return "*** (not a URL)".into() };
    let has_user = !url.username().is_empty() || url.password().is_some();
    let cleared = !has_user || url.set_password(None).and_then(|()| url.set_username("***")).is_ok();
    url.set_query(None);
    url.set_fragment(None);
    if cleared { url.into() } else { "*** (not a URL)".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_a_row_with_its_line_and_no_secret() {
        let text = "[audit]\nfile = \"a.ndjson\"\nkeep = 3\n[types.order-status]\nlatest = \"7d\"\n\
                    [[bridge]]\nname = \"a\"\nredis = \"redis://u:s3cret@h:1/2?x=s3cret\"\nchannels = [\"a\", \"redis://:s3cret@b\"]\n\
                    [[webhook]]\nurl = \"https://u:s3cret@h/hook?key=s3cret\"\nsecret_file = \"f\"\ntoken = \"s3cret\"\n\
                    api = \"http://s3cret@:x\"\nwhere = { a = 1 }\nat = 2026-01-31";
        let root = Node::parse(text).unwrap();
        let members = root.as_table().unwrap().iter();
        let all = members.flat_map(|member| members_of(Path::new("t.toml"), text, &member.name, &member.node));
        let mut rows: Vec<_> = all.map(|row| format!("{} = {} ({})", row.name, row.value, row.source)).collect();
        rows.sort();
        let expected = [
            "audit.data = false (default)",
            "audit.file = a.ndjson (t.toml:2)",
            "audit.keep = 3 (t.toml:3)",
            "audit.max_bytes = 100MiB (default)",
            "audit.on_failure = continue (default)",
            "bridge[0].channels = [\"a\",\"redis://***@b:6379\"] (t.toml:9)",
            "bridge[0].name = a (t.toml:7)",
            "bridge[0].redis = redis://u:***@h:1/2 (t.toml:8)",
            "types.order-status.latest = 7d (t.toml:5)",
            "webhook[0].api = *** (not a URL) (t.toml:14)",
            "webhook[0].at = a date (t.toml:16)",
            "webhook[0].secret_file = f (t.toml:12)",
            "webhook[0].token = *** (t.toml:13)",
            "webhook[0].url = https://***@h/hook (t.toml:11)",
            "webhook[0].where = {\"a\":1} (t.toml:15)",
        ];
        assert_eq!(rows, expected);
    }
}
