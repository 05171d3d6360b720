//! The list over a store that loses its values, refuses them, or is shared.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::access::{NamespaceId, TokenIdentity};
use crate::broker;
use crate::config::{BrokerConfig, BrokerUrl, BusMessage, FileSync};
use crate::event::Catalog;

fn store() -> Arc<dyn Backend> {
    let hour = Duration::from_secs(3600);
    let config = BrokerConfig {
        broker: BrokerUrl::Memory,
        file_sync: FileSync::Os,
        pulse: hour,
        bus_message: BusMessage::Event,
        prefix: "tidings:".into(),
        namespace: "default".into(),
        log_max_events: 10,
        log_max_age: hour,
        latest_max_subjects: 100_000,
        types: std::collections::BTreeMap::new(),
        dedup_window: hour,
    };
    broker::open(&config, &Arc::new(Catalog::builtin())).unwrap().0
}

fn node(backend: &Arc<dyn Backend>) -> Revocations {
    Revocations::new(backend.clone(), || Duration::from_secs(3600))
}

fn token(id: &str) -> Principal {
    let identity = TokenIdentity { issuer: "i".into(), subject: None, id: Some(id.into()), issued: None };
    let (identity, namespace) = (Identity::Token(identity), NamespaceId::FIRST);
    Principal { identity, namespace, grants: Arc::default(), expires: None }
}

fn jti(id: &str) -> Revocation {
    Revocation::Jti(id.into())
}

/// The entries in the store.
async fn entries(list: &Revocations) -> Vec<Entry> {
    let names = list.read().await.unwrap();
    let segments = list.segments(&names).await.unwrap().unwrap();
    segments.iter().flat_map(|(_, entries)| entries.iter().cloned()).collect()
}

#[tokio::test]
async fn nodes_write_again_what_the_store_has_lost() {
    let backend = store();
    let (one, two, late) = (node(&backend), node(&backend), node(&backend));
    one.add(jti("a")).await.unwrap();
    one.add(Revocation::Key("k".into())).await.unwrap();
    two.read().await.unwrap();
    let names = backend.store().get(NAMES).await.unwrap().unwrap();
    assert!(backend.store().compare_and_set(NAMES, Some(&names), None).await.unwrap());
    for list in [&one, &two] {
        list.read().await.unwrap();
        assert_eq!(list.covers(&token("a")), Ok(true), "a node forgets nothing that it has read");
    }
    one.restore().await.unwrap();
    two.restore().await.unwrap();
    assert_eq!(entries(&late).await.len(), 2, "it is written once");
    assert_eq!(late.covers(&token("a")), Ok(true));
    assert!(one.known.read().unwrap().lost.is_empty());
    // An entry that is over is not lost.
    one.add(jti("b")).await.unwrap();
    assert_eq!(entries(&two).await.len(), 3);
}

#[tokio::test]
async fn a_revocation_that_was_answered_with_an_error_waits_no_longer() {
    let backend = store();
    let list = node(&backend);
    backend.close().await;
    let calls = (0..100).map(|number| list.add(jti(&number.to_string())));
    for result in futures_util::future::join_all(calls).await {
        let problem = not_stored(result.unwrap_err());
        assert_eq!(problem.code, ErrorCode::BrokerUnavailable);
        assert!(problem.detail.contains("may still be accepted"), "{}", problem.detail);
    }
    assert!(list.lock().is_empty());
}

#[tokio::test]
async fn a_revocation_is_kept_for_as_long_as_tokens_are_valid_when_it_is_made() {
    let backend = store();
    let seconds = Arc::new(AtomicU64::new(60));
    let of = seconds.clone();
    let list = Revocations::new(backend, move || Duration::from_secs(of.load(Ordering::Relaxed)));
    list.add(jti("a")).await.unwrap();
    seconds.store(100_000, Ordering::Relaxed);
    list.add(jti("b")).await.unwrap();
    let kept: Vec<i64> = entries(&list).await.iter().map(|entry| entry.1.unwrap() - now()).collect();
    assert!((50..=61).contains(&kept[0]) && kept[1] > 99_000, "{kept:?}");
}
