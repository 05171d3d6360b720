//! What JSON Schema allows in a schema and still is a mistake: a keyword, type or format that no validator knows.
//!
//! A validator ignores an unknown keyword, so a schema with `propertes` allows any field. A keyword that resembles a known
//! one is an error; another one may be an annotation for some tool, and is a warning. `x-…` keywords are for such
//! annotations and never reported, except our own.

use serde_json::{Map, Value};

use super::mistake::escape;
use super::{SchemaError, sentence, type_settings};
use crate::suggest::{self, Known};

/// The mistakes and the suspicious parts of a schema, in the order of the document.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub errors: Vec<SchemaError>,
    pub warnings: Vec<SchemaError>,
}

/// Keywords whose value is a schema.
const SCHEMA: [&str; 11] = [
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
/// Keywords whose value is a list of schemas.
const SCHEMAS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value maps names to schemas.
const BY_NAME: [&str; 5] = ["properties", "patternProperties", "$defs", "dependentSchemas", "definitions"];
/// The other keywords of draft 2020-12, and our own.
const PLAIN: [&str; 46] = [
    "type",
    "enum",
    "const",
    "required",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "$id",
    "$schema",
    "$ref",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$vocabulary",
    "$comment",
    OWN[0],
    OWN[1],
    OWN[2],
    OWN[3],
    // What schema generators write; no validator uses them.
    "markdownDescription",
    "enumNames",
    "enumDescriptions",
    "tsType",
];
/// Our own keywords: the field that becomes the event's `subject`, and the settings of the type.
const OWN: [&str; 4] =
    ["x-tidings-key", type_settings::KEYWORDS[0], type_settings::KEYWORDS[1], type_settings::KEYWORDS[2]];

/// Keywords of earlier drafts and of OpenAPI, and what draft 2020-12 has instead. These have no effect.
const REPLACED: [(&str, &str); 11] = [
    ("id", "write `$id`"),
    ("dependencies", "write `dependentRequired` for names of fields, or `dependentSchemas` for schemas"),
    ("additionalItems", "write the first elements in `prefixItems` and the others in `items`"),
    ("$recursiveRef", "write `$ref` or `$dynamicRef`"),
    ("$recursiveAnchor", "write `$dynamicAnchor`"),
    ("divisibleBy", "write `multipleOf`"),
    ("disallow", "write `not`"),
    ("extends", "write `allOf`"),
    ("nullable", "write the type as a list, such as [\"string\", \"null\"]"),
    ("discriminator", "write `oneOf` with a `const` in each alternative"),
    ("example", "write `examples` with a list"),
];

const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
/// The formats that the validator checks.
const FORMATS: [&str; 19] = [
    "date-time",
    "date",
    "time",
    "duration",
    "email",
    "idn-email",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "iri",
    "iri-reference",
    "uri-template",
    "uuid",
    "json-pointer",
    "relative-json-pointer",
    "regex",
];
/// Formats that OpenAPI and schema generators write as annotations.
const ANNOTATED_FORMATS: [&str; 15] = [
    "int8", "int16", "int32", "int64", "int128", "uint", "uint8", "uint16", "uint32", "uint64", "float", "double",
    "password", "byte", "binary",
];

/// Looks through a schema, whose root is at the empty pointer.
pub(super) fn lint(schema: &Value) -> Findings {
    let mut findings = Findings::default();
    findings.schema(schema, "");
    findings
}

impl Findings {
    fn schema(&mut self, schema: &Value, at: &str) {
        let Value::Object(keywords) = schema else { return };
        for (name, value) in keywords {
            let at = format!("{at}/{}", escape(name));
            self.keyword(name, value, &at);
            let name = name.as_str();
            if SCHEMA.contains(&name) {
                self.schema(value, &at);
            } else if let (true, Value::Array(schemas)) = (SCHEMAS.contains(&name), value) {
                for (index, schema) in schemas.iter().enumerate() {
                    self.schema(schema, &format!("{at}/{index}"));
                }
            } else if let (true, Value::Object(schemas)) = (BY_NAME.contains(&name), value) {
                for (name, schema) in schemas {
                    self.schema(schema, &format!("{at}/{}", escape(name)));
                }
            }
        }
        self.required(keywords, at);
    }

    fn keyword(&mut self, name: &str, value: &Value, at: &str) {
        match (name, value) {
            ("type", Value::String(given)) => self.type_name(given, at),
            ("type", Value::Array(names)) => {
                for (index, given) in names.iter().enumerate() {
                    given.as_str().into_iter().for_each(|given| self.type_name(given, &format!("{at}/{index}")));
                }
            }
            ("type", other) => {
                let names = TYPES.join(", ");
                self.error(at, format!("must be a type or a list of types ({names}), not {}", sentence::shown(other)));
            }
            ("format", Value::String(given)) => self.format(given, at),
            ("items", Value::Array(_)) => {
                self.error(at, "draft 2020-12 has one schema here: write a list of schemas as `prefixItems`".into());
            }
            ("definitions", _) => {
                self.warning(at, "draft 2020-12 calls it `$defs`, and a `$ref` to it begins with \"#/$defs/\"".into());
            }
            _ => self.unknown_keyword(name, at),
        }
    }

    fn unknown_keyword(&mut self, name: &str, at: &str) {
        let known = || SCHEMA.iter().chain(&SCHEMAS).chain(&BY_NAME).chain(&PLAIN).copied();
        if known().any(|known| known == name) {
            return;
        }
        if let Some((_, instead)) = REPLACED.iter().find(|(old, _)| *old == name) {
            return self.error(at, format!("draft 2020-12 has no keyword {name:?}: {instead}"));
        }
        let is_ours = name.starts_with("x-tidings-");
        if name.starts_with("x-") && !is_ours {
            return;
        }
        let quoted = suggest::quoted(name);
        match suggest::misspelt(name, known()) {
            Some(near) => self.error(at, format!("there is no keyword {quoted}; did you mean `{near}`?")),
            None if is_ours => {
                let refusal = format!("tidings has no keyword {quoted}");
                self.error(at, Known::new("keywords", OWN).refuse(&refusal, name));
            }
            None => self.warning(
                at,
                format!("there is no keyword {quoted}, so it has no effect; name an annotation of your own `x-{name}`"),
            ),
        }
    }

    fn type_name(&mut self, given: &str, at: &str) {
        if !TYPES.contains(&given) {
            let refusal = format!("there is no type {}", suggest::quoted(given));
            self.error(at, Known::new("types", TYPES).refuse(&refusal, given));
        }
    }

    fn format(&mut self, given: &str, at: &str) {
        if FORMATS.contains(&given) || ANNOTATED_FORMATS.contains(&given) {
            return;
        }
        let refusal = format!("there is no format {}", suggest::quoted(given));
        match suggest::misspelt(given, FORMATS) {
            Some(near) => self.error(at, format!("{refusal}; did you mean `{near}`?")),
            None => self.warning(at, format!("{refusal}, so it is not checked (formats: {})", FORMATS.join(", "))),
        }
    }

    /// Warns of a required field that `properties` nearly has.
    fn required(&mut self, keywords: &Map<String, Value>, at: &str) {
        let Some(Value::Object(fields)) = keywords.get("properties") else { return };
        let required = keywords.get("required").and_then(Value::as_array).into_iter().flatten();
        for (index, name) in required.enumerate().filter_map(|(index, name)| Some((index, name.as_str()?))) {
            if let (false, Some(near)) =
                (fields.contains_key(name), suggest::misspelt(name, fields.keys().map(String::as_str)))
            {
                let quoted = suggest::quoted(name);
                let message = format!("`properties` has no field {quoted}; did you mean `{near}`?");
                self.warning(&format!("{at}/required/{index}"), message);
            }
        }
    }

    fn error(&mut self, at: &str, message: String) {
        self.errors.push(SchemaError { place: at.into(), message });
    }

    fn warning(&mut self, at: &str, message: String) {
        self.warnings.push(SchemaError { place: at.into(), message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_documents_declare_our_own_keywords_to_other_validators() {
        let list = OWN.map(|keyword| format!("{keyword:?}")).join(", ");
        assert!(
            include_str!("../../docs/http.md").contains(&format!("ajv.addVocabulary([{list}])")),
            "docs/http.md: {list}"
        );
    }

    fn errors(schema: Value) -> Vec<String> {
        lint(&schema).errors.iter().map(ToString::to_string).collect()
    }

    fn warnings(schema: Value) -> Vec<String> {
        let findings = lint(&schema);
        assert!(findings.errors.is_empty(), "{:?}", findings.errors);
        findings.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_misspelt_keyword_is_an_error_wherever_it_is() {
        assert_eq!(
            errors(json!({"propertes": {}, "properties": {"a/b": {"tpye": "string"}}, "items": {"minlength": 1}})),
            [
                "/propertes: there is no keyword \"propertes\"; did you mean `properties`?",
                "/properties/a~1b/tpye: there is no keyword \"tpye\"; did you mean `type`?",
                "/items/minlength: there is no keyword \"minlength\"; did you mean `minLength`?",
            ]
        );
        let deep = json!({"allOf": [{"$defs": {"x": {"not": {"additionalproperties": false}}}}]});
        assert!(errors(deep)[0].starts_with("/allOf/0/$defs/x/not/additionalproperties: "));
        assert!(errors(json!({"x-tidings-ky": "id"}))[0].contains("did you mean `x-tidings-key`?"));
    }

    #[test]
    fn a_keyword_of_another_draft_names_its_successor() {
        assert!(errors(json!({"id": "urn:x"}))[0].ends_with("write `$id`"));
        assert!(errors(json!({"items": [{}]}))[0].contains("`prefixItems`"));
        assert!(errors(json!({"nullable": true}))[0].contains("[\"string\", \"null\"]"));
        assert!(warnings(json!({"definitions": {"a": {}}}))[0].contains("`$defs`"), "a reference to it still works");
    }

    #[test]
    fn an_unknown_annotation_is_a_warning_and_an_extension_is_nothing() {
        assert_eq!(warnings(json!({"x-unit": "kg", "tsType": "Date", "properties": {"propertes": {}}})), [""; 0]);
        assert!(warnings(json!({"unit": "kg"}))[0].contains("name an annotation of your own `x-unit`"));
        assert_eq!(warnings(json!({"enum": [{"propertes": 1}], "default": {"tpye": 1}, "const": {"a": 1}})), [""; 0]);
    }

    #[test]
    fn types_formats_and_required_fields_are_those_that_exist() {
        assert!(
            errors(json!({"type": "strin"}))[0]
                .starts_with("/type: there is no type \"strin\"; did you mean `string`?")
        );
        assert!(
            errors(json!({"type": ["null", "text"]}))[0].starts_with("/type/1: there is no type \"text\" (types: ")
        );
        assert!(errors(json!({"format": "datetime"}))[0].contains("did you mean `date-time`?"));
        assert!(warnings(json!({"format": "phone"}))[0].contains("so it is not checked"));
        assert_eq!(warnings(json!({"format": "int64"})), [""; 0]);
        let required = json!({"required": ["orderID", "other"], "properties": {"orderId": {}}});
        assert_eq!(warnings(required), ["/required/0: `properties` has no field \"orderID\"; did you mean `orderId`?"]);
    }
}
