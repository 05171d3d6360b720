//! `tidings codegen`: generates the event types for clients in other languages.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::cascade;
use super::failure::Failure;
use super::flags::ConfigFlags;
use super::generate::Generate;
use crate::schema::generated::File;
use crate::schema::typescript::{self, TypeSchema};

/// Generate the event types for a client.
#[derive(Debug, Subcommand)]
pub enum Codegen {
    /// Write the TypeScript types of the events, as events.ts. Does not need Node.js.
    ///
    /// With --config, `CacheTag` is the union of the tags that the cascades of that file invalidate.
    #[command(
        name = "typescript",
        after_help = "Examples:\n  tidings codegen typescript --out src/generated\n  tidings codegen typescript --out src/generated --schemas types --check\n  tidings codegen typescript --out src/generated --config tidings.toml"
    )]
    TypeScript(TypeScript),
    /// Write the protocol's frames and codes as TypeScript, for authors of clients; needs no Node.
    #[command(
        after_help = "Examples:\n  tidings codegen protocol --out src/generated\n  tidings codegen protocol --out src/generated --check"
    )]
    Protocol(Generate),
}

/// The flags of `tidings codegen typescript`.
#[derive(Debug, Args)]
pub struct TypeScript {
    #[command(flatten)]
    generate: Generate,
    /// Configuration file whose cascades name the tags of caches, and whose `schemas` are included.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
}

/// The name of the generated file.
const EVENTS: &str = "events.ts";
const PROTOCOL: &str = "protocol.ts";

impl Codegen {
    pub fn run(self) -> Result<(), Failure> {
        let TypeScript { mut generate, config } = match self {
            Self::TypeScript(typescript) => typescript,
            Self::Protocol(generate) => {
                let file = File { name: PROTOCOL.into(), text: typescript::protocol() };
                return generate.write_or_check(PROTOCOL, &[file]);
            }
        };
        let loaded = config.map(|file| ConfigFlags::of_file(file).load()).transpose()?;
        let configured = loaded.as_ref().map(|loaded| &loaded.config);
        generate.schemas_or(configured.and_then(|config| config.server.schemas.as_deref()));
        let catalog = generate.catalog()?;
        let tables = configured.and_then(|config| config.cascades.as_ref());
        let tags = cascade::compiled(tables, &catalog)?.0.tag_patterns();
        let types: Vec<_> = catalog
            .types()
            .iter()
            .map(|event_type| TypeSchema {
                name: &event_type.name,
                schema: &event_type.schema,
                key: event_type.key.as_deref(),
            })
            .collect();
        let file = File { name: EVENTS.into(), text: typescript::generate(&types) + &typescript::cache_tag(&tags) };
        generate.write_or_check(EVENTS, &[file])
    }
}
