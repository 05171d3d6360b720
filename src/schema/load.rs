//! Loads the user's own types from files and folders, and reports every bad file at once.
//!
//! In a folder, `NAME.schema.json` is a type. A file that was probably meant to be one gets a warning that says what to
//! do; hidden files and all others are passed over.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::EXTENSION;
use crate::event::{Catalog, ChannelId, SchemaErrors, wrong_name};

/// Why a file or folder of the user's own types cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder cannot be read.
    #[error("cannot read the schemas folder {}: {}", .path.display(), reason(.error))]
    Folder { path: PathBuf, error: io::Error },
    /// A file cannot be read.
    #[error("cannot read {}: {}", .path.display(), reason(.error))]
    File { path: PathBuf, error: io::Error },
    /// The name of a file that was given by itself is not that of a schema file.
    #[error("{}: the name of the file must be NAME{EXTENSION}, where NAME is the event type", .path.display())]
    Name { path: PathBuf },
    /// A file is not a usable schema. Each mistake is a line that begins with the file.
    #[error("{}", lines(.path, .errors))]
    Schema { path: PathBuf, errors: SchemaErrors },
}

/// Every file and folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct LoadErrors(pub Vec<LoadError>);

/// The result of loading files: the catalogue with the types that could be added, and what is wrong with the others.
#[derive(Debug)]
pub struct Loaded {
    pub catalog: Catalog,
    /// The file of each type that was added.
    pub files: Vec<(PathBuf, ChannelId)>,
    /// Sentences about what was passed over and what looks wrong.
    pub warnings: Vec<String>,
    pub errors: Vec<LoadError>,
}

impl Default for Loaded {
    /// The catalogue of the built-in types.
    fn default() -> Self {
        Self { catalog: Catalog::builtin(), files: Vec::new(), warnings: Vec::new(), errors: Vec::new() }
    }
}

impl Loaded {
    /// Adds each `NAME.schema.json` of a folder as the type `NAME`, in the order of their names, so that every node gives a
    /// type the same index.
    pub fn folder(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.errors.push(LoadError::Folder { path: folder.into(), error }),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (folder.join(entry.file_name()), entry.file_name());
            // A link to a folder is a folder.
            match classify(&name, path.is_dir()) {
                Entry::Type(name) => self.add(&name, &path),
                Entry::PassedOver(why) => self.warnings.push(format!("{} is skipped: {why}", path.display())),
                Entry::Other => {}
            }
        }
    }

    /// Adds a file or a folder, as `tidings schema check` is given them.
    pub fn path(&mut self, path: &Path) {
        if path.is_dir() {
            return self.folder(path);
        }
        match path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_suffix(EXTENSION)) {
            Some(name) => self.add(name, path),
            None if !path.exists() => {
                let error = io::ErrorKind::NotFound.into();
                self.errors.push(LoadError::File { path: path.into(), error });
            }
            None => self.errors.push(LoadError::Name { path: path.into() }),
        }
    }

    /// The catalogue and the warnings.
    ///
    /// # Errors
    /// If one file could not be used.
    pub fn complete(self) -> Result<(Catalog, Vec<String>), LoadErrors> {
        if self.errors.is_empty() { Ok((self.catalog, self.warnings)) } else { Err(LoadErrors(self.errors)) }
    }

    fn add(&mut self, name: &str, path: &Path) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.errors.push(LoadError::File { path: path.into(), error }),
        };
        match self.catalog.add(name, text.trim_start_matches('\u{feff}')) {
            Ok(added) => {
                let shown = path.display();
                self.warnings.extend(added.warnings.iter().map(|warning| format!("{shown}: {warning}")));
                self.files.push((path.into(), added.channel));
            }
            Err(errors) => self.errors.push(LoadError::Schema { path: path.into(), errors }),
        }
    }
}

/// What an entry of a folder is.
enum Entry {
    /// The schema of this type.
    Type(String),
    /// Probably meant to be a type; why it is none, and what to do.
    PassedOver(String),
    /// Nothing to do with types.
    Other,
}

fn classify(file_name: &OsStr, is_folder: bool) -> Entry {
    let passed_over = |why: String| Entry::PassedOver(why);
    let lossy = file_name.to_string_lossy();
    // Hidden files are made by programs: editors, version control, archivers of other systems (`._x`).
    if lossy.starts_with('.') {
        return Entry::Other;
    }
    if is_folder {
        return passed_over(format!("it is a folder; move its NAME{EXTENSION} files up beside it, if they are types"));
    }
    let Some(name) = file_name.to_str() else {
        return match lossy.to_ascii_lowercase().ends_with(EXTENSION) {
            true => passed_over("its name is not UTF-8; rename it".into()),
            false => Entry::Other,
        };
    };
    if let Some(name) = name.strip_suffix(EXTENSION) {
        return match wrong_name(name) {
            None => Entry::Type(name.into()),
            Some(wrong) => passed_over(format!("{wrong}; rename the file")),
        };
    }
    let lower = name.to_ascii_lowercase();
    // The part before the first of the extensions that people write.
    let stem = |ends: &[&str]| ends.iter().find_map(|end| lower.strip_suffix(end)).map(|stem| &name[..stem.len()]);
    if let Some(stem) = stem(&[EXTENSION, ".schema", ".schema.json5", ".schema.jsonc", ".jsonschema", ".json"]) {
        let stem = stem.strip_suffix(".schema").unwrap_or(stem);
        return passed_over(format!("rename it to {stem}{EXTENSION}, if it is the schema of a type"));
    }
    if let Some(stem) = stem(&[".schema.yaml", ".schema.yml", ".yaml", ".yml"]) {
        return passed_over(format!("write it as JSON in {stem}{EXTENSION}, if it is the schema of a type"));
    }
    Entry::Other
}

/// Why a file or folder cannot be read, in words.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".into(),
        io::ErrorKind::PermissionDenied => "this user may not read it".into(),
        io::ErrorKind::NotADirectory => "it is a file: name the folder that has the NAME.schema.json files".into(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        _ => error.to_string(),
    }
}

/// A line for each mistake of a file.
fn lines(path: &Path, errors: &SchemaErrors) -> String {
    errors.0.iter().map(|error| format!("{}: {error}", path.display())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_meant_to_be_a_type_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for name in ["good.schema.json", "._good.schema.json", ".hidden.json", "README.md", "notes.txt"] {
            write(name, if name == "good.schema.json" { "{}" } else { "\0 not JSON" });
        }
        let near =
            ["My Type.schema.json", "X.Schema.JSON", "a.json", "b.schema", "c.schema.yaml", "d.yml", "e.jsonschema"];
        near.iter().for_each(|name| write(name, "{}"));
        fs::create_dir(folder.path().join("more")).unwrap();
        let mut loaded = Loaded::default();
        loaded.folder(folder.path());
        assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
        assert_eq!(loaded.files.len(), 1);
        assert_eq!(loaded.warnings.len(), near.len() + 1, "{:#?}", loaded.warnings);
        for (warning, words) in loaded.warnings.iter().zip([
            "rename the file",
            "rename it to X.schema.json",
            "rename it to a.schema.json",
            "rename it to b.schema.json",
            "write it as JSON in c.schema.json",
            "write it as JSON in d.schema.json",
            "rename it to e.schema.json",
            "it is a folder",
        ]) {
            assert!(warning.contains(words), "{warning}");
        }
    }

    #[test]
    fn all_bad_files_are_reported_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.schema.json", r#"{"propertes":{},"required":7}"#);
        write("b.schema.json", "{");
        write("c.schema.json", r#"{"unit":"kg"}"#);
        write("order-status.schema.json", "{}");
        let mut loaded = Loaded::default();
        loaded.folder(folder.path());
        assert_eq!((loaded.errors.len(), loaded.files.len(), loaded.warnings.len()), (3, 1, 1));
        let text = loaded.complete().unwrap_err().to_string();
        for part in ["a.schema.json: /propertes: ", "a.schema.json: /required: ", "b.schema.json: line 1", "its name: "]
        {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
}
