//! What `tidings config check --connect` and `tidings doctor` find out about the servers that a configuration names: that of the
//! broker, for the types as they are set, and those of the bridges.

use std::sync::Arc;

use super::FlowSettings;
use crate::auth;
use crate::broker;
use crate::broker::examination::{Finding, IdleNode, MoreCalls, calls_a_month};
use crate::bus::REVOCATIONS_INTERVAL;
use crate::config::{Config, TypeTables};
use crate::event::Catalog;
use crate::flows::IDLE_INTERVAL;

/// Connects to the servers. Publishes nothing but a probe. Without servers, there is nothing to find.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub async fn examine(config: &Config, catalog: &Arc<Catalog>) -> Result<Vec<Finding>, Vec<String>> {
    let mut settings = config.broker.clone();
    settings.types.extend(TypeTables::settings(config.types.as_ref(), catalog)?);
    let flows = FlowSettings::read(config, catalog)?;
    let idle = idle_node(config, catalog, &flows)?;
    let found = broker::examine(&settings, catalog, &idle).await.map_err(|error| vec![error])?;
    let mut findings = found.unwrap_or_default();
    findings.extend(flows.examine().await);
    Ok(findings)
}

/// What a node asks of its broker while nothing happens. No pulse delays what it asks of the store: another node takes a flow over
/// within 15 s, and a revocation holds within 2 s.
///
/// # Errors
/// The mistakes in the file of the setting `auth`.
fn idle_node(config: &Config, catalog: &Catalog, flows: &FlowSettings) -> Result<IdleNode, Vec<String>> {
    let mut more = Vec::new();
    let leases = flows.leases();
    if leases > 0 {
        let s = if leases == 1 { "" } else { "s" };
        let a_month = leases * calls_a_month(IDLE_INTERVAL);
        more.push(MoreCalls { purpose: format!("the lease{s} of {leases} flow{s}"), a_month });
    }
    let Some(file) = &config.auth.file else { return Ok(IdleNode { namespaces: 1, more }) };
    let own = &config.broker.namespace;
    let others = auth::check(file, catalog)?.namespaces.into_iter().filter(|name| name != own);
    let namespaces = 1 + others.count() as u64;
    let a_month = namespaces * calls_a_month(REVOCATIONS_INTERVAL);
    more.push(MoreCalls { purpose: "revoked credentials".into(), a_month });
    Ok(IdleNode { namespaces, more })
}
