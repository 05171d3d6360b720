//! The event stream of a subscription, line by line.
//!
//! Each line is `data: KIND,CHANNEL,TEXT`: `subscribe` with the number of subscriptions, or `message` with what was published,
//! which may have commas. Other lines, such as comments, are for nobody.

use fred::bytes::Bytes;

/// The bytes of a line that are kept. A message is a hint, of which only the beginning is read; announcements are shorter.
const KEPT: usize = 8 << 10;

/// Splits chunks of bytes into lines. A long line is cut off.
#[derive(Default)]
pub(super) struct Lines {
    line: Vec<u8>,
}

/// What a line of the stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    Subscribed(String),
    Message { channel: String, text: Bytes },
}

impl Lines {
    /// Takes the next bytes of the stream, and returns what the lines say that end in them.
    pub fn take(&mut self, chunk: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut pieces = chunk.split(|byte| matches!(byte, b'\n' | b'\r'));
        self.append(pieces.next().unwrap_or_default());
        for piece in pieces {
            lines.extend(parse(&self.line));
            self.line.clear();
            self.append(piece);
        }
        lines
    }

    fn append(&mut self, piece: &[u8]) {
        let room = KEPT.saturating_sub(self.line.len());
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

fn parse(line: &[u8]) -> Option<Line> {
    let data = line.strip_prefix(b"data:")?;
    let data = data.strip_prefix(b" ").unwrap_or(data);
    let mut parts = data.splitn(3, |byte| *byte == b',');
    let (kind, channel, text) = (parts.next()?, parts.next()?, parts.next()?);
    let channel = String::from_utf8(channel.to_vec()).ok()?;
    match kind {
        b"subscribe" => Some(Line::Subscribed(channel)),
        b"message" => Some(Line::Message { channel, text: Bytes::copy_from_slice(text) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &str, text: &str) -> Line {
        Line::Message { channel: channel.into(), text: Bytes::copy_from_slice(text.as_bytes()) }
    }

    #[test]
    fn a_message_may_have_commas() {
        let stream =
            "data: subscribe,a:b,1\n\n: comment\ndata: message,a:b,{\"x\":1,\"y\":[2,3]}\r\n\ndata:message,c,\n\n";
        let expected = [Line::Subscribed("a:b".into()), message("a:b", r#"{"x":1,"y":[2,3]}"#), message("c", "")];
        assert_eq!(Lines::default().take(stream.as_bytes()), expected);
        let mut lines = Lines::default();
        let found: Vec<_> = stream.as_bytes().iter().flat_map(|byte| lines.take(&[*byte])).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn other_lines_are_skipped() {
        let stream = "data\ndata:\ndata: message\ndata: message,a\nevent: message,a,b\ndata: unsubscribe,a,0\ndata: message,\u{0},x\n";
        assert_eq!(Lines::default().take(stream.as_bytes()), [message("\u{0}", "x")]);
        assert_eq!(Lines::default().take(b"data: message,\xff,x\n"), []);
    }

    #[test]
    fn a_long_line_is_cut_off() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"data: message,a,begin"), []);
        for _ in 0..1000 {
            assert_eq!(lines.take(&[b'x'; 1000]), []);
        }
        let Some(Line::Message { channel, text }) = lines.take(b"\ndata: mess").pop() else { panic!("no message") };
        assert!(channel == "a" && text.starts_with(b"begin") && text.len() < KEPT);
        assert_eq!(lines.take(b"age,b,next\n"), [message("b", "next")]);
    }
}
