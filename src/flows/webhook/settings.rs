//! Reads the `[[webhook]]` tables of the configuration, and checks them against the event types.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};

use super::client::Client;
use super::secrets::Secrets;
use crate::config::toml_tree::{Reader, Table};
use crate::config::{FlowTable, duration, switch};
use crate::event::{Catalog, ChannelId, Selector, Since};
use crate::flows::settings::{self, name, since};
use crate::network::not_public;
use crate::secret::exposed;

const KEYS: [&str; 10] = [
    "name",
    "url",
    "channels",
    "where",
    "secret_file",
    "timeout",
    "max_attempts",
    "concurrency",
    "since",
    "allow_private",
];
const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ATTEMPTS: u32 = 12;
const CONCURRENCY: usize = 8;
const MAX_CONCURRENCY: u64 = 64;

/// One `[[webhook]]` table.
pub struct Settings {
    pub name: Arc<str>,
    pub url: Url,
    pub channels: Vec<Channel>,
    pub client: Client,
    pub secrets: Secrets,
    pub max_attempts: u32,
    /// How many subjects are delivered side by side.
    pub concurrency: usize,
    pub since: Since,
}

/// A channel of a webhook, and which of its events it gets.
pub struct Channel {
    pub id: ChannelId,
    pub name: Arc<str>,
    pub selector: Selector,
}

/// The webhooks of the tables, and what is suspicious about them.
///
/// # Errors
/// Every mistake, with the file, the line and the table.
pub fn compile(tables: &FlowTable, catalog: &Catalog) -> Result<(Vec<Settings>, Vec<String>), Vec<String>> {
    let mut reader = Reader::new(&tables.file, &tables.text);
    let (mut all, mut names): (Vec<Settings>, HashSet<String>) = Default::default();
    for (index, node) in tables.tables.iter().enumerate() {
        let path = format!("{}[{index}]", tables.key);
        let Some(table) = reader.table(node, &path, &KEYS) else { continue };
        let read = webhook(&mut reader, table, catalog);
        if let Some(name) = table.node.get("name")
            && let Some(text) = name.as_str()
            && !names.insert(text.to_owned())
        {
            reader.mistake(name.at, &table.at("name"), "another webhook has this name");
        }
        all.extend(read);
    }
    if reader.mistakes.is_empty() { Ok((all, reader.warnings)) } else { Err(reader.mistakes) }
}

fn webhook(reader: &mut Reader<'_>, table: Table<'_>, catalog: &Catalog) -> Option<Settings> {
    let at = |name: &str| table.node.get(name).map_or(table.node.at, |node| node.at);
    let name = reader.required_string(table, "name").and_then(|_| reader.value(table, "name", name));
    let url = reader.required_string(table, "url");
    let url = url.and_then(|text| match url_of(text) {
        Ok(url) => Some(url),
        Err(mistake) => {
            reader.mistake(at("url"), &table.at("url"), mistake);
            None
        }
    });
    let channels = channels(reader, table, catalog);
    let secrets = reader.required_string(table, "secret_file").and_then(|file| {
        let file = Path::new(file);
        match Secrets::open(file, name.as_deref().unwrap_or_default()) {
            Ok((secrets, weak)) => {
                for warning in weak.into_iter().chain(exposed(file, "the secrets of a webhook")) {
                    reader.warning(at("secret_file"), &table.at("secret_file"), warning);
                }
                Some(secrets)
            }
            Err(mistake) => {
                let mistake = format!("{}: {mistake}", file.display());
                reader.mistake(at("secret_file"), &table.at("secret_file"), mistake);
                None
            }
        }
    });
    let timeout = reader.value(table, "timeout", |text| match duration(text)? {
        timeout if timeout <= MAX_TIMEOUT => Ok(timeout),
        _ => Err("a duration of at most 60s".into()),
    });
    let max_attempts = reader.value(table, "max_attempts", |text| number(text, 100));
    let concurrency = reader.value(table, "concurrency", |text| number(text, MAX_CONCURRENCY));
    let since = reader.value(table, "since", since);
    let allow_private = reader.value(table, "allow_private", switch).unwrap_or_default();
    let url = url?;
    if !allow_private && let Some(kind) = literal(&url) {
        let text = format!("this is {kind}, to which nothing is sent without `allow_private = true`");
        reader.warning(at("url"), &table.at("url"), text);
    } else if !allow_private && url.scheme() == "http" {
        reader.warning(at("url"), &table.at("url"), "events are sent without encryption: use https");
    }
    let timeout = timeout.unwrap_or(TIMEOUT);
    let concurrency = concurrency.map_or(CONCURRENCY, |number| number as usize);
    let client = match Client::new(&url, timeout, concurrency, allow_private) {
        Ok(client) => client,
        Err(mistake) => {
            reader.mistake(at("url"), &table.at("url"), mistake);
            return None;
        }
    };
    Some(Settings {
        name: name?,
        url,
        channels: channels?,
        client,
        secrets: secrets?,
        max_attempts: max_attempts.map_or(MAX_ATTEMPTS, |number| number as u32),
        concurrency,
        since: since.unwrap_or(Since::Now),
    })
}

fn channels(reader: &mut Reader<'_>, table: Table<'_>, catalog: &Catalog) -> Option<Vec<Channel>> {
    let mut channels: Vec<Channel> = Vec::new();
    for (at, _, id) in settings::channels(reader, table, catalog)? {
        if channels.iter().any(|other| other.id == id) {
            reader.mistake(at, &table.at("channels"), "this channel is listed twice");
            continue;
        }
        let known = catalog.get(id);
        let selector = reader.filter(table, "where", known).map_or_else(Selector::default, Selector::of);
        channels.push(Channel { id, name: known.name.clone(), selector });
    }
    Some(channels)
}

/// The URL of a receiver.
///
/// # Errors
/// What is wrong with it.
pub fn url_of(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("this is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("this is not an https or http URL".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(
            "the URL must have neither a user, nor a password, nor a fragment: the signature proves the sender".into(),
        );
    }
    Ok(url)
}

/// What the address in a URL is, if it has one that is not public.
fn literal(url: &Url) -> Option<&'static str> {
    match url.host()? {
        Host::Domain(name) if name == "localhost" || name.ends_with(".localhost") => Some("a loopback address"),
        Host::Domain(_) => None,
        Host::Ipv4(address) => not_public(address.into()),
        Host::Ipv6(address) => not_public(address.into()),
    }
}

fn number(text: &str, most: u64) -> Result<u64, String> {
    let number = text.parse::<u64>().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("a whole number from 1 to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, WEBHOOK, load};

    fn compiled(tables: &str) -> Result<(Vec<Settings>, Vec<String>), Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let (file, secret) = (folder.path().join("tidings.toml"), folder.path().join("secret"));
        std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let tables = tables.replace("SECRET", secret.to_str().unwrap());
        std::fs::write(&file, tables).unwrap();
        let config = load(Sources { file: Some(file), ..Sources::default() }).unwrap().config;
        compile(config.flows.of(WEBHOOK).unwrap(), &Catalog::builtin())
    }

    #[test]
    fn a_table_with_what_is_required_has_the_defaults_of_the_rest() {
        let table = "[[webhook]]\nname = \"a\"\nurl = \"https://shop.example/api\"\nchannels = [\"order-status\"]\n\
                     secret_file = \"SECRET\"\n";
        let (all, _) = compiled(table).unwrap();
        let webhook = &all[0];
        assert_eq!((&*webhook.name, webhook.client.timeout(), webhook.max_attempts), ("a", TIMEOUT, 12));
        assert_eq!((webhook.concurrency, &webhook.since), (8, &Since::Now));
        assert!(webhook.channels[0].selector.is_everything());
        let more = "where = { orderId = \"1\" }\ntimeout = \"250ms\"\nmax_attempts = 1\nconcurrency = 64\nsince = \"10m\"\n\
                    allow_private = true";
        let (all, _) = compiled(&format!("{table}{more}")).unwrap();
        assert!(!all[0].channels[0].selector.is_everything());
        assert_eq!(
            (all[0].client.timeout(), all[0].max_attempts, all[0].concurrency),
            (Duration::from_millis(250), 1, 64)
        );
    }

    #[test]
    fn every_mistake_has_its_line_and_says_what_to_write() {
        let mistakes = compiled(
            "[[webhook]]\nname = \"a b\"\nurl = \"ftp://x\"\nchannels = [\"order-statu\"]\nsecret_file = \"/no/such\"\n\
             timeout = \"2m\"\nmax_attempts = 0\nconcurrency = 65\nsince = \"k3:4\"\nallow_private = 1\nretries = 3\n\
             [[webhook]]\nname = \"b\"\n[[webhook]]\nname = \"b\"\nurl = \"https://u:p@x/\"\nchannels = [\"order-status\"]\n\
             where = { productId = \"1\" }\nsecret_file = \"SECRET\"",
        );
        let Err(mistakes) = mistakes else { panic!("no mistakes") };
        for expected in [
            ":11: webhook[0]: unknown key \"retries\"",
            ":2: webhook[0].name: expected 1 to 64 letters",
            ":3: webhook[0].url: this is not an https or http URL",
            ":4: webhook[0].channels: there is no channel \"order-statu\"; did you mean `order-status`?",
            ":5: webhook[0].secret_file: /no/such: there is no such file",
            ":6: webhook[0].timeout: expected a duration of at most 60s",
            ":7: webhook[0].max_attempts: expected a whole number from 1 to 100",
            ":8: webhook[0].concurrency: expected a whole number from 1 to 64",
            ":9: webhook[0].since: expected now, start",
            ":10: webhook[0].allow_private: expected true or false",
            ":12: webhook[1]: `url` is missing",
            ":12: webhook[1]: `channels` is missing",
            ":12: webhook[1]: `secret_file` is missing",
            ":15: webhook[2].name: another webhook has this name",
            ":16: webhook[2].url: the URL must have neither a user",
            ":18: webhook[2].where.productId: ",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{expected} is not in {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 16, "{mistakes:#?}");
    }

    #[test]
    fn a_url_that_nothing_would_be_sent_to_is_a_warning() {
        for (url, words) in [
            ("http://127.0.0.1:3000/", "a loopback address"),
            ("http://localhost/", "a loopback address"),
            ("https://[::ffff:10.0.0.1]/", "a private address"),
            ("https://0x7f.1/", "a loopback address"),
            ("http://shop.example/", "without encryption"),
        ] {
            let table = format!(
                "[[webhook]]\nname = \"a\"\nurl = \"{url}\"\nchannels = [\"order-status\"]\nsecret_file = \"SECRET\"\n"
            );
            let (_, warnings) = compiled(&table).unwrap();
            assert!(warnings.iter().any(|warning| warning.contains(words)), "{url}: {warnings:?}");
            let (_, warnings) = compiled(&format!("{table}allow_private = true")).unwrap();
            assert!(!warnings.iter().any(|warning| warning.contains(words)), "{url}: {warnings:?}");
        }
    }
}
