//! The fuzz targets: each reads bytes that come from outside, and asserts what must hold whatever they are.
//!
//! A target is beside the code that it is for, in a file `fuzz.rs`, or here if it needs nothing private. `make fuzz` looks for
//! bytes that break one of them, and the test below replays those of `fuzz/seeds/TARGET/`. None of this is in the daemon: it
//! is compiled for tests and for fuzzing only.

use std::sync::LazyLock;

pub use crate::auth::fuzz::{auth_toml, jwks, jwt};
#[cfg(feature = "redis")]
pub use crate::broker::fuzz::redis_replies;
pub use crate::connection::fuzz::wire_frames;
pub use crate::deflate::fuzz::{inflate, websocket_extensions};
pub use crate::http::fuzz::{cloudevents_headers, content_codings, publish_body};

use crate::access::{GrantList, Rule};
use crate::event::{
    Catalog, Cursor, CursorBase, Filter, Json, PackedCursor, ParsePositionError, Position, Selector, Since,
};
use crate::hub::{ChannelStep, Index, Member, StepKind};
use crate::protocol::{
    BadFrame, MAX_SUB, ServerFrame, bus_message_position, event_frame, position_message, read_client_frame,
};

/// The longest sentence about bytes from outside, in bytes: it repeats a part of them only.
const MAX_SENTENCE: usize = 4096;

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::builtin);

/// A message of a WebSocket client. One that is understood is the same after being written and read again.
pub fn client_messages(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match read_client_frame(text) {
        Ok(frame) => {
            let written = serde_json::to_string(&frame).unwrap_or_default();
            assert_eq!(read_client_frame(&written), Ok(frame));
        }
        Err(BadFrame { code, message, sub, id }) => {
            assert!(message.len() < MAX_SENTENCE, "{message}");
            assert!([&sub, &id].into_iter().flatten().all(|name| name.chars().count() <= MAX_SUB));
            let (sub, id) = (sub.map(Into::into), id.map(Into::into));
            let error = ServerFrame::Error { code, message: message.into(), sub, id }.to_json();
            assert!(Json::parse(&error).is_ok(), "{error}");
        }
    }
}

/// A channel, a filter, a list of pins, and the `data` of events, each on a line of its own. An event gets through if the
/// filter and one of the pins match it, each tried alone: in the selector, and in the index of the hub.
pub fn filters_and_pins(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let (Some(name), Some(filter), Some(pins)) = (lines.next(), lines.next(), lines.next()) else { return };
    let Some(channel) = CATALOG.channel(name) else { return };
    let read = |json: &Json<'_>| Filter::parse(json, CATALOG.get(channel));
    let Some(asked) = Json::parse(filter).ok().and_then(|filter| read(&filter).ok()) else { return };
    let Ok(Json::Array(pins)) = Json::parse(pins) else { return };
    let pin = |pin: &Json<'_>| {
        Json::Object(vec![("channel".into(), name.to_owned().into()), ("where".into(), pin.clone().into_owned())])
    };
    let grants = Json::Object(vec![("subscribe".into(), Json::Array(pins.iter().map(pin).collect()))]);
    let Ok(grants) = GrantList::read(&grants).and_then(|list| list.resolve(&CATALOG)) else { return };
    let selector = match grants.subscribe(channel) {
        Some(Rule::All) => panic!("{pins:?} grants everything"),
        Some(rule) => rule.selector(&asked),
        None => Selector::within(&asked, &[]),
    };
    let pins: Vec<Filter> = pins.iter().flat_map(read).collect();
    let mut index = Index::default();
    let slots = index.insert_all(&selector, Member { peer: 0, sub: 0 });
    for text in lines {
        let Ok(data) = Json::parse(text) else { continue };
        let expected = asked.matches(&data) && pins.iter().any(|pin| pin.matches(&data));
        assert_eq!(selector.matches(&data), expected, "{text}");
        let mut found = false;
        index.matching(Some(text), |_| found = true);
        assert_eq!(found, expected, "in the index: {text}");
    }
    for slot in slots {
        assert_eq!(index.remove(slot), None);
    }
    assert!(!index.has_filters());
}

/// A filter for `order-status` and, from the second line on, an event of the log, which another program may have written. A
/// live subscriber and one of a replay get the same, and no line of it is more than data in an event stream.
pub fn log_entries(bytes: &[u8]) {
    let Some((filter, entry)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    let Some(channel) = CATALOG.channel("order-status") else { return };
    let Ok(filter) = Json::parse(filter) else { return };
    let Ok(filter) = Filter::parse(&filter, CATALOG.get(channel)) else { return };
    let Ok(position) = "k3q7:42".parse() else { return };
    let step = ChannelStep::event(channel, position, entry);
    if let Some(block) = step.sse_block(&CATALOG, true) {
        let block = std::str::from_utf8(block).unwrap_or_default();
        let fields = ["event: order-status", "data: ", "id: order-status=k3q7:42"];
        // The chunk's length stands before the block, and a line end follows it.
        let mut lines = block.lines().skip(1);
        assert!(lines.all(|line| line.is_empty() || fields.iter().any(|field| line.starts_with(field))), "{block}");
    }
    let StepKind::Event(event) = &step.kind else { return };
    let mut index = Index::default();
    index.insert(&filter, Member { peer: 0, sub: 0 });
    let mut live = false;
    index.matching(event.data(), |_| live = true);
    let replayed = filter.is_empty() || event.data_value().is_some_and(|data| filter.matches(&data));
    assert_eq!(live, replayed, "{:?}", event.data());
}

/// A grants object. The order of its entries and their repetition decide nothing.
pub fn grants(bytes: &[u8]) {
    let Ok(written) = Json::parse_bytes(bytes) else { return };
    let read = |json: &Json<'_>| GrantList::read(json);
    let resolved = |json: &Json<'_>| read(json)?.resolve(&CATALOG);
    let grants = resolved(&written);
    assert_eq!(resolved(&backwards(&written)).ok(), grants.clone().ok());
    match grants {
        Ok(grants) => {
            assert_eq!(resolved(&Json::Object(Vec::new())).map(|nothing| nothing.subscribes()), Ok(false));
            let Ok(mut twice) = read(&written) else { panic!("it was read before") };
            // Together there may be too many.
            if twice.add(twice.clone()).is_ok()
                && let Ok(twice) = twice.resolve(&CATALOG)
            {
                assert_eq!(twice, grants);
            }
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < MAX_SENTENCE && !text.chars().any(char::is_control), "{text:?}");
        }
    }
}

/// A grants object with its members and lists in the opposite order.
fn backwards<'a>(grants: &Json<'a>) -> Json<'a> {
    let list = |value: &Json<'a>| match value {
        Json::Array(elements) => Json::Array(elements.iter().rev().cloned().collect()),
        other => other.clone(),
    };
    match grants {
        Json::Object(members) => {
            Json::Object(members.iter().rev().map(|(name, value)| (name.clone(), list(value))).collect())
        }
        other => other.clone(),
    }
}

/// A position, a `since`, or a message on Redis pub/sub. What is read is what was written.
pub fn positions(bytes: &[u8]) {
    let announced = bus_message_position(bytes);
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let position: Result<Position, ParsePositionError> = text.parse();
    for position in announced.into_iter().chain(position.clone().ok()) {
        let written = position.to_string();
        assert_eq!(written.len(), position.text_len());
        assert_eq!(written.parse().as_ref(), Ok(&position));
        for message in [event_frame(&position, "{}"), position_message(&position)] {
            assert_eq!(bus_message_position(message.as_bytes()).as_ref(), Some(&position));
        }
    }
    assert!(position.is_err() || position.is_ok_and(|position| position.to_string() == text));
    match text.parse::<Since>() {
        Ok(Since::After(position)) => assert_eq!(position.to_string(), text),
        Ok(Since::Cursor(cursor)) => assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor)),
        Ok(_) => {}
        Err(error) => {
            let sentence = error.to_string();
            assert!(sentence.len() < MAX_SENTENCE && !sentence.chars().any(char::is_control), "{sentence:?}");
        }
    }
}

/// A line with the positions of a base, and a cursor, packed or not. It is the same after being packed with the base.
pub fn cursors(bytes: &[u8]) {
    let Some((base, cursor)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    let Some(positions) = Cursor::parse(base) else { return };
    let base = CursorBase { slot: 7, id: 9, positions };
    assert_eq!(CursorBase::from_text(7, &base.to_text()).as_ref(), Some(&base));
    let unpack = |text: &str| base.unpack(&PackedCursor::parse(text)?);
    let Some(cursor) = unpack(cursor).or_else(|| Cursor::parse(cursor)) else { return };
    // The base may lack one of its channels.
    if let Some(packed) = base.pack(cursor.iter()) {
        assert_eq!(PackedCursor::parse(&packed).map(|packed| (packed.slot, packed.id)), Some((7, 9)));
        assert_eq!(unpack(&packed), Some(cursor));
    }
}

/// A target's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("auth_toml", auth_toml),
    ("client_messages", client_messages),
    ("cloudevents_headers", cloudevents_headers),
    ("content_codings", content_codings),
    ("cursors", cursors),
    ("filters_and_pins", filters_and_pins),
    ("grants", grants),
    ("inflate", inflate),
    ("jwks", jwks),
    ("jwt", jwt),
    ("log_entries", log_entries),
    ("positions", positions),
    ("publish_body", publish_body),
    #[cfg(feature = "redis")]
    ("redis_replies", redis_replies),
    ("websocket_extensions", websocket_extensions),
    ("wire_frames", wire_frames),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::TARGETS;

    /// The paths in a folder of `fuzz/`, in their order.
    fn paths(folder: &str) -> BTreeSet<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The names without extension.
    fn names(folder: &str) -> BTreeSet<String> {
        paths(folder).iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_seed_passes_its_target() {
        for (name, target) in TARGETS {
            let seeds = paths(&format!("seeds/{name}"));
            assert!(seeds.len() >= 5, "{name} has {} seeds", seeds.len());
            for seed in seeds {
                // A target that panics does not say for which bytes.
                println!("{}", seed.display());
                target(&fs::read(seed).unwrap());
            }
        }
    }

    #[test]
    #[cfg(feature = "redis")]
    fn every_target_is_fuzzed_and_every_folder_of_seeds_has_a_target() {
        let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names("seeds"), known);
        assert_eq!(names("targets"), known);
        let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
        for name in known {
            assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is not in fuzz/Cargo.toml");
        }
    }
}
