//! Makes a JSON value that fits the rules of a schema, as far as they are a recipe.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;

use super::rules::{Rules, pick};
use super::text;
use crate::event::{Json, SchemaNode};

/// Below this many levels, fields that are not required are left out.
const MAX_OPTIONAL_DEPTH: usize = 4;
/// Below this many levels a value is `null`: the schema contains itself.
const MAX_DEPTH: usize = 16;
/// How many elements and members an array or object gets at most, whatever a schema asks for.
const MAX_MEMBERS: usize = 1_000;
/// How many values an example has at most. A schema that contains itself in long arrays would ask for more than any memory holds.
const MAX_VALUES: usize = 20_000;
/// The chance of a field that is not required.
const OPTIONAL: f64 = 0.75;

/// A value for the schema of `node`. `name` is what the value is called, which texts are made from.
pub fn make(node: SchemaNode<'_>, name: &str, dice: &mut StdRng) -> Json<'static> {
    let rules = Rules::of([node], dice);
    Maker { dice, values: 0 }.made(&rules, name, 0)
}

/// Makes the parts of one value.
struct Maker<'d> {
    dice: &'d mut StdRng,
    /// How many values were made.
    values: usize,
}

impl Maker<'_> {
    fn made(&mut self, rules: &Rules<'_>, name: &str, depth: usize) -> Json<'static> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Json::Null;
        }
        if let Some(examples) = rules.first("examples").and_then(Value::as_array)
            && let Some(example) = pick(examples, self.dice)
        {
            return Json::from(example.clone());
        }
        if let Some(options) = rules.options() {
            let said: Vec<_> = options.iter().filter(|value| !value.is_null()).collect();
            return pick(&said, self.dice).map_or(Json::Null, |value| Json::from((**value).clone()));
        }
        match kind(rules, self.dice) {
            "object" => self.object(rules, depth),
            "array" => self.array(rules, name, depth),
            "integer" => Json::Number(integer(rules, self.dice).to_string().into()),
            "number" => number(rules, self.dice),
            "boolean" => Json::Bool(self.dice.random_bool(0.5)),
            "null" => Json::Null,
            _ => Json::String(text::make(rules, name, self.dice).into()),
        }
    }

    fn object(&mut self, rules: &Rules<'_>, depth: usize) -> Json<'static> {
        let required: Vec<&str> =
            rules.all("required").filter_map(|(_, list)| list.as_array()).flatten().filter_map(Value::as_str).collect();
        let mut names: Vec<&str> = Vec::new();
        let known = rules.all("properties").filter_map(|(_, fields)| fields.as_object()).flatten();
        for name in known.map(|(name, _)| name.as_str()).chain(required.iter().copied()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut members = Vec::new();
        for name in names {
            let is_required = required.contains(&name);
            if !is_required && (depth >= MAX_OPTIONAL_DEPTH || !self.dice.random_bool(OPTIONAL)) {
                continue;
            }
            let field = Rules::of(field(rules, name), self.dice);
            if !field.is_never() {
                members.push((name.to_owned().into(), self.made(&field, name, depth + 1)));
            }
        }
        let is_map = members.is_empty() && rules.all("additionalProperties").any(|(_, schema)| schema.is_object());
        let least = if is_map && depth < MAX_OPTIONAL_DEPTH { 1.0 } else { 0.0 };
        let least = count(rules.largest("minProperties").unwrap_or(least));
        for _ in 0..least.saturating_sub(members.len()) {
            let names = rules.all("propertyNames").map(|(node, schema)| node.child(schema));
            let name = text::make(&Rules::of(names, self.dice), "key", self.dice);
            if members.iter().all(|(known, _)| *known != name) {
                let field = Rules::of(field(rules, &name), self.dice);
                let value = self.made(&field, &name, depth + 1);
                members.push((name.into(), value));
            }
        }
        Json::Object(members)
    }

    fn array(&mut self, rules: &Rules<'_>, name: &str, depth: usize) -> Json<'static> {
        let least = count(rules.largest("minItems").unwrap_or(0.0));
        let most = rules.smallest("maxItems").map_or(MAX_MEMBERS, count);
        let usual = if depth < MAX_OPTIONAL_DEPTH { self.dice.random_range(1..=3) } else { 0 };
        let length = usual.max(least).min(most);
        let is_unique = rules.first("uniqueItems") == Some(&Value::Bool(true));
        let singular =
            name.strip_suffix("es").filter(|stem| stem.ends_with('x')).or(name.strip_suffix('s')).unwrap_or(name);
        let mut elements: Vec<Json<'static>> = Vec::new();
        // Equal ones are made again, a few times.
        for _ in 0..length.saturating_mul(3) {
            if elements.len() == length {
                break;
            }
            let index = elements.len();
            let placed: Vec<_> =
                rules.all("prefixItems").filter_map(|(node, schemas)| Some(node.child(schemas.get(index)?))).collect();
            let schemas = if !placed.is_empty() {
                placed
            } else {
                let contained = rules.all("contains").filter(|_| index == 0);
                contained.chain(rules.all("items")).map(|(node, schema)| node.child(schema)).collect()
            };
            let element = Rules::of(schemas, self.dice);
            if element.is_never() {
                break;
            }
            let element = self.made(&element, singular, depth + 1);
            if !is_unique || !elements.contains(&element) {
                elements.push(element);
            }
        }
        Json::Array(elements)
    }
}

/// The JSON Schema type of the value that is made.
fn kind<'a>(rules: &Rules<'a>, dice: &mut StdRng) -> &'a str {
    if let Some(types) = rules.types() {
        let useful: Vec<_> = types.iter().filter(|name| **name != "null").collect();
        return pick(&useful, dice).map_or("null", |name| name);
    }
    let has = |keywords: &[&'static str]| keywords.iter().any(|keyword| rules.first(keyword).is_some());
    if has(&["properties", "required", "additionalProperties", "patternProperties", "minProperties"]) {
        "object"
    } else if has(&["items", "prefixItems", "contains", "minItems"]) {
        "array"
    } else if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
        "number"
    } else {
        "string"
    }
}

/// The schemas of a field.
fn field<'a>(rules: &Rules<'a>, name: &str) -> Vec<SchemaNode<'a>> {
    let own = rules.all("properties").filter_map(|(node, fields)| Some(node.child(fields.get(name)?)));
    let found: Vec<_> = own.collect();
    if !found.is_empty() {
        return found;
    }
    // The validator judges whether the name fits the pattern.
    let patterns = rules.all("patternProperties").filter_map(|(node, fields)| {
        let (_, schema) = fields.as_object()?.iter().next()?;
        Some(node.child(schema))
    });
    let found: Vec<_> = patterns.collect();
    if !found.is_empty() {
        return found;
    }
    rules.all("additionalProperties").map(|(node, schema)| node.child(schema)).collect()
}

fn integer(rules: &Rules<'_>, dice: &mut StdRng) -> i64 {
    let (low, high) = bounds(rules, 1.0);
    match rules.largest("multipleOf") {
        Some(step) if step >= 1.0 => {
            between((low / step).ceil(), (high / step).floor(), dice).saturating_mul(step as i64)
        }
        _ => between(low.ceil(), high.floor(), dice),
    }
}

/// A number with two decimals, or a multiple of what the schema asks for.
fn number(rules: &Rules<'_>, dice: &mut StdRng) -> Json<'static> {
    let (low, high) = bounds(rules, 0.01);
    let step = rules.largest("multipleOf").filter(|step| *step > 0.0).unwrap_or(0.01);
    let steps = between((low / step).ceil(), (high / step).floor(), dice);
    // Two decimals are exact for every step that is a hundredth; others are as near as a double comes.
    let value = steps as f64 * step;
    let text = if step >= 0.01 { format!("{value:.2}") } else { format!("{value}") };
    Json::Number(text.into())
}

/// The range of a number. `step` is the least difference between two values.
fn bounds(rules: &Rules<'_>, step: f64) -> (f64, f64) {
    let low = [rules.largest("minimum"), rules.largest("exclusiveMinimum").map(|low| low + step)];
    let high = [rules.smallest("maximum"), rules.smallest("exclusiveMaximum").map(|high| high - step)];
    let low = low.into_iter().flatten().reduce(f64::max);
    let high = high.into_iter().flatten().reduce(f64::min);
    /// Numbers that people like to read, where the schema leaves the choice.
    const USUAL: (f64, f64) = (1.0, 1_000.0);
    match (low, high) {
        (None, None) => USUAL,
        (Some(low), None) => (low.max(USUAL.0), low.max(0.0) + USUAL.1),
        (None, Some(high)) => (USUAL.0.min(high - USUAL.1), high),
        (Some(low), Some(high)) if low <= USUAL.0 && high >= USUAL.1 => USUAL,
        (Some(low), Some(high)) => (low, high),
    }
}

/// An integer of a range, or its lower end if the range is empty.
fn between(low: f64, high: f64, dice: &mut StdRng) -> i64 {
    let (low, high) = (low as i64, high as i64);
    if low < high { dice.random_range(low..=high) } else { low }
}

/// A number of elements.
fn count(number: f64) -> usize {
    (number as usize).min(MAX_MEMBERS)
}
