//! Whether the members that a `[[bridge]]` table puts into events fit its event types: a mistake there would refuse messages.

use super::pointer::Pointer;
use super::shape::Types;
use crate::event::{Catalog, EventType, Json};

/// The event types of a table.
pub fn kinds<'c>(catalog: &'c Catalog, types: Option<&Types>) -> Vec<&'c EventType> {
    let names: Vec<&str> = match types {
        None => Vec::new(),
        Some(Types::One(name)) => vec![name],
        Some(Types::From { types, .. }) => types.iter().filter_map(|(_, name)| name.as_deref()).collect(),
    };
    let mut channels: Vec<_> = names.into_iter().filter_map(|name| catalog.channel(name)).collect();
    channels.dedup();
    channels.into_iter().map(|channel| catalog.get(channel)).collect()
}

/// Why no event of these types can have this member, or why one of them refuses its fixed value. `None` also where that depends
/// on other members.
pub fn misfit(kinds: &[&EventType], pointer: &Pointer, value: Option<&Json<'static>>) -> Option<String> {
    let mut data = Json::Object(Vec::new());
    pointer.add(&mut data, value.cloned().unwrap_or(Json::Null));
    let path: Vec<_> = pointer.path().collect();
    let path: Vec<_> = path.iter().map(Pointer::as_str).collect();
    let taking: Vec<_> = kinds.iter().filter(|kind| kind.unknown(&data, &path).is_empty()).collect();
    let at = pointer.as_str();
    if let (Some(first), []) = (kinds.first(), &taking[..]) {
        return Some(match kinds.len() {
            1 => format!("the event type {} has no field {at}, and allows no other", first.name),
            count => format!("none of the {count} event types has a field {at}, and none allows another"),
        });
    }
    value?;
    let mut refusals = taking.iter().filter_map(|kind| Some((&kind.name, kind.wrong_value(&data, at)?)));
    refusals.next().map(|(name, why)| format!("the event type {name} refuses this value of {at}: it {why}"))
}
