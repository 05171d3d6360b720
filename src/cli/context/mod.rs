//! `tidings context`: daemons by name, so that a command says `--context staging` instead of an address and a token file.
//!
//! A token itself is never stored, only the name of its file. `remote` asks [`chosen`] for the context of a command.

mod file;

use std::fs::File;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use serde_json::json;
use url::Url;

use super::failure::{Failure, say, say_warning};
use super::output::Output;
use super::program;
use crate::client::Client;
use crate::config::read_error;
use crate::flows;
pub use file::Context as Stored;
use file::Contexts;

/// Keep the addresses of daemons under names.
#[derive(Debug, Subcommand)]
pub enum Context {
    Add(Add),
    Use(Use),
    List(List),
    Remove(Remove),
}

/// Add a context, or replace it.
///
/// The first one becomes the current one.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings context add local http://127.0.0.1:7400\n  tidings context add prod https://bus-1.example,https://bus-2.example --token-file ~/.prod-token"
)]
pub struct Add {
    /// The name of the context: 1 to 64 letters, digits, `.`, `_` or `-`.
    #[arg(value_parser = name)]
    name: String,
    /// Address of the daemon. For several nodes of one bus, separate the addresses with commas.
    #[arg(value_delimiter = ',', required = true, value_hint = ValueHint::Url)]
    url: Vec<String>,
    /// File with the token or API key to authenticate with.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Certificates of the authorities to trust, in PEM form.
    #[arg(long = "cacert", alias = "ca", value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca: Option<PathBuf>,
    /// Take every certificate of the daemon, in each command that uses the context. An attacker on the way can read the
    /// token and the events, and change them.
    #[arg(long)]
    insecure_tls: bool,
    /// Certificate to show to a daemon that asks for one, in PEM form.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// Private key of the client's certificate, in PEM form.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "client_cert")]
    client_key: Option<PathBuf>,
}

/// Use this context in every command that names no daemon.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tidings context use prod\n  tidings context use --none")]
pub struct Use {
    /// The name of the context.
    #[arg(required_unless_present = "none")]
    name: Option<String>,
    /// Use none: commands talk to the daemon at its default address again.
    #[arg(long, conflicts_with = "name")]
    none: bool,
}

/// List the contexts; a star marks the current one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tidings context list\n  tidings context list --json")]
pub struct List {
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Remove a context. Its files stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tidings context remove staging")]
pub struct Remove {
    /// The name of the context.
    name: String,
}

/// A name that a shell and a file take as it is, as those of flows.
fn name(text: &str) -> Result<String, String> {
    match flows::name(text) {
        Ok(name) if !text.starts_with('-') => Ok(name.to_string()),
        _ => Err("expected 1 to 64 letters, digits, `.`, `_` or `-`, the first of them no `.` and no `-`".into()),
    }
}

/// Refuses an address with a password: the file of the contexts holds no secret, and `context list` shows it.
fn without_password(urls: &[String]) -> Result<(), Failure> {
    let parsed = urls.iter().filter_map(|url| Url::parse(url).ok());
    match parsed.into_iter().find(|url| !url.username().is_empty() || url.password().is_some()) {
        Some(url) => Err(format!(
            "the address of {} has a user name or password, which is not stored: leave it out, and give a token or API key with \
             --token-file FILE",
            url.host_str().unwrap_or_default()
        )
        .into()),
        None => Ok(()),
    }
}

impl Context {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run(),
            Self::Use(chosen) => chosen.run(),
            Self::List(list) => list.run(),
            Self::Remove(remove) => remove.run(),
        }
    }
}

impl Add {
    fn run(self) -> Result<(), Failure> {
        without_password(&self.url)?;
        Client::for_nodes(&self.url)?;
        let mut all = Contexts::load()?;
        let absolute = |file: Option<PathBuf>| file.map(std::path::absolute).transpose();
        let context = Stored {
            url: self.url,
            token_file: absolute(self.token_file)?,
            ca: absolute(self.ca)?,
            client_cert: absolute(self.client_cert)?,
            client_key: absolute(self.client_key)?,
            insecure_tls: self.insecure_tls,
        };
        warn_of_missing_files(&context);
        if context.insecure_tls {
            say_warning("--insecure-tls: commands with this context do not check who answers");
        }
        let is_new = all.contexts.insert(self.name.clone(), context).is_none();
        let is_current = *all.current.get_or_insert_with(|| self.name.clone()) == self.name;
        all.save()?;
        let done = if is_new { "added" } else { "replaced" };
        let program = program::called();
        say(&match is_current {
            true => format!("{done} {}; commands that name no daemon use it", self.name),
            false => format!("{done} {0}; `{program} context use {0}` makes it the current one", self.name),
        });
        Ok(())
    }
}

/// Warns of files that commands with this context could not read now. Another program may write them later.
fn warn_of_missing_files(context: &Stored) {
    for (flag, file) in [
        ("--token-file", &context.token_file),
        ("--cacert", &context.ca),
        ("--client-cert", &context.client_cert),
        ("--client-key", &context.client_key),
    ] {
        if let Some(file) = file
            && let Err(error) = File::open(file)
        {
            let error = read_error(&error);
            say_warning(&format!("{flag} {}: {error}; commands with this context need it", file.display()));
        }
    }
}

impl Use {
    fn run(self) -> Result<(), Failure> {
        let mut all = Contexts::load()?;
        if let Some(name) = &self.name {
            all.get(name)?;
        }
        all.current = self.name;
        Ok(all.save()?)
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let all = Contexts::load()?;
        let mut output = Output::new();
        let is_current = |name: &String| all.current.as_ref() == Some(name);
        if self.json {
            for (name, context) in &all.contexts {
                output.json(&json!({
                    "name": name, "current": is_current(name), "url": context.url, "tokenFile": context.token_file,
                    "ca": context.ca, "insecureTls": context.insecure_tls,
                    "clientCert": context.client_cert, "clientKey": context.client_key,
                }))?;
            }
        } else if all.contexts.is_empty() {
            say(&format!("there is no context yet: `{} context add NAME URL` makes one", program::called()));
        } else {
            let file =
                |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
            let row = |(name, context): (&String, &Stored)| {
                let mark = if is_current(name) { "*" } else { "" };
                vec![mark.to_owned(), name.clone(), context.url.join(","), file(&context.token_file)]
            };
            let rows: Vec<_> = all.contexts.iter().map(row).collect();
            output.table(&["", "CONTEXT", "URL", "TOKEN FILE"], &rows)?;
        }
        output.flush()
    }
}

impl Remove {
    fn run(self) -> Result<(), Failure> {
        let mut all = Contexts::load()?;
        all.get(&self.name)?;
        all.contexts.remove(&self.name);
        if all.current.as_ref() == Some(&self.name) {
            all.current = None;
            say("it was the current one: there is none now");
        }
        Ok(all.save()?)
    }
}

/// The names that the Tab key completes.
pub fn candidates() -> ArgValueCandidates {
    let names = || Contexts::load().map(|all| all.contexts.into_keys().collect::<Vec<_>>()).unwrap_or_default();
    ArgValueCandidates::new(move || names().into_iter().map(CompletionCandidate::new).collect())
}

/// The context of a command: the named one, or else the current one if there is one.
///
/// # Errors
/// A sentence, if there is no such context, or if the file cannot be read.
pub fn chosen(name: Option<&str>) -> Result<Option<Stored>, String> {
    let all = Contexts::load()?;
    match name.or(all.current.as_deref()) {
        Some(name) => all.get(name).cloned().map(Some),
        None => Ok(None),
    }
}

/// Whether commands without an address use a context.
pub fn has_current() -> bool {
    !matches!(chosen(None), Ok(None))
}
