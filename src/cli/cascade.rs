//! `tidings cascade`: what an event would invalidate, and the rules of the configuration. Needs no daemon.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use serde_json::value::RawValue;

use super::failure::{self, Failure, say, say_error, say_warning};
use super::flags::ConfigFlags;
use super::output::Output;
use crate::cascade::Cascades;
use crate::event::{Catalog, Defaults, Event, Json, MAX_MISTAKES};
use crate::schema;

/// Try the cascade rules of the configuration: which events invalidate what.
#[derive(Debug, Subcommand)]
pub enum Cascade {
    /// Print what an event would invalidate.
    ///
    /// Exits with 1 if the event or the configuration is not valid.
    #[command(
        after_help = "Examples:\n  tidings cascade test sale.json\n  echo '{\"type\":\"inventory-change\",\"data\":{…}}' | tidings cascade test - --config prod.toml --json"
    )]
    Test(Test),
    /// Print the rules.
    #[command(after_help = "Examples:\n  tidings cascade list\n  tidings cascade list --config prod.toml --json")]
    List(List),
}

#[derive(Debug, Args)]
pub struct Test {
    /// File with an event, or with an array of events; `-` reads stdin.
    #[arg(value_name = "EVENT.json", value_hint = ValueHint::FilePath)]
    event: PathBuf,
    /// Print only the events that would follow, one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ConfigFlags,
}

#[derive(Debug, Args)]
pub struct List {
    /// Print one JSON object per rule.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Cascade {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Test(test) => test.run(),
            Self::List(list) => list.run(),
        }
    }
}

/// The rules of a configuration, and the event types that they name.
fn rules(flags: &ConfigFlags) -> Result<(Cascades, Catalog), Failure> {
    let loaded = flags.load()?;
    let (catalog, warnings) = schema::catalog(loaded.config.server.schemas.as_deref()).map_err(failure::of_schemas)?;
    warnings.iter().for_each(|warning| say_warning(warning));
    let (cascades, warnings) = compiled(loaded.config.cascades.as_ref(), &catalog)?;
    warnings.iter().for_each(|warning| say_warning(warning));
    Ok((cascades, catalog))
}

/// The compiled rules. Writes every mistake to stderr.
pub fn compiled(
    tables: Option<&crate::config::CascadeTables>,
    catalog: &Catalog,
) -> Result<(Cascades, Vec<String>), Failure> {
    Cascades::compile(tables, catalog).map_err(|mistakes| {
        mistakes.iter().for_each(|mistake| say_error(mistake));
        Failure::Reported
    })
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let (cascades, _) = rules(&self.flags)?;
        let mut output = Output::new();
        if self.json {
            cascades.all().iter().try_for_each(|rule| output.json(&rule.shown()))?;
            return output.flush();
        }
        let mut rows = Vec::new();
        for rule in cascades.all() {
            for (index, (kind, template)) in rule.invalidates().enumerate() {
                let first = |text: &str| if index == 0 { text.to_owned() } else { String::new() };
                let condition = rule.condition().unwrap_or("-");
                rows.push(vec![first(&rule.place), first(&rule.on), first(condition), kind.into(), template.into()]);
            }
        }
        if rows.is_empty() {
            say("the configuration has no [[cascade]]");
        } else {
            output.table(&["PLACE", "ON", "WHERE", "KIND", "INVALIDATES"], &rows)?;
        }
        output.flush()
    }
}

impl Test {
    fn run(self) -> Result<(), Failure> {
        let (cascades, catalog) = rules(&self.flags)?;
        let text = self.read()?;
        let document = Json::parse(&text).map_err(|error| format!("{}: {error}", self.event.display()))?;
        let (events, many) = match document {
            Json::Array(events) => (events, true),
            event => (vec![event], false),
        };
        let time = Defaults::now();
        let mut causes = Vec::new();
        for (index, event) in events.into_iter().enumerate() {
            let at = if many { format!("/{index}") } else { String::new() };
            causes.push(self.validated(event, &at, &catalog, &time)?);
        }
        let mut output = if self.json { Output::ndjson() } else { Output::new() };
        for cause in &causes {
            let effect = cascades.effect(cause, &catalog, &time).unwrap_or_default();
            if self.json {
                if let Some(event) = &effect.event {
                    // An event is JSON.
                    output.json(&serde_json::from_str::<&RawValue>(&event.json).unwrap_or(RawValue::NULL))?;
                }
                continue;
            }
            for rule in &effect.matched {
                output.line(&format!("{}: the rule for {} matches {}", rule.place, rule.on, cause.id))?;
            }
            for (rule, template, why) in &effect.left_out {
                output.line(&format!("left out: {template} of cascade[{rule}]: {why}"))?;
            }
            match &effect.event {
                Some(event) => output.line(&event.json)?,
                None => output.line(&format!("nothing follows from {}", cause.id))?,
            }
        }
        output.flush()
    }

    fn read(&self) -> Result<String, Failure> {
        let mut text = String::new();
        let read = match self.event.as_os_str() == "-" {
            true => std::io::stdin().read_to_string(&mut text).map(drop),
            false => std::fs::read_to_string(&self.event).map(|read| text = read),
        };
        read.map_err(|error| format!("cannot read {}: {}", self.event.display(), crate::config::read_error(&error)))?;
        Ok(text)
    }

    fn validated(&self, event: Json<'_>, at: &str, catalog: &Catalog, time: &str) -> Result<Event, Failure> {
        let defaults = Defaults { source: "anonymous", time };
        catalog.validate(event, at, MAX_MISTAKES, defaults).map_err(|refusal| {
            let file = self.event.display();
            if let Some(unknown) = &refusal.unknown_type {
                let known = catalog.types().iter().map(|known| &*known.name);
                let known = crate::suggest::Known::new("event types", known);
                let text = format!("{file}: {at}/type: there is no event type {}", crate::suggest::quoted(unknown));
                say_error(&known.refuse(&text, unknown));
            }
            for mistake in &refusal.mistakes {
                say_error(&format!("{file}: {}: {}", mistake.pointer, mistake.message));
            }
            Failure::Reported
        })
    }
}
