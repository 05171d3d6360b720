//! Generated files: writes them to a folder, or compares the folder with what would be written.

use std::fmt;
use std::io;
use std::path::Path;

/// A generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The name of the file in its folder.
    pub name: String,
    /// The content.
    pub text: String,
}

/// A difference between a folder and the files that would be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The file does not exist.
    Missing(String),
    /// The file has another content.
    Differs(String),
    /// A file with the extension of generated files, which would not be generated.
    Superfluous(String),
}

impl Difference {
    /// The name of the file.
    pub fn name(&self) -> &str {
        let (Self::Missing(name) | Self::Differs(name) | Self::Superfluous(name)) = self;
        name
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "{name} is missing"),
            Self::Differs(name) => write!(f, "{name} differs"),
            Self::Superfluous(name) => write!(f, "{name} is not generated"),
        }
    }
}

/// Compares a folder with `files`. `extension` is the end of the name of every generated file.
///
/// # Errors
/// A folder or file that exists but cannot be read. The message names it.
pub fn compare(folder: &Path, extension: &str, files: &[File]) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    for file in files {
        let path = folder.join(&file.name);
        match std::fs::read(&path) {
            Ok(bytes) if bytes == file.text.as_bytes() => {}
            Ok(_) => found.push(Difference::Differs(file.name.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => found.push(Difference::Missing(file.name.clone())),
            Err(error) => return Err(at(&path)(error)),
        }
    }
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(at(folder))?,
    };
    let mut superfluous = Vec::new();
    for entry in entries {
        let name = entry.map_err(at(folder))?.file_name().to_string_lossy().into_owned();
        if name.ends_with(extension) && files.iter().all(|file| file.name != name) {
            superfluous.push(name);
        }
    }
    superfluous.sort();
    found.extend(superfluous.into_iter().map(Difference::Superfluous));
    Ok(found)
}

/// Writes `files` to a folder, which is created if it is missing. Returns how the folder differed before.
///
/// A file with the right content is not written again, so that file watchers do not fire. A superfluous file is kept,
/// because a user may have put it there.
///
/// # Errors
/// A file or folder that cannot be read or written. The message names it.
pub fn write(folder: &Path, extension: &str, files: &[File]) -> io::Result<Vec<Difference>> {
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let differences = compare(folder, extension, files)?;
    for file in files {
        let outdated = |difference: &Difference| {
            !matches!(difference, Difference::Superfluous(_)) && difference.name() == file.name
        };
        if differences.iter().any(outdated) {
            replace(&folder.join(&file.name), &file.text)?;
        }
    }
    Ok(differences)
}

/// Replaces a file as a whole, so that a full disk leaves the old one and not a part of the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let new = path.with_file_name(name);
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(|error| {
        // It may not exist. The first error is the one to report.
        let _ = std::fs::remove_file(&new);
        at(path)(error)
    })
}

/// Adds the path to an error.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_files_compare_as_equal() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/folder");
        let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
        let files = [file("a.x", "1"), file("b.x", "2")];
        assert_eq!(compare(&folder, ".x", &files).unwrap().len(), 2);
        write(&folder, ".x", &files).unwrap();
        assert_eq!(compare(&folder, ".x", &files).unwrap(), []);

        std::fs::write(folder.join("kept.y"), "").unwrap();
        std::fs::write(folder.join("old.x"), "").unwrap();
        std::fs::write(folder.join("a.x"), "changed").unwrap();
        std::fs::remove_file(folder.join("b.x")).unwrap();
        let differences = [
            Difference::Differs("a.x".into()),
            Difference::Missing("b.x".into()),
            Difference::Superfluous("old.x".into()),
        ];
        assert_eq!(compare(&folder, ".x", &files).unwrap(), differences);
        assert_eq!(write(&folder, ".x", &files).unwrap(), differences);
        assert_eq!(compare(&folder, ".x", &files).unwrap(), differences[2..]);
    }
}
