//! The files of the certificate: commands that trust them or do not, their renewal and their end, client certificates.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, version};
use serde_json::Value;

use super::{Secure, frame, get, is_served};
use crate::support::certificates::{Authority, Certificate};
use crate::support::daemon::{self, Daemon, Running};
use crate::support::events::sale;
use crate::support::tls::{VERSIONS, client_config, connect};
use crate::support::until;

/// The commands, too, with the variable `TIDINGS_CA`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_trust_the_authority_that_they_are_given() {
    let secure = Secure::start(&[]);
    let ca = secure.authority.cacert();
    let refused = secure.daemon.run(&["channels"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("UnknownIssuer"), "{refused:?}");
    assert!(refused.err.contains("--cacert FILE") && !refused.err.contains("Is a daemon running"), "{refused:?}");
    for flag in ["--cacert", "--ca"] {
        let listed = secure.daemon.run(&["channels", flag, &ca]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
    }
    let data = r#"{"productId":"1","oldQuantity":1,"newQuantity":0,"reason":"sale"}"#;
    let mut publish = secure.daemon.command(&["publish", "inventory-change", "--data", data]);
    publish.env("TIDINGS_CA", &ca);
    let published = daemon::run(publish, "");
    assert_eq!(published.code, Some(0), "{published:?}");
    let missing = secure.daemon.run(&["channels", "--cacert", "no-such.pem"]);
    assert!(missing.err.contains("no-such.pem"), "{missing:?}");
}

/// Over HTTP and over the WebSocket, by the flag and by a context, and never in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_take_any_certificate_only_with_a_warning() {
    let secure = Secure::start(&[]);
    secure.publish(&sale("1")).await;
    let tail = ["tail", "inventory-change", "--since", "start", "--count", "1", "--format", "{subject}"];
    assert_eq!(secure.daemon.run(&tail).code, Some(1));
    let insecure = secure.daemon.run(&[&tail[..], &["--insecure-tls"]].concat());
    assert_eq!((insecure.code, &*insecure.out), (Some(0), "1\n"), "{insecure:?}");
    assert!(insecure.err.contains("warning: --insecure-tls") && insecure.err.contains("--cacert FILE"), "{insecure:?}");
    let here = |arguments: &[&str]| daemon::run(daemon::tidings(secure.daemon.folder.path(), arguments), "");
    let added = here(&["context", "add", "try", &secure.daemon.url, "--insecure-tls"]);
    assert!(added.code == Some(0) && added.err.contains("warning: --insecure-tls"), "{added:?}");
    let listed = here(&["channels"]);
    assert!(listed.code == Some(0) && listed.err.contains("warning: --insecure-tls"), "{listed:?}");
    let contexts = here(&["context", "list", "--json"]);
    assert!(contexts.out.contains("\"insecureTls\":true"), "{contexts:?}");
    // Without TLS, there is nothing to warn of.
    let plain = Daemon::start();
    let listed = plain.run(&["channels", "--insecure-tls"]);
    assert!(listed.code == Some(0) && listed.err.is_empty(), "{listed:?}");
}

/// Nobody else tells that clients refuse the node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_has_expired_or_ends_soon_is_a_warning_and_a_metric() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name).display().to_string());
    let use_one_for = |days: i64| {
        let pair = authority.certificate_for_days(&["localhost"], days);
        replace(&key, &pair.key);
        replace(&cert, &pair.cert);
    };
    use_one_for(-1);
    let flags = ["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let node = Running::start(daemon::tidings(folder.path(), &flags));
    let warned = node.said("the TLS certificate has expired");
    assert!(warned.contains("\"WARN\"") && warned.contains("tls.crt") && warned.contains("T00:00:00Z"), "{warned}");
    let listening: Value = serde_json::from_str(&node.said("\"listening\"")).unwrap();
    let address = listening["url"].as_str().unwrap().strip_prefix("https://").unwrap().parse().unwrap();

    use_one_for(10);
    node.said("the TLS certificate was renewed");
    let warned = node.said("the TLS certificate ends soon");
    assert!(warned.contains("\"days\":9") || warned.contains("\"days\":10"), "{warned}");
    let config = client_config(&authority.cacert(), &version::TLS13, None);
    let text = get(connect(address, config).await.unwrap(), "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix("tidings_tls_certificate_expiry_seconds "));
    let end = line.and_then(|line| line.parse::<i64>().ok()).unwrap_or_else(|| panic!("{text}"));
    let left = end - jiff::Timestamp::now().as_second();
    assert!((8 * 86_400..=10 * 86_400).contains(&left), "{left}");

    use_one_for(-3);
    node.said("the TLS certificate has expired");
    use_one_for(60);
    node.said("the TLS certificate was renewed");
    node.signal("TERM");
    let rest = node.ended();
    assert!(!rest.err.contains("the TLS certificate"), "{rest:?}");
}

/// The certificate that the daemon shows.
async fn shown(address: SocketAddr, config: ClientConfig) -> Option<CertificateDer<'static>> {
    let stream = connect(address, config).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?[0].clone().into_owned())
}

fn certificate_in(file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).unwrap()
}

fn replace(file: impl AsRef<Path>, with: &str) {
    std::fs::copy(with, file).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_files_are_used_and_a_pair_that_does_not_match_changes_nothing() {
    let authority = Authority::new();
    let [first, second, third] =
        ["localhost", "second", "third"].map(|name| authority.certificate(&[name, "localhost"]));
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name).display().to_string());
    replace(&cert, &first.cert);
    replace(&key, &first.key);
    let secure = Secure::with_files(&cert, &key, &[], authority);
    let shows = async |pair: &Certificate| {
        let expected = certificate_in(&pair.cert);
        until("the certificate is shown", async || {
            (shown(secure.address, secure.config()).await.as_ref() == Some(&expected)).then_some(())
        })
        .await;
    };
    shows(&first).await;
    let mut open = secure.subscriber(None).await;

    // In place.
    replace(&cert, &second.cert);
    replace(&key, &second.key);
    secure.daemon.process.said("the TLS certificate was renewed");
    shows(&second).await;

    // A key that does not belong to the certificate, then a file that is gone, then one that is empty.
    replace(&key, &third.key);
    let said = secure.daemon.process.said("the certificate stays as it was");
    assert!(said.contains("do not belong together") && said.contains("tls.crt"), "{said}");
    std::fs::remove_file(&cert).unwrap();
    let said = secure.daemon.process.said("the certificate stays as it was");
    assert!(said.contains("tls.crt") && said.contains("no such file"), "{said}");
    std::fs::write(&cert, "").unwrap();
    let said = secure.daemon.process.said("the certificate stays as it was");
    assert!(said.contains("no certificate"), "{said}");
    assert_eq!(shown(secure.address, secure.config()).await, Some(certificate_in(&second.cert)));
    assert_eq!(secure.metric("tidings_tls_reload_failures_total").await, 3.0);
    replace(&cert, &third.cert);
    shows(&third).await;

    // The connection of the first certificate was there all the time.
    secure.publish(&sale("1")).await;
    assert_eq!(frame(&mut open).await["type"], "event");
}

/// As Kubernetes changes a secret: the files are links into `..data`, which is a link that is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_renewed_by_a_link_to_another_folder() {
    let authority = Authority::new();
    let [first, second] = ["localhost", "second"].map(|name| authority.certificate(&[name, "localhost"]));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, pair) in [("..v1", &first), ("..v2", &second)] {
        std::fs::create_dir(at(version)).unwrap();
        replace(at(version).join("tls.crt"), &pair.cert);
        replace(at(version).join("tls.key"), &pair.key);
    }
    symlink("..v1", at("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| at(name).display().to_string());
    let secure = Secure::with_files(&cert, &key, &[], authority);
    assert_eq!(shown(secure.address, secure.config()).await, Some(certificate_in(&first.cert)));
    symlink("..v2", at("..data_tmp")).unwrap();
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    std::fs::remove_dir_all(at("..v1")).unwrap();
    until("the new certificate is shown", async || {
        (shown(secure.address, secure.config()).await == Some(certificate_in(&second.cert))).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_certificates_are_required_and_their_authority_can_change() {
    let [authority, clients, others] = [(); 3].map(|()| Authority::new());
    let server = authority.certificate(&["localhost", "127.0.0.1"]);
    let folder = tempfile::tempdir().unwrap();
    let client_ca = folder.path().join("clients.pem").display().to_string();
    replace(&client_ca, &clients.cacert());
    let [known, stranger] = [&clients, &others].map(|authority| authority.certificate(&["client"]));
    let secure = Secure::with_files(&server.cert, &server.key, &["--tls-client-ca", &client_ca], authority);
    let with = |version, identity| client_config(&secure.authority.cacert(), version, identity);
    for version in VERSIONS {
        assert!(is_served(secure.address, &with(version, Some(&known))).await);
        assert!(!is_served(secure.address, &with(version, None)).await);
        assert!(!is_served(secure.address, &with(version, Some(&stranger))).await);
    }
    // The commands can show a certificate, too.
    let flags = ["--ca", &secure.authority.cacert(), "--client-cert", &known.cert, "--client-key", &known.key];
    let listed = secure.daemon.run(&[&["channels"], &flags[..]].concat());
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let refused = secure.daemon.run(&["channels", "--ca", &secure.authority.cacert()]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.err.contains("give --client-cert and --client-key"), "{refused:?}");

    // A client that remembers sessions gets none to resume.
    let mut remembering = VERSIONS.map(|version| with(version, Some(&known)));
    for config in &mut remembering {
        config.resumption = Resumption::in_memory_sessions(16);
        for _ in 0..2 {
            let stream = connect(secure.address, config.clone()).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
            get(stream, "/healthz").await;
        }
    }
    replace(&client_ca, &others.cacert());
    until("the other authority counts", async || {
        is_served(secure.address, &with(&version::TLS13, Some(&stranger))).await.then_some(())
    })
    .await;
    for config in remembering {
        assert!(!is_served(secure.address, &config).await, "the first authority counts no more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_client_certificates_a_client_resumes_its_session() {
    let secure = Secure::start(&[]);
    for version in VERSIONS {
        let mut config = client_config(&secure.authority.cacert(), version, None);
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = connect(secure.address, config.clone()).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?}");
            get(stream, "/healthz").await;
        }
    }
}

#[test]
fn a_daemon_whose_files_cannot_be_used_does_not_start() {
    let authority = Authority::new();
    let [one, other] = ["one", "other"].map(|name| authority.certificate(&[name]));
    let folder = tempfile::tempdir().unwrap();
    for (flags, expected) in [
        (vec!["--tls-cert", &one.cert, "--tls-key", &other.key], "do not belong together"),
        (vec!["--tls-cert", "none.pem", "--tls-key", &one.key], "tls_cert (none.pem) cannot be read"),
        (vec!["--tls-cert", &one.cert], "tls_key"),
    ] {
        let arguments = [&["serve", "--listen", "127.0.0.1:0"], &flags[..]].concat();
        let ended = daemon::run(daemon::tidings(folder.path(), &arguments), "");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(expected), "{ended:?}");
    }
}
