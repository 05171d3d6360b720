//! Schema files: the user's own types are loaded from them, and the published ones are generated from the catalogue.
//!
//! [`load`] reads the user's own types into the catalogue. [`documents`] makes JSON Schema files of the catalogue, and
//! [`typescript`] makes TypeScript source. [`generated`] writes such files, or compares them with those in a folder.

pub mod generated;
pub mod typescript;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::event::{Catalog, SchemaError};
use generated::File;

/// The extension of a schema file. The part of the file name before it is the type's name.
pub const EXTENSION: &str = ".schema.json";

/// Why the user's own types could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder cannot be read.
    #[error("cannot read the folder of own types {}: {error}", .path.display())]
    Folder { path: PathBuf, error: io::Error },
    /// A file cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    File { path: PathBuf, error: io::Error },
    /// A file is not a usable schema.
    #[error("{}: {error}", .path.display())]
    Schema { path: PathBuf, error: SchemaError },
}

/// The catalogue of the built-in types, and of the own types in `folder` if one is given.
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

/// Adds each `NAME.schema.json` of `folder` as the type `NAME`.
///
/// The files are added in the order of their names, so that every node gives a type the same index.
///
/// # Errors
/// [`LoadError`] for a folder that cannot be read, and for the first file that cannot be read or is not a schema.
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

/// Adds the type `name` with the schema in the file `path`.
///
/// # Errors
/// [`LoadError`] if the file cannot be read or is not a schema.
pub fn add(catalog: &mut Catalog, name: &str, path: &Path) -> Result<(), LoadError> {
    let text = std::fs::read_to_string(path).map_err(|error| LoadError::File { path: path.into(), error })?;
    match catalog.add(name, text.trim_start_matches('\u{feff}')) {
        Ok(_) => Ok(()),
        Err(error) => Err(LoadError::Schema { path: path.into(), error }),
    }
}

/// One JSON Schema file for the `data` of each type, and one for the whole event.
pub fn documents(catalog: &Catalog) -> Vec<File> {
    let file = |name: &str, schema: &Value| File { name: format!("{name}{EXTENSION}"), text: format!("{schema:#}\n") };
    let types = catalog.types().iter().map(|known| file(&known.name, &known.schema));
    types.chain([file("event", &catalog.event_schema())]).collect()
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
        let loaded = catalog(Some(folder.path())).unwrap();
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
        assert!(missing.starts_with("cannot read the folder of own types "), "{missing}");
    }
}
