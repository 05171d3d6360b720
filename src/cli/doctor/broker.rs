//! What a broker's servers have and lack: version, persistence, eviction, rights. The checks are those of `config check --connect`.

use std::path::Path;
use std::sync::Arc;

use super::super::flags::ConfigFlags;
use super::finding::Finding;
use crate::broker::examination;
use crate::{schema, server};

const CHECK: &str = "broker";

/// Who looks at the broker, where this command cannot.
pub fn left_out() -> Finding {
    let message =
        "not looked at: --config FILE on the daemon's machine checks version, persistence, eviction and rights";
    Finding::skipped(CHECK, message)
}

/// Looks at the broker that a daemon with this configuration file uses.
pub async fn check(file: &Path) -> Vec<Finding> {
    let configured = |message: String| vec![Finding::problem("config", message, "`tidings config check` says more")];
    let loaded = match ConfigFlags::of_file(file.to_owned()).read() {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(mistakes)) => return configured(mistakes.0.join("; ")),
        Err(error) => return configured(error.to_string()),
    };
    let catalog = match schema::catalog(loaded.config.server.schemas.as_deref()) {
        Ok((catalog, _)) => Arc::new(catalog),
        Err(errors) => return configured(errors.to_string()),
    };
    match server::examine(&loaded.config, &catalog).await {
        Ok(found) if found.is_empty() => {
            vec![Finding::ok(CHECK, format!("{} is in the daemon's process", loaded.config.broker.broker))]
        }
        Ok(found) => found.into_iter().map(finding).collect(),
        Err(mistakes) => configured(mistakes.join("; ")),
    }
}

fn finding(found: examination::Finding) -> Finding {
    let examination::Finding { name, found, verdict } = found;
    match verdict {
        examination::Verdict::Good => Finding::ok(name, found),
        examination::Verdict::Worse(advice) => Finding::warning(name, found, advice),
        examination::Verdict::Fails => {
            let fix = match (found.contains("no connection"), name) {
                (true, "bridge") => {
                    "check `redis` in the table of the bridge, and that the server runs and this machine reaches it"
                }
                (true, _) => {
                    "check `broker` in the configuration, and that the server runs and this machine reaches it"
                }
                (false, _) => "give the user what docs/redis.md lists, or check that the server runs at this address",
            };
            Finding::problem(name, found, fix)
        }
    }
}
