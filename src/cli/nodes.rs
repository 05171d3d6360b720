//! `tidings nodes`: lists the nodes that share a daemon's broker, as a table or as NDJSON.

use clap::Args;

use super::failure::Failure;
use super::output::{Output, thousands};
use super::remote::Remote;

/// List the nodes that share the daemon's broker: address, connections, last heartbeat and state of each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tidings nodes\n  tidings nodes --json | jq -r 'select(.state == \"lost\").id'")]
pub struct Nodes {
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

impl Nodes {
    pub async fn run(self) -> Result<(), Failure> {
        let nodes = self.remote.client()?.nodes().await?;
        let mut output = Output::new();
        if self.json {
            nodes.iter().try_for_each(|node| output.json(node))?;
        } else {
            let rows: Vec<_> = nodes
                .into_iter()
                .map(|node| {
                    vec![
                        node.id,
                        node.state,
                        node.address,
                        thousands(node.connections),
                        node.version,
                        node.started,
                        node.last_heartbeat,
                    ]
                })
                .collect();
            let head = ["NODE", "STATE", "ADDRESS", "CONNECTIONS", "VERSION", "STARTED", "LAST HEARTBEAT"];
            output.table(&head, &rows)?;
        }
        output.flush()
    }
}
