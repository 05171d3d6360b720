//! Finds out what a server lacks, for `tidings config check --connect`.
//!
//! It opens the backend and sends a probe, as a node does. So whether the bus works is tried, and not deduced from a version.
//! What the server says of itself, by `INFO` and `CONFIG GET`, only explains more. A user need not have these rights.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::types::Value;
use tokio::time::Instant;

use super::rest::REFUSED_TOKEN;
use super::routes::Routes;
use super::server::Server;
use super::transport::{CallError, Transport};
use super::{CALL_TIMEOUT, Redis};
use crate::broker::BrokerError;
use crate::broker::examination::{Finding, IdleNode, MoreCalls, Verdict, calls_a_month, with_commas};
use crate::broker::nodes;

/// How long to try to connect: a server that is found by Sentinel or in a cluster takes several round trips.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts.
const RETRY: Duration = Duration::from_millis(200);

/// One probe in so many also checks the rights; see [`probe`](super::probe).
const RIGHTS_INTERVAL: u32 = 16;

impl Redis {
    /// What the servers have and lack, and what an idle node costs.
    pub async fn examine(&self, idle: &IdleNode) -> Vec<Finding> {
        let round_trip = self.round_trip().await;
        // A server that refuses the login says nothing of itself.
        let is_let_in = round_trip.verdict == Verdict::Good || login_advice(&round_trip.found).is_none();
        let mut findings = vec![round_trip];
        for server in self.servers().into_iter().filter(|_| is_let_in) {
            let found = match server.connection().await {
                Ok(connection) => examine(&*connection.transport).await,
                // The round trip has said why.
                Err(_) => Vec::new(),
            };
            let new: Vec<_> = found.into_iter().filter(|finding| !findings.contains(finding)).collect();
            findings.extend(new);
        }
        if !self.clustered() && findings.len() > 1 {
            findings.push(match self.probe.is_sharded() {
                true => Finding::good("sharded pub/sub", "yes"),
                false => Finding::worse(
                    "sharded pub/sub",
                    "no",
                    "the probe goes through plain channels that begin with internal:, which the user must be allowed to use",
                ),
            });
        }
        findings.push(self.idle_node(idle));
        findings
    }

    /// Sends a probe until one comes back.
    async fn round_trip(&self) -> Finding {
        let deadline = Instant::now() + PATIENCE;
        for number in 1.. {
            let sent = Instant::now();
            match self.probe.send(number, None).await {
                Ok(()) => {
                    let took = sent.elapsed().as_secs_f64() * 1000.0;
                    return Finding::good("round trip", format!("{took:.1} ms, with every right that it needs"));
                }
                Err(error @ BrokerError::Rejected(_)) => {
                    let cause = error.to_string();
                    let advice = login_advice(&cause).unwrap_or(
                        "give the user what docs/redis.md lists, or check that the server runs at this address",
                    );
                    return Finding::fails("round trip", cause, advice);
                }
                Err(error) if Instant::now() > deadline => {
                    let advice =
                        "check `broker` in the configuration, and that the server runs and this machine reaches it";
                    return Finding::fails("round trip", error.to_string(), advice);
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
        unreachable!("the numbers do not end")
    }

    /// The servers, each once.
    fn servers(&self) -> Vec<Arc<Server>> {
        let mut servers: Vec<Arc<Server>> = Vec::new();
        for server in self.commands.routes().servers() {
            if !servers.iter().any(|known| Arc::ptr_eq(known, server)) {
                servers.push(server.clone());
            }
        }
        servers
    }

    fn clustered(&self) -> bool {
        !matches!(&*self.commands.routes(), Routes::Single(_))
    }

    /// The calls of an idle node, as docs/redis.md lists them.
    fn idle_node(&self, IdleNode { namespaces, more }: &IdleNode) -> Finding {
        let pulse = self.pulse.interval;
        let probed = calls_a_month(pulse) + calls_a_month(pulse * RIGHTS_INTERVAL);
        let heartbeats = calls_a_month(nodes::heartbeat(pulse));
        let masters = self.servers().len() as u64;
        // In a cluster, each master also checks its subscriptions, and one node is asked for the slots by two calls.
        let calls = match self.clustered() {
            false => probed + heartbeats,
            true => masters * (probed + calls_a_month(pulse)) + 2 * calls_a_month(pulse) + heartbeats,
        };
        let all = namespaces * calls + more.iter().map(|more| more.a_month).sum::<u64>();
        let of = if *namespaces > 1 { format!(" in {namespaces} namespaces") } else { String::new() };
        let mut found = format!("{} calls a month{of}, with broker_pulse = {pulse:?}", with_commas(all));
        for MoreCalls { purpose, a_month } in more {
            found.push_str(&format!("; {} of these are for {purpose}", with_commas(*a_month)));
        }
        Finding::good("idle node", found)
    }
}

/// What to change if the server lets nobody in with what the URL of the broker has.
fn login_advice(cause: &str) -> Option<&'static str> {
    let says = |texts: &[&str]| texts.iter().any(|text| cause.contains(text));
    if says(&[REFUSED_TOKEN]) {
        Some("check the token in `broker`")
    } else if says(&["WRONGPASS", "NOAUTH", "without any password configured"]) {
        Some("check the user and the password in `broker`")
    } else if says(&["DB index is out of range"]) {
        Some("check the number of the database in `broker`")
    } else {
        None
    }
}

async fn examine(transport: &dyn Transport) -> Vec<Finding> {
    let mut findings = vec![match transport.protocol() {
        "RESP2" => Finding::worse(
            "protocol",
            "RESP2",
            "the server refuses HELLO 3; with RESP3, a replica and a lost subscription are found sooner",
        ),
        other => Finding::good("protocol", other),
    }];
    let info = match within(transport.call(("INFO", Vec::new()))).await {
        Ok(info) => info.as_str().map(|text| facts(&text)).unwrap_or_default(),
        Err(_) => HashMap::new(),
    };
    findings.push(version(&info));
    let setting = async |name: &'static str| {
        let reply = within(transport.call(("CONFIG", vec!["GET".into(), name.into()]))).await.ok()?;
        match reply {
            Value::Array(pair) => pair.get(1)?.as_string(),
            Value::Map(map) => map.iter().next()?.1.as_string(),
            _ => None,
        }
    };
    let policy = match info.get("maxmemory_policy") {
        Some(policy) => Some(policy.clone()),
        None => setting("maxmemory-policy").await,
    };
    findings.push(eviction(policy.as_deref()));
    findings.push(persistence(info.get("aof_enabled").map(String::as_str), setting("save").await.as_deref()));
    findings
}

async fn within(call: impl Future<Output = Result<Value, CallError>>) -> Result<Value, CallError> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(super::commands::timed_out().into()))
}

/// The `NAME:VALUE` lines of INFO.
fn facts(info: &str) -> HashMap<String, String> {
    let pairs = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn version(info: &HashMap<String, String>) -> Finding {
    const KINDS: [(&str, &str); 4] = [
        ("valkey_version", "Valkey"),
        ("dragonfly_version", "Dragonfly"),
        ("kvrocks_version", "Kvrocks"),
        ("redis_version", "Redis"),
    ];
    let known = KINDS.into_iter().find_map(|(field, kind)| Some((kind, info.get(field)?)));
    let Some((kind, version)) = known else {
        return Finding::good("server", "not known: the user may not run INFO, or the server has no version");
    };
    let found = format!("{kind} {version}");
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (kind, numbers.next(), numbers.next()) {
        ("Redis", Some(major), Some(minor)) if (major, minor) < (6, 2) => {
            Finding::worse("server", found, "tidings is tested with Redis 6.2 or newer: update the server")
        }
        _ => Finding::good("server", found),
    }
}

fn eviction(policy: Option<&str>) -> Finding {
    match policy {
        None => Finding::good("eviction", "not known: the user may run neither INFO nor CONFIG GET"),
        Some("noeviction") => Finding::good("eviction", "noeviction"),
        Some(policy) if policy.starts_with("volatile") => Finding::worse(
            "eviction",
            policy,
            "full memory forgets ids of the deduplication window early: set maxmemory-policy noeviction",
        ),
        Some(policy) => {
            Finding::worse("eviction", policy, "full memory deletes whole logs: set maxmemory-policy noeviction")
        }
    }
}

fn persistence(append_only: Option<&str>, snapshots: Option<&str>) -> Finding {
    match (append_only, snapshots) {
        (None, _) => Finding::good("persistence", "not known: the user may not run INFO"),
        (Some("0"), Some("")) => {
            Finding::worse("persistence", "none", "a restart of the server loses every event: set appendonly yes")
        }
        (Some("0"), _) => Finding::worse(
            "persistence",
            "snapshots at most",
            "a restart of the server loses what came after the last one: set appendonly yes",
        ),
        (Some(_), _) => Finding::good("persistence", "append-only file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::examination::Verdict;

    fn is_good(finding: &Finding) -> bool {
        finding.verdict == Verdict::Good
    }

    #[test]
    fn a_server_is_known_by_its_own_version() {
        for (info, found, good) in [
            ("redis_version:7.0.15\r\n", "Redis 7.0.15", true),
            ("redis_version:6.0.16\r\n", "Redis 6.0.16", false),
            ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.8\r\n", "Valkey 8.1.8", true),
            ("redis_version:7.0.0\r\nkvrocks_version:2.8.0\r\n", "Kvrocks 2.8.0", true),
            ("# Server\r\n", "not known: the user may not run INFO, or the server has no version", true),
        ] {
            let finding = version(&facts(info));
            assert_eq!((finding.found.as_str(), is_good(&finding)), (found, good), "{info}");
        }
    }

    #[test]
    fn eviction_and_lost_restarts_are_named() {
        for (policy, good) in
            [(Some("noeviction"), true), (Some("volatile-lru"), false), (Some("allkeys-lru"), false), (None, true)]
        {
            assert_eq!(is_good(&eviction(policy)), good, "{policy:?}");
        }
        for (append_only, snapshots, good) in [
            (Some("1"), None, true),
            (Some("0"), Some(""), false),
            (Some("0"), Some("3600 1"), false),
            (None, None, true),
        ] {
            assert_eq!(is_good(&persistence(append_only, snapshots)), good, "{append_only:?} {snapshots:?}");
        }
    }
}
