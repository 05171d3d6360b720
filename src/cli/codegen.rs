//! `tidings codegen`: generates the event types for clients in other languages, and the documents of the interface.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use serde_json::Value;

use super::cascade;
use super::failure::Failure;
use super::flags::ConfigFlags;
use super::generate::Generate;
use crate::event::Catalog;
use crate::http;
use crate::schema::generated::File;
use crate::schema::typescript::{self, TypeSchema};

/// Generate the event types for a client, or the documents of the interface.
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
    /// Write the AsyncAPI document of the channels and frames, as asyncapi.json, with the custom types.
    ///
    /// A daemon serves it as /asyncapi.json, with the address at which it was asked.
    #[command(
        after_help = "Examples:\n  tidings codegen asyncapi --out docs --schemas types\n  tidings codegen asyncapi --out docs --schemas types --check"
    )]
    Asyncapi(Generate),
    /// Write the OpenAPI document of the routes, as openapi.json. It names no custom type.
    ///
    /// A daemon serves it as /openapi.json.
    #[command(
        after_help = "Examples:\n  tidings codegen openapi --out docs\n  tidings codegen openapi --out docs --check"
    )]
    Openapi(Generate),
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

/// The names of the generated files.
const EVENTS: &str = "events.ts";
const PROTOCOL: &str = "protocol.ts";
const ASYNCAPI: &str = "asyncapi.json";
const OPENAPI: &str = "openapi.json";

impl Codegen {
    pub fn run(self) -> Result<(), Failure> {
        let TypeScript { mut generate, config } = match self {
            Self::TypeScript(typescript) => typescript,
            Self::Protocol(generate) => {
                let file = File { name: PROTOCOL.into(), text: typescript::protocol() };
                return generate.write_or_check(PROTOCOL, &[file]);
            }
            Self::Asyncapi(generate) => return document(&generate, ASYNCAPI, http::asyncapi::public),
            Self::Openapi(generate) => return document(&generate, OPENAPI, http::openapi::public),
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

/// Writes or checks a document that is made of a catalogue.
fn document(generate: &Generate, name: &str, made: impl Fn(&Catalog) -> Value) -> Result<(), Failure> {
    let text = format!("{:#}\n", made(&generate.catalog()?));
    generate.write_or_check(name, &[File { name: name.into(), text }])
}
