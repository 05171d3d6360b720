//! `tidings codegen`: generates the event types for clients in other languages.

use clap::Subcommand;

use super::failure::Failure;
use super::generate::Generate;
use crate::schema::generated::File;
use crate::schema::typescript::{self, TypeSchema};

/// Generate the event types for a client.
#[derive(Debug, Subcommand)]
pub enum Codegen {
    /// Write the TypeScript types of the events, as events.ts. Does not need Node.js.
    #[command(
        name = "typescript",
        after_help = "Examples:\n  tidings codegen typescript --out src/generated\n  tidings codegen typescript --out src/generated --schemas types --check"
    )]
    TypeScript(Generate),
    /// Write the protocol's frames and codes as TypeScript, for authors of clients; needs no Node.
    #[command(
        after_help = "Examples:\n  tidings codegen protocol --out src/generated\n  tidings codegen protocol --out src/generated --check"
    )]
    Protocol(Generate),
}

/// The name of the generated file.
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
            .map(|event_type| TypeSchema {
                name: &event_type.name,
                schema: &event_type.schema,
                key: event_type.key.as_deref(),
            })
            .collect();
        let file = File { name: EVENTS.into(), text: typescript::generate(&types) };
        generate.write_or_check(EVENTS, &[file])
    }
}
