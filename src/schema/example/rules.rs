//! The schemas that apply to one value, as one list: `$ref`, `allOf`, and one alternative of each `anyOf`, `oneOf` and `if`.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::event::SchemaNode;

/// How many schemas may apply to one value. A schema that refers to itself would never end.
const MAX_RULES: usize = 200;

/// The schemas that apply to one value.
pub struct Rules<'a> {
    nodes: Vec<SchemaNode<'a>>,
}

impl<'a> Rules<'a> {
    /// What applies where all of `nodes` apply. `dice` choose between alternatives.
    pub fn of(nodes: impl IntoIterator<Item = SchemaNode<'a>>, dice: &mut StdRng) -> Self {
        let mut found = Vec::new();
        let mut waiting: Vec<_> = nodes.into_iter().collect();
        while let Some(node) = waiting.pop() {
            if found.len() == MAX_RULES {
                break;
            }
            found.push(node);
            let keyword = |name: &str| node.schema.get(name);
            let child = |schema: &'a Value| node.child(schema);
            if let Some(reference) = keyword("$ref").and_then(Value::as_str) {
                waiting.extend(node.resolve(reference).map(|(target, _)| target));
            }
            if let Some(reference) = keyword("$dynamicRef").and_then(Value::as_str) {
                waiting.extend(node.resolve_dynamic(reference).map(|(target, _)| target));
            }
            waiting.extend(keyword("allOf").and_then(Value::as_array).into_iter().flatten().map(child));
            for name in ["anyOf", "oneOf"] {
                let options = keyword(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                waiting.extend(pick(options, dice).map(child));
            }
            if let Some(condition) = keyword("if") {
                let holds = dice.random_bool(0.5);
                waiting.extend(keyword(if holds { "then" } else { "else" }).map(child));
                waiting.extend(holds.then(|| child(condition)));
            }
        }
        Self { nodes: found }
    }

    /// Every value of a keyword, with the schema that has it.
    pub fn all(&self, keyword: &'static str) -> impl Iterator<Item = (SchemaNode<'a>, &'a Value)> {
        self.nodes.iter().filter_map(move |node| Some((*node, node.schema.get(keyword)?)))
    }

    /// The first value of a keyword.
    pub fn first(&self, keyword: &'static str) -> Option<&'a Value> {
        self.all(keyword).map(|(_, value)| value).next()
    }

    /// The first text of a keyword.
    pub fn text(&self, keyword: &'static str) -> Option<&'a str> {
        self.first(keyword).and_then(Value::as_str)
    }

    /// The largest of a keyword's numbers.
    pub fn largest(&self, keyword: &'static str) -> Option<f64> {
        self.all(keyword).filter_map(|(_, value)| value.as_f64()).reduce(f64::max)
    }

    /// The smallest of a keyword's numbers.
    pub fn smallest(&self, keyword: &'static str) -> Option<f64> {
        self.all(keyword).filter_map(|(_, value)| value.as_f64()).reduce(f64::min)
    }

    /// The types that every `type` allows; `None` where no schema says.
    pub fn types(&self) -> Option<Vec<&'a str>> {
        let list = |value: &'a Value| match value {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            name => Vec::from_iter(name.as_str()),
        };
        let is_common =
            |known: &str, names: &[&str]| names.contains(&known) || (known == "integer" && names.contains(&"number"));
        self.all("type").map(|(_, value)| list(value)).reduce(|left, right| {
            let mut common: Vec<_> = left.iter().copied().filter(|name| is_common(name, &right)).collect();
            common.extend(right.iter().copied().filter(|name| !left.contains(name) && is_common(name, &left)));
            common
        })
    }

    /// The values that every `const` and `enum` allows; `None` where no schema has one.
    pub fn options(&self) -> Option<Vec<&'a Value>> {
        let lists = self.all("enum").filter_map(|(_, list)| Some(list.as_array()?.iter().collect::<Vec<_>>()));
        let constants = self.all("const").map(|(_, value)| vec![value]);
        lists.chain(constants).reduce(|left, right| left.into_iter().filter(|value| right.contains(value)).collect())
    }

    /// Whether no value is allowed: one of the schemas is `false`.
    pub fn is_never(&self) -> bool {
        self.nodes.iter().any(|node| node.schema == &Value::Bool(false))
    }
}

/// One of `options`, each with the same chance.
pub fn pick<'t, T>(options: &'t [T], dice: &mut StdRng) -> Option<&'t T> {
    (!options.is_empty()).then(|| &options[dice.random_range(0..options.len())])
}
