//! `tidings schema`: exports the JSON Schemas of the event types, or checks the schema of a custom type.

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};

use super::failure::{self, Failure, say_warning};
use super::generate::Generate;
use super::output::Output;
use crate::schema::{self, EXTENSION, Loaded};

/// Export or check JSON Schemas.
#[derive(Debug, Subcommand)]
pub enum Schema {
    /// Write the JSON Schema of each event type as TYPE.schema.json, and that of the whole event as event.schema.json, from
    /// which code generators of other languages make types.
    #[command(
        after_help = "Examples:\n  tidings schema export --out schemas\n  tidings schema export --out schemas --schemas types --check"
    )]
    Export(Generate),
    /// Check the schemas of custom event types.
    ///
    /// Reports every mistake of every file, and exits with 1 if there is one.
    #[command(
        after_help = "Examples:\n  tidings schema check types/product-review.schema.json\n  tidings schema check types"
    )]
    Check {
        /// Schemas: files NAME.schema.json, or folders of them. NAME becomes the name of the event type.
        #[arg(required = true, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
        paths: Vec<PathBuf>,
    },
}

impl Schema {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Export(generate) => generate.write_or_check(EXTENSION, &schema::documents(&generate.catalog()?)),
            Self::Check { paths } => check(&paths),
        }
    }
}

/// Prints a line for each type, and every warning and mistake.
fn check(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut loaded = Loaded::default();
    paths.iter().for_each(|path| loaded.path(path));
    let mut output = Output::new();
    for (path, channel) in &loaded.files {
        let added = loaded.catalog.get(*channel);
        let key = added.key.as_deref().map_or_else(String::new, |key| format!(", key {key}"));
        let fields = Some(added.fields().join(", ")).filter(|fields| !fields.is_empty());
        let fields = fields.map_or_else(|| "any fields".into(), |fields| format!("fields {fields}"));
        output.line(&format!("{}: type {}, {fields}{key}", path.display(), added.name))?;
    }
    output.flush()?;
    if loaded.files.is_empty() && loaded.errors.is_empty() {
        loaded.warnings.push(format!("no type was checked: none of the given folders has a file NAME{EXTENSION}"));
    }
    loaded.warnings.iter().for_each(|warning| say_warning(warning));
    loaded.complete().map(drop).map_err(failure::of_schemas)
}
