//! Schemas of custom types that cannot be used, and files that are passed over.

use std::fs;

use super::table::Table;
use crate::support::daemon::{run, tidings};

const SCHEMAS: &[&str] = &[
    "{\n  \"type\": }",
    "[]",
    r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#,
    r#"{"propertes":{}}"#,
    r#"{"properties":{"a":{"tpye":"string","minlength":1}}}"#,
    r#"{"id":"urn:x"}"#,
    r#"{"definitions":{"a":{}},"propertes":{}}"#,
    r#"{"items":[{"type":"string"}]}"#,
    r#"{"properties":{"a":{"type":"string","nullable":true}}}"#,
    r#"{"x-tidings-kee":"a"}"#,
    r#"{"x-tidings-key":"orderID","properties":{"orderId":{}}}"#,
    r#"{"properties":{"a":{"type":"strin"}}}"#,
    r#"{"type":["string","text"]}"#,
    r#"{"type":7}"#,
    r#"{"format":"datetime"}"#,
    r#"{"required":"a"}"#,
    r#"{"required":true}"#,
    r#"{"required":["a","a"]}"#,
    r#"{"properties":[]}"#,
    r#"{"minLength":-1}"#,
    r#"{"maximum":"5"}"#,
    r#"{"enum":"a"}"#,
    r#"{"allOf":[]}"#,
    r#"{"pattern":"("}"#,
    r#"{"properties":{"a":{"pattern":"^(?!x)"}}}"#,
    r#"{"properties":{"a":{"allOf":[{"pattern":"(a)\\1"}]}}}"#,
    r#"{"patternProperties":{"(?=x)":{}}}"#,
    r##"{"properties":{"a":{"$ref":"#/$defs/statu"}},"$defs":{"status":{}}}"##,
    r#"{"$ref":"https://example.com/other"}"#,
    r#"{"$id":"relative"}"#,
    r#"{"$id":"urn:tidings:schema:order-status"}"#,
    r#"{"$id":"https://example.com/a#b"}"#,
];

pub fn provoke(table: &mut Table) {
    table.section("Schemas of custom types");
    let folder = tempfile::tempdir().unwrap();
    let types = folder.path().join("types");
    fs::create_dir(&types).unwrap();
    let check = |path: &str| run(tidings(folder.path(), &["schema", "check", path]), "");
    for schema in SCHEMAS {
        fs::write(types.join("review.schema.json"), schema).unwrap();
        table.command(&format!("tidings schema check, {schema}"), &check("types/review.schema.json"));
    }
    fs::write(types.join("order-status.schema.json"), "{}").unwrap();
    for name in ["gap", "a b"] {
        fs::write(types.join(format!("{name}.schema.json")), "{}").unwrap();
    }
    for file in ["order-status", "gap", "a b", "missing"] {
        let file = format!("types/{file}.schema.json");
        table.command(&format!("tidings schema check '{file}'"), &check(&file));
    }
    fs::write(types.join("x.json"), "{}").unwrap();
    table.command("tidings schema check types/x.json", &check("types/x.json"));
    fs::remove_dir_all(&types).unwrap();
    fs::create_dir(&types).unwrap();
    let passed_over = ["x.json", "x.schema.yaml", "X.Schema.JSON", "a b.schema.json", "._x.schema.json"];
    passed_over.iter().for_each(|name| fs::write(types.join(name), "{}").unwrap());
    fs::create_dir(types.join("more")).unwrap();
    table.add(&format!("$ tidings schema check types, with {passed_over:?} and a folder"), &check("types").err);
    let warned =
        r#"{"unit":"kg","format":"phone","definitions":{},"required":["orderID"],"properties":{"orderId":{}}}"#;
    fs::write(types.join("review.schema.json"), warned).unwrap();
    table.add(&format!("$ tidings schema check, {warned}"), &check("types/review.schema.json").err);
}
