//! Generated files: writing them to a folder, and saying how what is there differs from what would be written.

use std::fmt;
use std::io;
use std::path::Path;

/// A file as it is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name in the folder.
    pub name: String,
    pub text: String,
}

/// How a folder differs from what would be generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    Missing(String),
    Differs(String),
    /// A file of this kind that nothing generates any more.
    Superfluous(String),
}

impl Difference {
    /// The file that it is about.
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
            Self::Superfluous(name) => write!(f, "{name} belongs to nothing"),
        }
    }
}

/// Compares a folder with `files`; `extension` is how the names of generated files end.
///
/// # Errors
/// A folder or file that is there but cannot be read.
pub fn compare(folder: &Path, extension: &str, files: &[File]) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    for file in files {
        match std::fs::read(folder.join(&file.name)) {
            Ok(bytes) if bytes == file.text.as_bytes() => {}
            Ok(_) => found.push(Difference::Differs(file.name.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => found.push(Difference::Missing(file.name.clone())),
            Err(error) => return Err(error),
        }
    }
    let there = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        there => there?,
    };
    let mut superfluous = Vec::new();
    for entry in there {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(extension) && files.iter().all(|file| file.name != name) {
            superfluous.push(name);
        }
    }
    superfluous.sort();
    found.extend(superfluous.into_iter().map(Difference::Superfluous));
    Ok(found)
}

/// Writes `files` to a folder, which is made where it is missing, and answers how it differed.
///
/// A file that is right already is left alone, so that what watches the folder is not woken for nothing. A superfluous
/// one is left, too: somebody may have put it there.
///
/// # Errors
/// What cannot be read or written.
pub fn write(folder: &Path, extension: &str, files: &[File]) -> io::Result<Vec<Difference>> {
    std::fs::create_dir_all(folder)?;
    let differences = compare(folder, extension, files)?;
    for file in files {
        let wrong = |difference: &Difference| {
            !matches!(difference, Difference::Superfluous(_)) && difference.name() == file.name
        };
        if differences.iter().any(wrong) {
            std::fs::write(folder.join(&file.name), &file.text)?;
        }
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_unchanged() {
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
