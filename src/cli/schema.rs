//! `tidings schema`: the JSON Schemas of the types as files; whether an own one is right.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::failure::{Failure, say, say_error};
use super::output::Output;
use crate::event::Catalog;
use crate::schema::generated::{self, Difference, File};
use crate::schema::{self, EXTENSION};

/// Export or check JSON Schemas.
#[derive(Debug, Subcommand)]
pub enum Schema {
    /// Write the JSON Schema of each type, and that of the whole event, as TYPE.schema.json.
    #[command(
        after_help = "Examples:\n  tidings schema export --out schemas\n  tidings schema export --out schemas --schemas types --check"
    )]
    Export {
        /// Folder to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Folder of own types, to export too.
        #[arg(long, value_name = "DIR")]
        schemas: Option<PathBuf>,
        /// Write nothing; exit with 1 where the files are not what would be written.
        #[arg(long)]
        check: bool,
    },
    /// Check the schema of an own type; its name is that of the file.
    #[command(after_help = "Examples:\n  tidings schema check types/product-review.schema.json")]
    Check {
        /// NAME.schema.json
        file: PathBuf,
    },
}

impl Schema {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Export { out, schemas, check } => {
                let catalog = schema::catalog(schemas.as_deref()).map_err(|error| error.to_string())?;
                let files = schema::documents(&catalog);
                write_or_check(&out, EXTENSION, &files, check)
            }
            Self::Check { file } => check(&file),
        }
    }
}

fn check(path: &Path) -> Result<(), Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(EXTENSION));
    let name = name.ok_or_else(|| format!("{}: the file of an own type is named NAME{EXTENSION}", path.display()))?;
    let mut catalog = Catalog::builtin();
    schema::add(&mut catalog, name, path).map_err(|error| error.to_string())?;
    let added = catalog.channel(name).map(|channel| catalog.get(channel));
    let key = added.and_then(|added| added.key.as_deref()).map_or_else(String::new, |key| format!(", key {key}"));
    let fields = added.map(|added| added.fields().join(", ")).filter(|fields| !fields.is_empty());
    let fields = fields.map_or_else(|| "any fields".into(), |fields| format!("fields {fields}"));
    let mut output = Output::new();
    output.line(&format!("{}: type {name}, {fields}{key}", path.display()))?;
    Ok(output.flush()?)
}

/// Writes generated files to a folder, or says how the folder differs from them.
pub fn write_or_check(folder: &Path, extension: &str, files: &[File], check: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Message(format!("{}: {error}", folder.display()));
    if check {
        let differences = generated::compare(folder, extension, files).map_err(failed)?;
        for difference in &differences {
            say_error(&folder.join(difference.to_string()).display().to_string());
        }
        return if differences.is_empty() { Ok(()) } else { Err(Failure::Said) };
    }
    for difference in generated::write(folder, extension, files).map_err(failed)? {
        let path = folder.join(difference.name());
        match difference {
            Difference::Superfluous(_) => {
                say(&format!("{} belongs to nothing that is generated: remove it", path.display()));
            }
            Difference::Missing(_) | Difference::Differs(_) => say(&format!("wrote {}", path.display())),
        }
    }
    Ok(())
}
