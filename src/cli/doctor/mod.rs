//! `tidings doctor`: looks at everything between here and a daemon, and says what is wrong and what to do.
//!
//! It only asks: no event is published, nothing is changed. Each check is a function that returns [`Finding`]s: `reach` from
//! the name to the TLS certificate, `daemon` what the daemon says of itself, `streams` what happens to connections that stay,
//! `broker` what its broker's servers have and lack.

mod broker;
mod daemon;
mod finding;
mod reach;
mod streams;

use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use serde::Serialize;

use super::failure::{Failure, say};
use super::output::{BOLD, DIM, Output, human};
use super::remote::Remote;
use crate::client::Client;
use crate::config::{self, Config};
use crate::network::OriginPattern;
use finding::{Finding, Level};

/// Find out what is wrong between here and a daemon.
///
/// Checks the address, TLS, the token, the clock, readiness, the limit on connections, the other nodes, and whether WebSockets
/// and event streams come through whatever stands in between. With --config, also what the broker's servers have and lack:
/// version, persistence, eviction, rights. Publishes nothing. Exit code 1 if there is a warning or a problem.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tidings doctor\n  tidings doctor --url https://bus.example --origin https://shop.example\n  tidings doctor --idle 70s --json\n  tidings doctor --config /etc/tidings/tidings.toml"
)]
pub struct Doctor {
    /// Check that pages of this origin may use the daemon, such as `https://shop.example`.
    #[arg(long, value_name = "ORIGIN", value_hint = ValueHint::Url, value_parser = origin)]
    origin: Option<String>,
    /// Keep a WebSocket and an event stream open for this long, and see whether something in between closes them or holds
    /// their heartbeats back. More than a minute finds most proxies' limits.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    idle: Option<Duration>,
    /// Configuration file of the daemon, on a machine that reaches its broker: checks the broker, too, as `tidings config check
    /// --connect` does. Without --url and --context, the daemon is the one at its `listen`. The environment counts as for the
    /// daemon.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration_or_zero(text).map_err(|expected| format!("expected {expected}"))
}

/// One origin, as a browser writes it.
fn origin(text: &str) -> Result<String, String> {
    if OriginPattern::parse(text).is_some() && !text.contains('*') {
        return Ok(text.to_owned());
    }
    let is_origin = |text: &str| OriginPattern::parse(text).is_some() && !text.contains('*');
    let (with_scheme, without_slash) = (format!("https://{text}"), text.trim_end_matches('/'));
    let hint = match text {
        _ if text.contains('*') => ": one origin, not a pattern for several".into(),
        _ if is_origin(without_slash) => format!(": write {without_slash}, without the slash"),
        _ if text.contains('.') && is_origin(&with_scheme) => format!(": write {with_scheme}"),
        _ => String::new(),
    };
    Err(format!("expected SCHEME://HOST or SCHEME://HOST:PORT, such as https://shop.example{hint}"))
}

/// The address at which a daemon with this configuration is reached from its own machine.
fn address_of(config: &Config) -> Result<String, Failure> {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let listen = config.server.listen;
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    match listen.port() {
        0 => {
            Err(format!("the configuration lets the daemon choose its port ({listen}): give its address with --url")
                .into())
        }
        port => Ok(format!("{scheme}://{}", SocketAddr::new(ip, port))),
    }
}

/// What findings are about.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum About<'a> {
    /// A daemon, at this address.
    Url(&'a str),
    /// The broker of this configuration file.
    Config(&'a str),
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    about: About<'a>,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// Shows findings as they come.
struct Report {
    output: Output,
    json: bool,
    troubles: usize,
}

impl Report {
    /// Begins with what is looked at.
    fn begin(&mut self, name: &str) -> Result<(), Failure> {
        match self.json {
            true => Ok(()),
            false => self.output.line(&format!("{BOLD}{name}{BOLD:#}")),
        }
    }

    fn add(&mut self, about: About<'_>, findings: &[Finding]) -> Result<(), Failure> {
        let names = Finding::names(findings);
        for finding in findings {
            self.troubles += usize::from(finding.is_trouble());
            match self.json {
                true => self.output.json(&Line { about, finding })?,
                false => finding.print(&mut self.output, names)?,
            }
        }
        self.output.flush()
    }
}

impl Doctor {
    pub async fn run(self) -> Result<(), Failure> {
        let configured = self.config.as_deref().map(broker::configuration);
        let at_broker = match &configured {
            Some(Ok(config)) => broker::check(config).await,
            Some(Err(finding)) => vec![finding.clone()],
            None => Vec::new(),
        };
        let client = match &configured {
            Some(Ok(config)) if !self.remote.names_a_daemon() => Some(self.remote.client_at(address_of(config)?)?),
            // Which daemon is meant cannot be read.
            Some(Err(_)) if !self.remote.names_a_daemon() => None,
            _ => Some(self.remote.client()?),
        };
        let output = if self.json { Output::ndjson() } else { Output::new() };
        let mut report = Report { output, json: self.json, troubles: 0 };
        for node in client.iter().flat_map(Client::each_node) {
            self.examine(&node, &at_broker, &mut report).await?;
        }
        if let Some(file) = &self.config {
            let name = file.display().to_string();
            report.begin(&name)?;
            report.add(About::Config(&name), &at_broker)?;
        }
        if report.troubles > 0 {
            if !self.json {
                let s = if report.troubles == 1 { "" } else { "s" };
                report.output.line(&format!("{} finding{s}: see the lines that begin with fix", report.troubles))?;
                report.output.flush()?;
            }
            return Err(Failure::Reported);
        }
        Ok(())
    }

    /// The checks of one node. A check that cannot work without an earlier one is left out.
    async fn examine(&self, node: &Client, at_broker: &[Finding], report: &mut Report) -> Result<(), Failure> {
        let shown = node.shown_url();
        report.begin(&shown)?;
        let url = About::Url(&shown);
        let works = |findings: &[Finding]| findings.iter().all(|finding| finding.level != Level::Problem);
        let reached = reach::check(node).await;
        report.add(url, &reached)?;
        if !works(&reached) {
            return Ok(());
        }
        let alive = daemon::alive(node).await;
        report.add(url, &alive)?;
        if !works(&alive) {
            return Ok(());
        }
        let broker_fails = !works(at_broker);
        report.add(url, &[daemon::ready(node, broker_fails).await])?;
        if self.config.is_none() {
            report.add(url, &[broker::left_out()])?;
        }
        if let Some(origin) = &self.origin {
            report.add(url, &daemon::origin(node, origin).await)?;
        }
        let (channel, access) = daemon::access(node).await;
        report.add(url, &access)?;
        if !works(&access) {
            return Ok(());
        }
        report.add(url, &[daemon::limit(node).await])?;
        report.add(url, &daemon::nodes(node).await)?;
        let Some(channel) = channel else { return Ok(()) };
        report.add(url, &streams::open(node, &channel).await)?;
        if let Some(idle) = self.idle {
            if io::stderr().is_terminal() {
                let time = human(idle);
                say(&format!("{DIM}keeping a WebSocket and an event stream open for {time}; Ctrl-C ends it{DIM:#}"));
            }
            report.add(url, &streams::idle(node, &channel, idle).await)?;
        }
        Ok(())
    }
}
