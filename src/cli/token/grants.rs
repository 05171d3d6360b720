//! The flags that say what a token or an API key allows, and the grants that they make.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::access::{GrantList, Grants};
use crate::cli::candidates;
use crate::cli::failure::{self, Failure, say_warning};
use crate::cli::fields::{self, Field};
use crate::event::{Catalog, Json, SchemaField};
use crate::schema;
use crate::suggest::{self, Known};

/// What is granted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Grants")]
pub struct GrantFlags {
    /// Channels to publish to: names, `order-*` for all that begin so, or `*`. With `:FIELD=VALUE` only events that have this
    /// value. Repeatable, or separated by commas; an entry may also be JSON: {"channel":…,"where":{…}}.
    #[arg(long, value_name = "CHANNEL[:FIELD=VALUE]", add = candidates::channels())]
    publish: Vec<String>,
    /// Channels to receive, in the same form.
    #[arg(long, value_name = "CHANNEL[:FIELD=VALUE]", add = candidates::channels())]
    subscribe: Vec<String>,
    /// What else is allowed. Repeatable, or separated by commas.
    #[arg(long, value_name = "RIGHT", value_delimiter = ',', value_parser = ["nodes", "metrics", "connections", "revoke", "flows"])]
    admin: Vec<String>,
    /// Folder with the schemas of your own event types, to which channels and fields are compared.
    #[arg(long, value_name = "DIR", env = "TIDINGS_SCHEMAS", value_hint = ValueHint::DirPath)]
    schemas: Option<PathBuf>,
}

impl GrantFlags {
    /// The event types: the built-in ones, and those of `--schemas`.
    pub fn catalog(&self) -> Result<Catalog, Failure> {
        catalog(self.schemas.as_deref())
    }

    /// The grants, as a claim of a token has them.
    ///
    /// # Errors
    /// An entry cannot be read, or the daemon would refuse the grants.
    pub fn to_json(&self, catalog: &Catalog) -> Result<Json<'static>, Failure> {
        let mut members = Vec::new();
        for (name, given) in [("publish", &self.publish), ("subscribe", &self.subscribe)] {
            let mut entries = Vec::new();
            for text in given {
                for text in split(text) {
                    let read = entry(text, catalog);
                    entries.push(read.map_err(|why| format!("--{name} {}: {why}", suggest::quoted(text)))?);
                }
            }
            if !entries.is_empty() {
                members.push((name.into(), Json::Array(entries)));
            }
        }
        if !self.admin.is_empty() {
            let names = self.admin.iter().map(|name| Json::from(name.clone()));
            members.push(("admin".into(), Json::Array(names.collect())));
        }
        let grants = Json::Object(members);
        let resolved = resolve(&grants, catalog)?;
        self.warn_of_nothing(&grants, &resolved, catalog);
        Ok(grants)
    }

    /// Warns of what grants nothing.
    fn warn_of_nothing(&self, grants: &Json<'_>, resolved: &Grants, catalog: &Catalog) {
        if !resolved.publishes() && !resolved.subscribes() && !resolved.has_any_admin_right() {
            say_warning("nothing is granted: --publish, --subscribe and --admin grant something");
        }
        let names = ["publish", "subscribe"].into_iter().filter_map(|list| match grants.get(list) {
            Some(Json::Array(entries)) => Some(entries),
            _ => None,
        });
        let names = names.flatten().filter_map(|entry| entry.as_str().or_else(|| entry.get("channel")?.as_str()));
        let mut unknown: Vec<_> =
            names.filter(|name| !name.ends_with('*') && catalog.channel(name).is_none()).collect();
        unknown.dedup();
        for name in unknown {
            let known = Known::new("channels", catalog.types().iter().map(|known| &*known.name));
            let refusal = format!(
                "there is no channel {} here, and nothing is granted there: give --schemas if it is one of your own types",
                suggest::quoted(name)
            );
            say_warning(&known.refuse(&refusal, name));
        }
    }
}

/// The built-in event types, and those in a folder.
pub fn catalog(folder: Option<&std::path::Path>) -> Result<Catalog, Failure> {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let (catalog, warnings) = schema::catalog(folder).map_err(failure::of_schemas)?;
    warnings.iter().for_each(|warning| say_warning(warning));
    Ok(catalog)
}

/// What the grants come to with these channels.
fn resolve(grants: &Json<'_>, catalog: &Catalog) -> Result<Grants, Failure> {
    GrantList::read(grants)
        .and_then(|list| list.resolve(catalog))
        .map_err(|error| format!("the daemon would refuse these grants: {error}").into())
}

/// The entries in one argument: separated by commas, unless it is JSON.
fn split(text: &str) -> Vec<&str> {
    match text.trim_start().starts_with('{') {
        true => vec![text],
        false => text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect(),
    }
}

/// Reads `CHANNEL`, `CHANNEL:FIELD=VALUE` or a JSON object.
fn entry(text: &str, catalog: &Catalog) -> Result<Json<'static>, String> {
    if text.trim_start().starts_with('{') {
        return Json::parse(text).map(Json::into_owned).map_err(|error| error.to_string());
    }
    let Some((name, condition)) = text.split_once(':') else { return Ok(Json::from(text.to_owned())) };
    let field: Field = condition
        .parse()
        .map_err(|_| "expected CHANNEL or CHANNEL:FIELD=VALUE, such as order-status:customerId=u42".to_owned())?;
    // The schema says whether 5 is a number or a text. Under a wildcard, the first channel that has the field does.
    let (prefix, wildcard) = name.strip_suffix('*').map_or((name, false), |prefix| (prefix, true));
    let named = |channel: &str| if wildcard { channel.starts_with(prefix) } else { channel == name };
    let mut schemas = catalog.types().iter().filter(|known| named(&known.name)).map(|known| &known.schema);
    let schema = schemas.find(|schema| SchemaField::find(schema, &field.name).is_some());
    let fields = [field];
    let pin = fields::filter(schema.unwrap_or(&serde_json::Value::Null), &fields).into_owned();
    Ok(Json::Object(vec![("channel".into(), Json::from(name.to_owned())), ("where".into(), pin)]))
}

/// The grants as the members of a TOML table, a line for each.
///
/// # Errors
/// There is a value that TOML does not have.
pub fn to_toml(grants: &Json<'_>) -> Result<String, String> {
    let mut lines = String::new();
    for (name, value) in grants.as_object().unwrap_or_default() {
        lines.push_str(&format!("{name} = {}\n", toml_value(value)?));
    }
    Ok(lines)
}

/// A JSON value as TOML writes it in one line.
fn toml_value(value: &Json<'_>) -> Result<String, String> {
    Ok(match value {
        Json::Null => return Err("TOML has no null: leave this condition out, or put the grants into a token".into()),
        Json::Array(elements) => {
            let elements: Result<Vec<_>, _> = elements.iter().map(toml_value).collect();
            format!("[{}]", elements?.join(", "))
        }
        Json::Object(members) => {
            let members: Result<Vec<_>, _> = members
                .iter()
                .map(|(name, value)| Ok::<_, String>(format!("{} = {}", toml_key(name), toml_value(value)?)))
                .collect();
            format!("{{ {} }}", members?.join(", "))
        }
        // The rest is written as in JSON.
        Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    })
}

/// A key, in quotes if it needs them.
fn toml_key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { Json::from(name.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(publish: &[&str], subscribe: &[&str]) -> GrantFlags {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        GrantFlags { publish: owned(publish), subscribe: owned(subscribe), admin: Vec::new(), schemas: None }
    }

    fn json(publish: &[&str], subscribe: &[&str]) -> Result<String, String> {
        match flags(publish, subscribe).to_json(&Catalog::builtin()) {
            Ok(json) => Ok(json.to_string()),
            Err(Failure::Message(message)) => Err(message),
            Err(_) => Err("reported".into()),
        }
    }

    #[test]
    fn entries_may_be_repeated_hold_commas_and_pins_or_be_json() {
        let found = json(&["inventory-change, data-update"], &["order-*:customerId=42", "cache-invalidate"]).unwrap();
        assert_eq!(
            found,
            r#"{"publish":["inventory-change","data-update"],"subscribe":[{"channel":"order-*","where":{"customerId":"42"}},"cache-invalidate"]}"#
        );
        let number = json(&["inventory-change:newQuantity=5"], &[]).unwrap();
        assert_eq!(number, r#"{"publish":[{"channel":"inventory-change","where":{"newQuantity":5}}]}"#);
        let given = r#"{"channel":"order-status","where":{"customerId":"a,b:c","newStatus":["shipped","delivered"]}}"#;
        assert_eq!(json(&[], &[given]).unwrap(), format!(r#"{{"subscribe":[{given}]}}"#));
        // A value may have colons, and an equals sign.
        let colons = json(&[], &["cache-invalidate:keys=user:1=2"]).unwrap();
        assert_eq!(colons, r#"{"subscribe":[{"channel":"cache-invalidate","where":{"keys":"user:1=2"}}]}"#);
    }

    #[test]
    fn a_mistake_is_found_before_a_token_is_made() {
        for (entry, refusal) in [
            ("order-status:customerId", "expected CHANNEL or CHANNEL:FIELD=VALUE"),
            ("order-status:customerid=1", "did you mean `customerId`"),
            ("order*status", "a channel's name has a `*` at its end only"),
            (r#"{"channel":"order-status","wehre":{}}"#, "/subscribe/0/wehre"),
            ("{", "line 1"),
        ] {
            let found = json(&[], &[entry]).unwrap_err();
            assert!(found.contains(refusal), "{entry}: {found}");
        }
    }

    #[test]
    fn grants_are_written_as_toml() {
        let toml = |text: &str| to_toml(&Json::parse(text).unwrap());
        assert_eq!(
            toml(r#"{"publish":["a",{"channel":"o-*","where":{"at.x":1.5,"id":["q\"",true]}}],"admin":["nodes"]}"#)
                .unwrap(),
            "publish = [\"a\", { channel = \"o-*\", where = { \"at.x\" = 1.5, id = [\"q\\\"\", true] } }]\nadmin = [\"nodes\"]\n"
        );
        assert!(toml(r#"{"publish":[{"channel":"a","where":{"b":null}}]}"#).is_err());
    }
}
