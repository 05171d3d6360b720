//! `tidings codegen`: the types of the events for clients in other languages.

use std::path::PathBuf;

use clap::Subcommand;

use super::failure::Failure;
use super::schema::write_or_check;
use crate::schema;
use crate::schema::generated::File;
use crate::schema::typescript::{self, TypeSchema};

/// Generate the types of the events for a client.
#[derive(Debug, Subcommand)]
pub enum Codegen {
    /// Write the TypeScript types of the events; needs no Node.
    #[command(
        name = "typescript",
        after_help = "Examples:\n  tidings codegen typescript --out src/generated\n  tidings codegen typescript --out src/generated --schemas types --check"
    )]
    TypeScript {
        /// Folder to write to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Folder of own types, to generate too.
        #[arg(long, value_name = "DIR")]
        schemas: Option<PathBuf>,
        /// Write nothing; exit with 1 where the file is not what would be written.
        #[arg(long)]
        check: bool,
    },
}

/// The file's name.
const EVENTS: &str = "events.ts";

impl Codegen {
    pub fn run(self) -> Result<(), Failure> {
        let Self::TypeScript { out, schemas, check } = self;
        let catalog = schema::catalog(schemas.as_deref()).map_err(|error| error.to_string())?;
        let types: Vec<_> = catalog
            .types()
            .iter()
            .map(|known| TypeSchema { name: &known.name, schema: &known.schema, key: known.key.as_deref() })
            .collect();
        let file = File { name: EVENTS.into(), text: typescript::generate(&types) };
        write_or_check(&out, EVENTS, &[file], check)
    }
}
