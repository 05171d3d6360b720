//! `tidings codegen`: the types of the events for clients in other languages.

use clap::Subcommand;

use super::failure::Failure;
use super::generate::Generate;
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
    TypeScript(Generate),
    /// Write the protocol's frames and codes as TypeScript, for authors of clients; needs no Node.
    Protocol(Generate),
}

/// The file's name.
const EVENTS: &str = "events.ts";
const PROTOCOL: &str = "protocol.ts";

impl Codegen {
    pub fn run(self) -> Result<(), Failure> {
        let generate = match self {
            Self::TypeScript(generate) => generate,
            Self::Protocol(generate) => {
                let file = File { name: PROTOCOL.into(), text: typescript::protocol() };
                return generate.write_or_check(PROTOCOL, &[file]);
            }
        };
        let catalog = generate.catalog()?;
        let types: Vec<_> = catalog
            .types()
            .iter()
            .map(|known| TypeSchema { name: &known.name, schema: &known.schema, key: known.key.as_deref() })
            .collect();
        let file = File { name: EVENTS.into(), text: typescript::generate(&types) };
        generate.write_or_check(EVENTS, &[file])
    }
}
