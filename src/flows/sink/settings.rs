//! Reads the `[[sink]]` tables.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::toml_tree::{Reader, Table};
use crate::config::{FlowTable, duration_or_zero, read_error};
use crate::event::{Catalog, Since};
use crate::flows::settings::{self, mistake, name, since};
use crate::outbound::is_loopback;
use crate::secret::exposed;

const MEMBERS: [&str; 10] =
    ["name", "kind", "channels", "account", "namespace", "token_file", "prefix", "ttl", "since", "api"];
/// The one kind.
const CLOUDFLARE_KV: &str = "cloudflare-kv";
/// Where Cloudflare's interface is.
const API: &str = "https://api.cloudflare.com/client/v4";
/// The shortest time that KV keeps a value.
const MIN_TTL: Duration = Duration::from_secs(60);

/// One `[[sink]]` table.
#[derive(Debug, Clone)]
pub struct SinkSettings {
    pub name: String,
    pub channels: Vec<String>,
    /// Where pairs are written.
    pub url: Url,
    pub token_file: PathBuf,
    /// What each key begins with.
    pub prefix: String,
    /// How long the store keeps a value.
    pub ttl: Option<Duration>,
    /// Where a new sink begins.
    pub since: Since,
}

/// Reads the tables; also returns what is suspicious about them.
///
/// # Errors
/// Everything that is wrong with them, each with its line.
pub fn read(tables: Option<&FlowTable>, catalog: &Catalog) -> Result<(Vec<SinkSettings>, Vec<String>), Vec<String>> {
    let Some(FlowTable { file, text, tables, .. }) = tables else { return Ok(Default::default()) };
    let mut reader = Reader::new(file, text);
    let mut sinks: Vec<SinkSettings> = Vec::new();
    for (number, node) in tables.iter().enumerate() {
        let path = format!("sink[{number}]");
        let Some(table) = reader.table(node, &path, &MEMBERS) else { continue };
        let Some(sink) = sink(&mut reader, table, catalog) else { continue };
        if sinks.iter().any(|other| other.name == sink.name) {
            mistake(&mut reader, table, "name", "another sink has this name");
        }
        reader.warnings.extend(exposed(&sink.token_file, &format!("the token of the sink {}", sink.name)));
        sinks.push(sink);
    }
    if reader.mistakes.is_empty() { Ok((sinks, reader.warnings)) } else { Err(reader.mistakes) }
}

fn sink(reader: &mut Reader<'_>, table: Table<'_>, catalog: &Catalog) -> Option<SinkSettings> {
    let name = reader.required_string(table, "name").and_then(|_| reader.value(table, "name", name));
    if reader.required_string(table, "kind").is_some_and(|kind| kind != CLOUDFLARE_KV) {
        mistake(reader, table, "kind", format!("the one kind is {CLOUDFLARE_KV}"));
    }
    let mut channels: Vec<String> = Vec::new();
    for (_, channel, _) in settings::channels(reader, table, catalog).unwrap_or_default() {
        if !channels.iter().any(|known| known == channel) {
            channels.push(channel.to_owned());
        }
    }
    let id = |reader: &mut Reader<'_>, member: &str| {
        let text = reader.required_string(table, member)?;
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
            mistake(reader, table, member, "expected the id that Cloudflare's dashboard shows: letters and digits");
            return None;
        }
        Some(text)
    };
    let (account, namespace) = (id(reader, "account"), id(reader, "namespace"));
    let token_file = reader.required_string(table, "token_file").map(PathBuf::from);
    if let Some(file) = &token_file
        && let Err(error) = std::fs::read(file)
    {
        mistake(reader, table, "token_file", format!("{}: {}", file.display(), read_error(&error)));
    }
    let prefix = reader.string(table, "prefix").unwrap_or_default();
    let ttl = reader.string(table, "ttl").and_then(|text| match duration_or_zero(text) {
        Ok(ttl) if ttl >= MIN_TTL => Some(ttl),
        Ok(_) => {
            mistake(reader, table, "ttl", "expected at least 60s: KV keeps no value for less");
            None
        }
        Err(expected) => {
            mistake(reader, table, "ttl", format!("expected {expected}"));
            None
        }
    });
    let since = match table.node.get("since") {
        None => Some(Since::Start),
        Some(_) => reader.value(table, "since", since),
    };
    let api = reader.string(table, "api").unwrap_or(API);
    let url = Url::parse(&format!(
        "{}/accounts/{}/storage/kv/namespaces/{}/bulk",
        api.trim_end_matches('/'),
        account.unwrap_or_default(),
        namespace.unwrap_or_default()
    ));
    let url = url.ok().filter(|url| url.scheme() == "https" || url.scheme() == "http" && is_loopback(url));
    if url.is_none() {
        mistake(reader, table, "api", "expected an https:// URL, or http:// on loopback: the token goes there");
    }
    Some(SinkSettings {
        name: name?.to_string(),
        channels,
        url: url?,
        token_file: token_file?,
        prefix: prefix.to_owned(),
        ttl,
        since: since?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toml_tree::{Node, Value};

    fn parsed(text: &str) -> Result<(Vec<SinkSettings>, Vec<String>), Vec<String>> {
        parsed_with(text, &Catalog::builtin())
    }

    fn parsed_with(text: &str, catalog: &Catalog) -> Result<(Vec<SinkSettings>, Vec<String>), Vec<String>> {
        let root = Node::parse(text).unwrap();
        let Some(Value::Array(tables)) = root.get("sink").map(|node| node.value.clone()) else { panic!("no tables") };
        let file = PathBuf::from("tidings.toml");
        let table = FlowTable { key: "sink", file, text: text.into(), tables: tables.into() };
        read(Some(&table), catalog)
    }

    #[test]
    fn a_sink_writes_to_its_namespace_from_the_start_of_the_log() {
        let token = tempfile::NamedTempFile::new().unwrap();
        let (sinks, _) = parsed(&format!(
            "[[sink]]\nname = \"edge\"\nkind = \"cloudflare-kv\"\nchannels = [\"inventory-change\"]\naccount = \"a1\"\n\
             namespace = \"n2\"\ntoken_file = {:?}\nttl = \"7d\"",
            token.path()
        ))
        .unwrap();
        let expected = "https://api.cloudflare.com/client/v4/accounts/a1/storage/kv/namespaces/n2/bulk";
        assert_eq!((sinks[0].url.as_str(), &sinks[0].since), (expected, &Since::Start));
        assert_eq!(sinks[0].ttl, Some(Duration::from_secs(7 * 24 * 3600)));
    }

    #[test]
    fn every_mistake_has_its_line() {
        let mistakes = parsed(
            "[[sink]]\nname = \"a b\"\nkind = \"kv\"\nchannels = [\"inventory\"]\naccount = \"a/b\"\nnamespace = \"n\"\n\
             token_file = \"\"\nttl = \"5s\"\nsince = \"latest\"\napi = \"http://kv.example\"\n[[sink]]\nname = \".a\"\n\
             token_file = \"/no/such\"\napi = \"http://127.evil.example/\"",
        );
        let mistakes = mistakes.unwrap_err();
        for expected in [
            "tidings.toml:2: sink[0].name: expected 1 to 64",
            "tidings.toml:3: sink[0].kind: the one kind is cloudflare-kv",
            "tidings.toml:4: sink[0].channels: there is no channel \"inventory\"",
            "tidings.toml:5: sink[0].account: expected the id",
            "tidings.toml:7: sink[0].token_file: this is empty",
            "tidings.toml:8: sink[0].ttl: expected at least 60s",
            "tidings.toml:9: sink[0].since: expected now, start, an age such as 10m, or an RFC 3339 time, not \"latest\"",
            "tidings.toml:12: sink[1].name: expected 1 to 64 letters, digits, `.`, `_` or `-`, the first of them no `.`",
            "tidings.toml:13: sink[1].token_file: /no/such: there is no such file",
            "tidings.toml:10: sink[0].api: expected an https:// URL",
            "tidings.toml:14: sink[1].api: expected an https:// URL, or http:// on loopback",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(expected)), "{expected} is not in {mistakes:#?}");
        }
    }

    /// How far a sink came in all of its channels is one value of the store.
    #[test]
    fn a_sink_has_at_most_a_hundred_channels() {
        let mut catalog = Catalog::builtin();
        let names: Vec<_> = (0..101).map(|number| format!("note-{number}")).collect();
        names.iter().for_each(|name| drop(catalog.add(name, r#"{"type": "object"}"#).unwrap()));
        let token = tempfile::NamedTempFile::new().unwrap();
        let with = |names: &[String]| {
            let table = format!(
                "[[sink]]\nname = \"edge\"\nkind = \"cloudflare-kv\"\nchannels = {names:?}\naccount = \"a1\"\n\
                 namespace = \"n2\"\ntoken_file = {:?}",
                token.path()
            );
            parsed_with(&table, &catalog)
        };
        assert_eq!(with(&names[1..]).unwrap().0[0].channels.len(), 100);
        let mistakes = with(&names).unwrap_err();
        let expected = "tidings.toml:4: sink[0].channels: these are 101 channels, and a flow has at most 100";
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{mistakes:#?}");
    }
}
