//! What a broker's servers have and lack: version, persistence, eviction, rights. The checks are those of `config check --connect`.

use std::path::Path;
use std::sync::Arc;

use super::super::flags::ConfigFlags;
use super::finding::Finding;
use crate::broker::examination;
use crate::config::Config;
use crate::{schema, server};

const CHECK: &str = "broker";

/// Who looks at the broker, where this command cannot.
pub fn left_out() -> Finding {
    let message =
        "not looked at: --config FILE on the daemon's machine checks version, persistence, eviction and rights";
    Finding::skipped(CHECK, message)
}

/// The configuration of a daemon with this file, or what is wrong with it.
pub fn configuration(file: &Path) -> Result<Config, Finding> {
    match ConfigFlags::of_file(file.to_owned()).read() {
        Ok(Ok(loaded)) => Ok(loaded.config),
        Ok(Err(mistakes)) => Err(configured(mistakes.0.join("; "))),
        Err(error) => Err(configured(error.to_string())),
    }
}

fn configured(message: String) -> Finding {
    let fix = "`tidings config check --config FILE` says more; if the daemon has flags such as --broker, give it the same, and give \
               them to this command as variables such as TIDINGS_BROKER";
    Finding::problem("config", message, fix)
}

/// Looks at the broker of this configuration.
pub async fn check(config: &Config) -> Vec<Finding> {
    let catalog = match schema::catalog(config.server.schemas.as_deref()) {
        Ok((catalog, _)) => Arc::new(catalog),
        Err(errors) => return vec![configured(errors.to_string())],
    };
    match server::examine(config, &catalog).await {
        Ok(found) if found.is_empty() => {
            vec![Finding::ok(CHECK, format!("{} is in the daemon's process", config.broker.broker))]
        }
        Ok(found) => found.into_iter().map(finding).collect(),
        Err(mistakes) => vec![configured(mistakes.join("; "))],
    }
}

fn finding(found: examination::Finding) -> Finding {
    let examination::Finding { name, found, verdict } = found;
    match verdict {
        examination::Verdict::Good => Finding::ok(name, found),
        examination::Verdict::Worse(advice) => Finding::warning(name, found, advice),
        examination::Verdict::Fails(advice) => Finding::problem(name, found, advice),
    }
}
