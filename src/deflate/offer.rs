//! Which of a client's offers is accepted (RFC 7692, sections 5.1 and 7.1).

use std::fmt::Write;

use super::WINDOW_BITS;
use super::header::{Extension, extensions};

/// A header that is not of the form of RFC 6455, section 9.1: such a handshake is to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What to answer to the lines of `Sec-WebSocket-Extensions`: the first offer of permessage-deflate that can be served,
/// with what we ask in return, or nothing.
///
/// # Errors
/// [`Malformed`]
pub fn agree<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Option<String>, Malformed> {
    let mut agreed = None;
    // All are read, also behind the one that is taken: a malformed header is refused wherever it is wrong.
    for line in lines {
        for offer in extensions(line)? {
            agreed = agreed.or_else(|| accept(&offer));
        }
    }
    Ok(agreed)
}

/// The answer to an offer; `None` declines it, as it must where a parameter is unknown, comes twice or has a value that
/// it cannot have.
fn accept(offer: &Extension) -> Option<String> {
    if offer.name != "permessage-deflate" {
        return None;
    }
    // Both may be answered where they were not offered (sections 7.1.1.1 and 7.1.1.2): the first is what lets all share a
    // frame, the second what spares us a window for each connection.
    let mut answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
    for (at, (name, value)) in offer.parameters.iter().enumerate() {
        if offer.parameters[..at].iter().any(|(before, _)| before == name) {
            return None;
        }
        match (name.as_str(), value.as_deref()) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            // What the client may do by itself: we inflate with the largest window.
            ("client_max_window_bits", None) => {}
            ("client_max_window_bits", Some(value)) => {
                window_bits(value)?;
            }
            ("server_max_window_bits", Some(value)) => {
                let bits = window_bits(value).filter(|bits| *bits >= WINDOW_BITS)?;
                // The client's own bound, though ours is as low or lower: some refuse another than theirs.
                let _ = write!(answer, "; server_max_window_bits={bits}");
            }
            _ => return None,
        }
    }
    Some(answer)
}

/// 8 to 15, without leading zeros.
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
    fn what_clients_really_offer_is_accepted() {
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
    fn a_window_that_is_asked_of_us_is_kept_or_the_offer_declined() {
        for bits in WINDOW_BITS..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            assert_eq!(answer(&[&offer]), Some(format!("{PLAIN}; server_max_window_bits={bits}")));
        }
        for bits in 8..WINDOW_BITS {
            assert_eq!(answer(&[&format!("permessage-deflate; server_max_window_bits={bits}")]), None);
        }
    }

    #[test]
    fn an_offer_that_is_not_as_it_must_be_is_declined() {
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
    fn the_first_offer_that_can_be_served_is_taken() {
        let offers =
            "permessage-deflate; server_max_window_bits=8, other; a=b, permessage-deflate; client_max_window_bits";
        assert_eq!(answer(&[offers]).as_deref(), Some(PLAIN));
        assert_eq!(answer(&["other", "permessage-deflate; unknown", "permessage-deflate"]).as_deref(), Some(PLAIN));
        let both = "permessage-deflate; server_max_window_bits=13, permessage-deflate";
        assert_eq!(answer(&[both]), Some(format!("{PLAIN}; server_max_window_bits=13")));
        assert_eq!(answer(&[]), None);
    }

    #[test]
    fn a_malformed_line_is_refused_wherever_it_stands() {
        let lines = |lines: [&'static str; 2]| agree(lines.into_iter().map(str::as_bytes));
        assert_eq!(lines(["permessage-deflate", "a;"]), Err(Malformed));
        assert_eq!(lines(["a=1", "permessage-deflate"]), Err(Malformed));
    }
}
