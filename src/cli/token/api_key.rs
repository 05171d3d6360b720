//! `tidings token api-key`: makes an API key, and the table for `auth.toml`.

use clap::{Args, ValueHint};

use super::grants::{GrantFlags, to_toml};
use crate::auth;
use crate::cli::failure::{Failure, say};
use crate::cli::output::{DIM, Output};
use crate::event::Json;

/// The maximum length of a name, in bytes.
const MAX_NAME: usize = 128;

/// Make an API key, for a program that runs for long.
///
/// Prints the key on stdout, once: it is kept nowhere. The table for auth.toml goes to stderr. It has a hash of the key only.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings token api-key --name shop-backend --publish inventory-change,order-status > shop.key\n  tidings token api-key --name dashboard --subscribe '*' --admin nodes"
)]
pub struct ApiKey {
    /// The name of the program. It becomes the `source` of events that name none, and no other publisher may give it.
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    name: String,
    /// The namespace of the key [default: that of the daemon].
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    namespace: Option<String>,
    #[command(flatten)]
    grants: GrantFlags,
}

impl ApiKey {
    pub fn run(self) -> Result<(), Failure> {
        // As auth.toml takes it: refused there, the key would be lost.
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-._~:/@+".contains(letter);
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.chars().all(is_letter) {
            return Err(format!(
                "--name is the `source` of the program's events: 1 to {MAX_NAME} letters (A-Z, a-z), digits and - . _ ~ : / @ +"
            )
            .into());
        }
        let catalog = self.grants.catalog()?;
        let grants = to_toml(&self.grants.to_json(&catalog)?)?;
        let namespace = self.namespace.map(|name| format!("namespace = {}\n", Json::from(name))).unwrap_or_default();
        let auth::ApiKey { text, table, id } = auth::ApiKey::generate(&self.name)?;
        let text = zeroize::Zeroizing::new(text);
        let mut output = Output::new();
        output.line(&text)?;
        output.flush()?;
        say(&format!("{DIM}put this into auth.toml; `tidings token revoke --key {id}` ends it at once:{DIM:#}"));
        say(&format!("{table}{namespace}{grants}"));
        Ok(())
    }
}
