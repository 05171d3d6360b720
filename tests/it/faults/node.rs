//! One node of the harness: its configuration, and how it is started.

use super::bridge::Bridge;
use super::ledger::CHANNELS;
use super::webhook::Webhook;
use crate::support::clock::Clock;
use crate::support::daemon::Daemon;
use crate::webhooks::receiver::folder;

/// Options for starting the nodes.
#[derive(Default, Clone, Copy)]
pub struct StartOptions<'a> {
    pub flags: &'a [&'a str],
    /// The wall clock of the nodes.
    pub clock: Option<&'a Clock>,
    /// Clients that lose their node continue at another.
    pub fails_over: bool,
}

/// The tables of each node: a webhook, bridges, and types that keep the newest event of each subject
/// for longer than a clock is stepped.
pub fn tables(webhook: &Webhook, bridge: &Bridge) -> String {
    let types = CHANNELS.map(|channel| format!("[types.{channel}]\nlatest = \"7d\"\n")).concat();
    [webhook.tables(), bridge.tables(), types].concat()
}

/// Starts one node with these tables in its configuration.
pub fn start(number: usize, listen: &str, broker: &str, tables: &str, options: StartOptions<'_>) -> Daemon {
    let id = format!("node-{number}");
    let given = ["--listen", listen, "--broker", broker, "--node-id", &id];
    let heartbeat: &[&str] = if options.flags.contains(&"--heartbeat") { &[] } else { &["--heartbeat", "5s"] };
    let flags = [&given, heartbeat, options.flags].concat();
    Daemon::starting(&flags, folder(tables), |command| {
        if let Some(clock) = options.clock {
            command.envs(clock.environment());
        }
    })
}
