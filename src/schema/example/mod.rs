//! Examples made from JSON Schemas: what `tidings trigger` publishes, and what the OpenAPI and AsyncAPI documents show.
//!
//! The maker reads the schema as a recipe: `rules.rs` collects what applies to a value, `value.rs` and `text.rs` make one. The
//! catalogue judges the `data` of an event, and a validator everything else. Where the recipe says too little (`not`,
//! dependencies), the maker tries again with other dice.

mod rules;
mod text;
mod value;

use jsonschema::Draft;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

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
        for mut dice in dice(self.seed, number) {
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

    /// The example with this number as an event: as a publisher sends it, and as subscribers get it. `None` if no example was
    /// found.
    pub fn event(&self, number: u64) -> Option<ExampleEvent> {
        let data = self.make(number, &Json::Object(Vec::new())).ok()?.to_value();
        let published = json!({ "type": &*self.catalog.get(self.channel).name, "data": data });
        let mut identified = published.clone();
        identified["id"] = EVENT_ID.into();
        let defaults = Defaults { source: "shop-backend", time: "2026-11-28T05:11:02.734Z" };
        let event = self.catalog.validate(identified.into(), "", 1, defaults).ok()?;
        Some(ExampleEvent { published, delivered: serde_json::from_str(&event.json).ok()? })
    }
}

/// An event that was made up.
#[derive(Debug, Clone)]
pub struct ExampleEvent {
    /// As a publisher sends it, with the least that it has to have.
    pub published: Value,
    /// As subscribers get it: the daemon has completed it.
    pub delivered: Value,
}

/// The id of the events that were made up, in the form of those that the daemon gives.
const EVENT_ID: &str = "01a22090-487d-73fd-adec-6b9ccd8fbc01";

/// An example of a document that fits `schema`, which can refer to parts of itself only. `name` is what the document is
/// called, and the same name gives the same example. `None` if no example was found.
pub fn of_schema(schema: &Value, name: &str) -> Option<Value> {
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    let validator = options.build(schema).ok()?;
    let mut made = dice(0, 0).map(|mut dice| value::make(SchemaNode::root(schema), name, &mut dice).to_value());
    made.find(|example| validator.is_valid(example))
}

/// The dice of each attempt at an example.
fn dice(seed: u64, number: u64) -> impl Iterator<Item = StdRng> {
    let seeds = (0..ATTEMPTS).map(move |attempt| seed ^ (number << 16 | attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    seeds.map(StdRng::seed_from_u64)
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
