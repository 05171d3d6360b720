//! `tidings config`: shows the effective configuration with the source of each value, or checks it.

use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;

use super::config_check::{self, Checked};
use super::failure::{Failure, say, say_error, say_warning};
use super::flags::ConfigFlags;
use super::output::Output;
use crate::broker::examination::{Finding, Verdict};
use crate::config::{Config, ShownMember};
use crate::event::Catalog;
use crate::server;

/// Show or check the configuration of the daemon.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the effective configuration, and where each value comes from.
    ///
    /// The order of precedence is: flags, environment variables, tidings.toml, defaults. The members of the file's tables follow,
    /// such as those of [audit] and [[webhook]]. Secrets are not shown.
    #[command(
        after_help = "Examples:\n  tidings config show\n  TIDINGS_DRAIN=30s tidings config show --config prod.toml --json\n  tidings config show --defaults > tidings.toml"
    )]
    Show {
        /// Print one JSON object per line, with `name`, `value` and `from`.
        #[arg(long)]
        json: bool,
        /// Print the default configuration file with its comments, as a start for a tidings.toml.
        #[arg(long, conflicts_with = "json")]
        defaults: bool,
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Check the configuration with its cascades and webhooks, and the custom event types and the access file that it refers to.
    ///
    /// Exits with 1 if something is wrong, and names the setting or the file. Connects to servers only with --connect.
    #[command(after_help = "Examples:\n  tidings config check\n  tidings config check --config prod.toml --connect")]
    Check {
        /// Connect to the broker, try a round trip, and print what its server lacks and the calls a month of an idle node. Connect
        /// to the Redis of each bridge, and print the rights that its user lacks.
        #[arg(long)]
        connect: bool,
        #[command(flatten)]
        flags: ConfigFlags,
    },
}

impl ConfigCommand {
    pub async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Show { defaults: true, .. } => {
                let mut output = Output::new();
                output.line(crate::config::DEFAULTS.trim_end())?;
                output.flush()
            }
            Self::Show { json, flags, .. } => show(flags, json),
            Self::Check { connect, flags } => {
                let (config, catalog) = check(&flags)?;
                if connect {
                    examine(&config, &catalog).await?;
                }
                say("the configuration is valid");
                Ok(())
            }
        }
    }
}

fn show(flags: ConfigFlags, as_json: bool) -> Result<(), Failure> {
    let loaded = flags.load()?;
    let mut output = Output::new();
    if as_json {
        for value in &loaded.values {
            output.json(&json!({ "name": value.name, "value": value.value, "from": value.source.to_string() }))?;
        }
        for ShownMember { name, value, source } in &loaded.tables {
            output.json(&json!({ "name": name, "value": value, "from": source.to_string() }))?;
        }
    } else {
        let row = |value: &crate::config::InForce| {
            let shown = value.value.clone().unwrap_or_else(|| "-".into());
            vec![value.name.to_owned(), shown, value.source.to_string()]
        };
        let member =
            |ShownMember { name, value, source }: &ShownMember| vec![name.clone(), value.clone(), source.to_string()];
        let rows = loaded.values.iter().map(row).chain(loaded.tables.iter().map(member));
        output.table(&["NAME", "VALUE", "FROM"], &rows.collect::<Vec<_>>())?;
    }
    output.flush()?;
    warn(&loaded.warnings);
    Ok(())
}

/// Checks the configuration. Writes every mistake to stderr, so that one run finds them all.
fn check(flags: &ConfigFlags) -> Result<(Config, Arc<Catalog>), Failure> {
    let loaded = flags.load()?;
    let Checked { warnings, outcome } = config_check::check(&loaded);
    warn(&warnings);
    match outcome {
        Ok(catalog) => Ok((loaded.config, catalog)),
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| say_error(mistake));
            Err(Failure::Reported)
        }
    }
}

/// Prints what the servers of the broker and of the bridges have and lack.
///
/// # Errors
/// No node would become ready, or a bridge would not work.
async fn examine(config: &Config, catalog: &Arc<Catalog>) -> Result<(), Failure> {
    let findings = server::examine(config, catalog).await.map_err(|mistakes| mistakes.join("; "))?;
    if findings.is_empty() {
        say(&format!("{} is in the daemon's process: there is nothing to connect to", config.broker.broker));
        return Ok(());
    }
    let row = |Finding { name, found, verdict }: &Finding| {
        let (verdict, advice) = match verdict {
            Verdict::Good => ("ok", ""),
            Verdict::Worse(advice) => ("warning", advice.as_str()),
            Verdict::Fails(advice) => ("fails", advice.as_str()),
        };
        vec![name.to_string(), verdict.to_owned(), found.clone(), advice.to_owned()]
    };
    let mut output = Output::new();
    output.table(&["CHECK", "RESULT", "FOUND", "WHAT IT MEANS"], &findings.iter().map(row).collect::<Vec<_>>())?;
    output.flush()?;
    match findings.iter().find(|finding| matches!(finding.verdict, Verdict::Fails(_))) {
        Some(Finding { name: "bridge", found, .. }) => Err(format!("a bridge would not work: {found}").into()),
        Some(finding) => Err(format!("broker: no node would become ready: {}", finding.found).into()),
        None => Ok(()),
    }
}

fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| say_warning(warning));
}
