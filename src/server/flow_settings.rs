//! The flows that the configuration names: read and checked before the node listens, made when it has its application layer.

use std::sync::Arc;

use crate::broker::examination::Finding;
use crate::bus::Bus;
use crate::config::{BRIDGE, Config, SINK};
use crate::event::Catalog;
#[cfg(feature = "redis")]
use crate::flows::bridge::{self, BridgeSettings};
use crate::flows::sink::{self, SinkSettings};
use crate::flows::{Flow, FlowId, audit, webhook};
use crate::metrics::Metrics;

/// The tables of flows, checked against the event types.
pub struct FlowSettings {
    #[cfg(feature = "redis")]
    bridges: Vec<BridgeSettings>,
    sinks: Vec<SinkSettings>,
    /// The webhooks. The wiring makes them, because operators work with them, too.
    pub webhooks: Vec<webhook::Settings>,
    /// What is suspicious about them, one sentence each.
    pub warnings: Vec<String>,
}

impl FlowSettings {
    /// Reads all tables, and looks at the place of the audit.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with its line.
    pub fn read(config: &Config, catalog: &Catalog) -> Result<Self, Vec<String>> {
        let bridges = bridges(config, catalog);
        let sinks = sink::read(config.flows.of(SINK), catalog);
        let webhooks = webhook::compile(&config.flows, catalog);
        // Without the directory of its audit, a node does not start.
        let audit = config.audit.as_ref().map_or(Ok(()), audit::check);
        match (bridges, sinks, webhooks, audit) {
            (Ok(bridges), Ok((sinks, mut warnings)), Ok((webhooks, more)), Ok(())) => {
                warnings.extend(more);
                #[cfg(not(feature = "redis"))]
                let () = bridges;
                Ok(Self {
                    #[cfg(feature = "redis")]
                    bridges,
                    sinks,
                    webhooks,
                    warnings,
                })
            }
            (bridges, sinks, webhooks, audit) => {
                let flows = [bridges.err(), sinks.err(), webhooks.err()].into_iter().flatten().flatten();
                Err(flows.chain(audit.err()).collect())
            }
        }
    }

    /// Which bridges and sinks they are.
    pub fn ids(&self) -> Vec<FlowId> {
        let id = |kind, name: &str| FlowId { kind, name: name.into() };
        #[cfg_attr(not(feature = "redis"), expect(unused_mut, reason = "there are no bridges"))]
        let mut ids: Vec<_> = self.sinks.iter().map(|sink| id(sink::KIND, &sink.name)).collect();
        #[cfg(feature = "redis")]
        ids.extend(self.bridges.iter().map(|bridge| id(bridge::KIND, &bridge.name)));
        ids
    }

    /// How many flows one node at a time runs.
    pub fn leases(&self) -> u64 {
        let leases = self.webhooks.len() + self.sinks.len();
        #[cfg(feature = "redis")]
        let leases = leases + self.bridges.iter().filter(|bridge| bridge.is_exclusive()).count();
        leases as u64
    }

    /// Connects to the Redis of each bridge, and finds out whether the user may do what the bridge does.
    pub async fn examine(&self) -> Vec<Finding> {
        #[cfg_attr(not(feature = "redis"), expect(unused_mut, reason = "there are no bridges"))]
        let mut findings = Vec::new();
        #[cfg(feature = "redis")]
        for settings in &self.bridges {
            findings.push(bridge::examine(settings).await);
        }
        findings
    }

    /// The flows of a node, but for the webhooks.
    pub fn flows(
        self,
        bus: &Arc<Bus>,
        catalog: &Arc<Catalog>,
        metrics: &Arc<Metrics>,
        #[cfg_attr(not(feature = "redis"), expect(unused, reason = "only bridges need it"))] config: &Config,
    ) -> Vec<Arc<dyn Flow>> {
        let sink = |settings| sink::flow(settings, bus.clone(), catalog.clone(), metrics.clone());
        #[cfg_attr(not(feature = "redis"), expect(unused_mut, reason = "there are no bridges"))]
        let mut flows: Vec<_> = self.sinks.into_iter().map(sink).collect();
        #[cfg(feature = "redis")]
        flows.extend(self.bridges.into_iter().map(|settings| {
            let (prefix, max_bytes) = (&config.broker.prefix, config.limits.max_event_bytes);
            bridge::flow(settings, bus.clone(), catalog.clone(), metrics.clone(), prefix, max_bytes)
        }));
        flows
    }
}

#[cfg(feature = "redis")]
fn bridges(config: &Config, catalog: &Catalog) -> Result<Vec<BridgeSettings>, Vec<String>> {
    bridge::read(config.flows.of(BRIDGE), &config.broker, catalog)
}

#[cfg(not(feature = "redis"))]
fn bridges(config: &Config, _: &Catalog) -> Result<(), Vec<String>> {
    match config.flows.of(BRIDGE) {
        None => Ok(()),
        Some(_) => Err(vec!["bridge: bridges need the Cargo feature `redis`, which this build lacks".into()]),
    }
}
