//! What the tables of all flows have in common: the name, the channels, and where a new flow begins.

use std::fmt::Display;
use std::sync::Arc;

use crate::config::toml_tree::{Reader, Table};
use crate::event::{Catalog, ChannelId, Since};
use crate::suggest::{self, Known};

/// The longest name of a flow, in bytes.
const MAX_NAME: usize = 64;
/// The most channels of a flow: how far it came in all of them is one value of the store.
const MAX_CHANNELS: usize = 100;

/// The name of a flow.
///
/// # Errors
/// What a name is.
pub fn name(text: &str) -> Result<Arc<str>, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('.') {
        true => Ok(text.into()),
        false => Err("1 to 64 letters, digits, `.`, `_` or `-`, the first of them no `.`".into()),
    }
}

/// Reports a mistake in a member of a table.
pub fn mistake(reader: &mut Reader<'_>, table: Table<'_>, member: &str, text: impl Display) {
    reader.mistake(table.node.place(&format!("/{member}")), &table.at(member), text);
}

/// The channel of this name. One that the catalogue lacks is a mistake: `kind` is what the table calls a channel.
pub fn channel(
    reader: &mut Reader<'_>,
    catalog: &Catalog,
    (at, path): (usize, &str),
    kind: &str,
    name: &str,
) -> Option<ChannelId> {
    let found = catalog.channel(name);
    if found.is_none() {
        let known = Known::new("event types", catalog.types().iter().map(|known| &*known.name));
        let refusal = format!("there is no {kind} {}", suggest::quoted(name));
        reader.mistake(at, path, known.refuse(&refusal, name));
    }
    found
}

/// The channels in the member `channels`, each with its place and name. Those that the catalogue lacks, and more than
/// [`MAX_CHANNELS`], are mistakes. `None`: it is not there, or no list.
pub fn channels<'n>(
    reader: &mut Reader<'_>,
    table: Table<'n>,
    catalog: &Catalog,
) -> Option<Vec<(usize, &'n str, ChannelId)>> {
    if table.node.get("channels").is_none() {
        reader.mistake(table.node.at, table.path, "`channels` is missing");
        return None;
    }
    let (mut channels, path) = (Vec::new(), table.at("channels"));
    for (at, name) in reader.strings(table, "channels")? {
        let found = channel(reader, catalog, (at, &path), "channel", name);
        channels.extend(found.map(|id| (at, name, id)));
    }
    check_count(reader, table, "channels", channels.len());
    Some(channels)
}

/// Makes too many channels in a member a mistake.
pub fn check_count(reader: &mut Reader<'_>, table: Table<'_>, member: &str, count: usize) {
    if count > MAX_CHANNELS {
        let text = format!(
            "these are {count} channels, and a flow has at most {MAX_CHANNELS}: use another table for the rest"
        );
        mistake(reader, table, member, text);
    }
}

/// Where a new flow begins: nowhere that only one channel has, and nowhere that is no position of the log.
///
/// # Errors
/// What may be written.
pub fn since(text: &str) -> Result<Since, String> {
    match text.parse() {
        Ok(since @ (Since::Now | Since::Start | Since::AcceptedFrom(_))) => Ok(since),
        _ => Err("now, start, an age such as 10m, or an RFC 3339 time".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_does_not_begin_with_a_dot() {
        for good in ["a", "A.b_c-9", &"x".repeat(64)] {
            assert_eq!(&*name(good).unwrap(), good);
        }
        for bad in ["", ".a", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(name(bad).unwrap_err().ends_with("the first of them no `.`"), "{bad}");
        }
    }

    #[test]
    fn a_flow_begins_at_no_position_and_not_with_the_latest() {
        assert_eq!(since("start"), Ok(Since::Start));
        assert_eq!(since("now"), Ok(Since::Now));
        assert!(matches!(since("10m"), Ok(Since::AcceptedFrom(_))));
        for bad in ["latest", "k3:4", "", "soon"] {
            assert!(since(bad).unwrap_err().starts_with("now, start, an age"), "{bad}");
        }
    }
}
