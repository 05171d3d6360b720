//! Fuzz target: what Redis answers, itself or by the REST interface, and what others publish there. Whoever can write to Redis decides what it says.

use std::sync::Arc;

use fred::types::Value;

use super::announcements::announced_text;
use super::commands::Sending;
use super::errors::from_reply;
use super::heads::head;
use super::latest::read_latest;
use super::log_fingerprint::LogFingerprint;
use super::nodes::heard;
use super::nonces::Nonce;
use super::reads::{PageReply, read_moment};
use super::rest;
use crate::broker::MAX_ANNOUNCEMENT_BYTES;

/// Replies, with an empty line between two. The first line of each says what it is the reply to; each other line is an
/// element of it. One log is read: so the node's fingerprint of it grows with each page.
pub fn redis_replies(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let fingerprint = LogFingerprint::new(8, Arc::default());
    for (attempt, reply) in (1..).zip(text.split("\n\n")) {
        let (kind, rest) = reply.split_once('\n').unwrap_or((reply, ""));
        let elements = || Value::Array(rest.split('\n').map(Value::from).collect());
        match kind {
            "page" => {
                let Ok(PageReply { page, first, common, nonces }) = PageReply::read(elements()) else { continue };
                fingerprint.record(attempt, &page.bounds.head(), Nonce::parse_each(first, &nonces));
                fingerprint.survived(&page.bounds.epoch, &page.bounds.epoch, common);
                assert!(page.entries.iter().zip(first..).all(|(entry, offset)| entry.offset == offset));
                assert!(page.bounds.gap_after(&page.bounds.start()).is_none());
                // Two numbers, and a nonce of eight characters for each event that is remembered.
                let argument = fingerprint.argument(Sending { connection: 1, all_nonces: true });
                assert!(argument.len() < 1024, "{argument}");
            }
            "moment" => {
                let Ok(located) = read_moment(elements()) else { continue };
                fingerprint.record(attempt, &located.bounds.head(), None);
                assert!(located.bounds.gap_after(&located.bounds.start()).is_none());
            }
            "head" => {
                if let Some(position) = head(elements()) {
                    assert_eq!(position.to_string().parse(), Ok(position));
                }
            }
            "latest" => {
                let Ok(page) = read_latest(elements()) else { continue };
                assert!(page.entries.is_sorted_by(|one, next| one.offset < next.offset));
            }
            "node" => drop(heard(&rest.into(), 1_795_255_200_000)),
            "announcement" => {
                let text = announced_text(rest.as_bytes());
                assert!(text.is_none_or(|text| text.len() <= MAX_ANNOUNCEMENT_BYTES));
            }
            "answer" => rest::fuzz::answer(rest.as_bytes()),
            "stream" => rest::fuzz::stream(rest.as_bytes()),
            "error" => assert!(!from_reply(rest).to_string().is_empty() || rest.is_empty()),
            _ => {}
        }
    }
}
