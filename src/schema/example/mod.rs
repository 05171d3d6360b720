//! Examples of an event type's `data`, made from its JSON Schema: what `tidings trigger` publishes.
//!
//! The maker reads the schema as a recipe: `rules.rs` collects what applies to a value, `value.rs` and `text.rs` make one. The
//! catalogue judges the result. Where the recipe says too little (`not`, dependencies), the maker tries again with other dice.

mod rules;
mod text;
mod value;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::event::{Catalog, ChannelId, Defaults, Json, MAX_MISTAKES, Mistake, SchemaNode};

/// How often one example is tried.
const ATTEMPTS: u64 = 200;

/// The examples of one event type. The same seed gives the same ones.
pub struct Examples<'a> {
    catalog: &'a Catalog,
    channel: ChannelId,
    seed: u64,
}

impl<'a> Examples<'a> {
    /// The examples of the type of `channel`.
    pub fn new(catalog: &'a Catalog, channel: ChannelId, seed: u64) -> Self {
        Self { catalog, channel, seed }
    }

    /// The example with this number: valid `data`, with the members of `given` as they are.
    ///
    /// # Errors
    /// What is wrong with the best of 200 attempts. The pointers are those of a whole event (`/data/…`).
    pub fn make(&self, number: u64, given: &Json<'_>) -> Result<Json<'static>, Vec<Mistake>> {
        let event_type = self.catalog.get(self.channel);
        let mut best: Option<Vec<Mistake>> = None;
        for attempt in 0..ATTEMPTS {
            let seed = self.seed ^ (number << 16 | attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut dice = StdRng::seed_from_u64(seed);
            let made = value::make(SchemaNode::root(&event_type.schema), &event_type.name, &mut dice);
            let data = with(made, given);
            let event = Json::Object(vec![("type".into(), event_type.name.to_string().into()), ("data".into(), data)]);
            let defaults = Defaults { source: "example", time: "2026-01-01T00:00:00Z" };
            match self.catalog.validate(event.clone(), "", MAX_MISTAKES, defaults) {
                Ok(_) => return Ok(event.get("data").cloned().unwrap_or_default()),
                Err(refusal) if best.as_ref().is_none_or(|best| refusal.mistakes.len() < best.len()) => {
                    best = Some(refusal.mistakes);
                }
                Err(_) => {}
            }
        }
        Err(best.unwrap_or_default())
    }
}

/// `made` with the members of `given` in place of its own, level by level.
fn with(made: Json<'static>, given: &Json<'_>) -> Json<'static> {
    match (made, given) {
        (Json::Object(mut members), Json::Object(given)) => {
            for (name, value) in given {
                match members.iter_mut().find(|(known, _)| known == name) {
                    Some((_, existing)) => *existing = with(std::mem::take(existing), value),
                    None => members.push((name.clone().into_owned().into(), value.clone().into_owned())),
                }
            }
            Json::Object(members)
        }
        (_, given) => given.clone().into_owned(),
    }
}

#[cfg(test)]
mod tests;
