//! Schema files: the user's own types are loaded from them, and the published ones are generated from the catalogue.
//!
//! [`catalog`] reads the user's own types into the catalogue. [`documents`] makes JSON Schema files of the catalogue, and
//! [`typescript`] makes TypeScript source. [`generated`] writes such files, or compares them with those in a folder.

pub mod example;
pub mod generated;
mod load;
pub mod typescript;

use std::path::Path;

use serde_json::Value;

use crate::event::Catalog;
use generated::File;
pub use load::{LoadError, LoadErrors, Loaded};

/// The extension of a schema file. The part of the file name before it is the type's name.
pub const EXTENSION: &str = ".schema.json";

/// The catalogue of the built-in types, and of the own types in `folder` if one is given; and warnings about the folder.
///
/// # Errors
/// [`LoadErrors`]: everything in the folder that cannot be used, or the folder itself.
pub fn catalog(folder: Option<&Path>) -> Result<(Catalog, Vec<String>), LoadErrors> {
    let mut loaded = Loaded::default();
    folder.into_iter().for_each(|folder| loaded.folder(folder));
    loaded.complete()
}

/// One JSON Schema file for the `data` of each type, and one for the whole event.
pub fn documents(catalog: &Catalog) -> Vec<File> {
    let file = |name: &str, schema: &Value| File { name: format!("{name}{EXTENSION}"), text: format!("{schema:#}\n") };
    let types = catalog.types().iter().map(|known| file(&known.name, &known.schema));
    types.chain([file("event", &catalog.event_schema(|_| true, &[]))]).collect()
}

/// Replaces rustdoc's links by their text: `[Since](crate::event::Since)` is `Since`.
pub(crate) fn without_links(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        plain.extend([before, "`", name, "`"]);
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schemas_are_up_to_date() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let differences = generated::compare(&folder, EXTENSION, &documents(&Catalog::builtin())).unwrap();
        assert_eq!(differences, [], "run `tidings schema export --out schemas`");
    }

    #[test]
    fn own_types_are_loaded_from_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("product-review.schema.json"), r#"{"type":"object"}"#).unwrap();
        std::fs::write(path("README.md"), "no type").unwrap();
        let (loaded, _) = catalog(Some(folder.path())).unwrap();
        assert!(loaded.channel("product-review").is_some());
        assert_eq!(loaded.types().len(), Catalog::builtin().types().len() + 1);
        assert!(documents(&loaded).iter().any(|file| file.name == "product-review.schema.json"));
    }

    #[test]
    fn the_error_of_an_invalid_schema_names_the_file_and_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let broken = |text: &str| {
            std::fs::write(folder.path().join("review.schema.json"), text).unwrap();
            catalog(Some(folder.path())).unwrap_err().to_string()
        };
        assert!(broken("{\n  \"type\": }").contains("review.schema.json: line 2, column "));
        let message = broken(r#"{"properties":{"a":{"type":"strin"}}}"#);
        assert!(message.contains("review.schema.json: /properties/a/type: "), "{message}");
        let missing = catalog(Some(&folder.path().join("missing"))).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the schemas folder "), "{missing}");
    }
}
