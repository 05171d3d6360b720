//! The offer and its answer (RFC 7692, sections 5 and 7.1).

use super::compressing;
use crate::support::each_broker::{TestBroker, over_each_broker};
use crate::support::node::Node;
use crate::support::raw::{Head, Raw, upgrade, usual};

over_each_broker!(
    an_offer_is_answered_with_what_the_daemon_asks_in_return,
    an_offer_that_cannot_be_served_is_declined,
    the_first_offer_that_can_be_served_is_taken,
    offers_may_come_in_several_lines,
    nothing_is_agreed_where_compression_is_off,
    a_malformed_header_is_refused,
);

/// The answer to a handshake with these values of the header.
async fn answer(node: &Node, values: &[&str]) -> Head {
    let lines: Vec<String> = values.iter().map(|value| format!("Sec-WebSocket-Extensions: {value}")).collect();
    let mut raw = Raw::connect(node.address).await;
    let lines: Vec<&str> = usual().into_iter().chain(lines.iter().map(String::as_str)).collect();
    raw.send(&upgrade(&lines)).await;
    raw.head().await
}

/// What was agreed: the parameters, sorted. `None` where nothing was.
async fn agreed(node: &Node, values: &[&str]) -> Option<Vec<String>> {
    let head = answer(node, values).await;
    assert_eq!(head.status, 101, "{values:?}");
    let [extension] = head.all("sec-websocket-extensions")[..] else {
        assert!(head.all("sec-websocket-extensions").is_empty(), "one line at most: {head:?}");
        return None;
    };
    let mut parts = extension.split(';').map(|part| part.trim().to_owned());
    assert_eq!(parts.next().as_deref(), Some("permessage-deflate"), "{values:?}");
    let mut parameters: Vec<String> = parts.collect();
    parameters.sort();
    Some(parameters)
}

/// Neither side remembers a message.
const ALONE: [&str; 2] = ["client_no_context_takeover", "server_no_context_takeover"];

async fn an_offer_is_answered_with_what_the_daemon_asks_in_return(broker: TestBroker) {
    let node = compressing(&broker).await;
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate ; client_no_context_takeover ; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits=\"15\"",
    ] {
        assert_eq!(agreed(&node, &[offer]).await.unwrap(), ALONE, "{offer}");
    }
    // Our window is small enough for these; a server that accepts must say how large it is at most.
    for bits in 12..=15 {
        let own = agreed(&node, &[&format!("permessage-deflate; server_max_window_bits={bits}")]).await.unwrap();
        assert_eq!(own, [ALONE[0], &format!("server_max_window_bits={bits}"), ALONE[1]]);
    }
}

async fn an_offer_that_cannot_be_served_is_declined(broker: TestBroker) {
    let node = compressing(&broker).await;
    for offer in [
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=012",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; x-unknown",
        "permessage-deflate-2",
        "x-webkit-deflate-frame",
    ] {
        assert_eq!(agreed(&node, &[offer]).await, None, "{offer}");
    }
}

async fn the_first_offer_that_can_be_served_is_taken(broker: TestBroker) {
    let node = compressing(&broker).await;
    let fallback = "permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=14, permessage-deflate";
    assert_eq!(agreed(&node, &[fallback]).await.unwrap()[1], "server_max_window_bits=14");
    assert_eq!(agreed(&node, &["x-a; b=c, permessage-deflate; x, permessage-deflate"]).await.unwrap(), ALONE);
}

async fn offers_may_come_in_several_lines(broker: TestBroker) {
    let node = compressing(&broker).await;
    let lines = ["x-unknown", "", "permessage-deflate; server_max_window_bits=8", "permessage-deflate"];
    assert_eq!(agreed(&node, &lines).await.unwrap(), ALONE);
}

async fn nothing_is_agreed_where_compression_is_off(broker: TestBroker) {
    let node = broker.node().await;
    assert_eq!(agreed(&node, &["permessage-deflate; client_max_window_bits"]).await, None);
}

async fn a_malformed_header_is_refused(broker: TestBroker) {
    for node in [broker.node().await, compressing(&broker).await] {
        for value in [
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"15",
            "permessage-deflate; server_max_window_bits=\"1 5\"",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate, (x)",
        ] {
            let head = answer(&node, &[value]).await;
            assert_eq!(head.status, 400, "{value}");
            assert_eq!(head.all("content-type"), ["application/problem+json"], "{value}");
        }
    }
}
