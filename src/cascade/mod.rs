//! Cascades: rules by which one event invalidates caches.
//!
//! A `[[cascade]]` table of the configuration names a type of causes, a filter, and templates of tags, keys and prefixes. A
//! cause that matches makes one `cache-invalidate`, with what all matching rules name. The application layer appends it
//! together with its cause. Its id derives from the cause's, so that a cause that is published again makes no second one.
//! A `cache-invalidate` cannot be a cause, so there are no chains.

mod rules;
mod template;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::sync::Arc;

use ring::digest;
use serde::Serialize;

use crate::config::CascadeTables;
use crate::event::{Catalog, Defaults, Event, Filter, Json, Member, PerChannel};
pub use template::{Omission, Template};

/// The type of what cascades make.
const CACHE_INVALIDATE: &str = "cache-invalidate";

/// The longest id of an event, in characters.
const MAX_ID: usize = 256;

/// Attributes of the cause that its cascade has too, so that a trace goes on (W3C Trace Context).
const INHERITED: [&str; 2] = ["traceparent", "tracestate"];

/// The rules of a node.
#[derive(Debug)]
pub struct Cascades {
    /// The rules for each type of causes, in the order of the configuration.
    rules: PerChannel<Vec<Arc<Rule>>>,
}

/// One `[[cascade]]` table.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its index among all tables.
    pub number: usize,
    /// The file and the line.
    pub place: String,
    /// The type of its causes.
    pub on: String,
    filter: Filter,
    /// The filter as JSON.
    asked: Option<String>,
    tags: Vec<Template>,
    keys: Vec<Template>,
    prefixes: Vec<Template>,
    stale_for_ms: u64,
}

/// What an event causes.
#[derive(Debug, Default)]
pub struct Effect {
    /// The `cache-invalidate`, if it names anything.
    pub event: Option<Event>,
    /// The rules that matched.
    pub matched: Vec<Arc<Rule>>,
    /// The templates of these that were left out: the rule's number, the template, and why.
    pub left_out: Vec<(usize, String, Omission)>,
}

/// A rule as `tidings cascade list --json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    rule: usize,
    place: String,
    on: String,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    filter: Option<serde_json::Value>,
    tags: Vec<String>,
    keys: Vec<String>,
    prefixes: Vec<String>,
    stale_for_ms: u64,
}

impl Cascades {
    /// The rules of the configuration, and what is suspicious about them.
    ///
    /// # Errors
    /// Every mistake, with the file, the line and the rule.
    pub fn compile(tables: Option<&CascadeTables>, catalog: &Catalog) -> Result<(Self, Vec<String>), Vec<String>> {
        match tables {
            Some(tables) => rules::compile(tables, catalog),
            None => Ok((Self::none(catalog), Vec::new())),
        }
    }

    /// All rules, in the order of the configuration.
    pub fn all(&self) -> Vec<&Arc<Rule>> {
        let mut all: Vec<_> = self.rules.values().flatten().collect();
        all.sort_by_key(|rule| rule.number);
        all
    }

    /// What this event causes. For a type without rules this is one look at a table.
    #[inline]
    pub fn effect(&self, cause: &Event, catalog: &Catalog, time: &str) -> Option<Effect> {
        let rules = &self.rules[cause.channel];
        if rules.is_empty() { None } else { Some(effect(rules, cause, catalog, time)) }
    }

    /// The tags of all rules as patterns: texts, and `None` where an event fills something in.
    pub fn tag_patterns(&self) -> Vec<Vec<Option<String>>> {
        let mut patterns: Vec<_> = self.all().iter().flat_map(|rule| &rule.tags).map(Template::pattern).collect();
        patterns.sort();
        patterns.dedup();
        patterns
    }
}

fn effect(rules: &[Arc<Rule>], cause: &Event, catalog: &Catalog, time: &str) -> Effect {
    let mut effect = Effect::default();
    // The text is that of a valid event.
    let Ok(event) = Json::parse(&cause.json) else { return effect };
    let Some(data) = event.get("data") else { return effect };
    let mut named: [Vec<Json<'_>>; 3] = Default::default();
    for rule in rules.iter().filter(|rule| rule.filter.matches(data)) {
        effect.matched.push(rule.clone());
        for (named, templates) in named.iter_mut().zip([&rule.tags, &rule.keys, &rule.prefixes]) {
            for template in templates {
                match template.fill(&event) {
                    Ok(text) if named.iter().any(|known| known.as_str() == Some(&text)) => {}
                    Ok(text) => named.push(text.into()),
                    Err(why) => effect.left_out.push((rule.number, template.source().to_owned(), why)),
                }
            }
        }
    }
    if named.iter().any(|named| !named.is_empty()) {
        let stale_for_ms = effect.matched.iter().map(|rule| rule.stale_for_ms).min().unwrap_or(0);
        effect.event = invalidation(cause, &event, named, stale_for_ms, catalog, time);
    }
    effect
}

/// The `cache-invalidate` of a cause.
fn invalidation<'a>(
    cause: &Event,
    event: &Json<'a>,
    named: [Vec<Json<'a>>; 3],
    stale_for_ms: u64,
    catalog: &Catalog,
    time: &str,
) -> Option<Event> {
    let mut data: Vec<Member<'_>> = Vec::new();
    for (name, named) in ["tags", "keys", "prefixes"].into_iter().zip(named) {
        if !named.is_empty() {
            data.push((name.into(), Json::Array(named)));
        }
    }
    if stale_for_ms > 0 {
        data.push(("staleForMs".into(), Json::Number(stale_for_ms.to_string().into())));
    }
    let source = event.get("source").and_then(Json::as_str).unwrap_or_default();
    let mut attributes: Vec<Member<'_>> = vec![
        ("type".into(), CACHE_INVALIDATE.into()),
        ("id".into(), id_of(&catalog.get(cause.channel).name, &cause.id).into()),
        ("causationid".into(), cause.id.as_str().into()),
        ("data".into(), Json::Object(data)),
    ];
    let inherited = INHERITED.iter().filter_map(|name| Some(((*name).into(), event.get(name)?.clone())));
    attributes.extend(inherited);
    let made = catalog.validate(Json::Object(attributes), "", 1, Defaults { source, time });
    // The templates were checked, so that what they make is valid.
    made.inspect_err(|refusal| tracing::error!(?refusal, cause = cause.id, "a cascade is not valid")).ok()
}

/// The id of the cascade of the event with this type and id. Ids are unique within their type only.
fn id_of(cause_type: &str, cause_id: &str) -> String {
    let id = format!("cascade:{cause_type}:{cause_id}");
    if id.chars().count() <= MAX_ID {
        return id;
    }
    let mut short = String::from("cascade:");
    for byte in digest::digest(&digest::SHA256, id.as_bytes()).as_ref() {
        // Memory takes everything.
        let _ = write!(short, "{byte:02x}");
    }
    short
}

impl Rule {
    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.tags.iter().chain(&self.keys).chain(&self.prefixes)
    }

    /// The rule as it is printed.
    pub fn shown(&self) -> Shown {
        let sources = |templates: &[Template]| templates.iter().map(|template| template.source().to_owned()).collect();
        Shown {
            rule: self.number,
            place: self.place.clone(),
            on: self.on.clone(),
            filter: self.asked.as_deref().and_then(|asked| serde_json::from_str(asked).ok()),
            tags: sources(&self.tags),
            keys: sources(&self.keys),
            prefixes: sources(&self.prefixes),
            stale_for_ms: self.stale_for_ms,
        }
    }

    /// The filter as JSON, if there is one.
    pub fn condition(&self) -> Option<&str> {
        self.asked.as_deref()
    }

    /// What the rule invalidates, each template with its kind.
    pub fn invalidates(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("tag", &self.tags), ("key", &self.keys), ("prefix", &self.prefixes)];
        all.into_iter().flat_map(|(kind, templates)| templates.iter().map(move |template| (kind, template.source())))
    }
}
