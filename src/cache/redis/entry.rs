//! How an entry of L2 is written: one string, so that one command reads it and one script compares its fence.
//!
//! `EPOCH OFFSET TAGS`, a line feed, then `v` and the value, or `u` for one that is absent. `TAGS` is a JSON array of strings.
//! `clients/typescript/src/cache/redis.ts` writes the same.

use crate::cache::l2::L2Entry;
use crate::event::{Epoch, Position};

/// What an entry says of itself. How long it lives is said by Redis.
#[derive(Debug, PartialEq)]
pub struct Entry {
    pub fence: Position,
    pub tags: Vec<String>,
    /// `None`: it is known that there is no value.
    pub value: Option<Vec<u8>>,
}

/// The text of an entry behind its fence, which the script writes.
///
/// # Errors
/// None for strings: JSON can write every one.
pub fn text_of(entry: &L2Entry) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec(&entry.tags)?;
    text.push(b'\n');
    match &entry.value {
        Some(value) => {
            text.push(b'v');
            text.extend_from_slice(value);
        }
        None => text.push(b'u'),
    }
    Ok(text)
}

/// Reads an entry. `None` if the text is none.
pub fn read(text: &[u8]) -> Option<Entry> {
    let line = text.iter().position(|byte| *byte == b'\n')?;
    let (head, value) = (str::from_utf8(&text[..line]).ok()?, &text[line + 1..]);
    let mut words = head.splitn(3, ' ');
    let epoch: Epoch = words.next()?.parse().ok()?;
    let offset = words.next().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let fence = Position::new(epoch, offset.parse().ok()?);
    let tags = serde_json::from_str(words.next()?).ok()?;
    let value = match value.split_first()? {
        (b'v', value) => Some(value.to_vec()),
        (b'u', []) => None,
        _ => return None,
    };
    Some(Entry { fence, tags, value })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(value: Option<&str>, tags: &[&str]) -> L2Entry {
        L2Entry {
            value: value.map(|value| value.as_bytes().to_vec()),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            fence: "k3:7".parse().unwrap(),
            ttl: Duration::from_secs(1),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (value, tags) in [
            (Some(r#"{"name":"a\nb"}"#), vec!["a b", "c\"d", "é\n"]),
            (Some("null"), vec![]),
            (Some("1\n2"), vec!["t"]),
            (None, vec!["t"]),
        ] {
            let written = entry(value, &tags);
            let text = [b"k3 7 ".as_slice(), &text_of(&written).unwrap()].concat();
            let L2Entry { value, tags, fence, .. } = written;
            assert_eq!(read(&text), Some(Entry { fence, tags, value }));
        }
    }

    #[test]
    fn anything_else_is_no_entry() {
        for text in [
            "",
            "x",
            "k3 7 []",
            "k3 7 []\n",
            "k3 7 []\nx1",
            "k3 7 []\nu1",
            "k3 7 {}\nv1",
            "k3 7 [1]\nv1",
            "k3 -7 []\nv1",
            "k3 +7 []\nv1",
            "k3 7.5 []\nv1",
            "k3  []\nv1",
            "K3 7 []\nv1",
            " 7 []\nv1",
            "7 []\nv1",
            "\n\nv1",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(read(b"k3 7 [\xff]\nv1"), None);
    }
}
