//! Everything that can be wrong with a configuration without connecting to a server: the broker's URL, the schemas, the access
//! file, and the tables of types, cascades and flows.
//!
//! `tidings config check` and the reload after SIGHUP share it, so that they find the same mistakes.

use std::sync::Arc;

use crate::cascade::Cascades;
use crate::config::{Loaded, TypeTables};
use crate::event::Catalog;
use crate::server::FlowSettings;
use crate::{auth, broker, schema};

/// What the check of a configuration found.
pub struct Checked {
    /// What is allowed and still suspicious, one sentence each.
    pub warnings: Vec<String>,
    /// The event types, or every mistake.
    pub outcome: Result<Arc<Catalog>, Vec<String>>,
}

/// Checks the files and tables that a configuration names. Connects to nothing and changes nothing.
pub fn check(loaded: &Loaded) -> Checked {
    let config = &loaded.config;
    let mut warnings = loaded.warnings.clone();
    let mut mistakes = Vec::new();
    if let Err(error) = broker::check(&config.broker.broker) {
        let source =
            loaded.values.iter().find(|value| value.name == "broker").map(|value| format!(" ({})", value.source));
        mistakes.push(format!("broker{}: {error}", source.unwrap_or_default()));
    }
    let catalog = match schema::catalog(config.server.schemas.as_deref()) {
        Ok((catalog, more)) => {
            warnings.extend(more);
            Arc::new(catalog)
        }
        Err(errors) => {
            mistakes.extend(errors.to_string().lines().map(str::to_owned));
            // Everything else names event types.
            return Checked { warnings, outcome: Err(mistakes) };
        }
    };
    let auth = config.auth.file.as_deref().map(|file| auth::check(file, &catalog)).transpose();
    let auth = auth.map(|summary| summary.map(|summary| summary.warnings).unwrap_or_default());
    let types = TypeTables::settings(config.types.as_ref(), &catalog).map(|_| Vec::new());
    let flows = FlowSettings::read(config, &catalog).map(|flows| flows.warnings);
    let cascades = Cascades::compile(config.cascades.as_ref(), &catalog).map(|(_, warnings)| warnings);
    for found in [auth, types, flows, cascades] {
        match found {
            Ok(more) => warnings.extend(more),
            Err(wrong) => mistakes.extend(wrong),
        }
    }
    let outcome = if mistakes.is_empty() { Ok(catalog) } else { Err(mistakes) };
    Checked { warnings, outcome }
}
