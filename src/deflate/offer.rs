//! Chooses which of a client's offers of permessage-deflate is accepted (RFC 7692, sections 5.1 and 7.1).
//!
//! The WebSocket handshake calls it with the header lines of the request, and sends the answer back.

use std::fmt::Write;

use super::WINDOW_BITS;
use super::header::{Extension, Malformed, extensions};

/// The answer to the lines of `Sec-WebSocket-Extensions`: the first offer of permessage-deflate that can be served,
/// with the server's own parameters. `None` where there is no such offer.
///
/// # Errors
/// [`Malformed`]: one of the lines violates the grammar.
pub fn agree<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Option<String>, Malformed> {
    let mut agreed = None;
    // Lines after an accepted offer are parsed too: a malformed header is refused wherever the error is.
    for line in lines {
        for offer in extensions(line)? {
            agreed = agreed.or_else(|| accept(&offer));
        }
    }
    Ok(agreed)
}

/// The answer to an offer. `None` declines it: a parameter is unknown, repeated or has an invalid value.
fn accept(offer: &Extension) -> Option<String> {
    if offer.name != "permessage-deflate" {
        return None;
    }
    // The server may answer both without an offer of them (sections 7.1.1.1 and 7.1.1.2). With the first, all
    // connections share a compressed frame; with the second, the node keeps no window for each connection.
    let mut answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
    for (at, (name, value)) in offer.parameters.iter().enumerate() {
        if offer.parameters[..at].iter().any(|(before, _)| before == name) {
            return None;
        }
        match (name.as_str(), value.as_deref()) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            // The client may use a smaller window: the node inflates with the largest one.
            ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(value)) => {
                window_bits(value)?;
            }
            ("server_max_window_bits", Some(value)) => {
                let bits = window_bits(value).filter(|bits| *bits >= WINDOW_BITS)?;
                // The answer repeats the client's bound, though the compressor's is lower: some clients refuse any
                // other.
                let _ = write!(answer, "; server_max_window_bits={bits}");
            }
            _ => return None,
        }
    }
    Some(answer)
}

/// Parses a number from 8 to 15 without leading zeros.
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse::<u8>().ok().filter(|bits| (8..=15).contains(bits))?;
    (value == bits.to_string()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[&str]) -> Option<String> {
        agree(lines.iter().map(|line| line.as_bytes())).unwrap()
    }

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[test]
    fn the_offers_of_common_clients_are_accepted() {
        for offer in [
            // Firefox and Safari; Chromium, Node and Bun; Go; aiohttp
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; client_max_window_bits=15",
            r#"permessage-deflate; client_max_window_bits="8""#,
        ] {
            assert_eq!(answer(&[offer]).as_deref(), Some(PLAIN), "{offer}");
        }
    }

    #[test]
    fn a_server_window_that_is_too_small_is_declined() {
        for bits in WINDOW_BITS..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            assert_eq!(answer(&[&offer]), Some(format!("{PLAIN}; server_max_window_bits={bits}")));
        }
        for bits in 8..WINDOW_BITS {
            assert_eq!(answer(&[&format!("permessage-deflate; server_max_window_bits={bits}")]), None);
        }
    }

    #[test]
    fn invalid_offers_are_declined() {
        for parameters in [
            "unknown",
            "unknown=1",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=015",
            "server_max_window_bits=+15",
            "server_max_window_bits=x",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=08",
            "client_max_window_bits=1000000",
            "server_no_context_takeover; server_no_context_takeover",
            "client_max_window_bits; client_max_window_bits=10",
            "server_max_window_bits=15; server_max_window_bits=15",
            "Server_No_Context_Takeover",
        ] {
            assert_eq!(answer(&[&format!("permessage-deflate; {parameters}")]), None, "{parameters}");
        }
        assert_eq!(answer(&["x-webkit-deflate-frame", "permessage-bzip2; x=1"]), None);
    }

    #[test]
    fn the_first_offer_that_can_be_served_is_accepted() {
        let offers =
            "permessage-deflate; server_max_window_bits=8, other; a=b, permessage-deflate; client_max_window_bits";
        assert_eq!(answer(&[offers]).as_deref(), Some(PLAIN));
        assert_eq!(answer(&["other", "permessage-deflate; unknown", "permessage-deflate"]).as_deref(), Some(PLAIN));
        let both = "permessage-deflate; server_max_window_bits=13, permessage-deflate";
        assert_eq!(answer(&[both]), Some(format!("{PLAIN}; server_max_window_bits=13")));
        assert_eq!(answer(&[]), None);
    }

    #[test]
    fn a_malformed_line_is_refused_in_any_position() {
        let lines = |lines: [&'static str; 2]| agree(lines.into_iter().map(str::as_bytes));
        assert_eq!(lines(["permessage-deflate", "a;"]), Err(Malformed));
        assert_eq!(lines(["a=1", "permessage-deflate"]), Err(Malformed));
    }
}
