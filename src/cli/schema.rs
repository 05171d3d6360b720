//! `tidings schema`: exports the JSON Schemas of the event types, or checks the schema of a custom type.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::failure::Failure;
use super::generate::Generate;
use super::output::Output;
use crate::event::Catalog;
use crate::schema::{self, EXTENSION};

/// Export or check JSON Schemas.
#[derive(Debug, Subcommand)]
pub enum Schema {
    /// Write the JSON Schema of each event type as TYPE.schema.json, and that of the whole event as event.schema.json, from
    /// which code generators of other languages make types.
    #[command(
        after_help = "Examples:\n  tidings schema export --out schemas\n  tidings schema export --out schemas --schemas types --check"
    )]
    Export(Generate),
    /// Check the schema of a custom event type.
    #[command(after_help = "Examples:\n  tidings schema check types/product-review.schema.json")]
    Check {
        /// The schema, a file NAME.schema.json. NAME becomes the name of the event type.
        file: PathBuf,
    },
}

impl Schema {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Export(generate) => generate.write_or_check(EXTENSION, &schema::documents(&generate.catalog()?)),
            Self::Check { file } => check(&file),
        }
    }
}

fn check(path: &Path) -> Result<(), Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(EXTENSION));
    let name = name.ok_or_else(|| {
        format!("{}: the name of the file must be NAME{EXTENSION}, where NAME is the event type", path.display())
    })?;
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
