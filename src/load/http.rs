//! Subscribers without a WebSocket: the head of a response, and long-polls.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most bytes of the head of a response.
const MAX_HEAD: usize = 64 * 1024;
/// The longest body that is accepted: a long-poll has at most 1,000 events.
const MAX_BODY: usize = 128 * 1024 * 1024;

/// Sends a request, and returns the bytes that came after the head of its response.
///
/// # Errors
/// Where the connection breaks, or the response has another status.
pub async fn request<S>(stream: &mut S, request: &str, status: &str) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = end_of_head(&head)? {
            break end;
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    check_status(&head, status)?;
    head.drain(..end);
    Ok(head)
}

/// A subscriber that asks for the next events again and again.
#[derive(Debug, Default)]
pub struct LongPoll {
    /// The request without its `since`.
    path: String,
    host: String,
    /// The received part of the response.
    partial: Vec<u8>,
}

impl LongPoll {
    /// A subscriber of the path and query `path`.
    pub fn new(path: &str, host: &str) -> Self {
        Self { path: path.into(), host: host.into(), partial: Vec::new() }
    }

    /// The first request. It is answered at once, and its cursor is where the subscription begins.
    pub fn first(&self) -> Vec<u8> {
        self.request("now", 0)
    }

    fn request(&self, since: &str, wait: u32) -> Vec<u8> {
        let Self { path, host, .. } = self;
        format!("GET {path}&since={since}&wait={wait}&limit=1000 HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
    }

    /// Takes received bytes. Once they complete a response, calls `each` with its body, and returns the next request.
    ///
    /// # Errors
    /// Where the response is no 200, is too long, or has no cursor.
    pub fn take(&mut self, bytes: &[u8], each: impl FnOnce(&[u8])) -> io::Result<Option<Vec<u8>>> {
        self.partial.extend_from_slice(bytes);
        let Some(head) = end_of_head(&self.partial)? else { return Ok(None) };
        check_status(&self.partial, "200")?;
        let end = head + content_length(&self.partial[..head])?;
        if self.partial.len() < end {
            self.partial.reserve(end - self.partial.len());
            return Ok(None);
        }
        let body = &self.partial[head..end];
        each(body);
        let cursor = cursor(body).ok_or_else(|| invalid("a response has no cursor"))?;
        let next = self.request(&cursor, 30);
        self.partial.drain(..end);
        Ok(Some(next))
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn end_of_head(bytes: &[u8]) -> io::Result<Option<usize>> {
    match memmem::find(bytes, b"\r\n\r\n") {
        Some(end) => Ok(Some(end + 4)),
        None if bytes.len() > MAX_HEAD => Err(invalid("the head of a response is too long")),
        None => Ok(None),
    }
}

fn check_status(head: &[u8], status: &str) -> io::Result<()> {
    if head.strip_prefix(b"HTTP/1.1 ").is_some_and(|rest| rest.starts_with(status.as_bytes())) {
        return Ok(());
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Err(io::Error::other(format!("the request was refused: {}", String::from_utf8_lossy(line))))
}

fn content_length(head: &[u8]) -> io::Result<usize> {
    let of = |line: &[u8]| {
        let (name, value) = line.split_at_checked("content-length:".len())?;
        let is = name.eq_ignore_ascii_case(b"content-length:");
        is.then(|| std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok()).flatten()
    };
    let length = head.split(|byte| *byte == b'\n').find_map(of);
    length.filter(|length| *length <= MAX_BODY).ok_or_else(|| invalid("a response has no valid Content-Length"))
}

/// The cursor of a page of events, as the value of a query parameter. It is the last member with that name: events come
/// before it.
fn cursor(body: &[u8]) -> Option<String> {
    let begin = memmem::rfind(body, br#""cursor":""#)? + br#""cursor":""#.len();
    let end = begin + memchr::memchr(b'"', &body[begin..])?;
    Some(std::str::from_utf8(&body[begin..end]).ok()?.replace('=', "%3D"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_poll_does_not_depend_on_the_splits_of_the_stream() {
        let body =
            r#"{"events":[{"position":"k:1","event":{"data":{"cursor":"x"}}}],"cursor":"stock=k:1","gap":false}"#;
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for size in 1..=response.len() {
            let (mut poll, mut bodies, mut requests) =
                (LongPoll::new("/p?channel=stock", "bench"), Vec::new(), Vec::new());
            for piece in response.as_bytes().chunks(size) {
                requests.extend(poll.take(piece, |body| bodies.push(body.to_vec())).unwrap());
            }
            assert_eq!(bodies, [body.as_bytes()], "{size}");
            let next = "GET /p?channel=stock&since=stock%3Dk:1&wait=30&limit=1000 HTTP/1.1\r\nHost: bench\r\n\r\n";
            assert_eq!(requests, [next.as_bytes()], "{size}");
        }
    }

    #[test]
    fn a_response_that_is_no_page_ends_the_subscriber() {
        for response in [
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n",
        ] {
            assert!(LongPoll::default().take(response.as_bytes(), |_| {}).is_err(), "{response}");
        }
    }
}
