//! Tests of the daemon URLs that a client takes.

use super::*;
use crate::client::urls::{base, route};

#[test]
fn a_daemon_url_is_validated_and_secrets_are_redacted() {
    for (url, shown) in [
        ("http://127.0.0.1:7400", "http://127.0.0.1:7400/v1/ws"),
        ("http://h/bus?x#y", "http://h/bus/v1/ws"),
        ("http://h/bus/", "http://h/bus/v1/ws"),
    ] {
        assert_eq!(route(&base(url).unwrap(), &["v1", "ws"]).as_str(), shown);
    }
    assert!(matches!(Client::for_nodes::<&str>([]), Err(Error::Url(_))));
    for url in ["", "127.0.0.1:7400", "localhost:7400", "ftp://host", "http://"] {
        assert!(matches!(Client::new(url), Err(Error::Url(_))), "{url}");
    }
    for url in ["wss://user:secret@host", "ftp://user:se#secret@host", "user:secret@host:7400", "http://a:secret@h:x"] {
        let Err(Error::Url(message)) = Client::new(url) else { panic!("{url}") };
        assert!(!message.contains("secret") && message.contains("h"), "{message}");
    }
}
