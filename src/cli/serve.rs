//! `tidings serve`: runs the daemon as a process: configuration, log, signals and the startup banner.
//!
//! The daemon itself is in `server.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use tokio::sync::oneshot;

use super::context;
use super::failure::{self, Failure, say};
use super::flags::ConfigFlags;
use super::output::{BOLD, DIM};
use super::program;
use super::reload::Reload;
use super::remote;
use super::signals::{Asked, Signals};
use crate::config::{Config, LogFormat};
use crate::event::Catalog;
use crate::server::ServerError;
use crate::{schema, server, telemetry};

/// Run the daemon.
///
/// Each setting is a flag (--drain), an environment variable (TIDINGS_DRAIN) and a key of tidings.toml (drain).
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
        let config = loaded.config.clone();
        let log_level = telemetry::init(&config.log)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        // Handle signals before the daemon listens: a supervisor may send one as soon as the port is open.
        let signals = Signals::new()?;
        let (catalog, warnings) = schema::catalog(config.server.schemas.as_deref()).map_err(failure::of_schemas)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let types = catalog.types().len();
        if let Some(folder) = config.server.schemas.as_deref().filter(|_| types == Catalog::builtin().types().len()) {
            tracing::warn!(folder = %folder.display(), "the schemas folder has no file NAME{}", schema::EXTENSION);
        }
        let server = server::bind(config.clone(), Arc::new(catalog)).await.map_err(describe)?;
        announce(&config, server.local_addr()?, types);
        if let Some(address) = server.admin_addr() {
            tracing::info!(url = %format!("http://{address}"), "listening for the operator");
        }
        let Asked { shutdown, drain_now } = signals.handle(Reload { flags: self.flags, running: loaded, log_level });
        // A task that sends no more sends no signal either.
        let received = async |asked: oneshot::Receiver<()>| {
            if asked.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        server.run(received(shutdown), received(drain_now)).await.map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// The error as a sentence that says what to do, where that is known.
fn describe(error: ServerError) -> String {
    match &error {
        ServerError::Listen { error: cause, .. } if cause.kind() == io::ErrorKind::AddrInUse => {
            format!(
                "{error}\nIt may be another `tidings serve`; `ss -ltnp` shows the process. Stop it, or choose another port, \
                 as in --listen 127.0.0.1:7401; --listen 127.0.0.1:0 takes a free one."
            )
        }
        _ => error.to_string(),
    }
}

/// Reports the address and the main settings: as a log line and, on a terminal, as a banner.
fn announce(config: &Config, address: SocketAddr, types: usize) {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}");
    let broker = &config.broker.broker;
    let node = &config.server.node_id;
    let [tail, curl] = example_commands(&url, context::has_current(), config);
    let auth = config.auth.file.as_ref().map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    match config.log.format {
        LogFormat::Json => {
            tracing::info!(%url, %broker, auth, node, types, tail, curl, "listening");
        }
        LogFormat::Pretty => {
            let durability = if *broker == crate::config::BrokerUrl::Memory {
                " (in this process; events are lost when it ends)"
            } else {
                ""
            };
            say(&format!("\n  {BOLD}tidings {}{BOLD:#}  {url}", env!("CARGO_PKG_VERSION")));
            say(&format!("  {DIM}broker{DIM:#}  {broker}{durability}"));
            let open = ": anyone who can reach this address can publish and subscribe";
            let open = if config.auth.file.is_none() { open } else { "" };
            say(&format!("  {DIM}auth{DIM:#}    {auth}{open}"));
            say(&format!("  {DIM}try{DIM:#}     {tail}\n          {curl}\n"));
            tracing::info!(%url, node, types, "listening");
        }
    }
}

/// Commands to try the daemon at `url` with: one subscribes, one publishes. Both name the files that TLS and
/// authentication need: the authority of the daemon's certificate, a client's certificate and a token.
fn example_commands(url: &str, has_context: bool, config: &Config) -> [String; 2] {
    const EVENT: &str =
        r#"{"type":"inventory-change","data":{"productId":"123","oldQuantity":100,"newQuantity":95,"reason":"sale"}}"#;
    let mut tail = format!("{} tail inventory-change", program::called());
    let mut curl = "curl".to_owned();
    // With a context, a command without an address would go to another daemon.
    if url != remote::DEFAULT_URL || has_context {
        tail += &format!(" --url {url}");
    }
    if let Some(tls) = &config.tls {
        tail += " --cacert CA.pem";
        curl += " --cacert CA.pem";
        if tls.client_ca.is_some() {
            tail += " --client-cert CLIENT.pem --client-key CLIENT.key";
            curl += " --cert CLIENT.pem --key CLIENT.key";
        }
    }
    if config.auth.file.is_some() {
        tail += " --token-file me.token";
        curl += " -H \"authorization: Bearer $(cat me.token)\"";
    }
    [tail, format!("{curl} -H 'content-type: application/json' {url}/v1/events -d '{EVENT}'")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    #[test]
    fn the_examples_have_what_tls_and_authentication_need() {
        let examples = |url: &str, flags: &[(&'static str, &str)]| {
            let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            let loaded = config::load(Sources { flags, ..Sources::default() }).unwrap();
            example_commands(url, false, &loaded.config)
        };
        let [tail, curl] = examples(remote::DEFAULT_URL, &[]);
        assert!(tail.ends_with(" tail inventory-change"), "{tail}");
        assert!(
            curl.starts_with("curl -H 'content-type: application/json' http://127.0.0.1:7400/v1/events -d '{"),
            "{curl}"
        );
        let tls = [("tls_cert", "a.pem"), ("tls_key", "a.key"), ("tls_client_ca", "c.pem"), ("auth", "auth.toml")];
        let [tail, curl] = examples("https://127.0.0.1:1", &tls);
        let flags = " --url https://127.0.0.1:1 --cacert CA.pem --client-cert CLIENT.pem --client-key CLIENT.key --token-file me.token";
        assert!(tail.ends_with(flags), "{tail}");
        let flags =
            r#"curl --cacert CA.pem --cert CLIENT.pem --key CLIENT.key -H "authorization: Bearer $(cat me.token)" -H "#;
        assert!(curl.starts_with(flags), "{curl}");
    }
}
