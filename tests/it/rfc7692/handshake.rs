//! Negotiating permessage-deflate in the handshake (RFC 7692, sections 5 and 7.1): which offers the daemon accepts, and with
//! which parameters.

use super::node_with_compression;
use crate::support::each_broker::{TestBroker, over_each_broker_and_reader};
use crate::support::node::Node;
use crate::support::raw::{RawConnection, ResponseHead, handshake, handshake_headers};

over_each_broker_and_reader!(
    an_offer_is_accepted_without_context_takeover,
    an_offer_with_unsupported_parameters_is_declined,
    the_first_supported_offer_is_accepted,
    offers_may_span_several_header_lines,
    every_offer_is_declined_where_compression_is_disabled,
    a_malformed_extensions_header_is_refused,
);

/// The response to a handshake with these values of `Sec-WebSocket-Extensions`.
async fn handshake_response(node: &Node, values: &[&str]) -> ResponseHead {
    let lines: Vec<String> = values.iter().map(|value| format!("Sec-WebSocket-Extensions: {value}")).collect();
    let mut raw = RawConnection::connect(node).await;
    let lines: Vec<&str> = handshake_headers().into_iter().chain(lines.iter().map(String::as_str)).collect();
    raw.send(&handshake(&lines)).await;
    raw.head().await
}

/// The negotiated parameters, sorted; `None` where compression was declined.
async fn negotiated(node: &Node, values: &[&str]) -> Option<Vec<String>> {
    let head = handshake_response(node, values).await;
    assert_eq!(head.status, 101, "{values:?}");
    let [extension] = head.all("sec-websocket-extensions")[..] else {
        assert!(head.all("sec-websocket-extensions").is_empty(), "at most one header line: {head:?}");
        return None;
    };
    let mut parts = extension.split(';').map(|part| part.trim().to_owned());
    assert_eq!(parts.next().as_deref(), Some("permessage-deflate"), "{values:?}");
    let mut parameters: Vec<String> = parts.collect();
    parameters.sort();
    Some(parameters)
}

/// Neither side keeps its window from one message to the next.
const NO_CONTEXT_TAKEOVER: [&str; 2] = ["client_no_context_takeover", "server_no_context_takeover"];

async fn an_offer_is_accepted_without_context_takeover(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate ; client_no_context_takeover ; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits=\"15\"",
    ] {
        assert_eq!(negotiated(&node, &[offer]).await.unwrap(), NO_CONTEXT_TAKEOVER, "{offer}");
    }
    // The daemon's window fits these limits; a server that accepts such an offer must confirm the limit.
    for bits in 12..=15 {
        let own = negotiated(&node, &[&format!("permessage-deflate; server_max_window_bits={bits}")]).await.unwrap();
        assert_eq!(own, [NO_CONTEXT_TAKEOVER[0], &format!("server_max_window_bits={bits}"), NO_CONTEXT_TAKEOVER[1]]);
    }
}

async fn an_offer_with_unsupported_parameters_is_declined(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
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
        assert_eq!(negotiated(&node, &[offer]).await, None, "{offer}");
    }
}

async fn the_first_supported_offer_is_accepted(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let fallback = "permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=14, permessage-deflate";
    assert_eq!(negotiated(&node, &[fallback]).await.unwrap()[1], "server_max_window_bits=14");
    assert_eq!(
        negotiated(&node, &["x-a; b=c, permessage-deflate; x, permessage-deflate"]).await.unwrap(),
        NO_CONTEXT_TAKEOVER
    );
}

async fn offers_may_span_several_header_lines(broker: TestBroker) {
    let node = node_with_compression(&broker).await;
    let lines = ["x-unknown", "", "permessage-deflate; server_max_window_bits=8", "permessage-deflate"];
    assert_eq!(negotiated(&node, &lines).await.unwrap(), NO_CONTEXT_TAKEOVER);
}

async fn every_offer_is_declined_where_compression_is_disabled(broker: TestBroker) {
    let node = broker.node().await;
    assert_eq!(negotiated(&node, &["permessage-deflate; client_max_window_bits"]).await, None);
}

async fn a_malformed_extensions_header_is_refused(broker: TestBroker) {
    for node in [broker.node().await, node_with_compression(&broker).await] {
        for value in [
            "permessage-deflate;",
            "permessage-deflate; =1",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=\"15",
            "permessage-deflate; server_max_window_bits=\"1 5\"",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate, (x)",
        ] {
            let head = handshake_response(&node, &[value]).await;
            assert_eq!(head.status, 400, "{value}");
            assert_eq!(head.all("content-type"), ["application/problem+json"], "{value}");
        }
    }
}
