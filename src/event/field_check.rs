//! Whether a field of `data` can have a value, by the schema of its type. A filter for a value that cannot occur would wait
//! for ever, so it is refused.
//!
//! The check refuses only what it can prove. Where it does not follow a keyword (`not`, `dependentSchemas`, a reference to
//! another resource), every value is possible.

use std::collections::{BTreeSet, HashMap, HashSet};

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

use super::schema_node::SchemaNode;
use super::sentence::{meant, one_of, or_list, sentence, shown};

/// What a filter compares a field with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Compared<'a> {
    /// This scalar.
    With(&'a Value),
    /// A string with this prefix.
    Prefix(&'a str),
}

/// Why a field never has a value.
#[derive(Debug, Clone)]
enum Reason<'a> {
    /// It has one of these values.
    Options(Vec<&'a Value>),
    /// It is of one of these types.
    Types(BTreeSet<&'a str>),
    /// It must meet a rule: a phrase that begins with "must".
    Rule(String),
    /// It is no array, where an element is looked for.
    NotArray,
}

type Checked<'a> = Result<(), Reason<'a>>;

/// The check of one field, which all the values share that a filter compares the field with.
pub(super) struct FieldCheck<'a> {
    schema: &'a Value,
    path: &'a [Box<str>],
    rules: CompiledRules,
}

/// The compiled rules of each schema that a value needed so far, by the address of its keywords.
type CompiledRules = HashMap<*const Map<String, Value>, Option<Validator>>;

impl<'a> FieldCheck<'a> {
    /// The check of the field at `path`.
    pub fn new(schema: &'a Value, path: &'a [Box<str>]) -> Self {
        Self { schema, path, rules: CompiledRules::new() }
    }

    /// Checks whether the field can have the value. On an array field, whether an element can.
    ///
    /// # Errors
    /// A sentence about the field, without its name: `is never 7: it must be of type string`.
    pub fn check(&mut self, compared: Compared<'_>) -> Result<(), String> {
        let mut check = Check { compared, element: false, visited: Vec::new(), rules: &mut self.rules };
        let root = SchemaNode::root(self.schema);
        let Err(of_value) = check.node(root, self.path) else { return Ok(()) };
        check.element = true;
        check.visited.clear();
        let Err(of_element) = check.node(root, self.path) else { return Ok(()) };
        let never = match (compared, &of_element) {
            (Compared::With(value), Reason::NotArray) => format!("is never {}: it", shown(value)),
            (Compared::With(value), _) => format!("never contains {}: each element", shown(value)),
            (Compared::Prefix(prefix), Reason::NotArray) => format!("never begins with {prefix:?}: it"),
            (Compared::Prefix(prefix), _) => format!("has no element that begins with {prefix:?}: each"),
        };
        let reason = if let Reason::NotArray = of_element { of_value } else { of_element };
        Err(format!("{never} {}", check.phrase(reason)))
    }
}

struct Check<'q> {
    compared: Compared<'q>,
    rules: &'q mut CompiledRules,
    /// The value is an element of the array at the end of the path.
    element: bool,
    /// The schemas under way, each with what is left of the path: a recursive schema adds no rule.
    visited: Vec<(*const Value, usize)>,
}

impl<'q> Check<'q> {
    /// Checks the value at the end of `path`, below a value that must fit `node`.
    fn node<'a>(&mut self, node: SchemaNode<'a>, path: &[Box<str>]) -> Checked<'a> {
        let Value::Object(keywords) = node.schema else {
            let refused = Reason::Rule("must not be there at all".into());
            return if node.schema == &Value::Bool(false) { Err(refused) } else { Ok(()) };
        };
        if self.visited.contains(&(node.address(), path.len())) {
            return Ok(());
        }
        self.visited.push((node.address(), path.len()));
        let checked = self.keywords(node, keywords, path);
        self.visited.pop();
        checked
    }

    fn keywords<'a>(
        &mut self,
        node: SchemaNode<'a>,
        keywords: &'a Map<String, Value>,
        path: &[Box<str>],
    ) -> Checked<'a> {
        match path.split_first() {
            Some((name, rest)) => self.field(node, keywords, name, rest)?,
            None if self.element => self.elements(node, keywords)?,
            None => self.scalar(keywords)?,
        }
        if let Some((target, _)) = keywords.get("$ref").and_then(Value::as_str).and_then(|uri| node.resolve(uri)) {
            self.node(target, path)?;
        }
        let parts = |keyword: &str| keywords.get(keyword).and_then(Value::as_array);
        for part in parts("allOf").into_iter().flatten() {
            self.node(node.child(part), path)?;
        }
        for alternatives in [parts("anyOf"), parts("oneOf")].into_iter().flatten() {
            self.any(alternatives.iter().map(|part| node.child(part)), path)?;
        }
        match (keywords.get("then"), keywords.get("else")) {
            (Some(then), Some(other)) if keywords.contains_key("if") => {
                self.any([then, other].into_iter().map(|part| node.child(part)), path)
            }
            _ => Ok(()),
        }
    }

    /// One of the alternatives must be possible.
    fn any<'a>(&mut self, alternatives: impl Iterator<Item = SchemaNode<'a>>, path: &[Box<str>]) -> Checked<'a> {
        let mut reasons = Vec::new();
        for alternative in alternatives {
            match self.node(alternative, path) {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(reason),
            }
        }
        reasons.into_iter().reduce(|one, other| self.either(one, other)).map_or(Ok(()), Err)
    }

    fn either<'a>(&self, one: Reason<'a>, other: Reason<'a>) -> Reason<'a> {
        match (one, other) {
            (Reason::Options(mut one), Reason::Options(other)) => {
                one.extend(other);
                Reason::Options(one)
            }
            (Reason::Types(one), Reason::Types(other)) => Reason::Types(one.union(&other).copied().collect()),
            (Reason::NotArray, other) | (other, Reason::NotArray) => other,
            (one, other) => Reason::Rule(format!("{}, or {}", self.phrase(one), self.phrase(other))),
        }
    }

    /// Goes one step down the path.
    fn field<'a>(
        &mut self,
        node: SchemaNode<'a>,
        keywords: &'a Map<String, Value>,
        name: &str,
        rest: &[Box<str>],
    ) -> Checked<'a> {
        has_type(keywords, &["object"])?;
        let own = keywords.get("properties").and_then(|fields| fields.get(name));
        // A pattern may describe the field instead.
        let others = || keywords.get("additionalProperties").filter(|_| !keywords.contains_key("patternProperties"));
        match own.or_else(others) {
            Some(schema) => self.node(node.child(schema), rest),
            None => Ok(()),
        }
    }

    /// Checks the value as an element of an array.
    fn elements<'a>(&mut self, node: SchemaNode<'a>, keywords: &'a Map<String, Value>) -> Checked<'a> {
        if has_type(keywords, &["array"]).is_err() {
            return Err(Reason::NotArray);
        }
        if let Some(options) = options(keywords) {
            let elements: Vec<_> = options.iter().filter_map(|option| option.as_array()).flatten().collect();
            if elements.is_empty() {
                return Err(Reason::NotArray);
            }
            if !elements.iter().any(|element| self.is(element)) {
                return Err(Reason::Options(elements));
            }
        }
        let positional = keywords.get("prefixItems").and_then(Value::as_array);
        let Some(items) = keywords.get("items") else { return Ok(()) };
        self.element = false;
        let all = positional.into_iter().flatten().chain([items]).map(|schema| node.child(schema));
        let checked = self.any(all, &[]);
        self.element = true;
        checked
    }

    /// Checks the value by a schema's own keywords.
    fn scalar<'a>(&mut self, keywords: &'a Map<String, Value>) -> Checked<'a> {
        has_type(
            keywords,
            match self.compared {
                Compared::With(value) => types_of(value),
                Compared::Prefix(_) => &["string"],
            },
        )?;
        if let Some(options) = options(keywords)
            && !options.iter().any(|option| self.is(option))
        {
            return Err(Reason::Options(options));
        }
        match self.compared {
            Compared::With(value) => self.by_rules(keywords, value).map_err(Reason::Rule),
            Compared::Prefix(prefix) => {
                let longest = keywords.get("maxLength").and_then(Value::as_u64);
                match longest.filter(|longest| prefix.chars().count() as u64 > *longest) {
                    Some(longest) => Err(Reason::Rule(format!("must have at most {longest} characters"))),
                    None => Ok(()),
                }
            }
        }
    }

    /// Whether the filter matches this value.
    fn is(&self, value: &Value) -> bool {
        match self.compared {
            Compared::With(wanted) => jsonschema::json::cmp::equal(wanted, value),
            Compared::Prefix(prefix) => value.as_str().is_some_and(|text| text.starts_with(prefix)),
        }
    }

    /// Checks the value by a schema's [`RULES`]: the validator knows them best.
    fn by_rules(&mut self, keywords: &Map<String, Value>, value: &Value) -> Result<(), String> {
        let rules: Vec<_> = RULES.into_iter().filter_map(|name| Some((name, keywords.get(name)?))).collect();
        if rules.iter().all(|(name, limit)| is_within(name, limit, value)) {
            return Ok(());
        }
        let Some(validator) = self.rules.entry(keywords).or_insert_with(|| compile(&rules)) else { return Ok(()) };
        let not = format!(", not {}", shown(value));
        validator.validate(value).map_err(|error| {
            let sentence = sentence(&error);
            // The refusal begins with the value.
            sentence.strip_suffix(&not).map_or(sentence.clone(), str::to_owned)
        })
    }

    fn phrase(&self, reason: Reason<'_>) -> String {
        match reason {
            Reason::Rule(phrase) => phrase,
            Reason::NotArray => "must be of type array".into(),
            Reason::Types(types) => {
                format!("must be of type {}", or_list(&types.into_iter().collect::<Vec<_>>()))
            }
            Reason::Options(mut options) => {
                let mut distinct = HashSet::new();
                options.retain(|option| distinct.insert(*option));
                let given = match self.compared {
                    Compared::With(value) => value.as_str(),
                    Compared::Prefix(prefix) => Some(prefix),
                };
                format!("must be {}{}", one_of(&options), meant(given, &options))
            }
        }
    }
}

/// The types that the value has in JSON Schema.
fn types_of(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => &["number", "integer"],
        Value::Number(_) => &["number"],
        Value::Null => &["null"],
        Value::Bool(_) => &["boolean"],
        _ => &["string"],
    }
}

/// Checks that a schema's `type` allows one of these types.
fn has_type<'a>(keywords: &'a Map<String, Value>, wanted: &[&str]) -> Checked<'a> {
    let allowed: BTreeSet<&str> = match keywords.get("type") {
        Some(Value::String(only)) => [only.as_str()].into(),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    match wanted.iter().any(|name| allowed.contains(name)) {
        true => Ok(()),
        false => Err(Reason::Types(allowed)),
    }
}

/// The only values that a schema allows, if it lists them.
fn options(keywords: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (keywords.get("const"), keywords.get("enum")) {
        (Some(only), _) => Some(vec![only]),
        (None, Some(Value::Array(options))) => Some(options.iter().collect()),
        _ => None,
    }
}

/// Whether a value is plainly within a limit: compiling a validator takes longer, and most filters name ids.
fn is_within(keyword: &str, limit: &Value, value: &Value) -> bool {
    let length = || value.as_str().map(|text| text.chars().count() as u64);
    let (number, limit_number) = (value.as_f64(), limit.as_f64());
    match keyword {
        "minLength" => length().zip(limit.as_u64()).is_none_or(|(length, limit)| length >= limit),
        "maxLength" => length().zip(limit.as_u64()).is_none_or(|(length, limit)| length <= limit),
        "minimum" => number.zip(limit_number).is_none_or(|(number, limit)| number > limit),
        "maximum" => number.zip(limit_number).is_none_or(|(number, limit)| number < limit),
        _ => false,
    }
}

/// The keywords for strings and numbers.
const RULES: [&str; 9] = [
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];

/// A validator of these keywords alone. The whole schema compiled, so they do.
fn compile(rules: &[(&str, &Value)]) -> Option<Validator> {
    let options = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex());
    let rules: Map<String, Value> = rules.iter().map(|(name, limit)| ((*name).to_owned(), (*limit).clone())).collect();
    options.build(&rules.into()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_values_of_a_field_share_its_compiled_rules() {
        let schema = json!({"properties":{"code":{"pattern":"^[A-Z]{3}$"},"name":{"maxLength":3}}});
        for (name, values, compiled) in [("code", ["ABC", "DEF"], 1), ("name", ["abc", "def"], 0)] {
            let path = [name.into()];
            let mut check = FieldCheck::new(&schema, &path);
            for value in values {
                check.check(Compared::With(&json!(value))).unwrap();
                assert_eq!(check.rules.len(), compiled, "{name} {value}");
            }
        }
    }
}
