//! What is made of the schemas: the documents and the source text that the project publishes of its events.
//!
//! [`load`] reads the user's own types into the catalogue, [`documents`] gives its schemas as files, [`typescript`] as
//! source text, and [`generated`] writes such files or compares them with what is there.

pub mod generated;
pub mod typescript;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::event::{Catalog, SchemaError};
use generated::File;

/// How the name of a schema's file ends; what stands before it is the type's name.
pub const EXTENSION: &str = ".schema.json";

/// Own types that cannot be used: which file, and where in it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read the folder of own types {}: {error}", .path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error("cannot read {}: {error}", .path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {error}", .path.display())]
    Schema { path: PathBuf, error: SchemaError },
}

/// The built-in types, and the own ones of `folder` where one is given.
///
/// # Errors
/// See [`load`].
pub fn catalog(folder: Option<&Path>) -> Result<Catalog, LoadError> {
    let mut catalog = Catalog::builtin();
    if let Some(folder) = folder {
        load(&mut catalog, folder)?;
    }
    Ok(catalog)
}

/// Adds each `NAME.schema.json` of `folder` as the type `NAME`, by name, so that every node numbers them alike.
///
/// # Errors
/// [`LoadError`] for the first file that cannot be read or is no schema, and for a folder that is not there.
pub fn load(catalog: &mut Catalog, folder: &Path) -> Result<(), LoadError> {
    let failed = |error| LoadError::Folder { path: folder.into(), error };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(EXTENSION)).map(str::to_owned));
    }
    names.sort();
    for name in names {
        add(catalog, &name, &folder.join(format!("{name}{EXTENSION}")))?;
    }
    Ok(())
}

/// Adds the type `name`, whose schema is in the file `path`.
///
/// # Errors
/// [`LoadError`] where the file cannot be read or is no schema.
pub fn add(catalog: &mut Catalog, name: &str, path: &Path) -> Result<(), LoadError> {
    let text = std::fs::read_to_string(path).map_err(|error| LoadError::File { path: path.into(), error })?;
    match catalog.add(name, text.trim_start_matches('\u{feff}')) {
        Ok(_) => Ok(()),
        Err(error) => Err(LoadError::Schema { path: path.into(), error }),
    }
}

/// The JSON Schema of each type's `data`, and that of the whole event, as files.
pub fn documents(catalog: &Catalog) -> Vec<File> {
    let file = |name: &str, schema: &Value| File { name: format!("{name}{EXTENSION}"), text: format!("{schema:#}\n") };
    let types = catalog.types().iter().map(|known| file(&known.name, &known.schema));
    types.chain([file("event", &catalog.event_schema())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schemas_are_those_of_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let differences = generated::compare(&folder, EXTENSION, &documents(&Catalog::builtin())).unwrap();
        assert_eq!(differences, [], "run `tidings schema export --out schemas`");
    }

    #[test]
    fn own_types_are_files_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("product-review.schema.json"), r#"{"type":"object"}"#).unwrap();
        std::fs::write(path("README.md"), "no type").unwrap();
        let loaded = catalog(Some(folder.path())).unwrap();
        assert!(loaded.channel("product-review").is_some());
        assert_eq!(loaded.types().len(), Catalog::builtin().types().len() + 1);
        assert!(documents(&loaded).iter().any(|file| file.name == "product-review.schema.json"));
    }

    #[test]
    fn a_broken_own_type_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let broken = |text: &str| {
            std::fs::write(folder.path().join("review.schema.json"), text).unwrap();
            catalog(Some(folder.path())).unwrap_err().to_string()
        };
        assert!(broken("{\n  \"type\": }").contains("review.schema.json: line 2, column "));
        let message = broken(r#"{"properties":{"a":{"type":"strin"}}}"#);
        assert!(message.contains("review.schema.json: /properties/a/type: "), "{message}");
        let missing = catalog(Some(&folder.path().join("missing"))).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the folder of own types "), "{missing}");
    }
}
