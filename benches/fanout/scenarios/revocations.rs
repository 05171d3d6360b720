//! Revocations: 10,000 at once, of the tokens of as many connections to three nodes that share a Redis.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::json;
use tidings::load::Publisher;
use tokio::task::JoinSet;

use super::{CaseFigures, Measure, Scenario, Step, access, only_case};
use crate::audience::Audience;
use crate::events::CHANNEL;
use crate::issuer::Issuer;
use crate::results::{Figures, Results, sample_key};
use crate::systems::{Running, System, TIDINGS_REDIS};
use crate::table::{Column, Table};

pub const REVOCATIONS: &str = "revocations";

/// From the first request to the last answer.
const ANSWERED: &str = "seconds to the last answer";
/// From the first request to the end of the last connection.
pub const CLOSED: &str = "seconds to the last close";

const NODES: usize = 3;
const CONNECTIONS: usize = 10_000;
/// The connections over which the revocations are sent.
const LANES: usize = 1_000;
/// How long the last connection may take to end.
const TIMEOUT: Duration = Duration::from_secs(20);

pub fn revocations() -> Scenario {
    Scenario {
        name: REVOCATIONS,
        about: "10,000 tokens revoked at once, with their connections at three nodes",
        rounds: usize::MAX,
        steps: vec![Step::new(TIDINGS_REDIS, Revoked)],
        tables: |results| vec![table(results)],
    }
}

fn table(results: &Results) -> Table {
    let columns = [Column::seconds("last answer after", ANSWERED), Column::seconds("last close after", CLOSED)];
    let rows = [("10,000 at once".to_owned(), sample_key(REVOCATIONS, "", TIDINGS_REDIS.name))];
    Table::new("Revocations, three nodes on one Redis", "", &columns).rows(results, rows)
}

struct Revoked;

#[async_trait]
impl Measure for Revoked {
    fn files(&self) -> usize {
        CONNECTIONS + LANES
    }

    fn prepare(&self, system: System, folder: &Path) -> io::Result<System> {
        Ok(access::with_auth(system, &Issuer::new()?.trusted_in(folder)?))
    }

    async fn measure(&self, server: Running) -> io::Result<Vec<CaseFigures>> {
        let issuer = Issuer::new()?;
        let mut nodes = vec![server];
        while nodes.len() < NODES {
            let folder = tempfile::tempdir()?;
            let auth = issuer.trusted_in(folder.path())?;
            let port = nodes[0].redis.as_ref().map_or(0, |redis| redis.port);
            nodes.push(access::with_auth(TIDINGS_REDIS, &auth).start_at(folder, port)?.map_err(io::Error::other)?);
        }
        let mut audiences = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let users = (0..CONNECTIONS).filter(|user| user % NODES == at);
            let dialect = |user| Ok(access::subscriber(Some(issuer.token(&name(user), &json!(CHANNEL))?), None));
            let dialects = users.map(dialect).collect::<io::Result<Vec<_>>>()?;
            audiences.push(Audience::open_as(node, dialects.len(), |number| dialects[number].clone()).await?);
        }
        let begun = Instant::now();
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let address = nodes[lane % NODES].address;
            lanes.spawn(async move {
                let mut publisher = Publisher::connect(address, "/v1/revocations").await?;
                for user in (0..CONNECTIONS).filter(|user| user % LANES == lane) {
                    publisher.publish(json!({ "jti": name(user) }).to_string()).await?;
                }
                io::Result::Ok(())
            });
        }
        while let Some(done) = lanes.join_next().await {
            done.map_err(io::Error::other)??;
        }
        let answered = Instant::now();
        while audiences.iter().map(|audience| audience.shared.ended()).sum::<u64>() < CONNECTIONS as u64 {
            if answered.elapsed() > TIMEOUT {
                return Err(io::Error::other(format!("connections are open {} s later", TIMEOUT.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        only_case(Figures::from([
            (ANSWERED.to_owned(), (answered - begun).as_secs_f64()),
            (CLOSED.to_owned(), begun.elapsed().as_secs_f64()),
        ]))
    }
}

fn name(user: usize) -> String {
    format!("u{user}")
}
