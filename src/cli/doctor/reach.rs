//! From a daemon's name to an open connection: resolution, TCP, TLS and its certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::super::failure::MISSING_CLIENT_CERTIFICATE;
use super::super::output::human;
use super::finding::Finding;
use crate::client::Client;
use crate::transport::{Remaining, days_between, end_of};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects, and looks at the certificate of an `https:` address.
pub async fn check(node: &Client) -> Vec<Finding> {
    const CHECK: &str = "address";
    let url = node.base_url();
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let bare = host.trim_matches(['[', ']']);
    let addresses: Vec<SocketAddr> = match timeout(TIMEOUT, lookup_host((bare, port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) => {
            let fix = "check the spelling, and the DNS or the hosts file of this machine";
            return vec![Finding::problem(CHECK, format!("the name {host} has no address"), fix)];
        }
        Err(_) => {
            let fix = "check that this machine reaches its DNS server";
            return vec![Finding::problem(CHECK, format!("the DNS did not answer for {host} within 5 s"), fix)];
        }
    };
    let begun = Instant::now();
    let stream = match timeout(TIMEOUT, TcpStream::connect(&*addresses)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let fix = "start a daemon there, or give its address with --url; `listen` in its configuration must not be a loopback address for other machines";
            return vec![Finding::problem(CHECK, format!("no connection to {host}:{port}: {error}"), fix)];
        }
        Err(_) => {
            let fix =
                "a firewall or a security group drops the packets, or the machine is down: allow TCP to this port";
            return vec![Finding::problem(CHECK, format!("{host}:{port} did not answer within 5 s"), fix)];
        }
    };
    let took = human(begun.elapsed());
    let address = stream.peer_addr().map_or_else(|_| host.to_owned(), |address| address.to_string());
    let mut findings = vec![Finding::ok(CHECK, format!("{address} connects in {took}"))];
    if url.scheme() == "https" {
        findings.push(tls(node, bare, stream).await);
    } else if addresses.iter().any(|address| !address.ip().is_loopback()) && node.has_token() {
        let fix = "use https:// (docs/deployment.md says how), or a network that nobody else can read";
        findings.push(Finding::warning("tls", "the token goes over the network unencrypted", fix));
    }
    findings
}

/// The handshake, and for how long the certificate is valid.
async fn tls(node: &Client, host: &str, stream: TcpStream) -> Finding {
    const CHECK: &str = "tls";
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        return Finding::problem(
            CHECK,
            format!("{host} is no name that a certificate can have"),
            "use a DNS name or an IP address",
        );
    };
    let connecting = TlsConnector::from(Arc::clone(node.tls_config())).connect(name, stream);
    let stream = match timeout(TIMEOUT, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            let inner = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            let why = inner.and_then(outside_its_time).unwrap_or_else(|| error.to_string());
            return Finding::problem(CHECK, format!("the TLS handshake failed: {why}"), tls_fix(inner));
        }
        Err(_) => {
            let fix = "check that this port speaks TLS: an http:// address may be what is meant";
            return Finding::problem(CHECK, "the TLS handshake took longer than 5 s", fix);
        }
    };
    if node.takes_any_certificate() {
        let fix = "leave out --insecure-tls, and give the authority's certificate with --cacert FILE";
        return Finding::warning(
            CHECK,
            "the certificate is not checked: an attacker on the way could show one of their own",
            fix,
        );
    }
    let end = stream.get_ref().1.peer_certificates().and_then(|chain| end_of(chain.first()?));
    let Some(end) = end else { return Finding::ok(CHECK, "the certificate is valid") };
    let now = Timestamp::now();
    let days = days_between(now, end);
    match Remaining::at(now, end) {
        Remaining::Enough => Finding::ok(CHECK, format!("the certificate is valid for {days} more days, until {end}")),
        _ => Finding::warning(
            CHECK,
            format!("the certificate ends in {days} days, at {end}"),
            "renew it; the daemon reads tls_cert and tls_key again by itself",
        ),
    }
}

/// That a certificate is used before or after its time, with dates in place of the seconds that rustls has.
fn outside_its_time(error: &rustls::Error) -> Option<String> {
    let date = |time: &UnixTime| Timestamp::from_second(time.as_secs().try_into().ok()?).ok();
    match error {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            Some(format!("the certificate has expired at {}", date(not_after)?))
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            Some(format!("the certificate is valid from {} on", date(not_before)?))
        }
        _ => None,
    }
}

fn tls_fix(error: Option<&rustls::Error>) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match error {
        Some(InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "give the authority's certificate with --cacert FILE, or add it to those of this system"
        }
        Some(InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "renew the certificate; if it is new, the clock of this machine is wrong"
        }
        Some(InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })) => {
            "set the clock of this machine"
        }
        Some(InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "use a name that the certificate has, or add this one to its subject alternative names",
        Some(AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure)) => {
            MISSING_CLIENT_CERTIFICATE
        }
        Some(InvalidMessage(_)) => "this port speaks no TLS: use an http:// address, or the port with TLS",
        _ => "check tls_cert and tls_key of the daemon, and what stands in between",
    }
}
