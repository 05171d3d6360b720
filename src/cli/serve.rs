//! `tidings serve`: the daemon as a process: its configuration, its logs, its signals.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Failure, say};
use super::flags::ConfigFlags;
use super::output::{BOLD, DIM};
use super::remote;
use crate::config::{Config, LogFormat};
use crate::{schema, server, telemetry};

/// Run the daemon.
///
/// Each setting is a flag, a variable (--drain is TIDINGS_DRAIN) and a key of tidings.toml (drain).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings serve\n  tidings serve --broker redis://127.0.0.1:6379 --schemas types\n  TIDINGS_LISTEN=127.0.0.1:0 tidings serve --log-format json"
)]
pub struct Serve {
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Serve {
    pub async fn run(self) -> Result<(), Failure> {
        let loaded = self.flags.load()?;
        let config = loaded.config;
        telemetry::init(&config.log)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        // Before the address is taken: whoever sees it may send a signal at once.
        let signals = Signals::new()?;
        let catalog = schema::catalog(config.server.schemas.as_deref()).map_err(|error| error.to_string())?;
        let types = catalog.types().len();
        let server = server::bind(config.clone(), Arc::new(catalog)).await.map_err(|error| error.to_string())?;
        announce(&config, server.local_addr()?, types);
        server.run(signals.first()).await.map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// SIGXFSZ, on every system but Linux on MIPS.
const FILE_SIZE: i32 = 25;

/// What ends the daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        // A file that reaches the limit of its size (`ulimit -f`) is for whoever writes it to report: heard here, the
        // signal ends nothing.
        drop(signal(SignalKind::from_raw(FILE_SIZE))?);
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn one(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for the first signal, which begins the drain; a second one ends the process at once.
    async fn first(mut self) {
        let name = self.one().await;
        tracing::info!(signal = name, "told to stop; a second signal ends it at once");
        tokio::spawn(async move {
            let name = self.one().await;
            tracing::warn!(signal = name, "ended before the drain was over");
            std::process::exit(1);
        });
    }
}

/// Says where the daemon is and what it is: as a log line, and on top of it for people as a banner.
fn announce(config: &Config, address: SocketAddr, types: usize) {
    let url = format!("http://{address}");
    let broker = &config.broker.broker;
    let node = &config.server.node_id;
    let [tail, curl] = to_try(&url);
    match config.log.format {
        LogFormat::Json => {
            tracing::info!(%url, %broker, auth = "none", node, types, tail, curl, "listening");
        }
        LogFormat::Pretty => {
            let kept = if *broker == crate::config::BrokerUrl::Memory {
                " (in this process; nothing survives it)"
            } else {
                ""
            };
            say(&format!("\n  {BOLD}tidings {}{BOLD:#}  {url}", env!("CARGO_PKG_VERSION")));
            say(&format!("  {DIM}broker{DIM:#}  {broker}{kept}"));
            say(&format!("  {DIM}auth{DIM:#}    none: whoever reaches this address can publish and subscribe"));
            say(&format!("  {DIM}try{DIM:#}     {tail}\n          {curl}\n"));
            tracing::info!(%url, node, types, "listening");
        }
    }
}

/// Commands that show an event passing through the daemon at `url`.
fn to_try(url: &str) -> [String; 2] {
    const EVENT: &str =
        r#"{"type":"inventory-change","data":{"productId":"123","oldQuantity":100,"newQuantity":95,"reason":"sale"}}"#;
    // The default of --url is not repeated.
    let named = if url == remote::DEFAULT { String::new() } else { format!(" --url {url}") };
    [
        format!("tidings tail inventory-change{named}"),
        format!("curl -H 'content-type: application/json' {url}/v1/events -d '{EVENT}'"),
    ]
}
