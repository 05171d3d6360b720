//! The TLS state of one connection: bytes in, bytes out, without I/O.
//!
//! rustls' unbuffered interface keeps no buffer of its own. This module keeps only what is incomplete: a part of a record
//! that was received, decrypted bytes that nobody has read yet, and encrypted bytes that the socket has not taken. All
//! three are freed when they are empty, so an idle connection holds its keys and nothing else. (rustls' buffered
//! interface would hold 4 KiB more for each connection.)

use std::io;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use rustls::{Error, ServerConfig};
use tokio::io::ReadBuf;

/// The most bytes that one record carries (RFC 8446, section 5.1).
pub const MAX_RECORD: usize = 16 * 1024;

/// The most bytes that encryption adds to a record: header, nonce, tag and content type take 29. The rest is room for a
/// key update that rustls puts before it.
pub const OVERHEAD: usize = 256;

/// The most received bytes that wait for the rest of a record or of a handshake message. A client that needs more, with a
/// huge chain of certificates for example, is refused.
const MAX_INCOMING: usize = 64 * 1024;

/// The TLS state of one connection.
pub struct Session {
    tls: UnbufferedServerConnection,
    /// The beginning of a record, or of a handshake message in several records.
    incoming: Vec<u8>,
    /// Decrypted bytes that were not read yet.
    plaintext: Vec<u8>,
    /// How many of them were read.
    read: usize,
    /// Encrypted bytes that the socket has not taken yet.
    outgoing: Vec<u8>,
    /// Whether the peer has sent anything.
    begun: bool,
    /// The peer has ended its side.
    ended: bool,
    /// The peer broke TLS, or this side has sent `close_notify`. Nothing can be written any more.
    closed: bool,
}

/// The peer speaks HTTP without TLS.
#[derive(Debug, thiserror::Error)]
#[error("the client sent plain HTTP to a TLS port")]
pub struct PlainHttp;

impl Session {
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            plaintext: Vec::new(),
            read: 0,
            outgoing: Vec::new(),
            begun: false,
            ended: false,
            closed: false,
        })
    }

    /// Takes bytes from the socket, and decrypts the records that they complete. What has to be answered is then in
    /// [`Session::outgoing`], after an error too.
    ///
    /// # Errors
    /// `InvalidData`: the peer breaks TLS, or does not use it ([`PlainHttp`]). The connection has ended.
    pub fn receive(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) && bytes.first().is_some_and(u8::is_ascii_uppercase) {
            // No TLS record begins with a letter, and every request of HTTP does.
            self.closed = true;
            self.ended = true;
            return Err(io::Error::new(io::ErrorKind::InvalidData, PlainHttp));
        }
        let mut joined = std::mem::take(&mut self.incoming);
        let result = if joined.is_empty() {
            let result = self.drive(bytes, |_| ());
            if let Ok((consumed, _)) = &result {
                self.incoming = bytes[*consumed..].to_vec();
            }
            result
        } else {
            joined.extend_from_slice(bytes);
            let result = self.drive(&mut joined, |_| ());
            if let Ok((consumed, _)) = &result
                && *consumed < joined.len()
            {
                joined.drain(..consumed);
                self.incoming = joined;
            }
            result
        };
        result.map_err(|error| self.fail(error))?;
        if self.ended {
            // What follows `close_notify` is ignored (RFC 8446, section 6.1).
            self.incoming = Vec::new();
        }
        if self.incoming.len() > MAX_INCOMING {
            return Err(self.fail(Error::General("a message of the client is too long".into())));
        }
        Ok(())
    }

    /// The socket has ended.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing more can be read than [`Session::take`] gives.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether there are decrypted bytes to read.
    pub fn has_plaintext(&self) -> bool {
        !self.plaintext.is_empty()
    }

    /// Moves decrypted bytes into the buffer. Returns whether there were any.
    pub fn take(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = &self.plaintext[self.read..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.read += length;
        if self.read == self.plaintext.len() {
            (self.plaintext, self.read) = (Vec::new(), 0);
        }
        length > 0
    }

    /// Encrypts at most [`MAX_RECORD`] bytes into `sealed`, which has [`OVERHEAD`] bytes more. Returns the length of the
    /// record.
    ///
    /// # Errors
    /// If nothing can be sent: the handshake is not complete, or the connection is closed.
    pub fn seal(&mut self, plaintext: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // rustls wants to see the incomplete message again each time.
        let mut incoming = std::mem::take(&mut self.incoming);
        let driven = self.drive(&mut incoming, |mut traffic| traffic.encrypt(plaintext, sealed));
        self.incoming = incoming;
        match driven {
            Ok((consumed, encrypted)) => {
                self.incoming.drain(..consumed);
                encrypted.ok_or(io::ErrorKind::NotConnected)?.map_err(io::Error::other)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Puts `close_notify` into [`Session::outgoing`], once.
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let mut alert = [0; 2 * OVERHEAD];
        let mut incoming = std::mem::take(&mut self.incoming);
        let driven = self.drive(&mut incoming, |mut traffic| traffic.queue_close_notify(&mut alert));
        self.incoming = incoming;
        if let Ok((consumed, written)) = driven {
            self.incoming.drain(..consumed);
            // During a handshake there is nobody to tell.
            if let Some(Ok(length)) = written {
                self.outgoing.extend_from_slice(&alert[..length]);
            }
        }
    }

    /// The encrypted bytes to send. [`Session::sent`] removes them.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// Adds encrypted bytes to send.
    pub fn hold(&mut self, sealed: &[u8]) {
        self.outgoing.extend_from_slice(sealed);
    }

    /// Removes encrypted bytes that the socket took.
    pub fn sent(&mut self, bytes: usize) {
        if bytes == self.outgoing.len() {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..bytes);
        }
    }

    /// Lets rustls work until it needs more bytes. Once the handshake is complete, it then calls `write`. Returns how many
    /// of the bytes are done with, and what `write` returned.
    fn drive<T>(
        &mut self,
        bytes: &mut [u8],
        write: impl FnOnce(WriteTraffic<'_, ServerConnectionData>) -> T,
    ) -> Result<(usize, Option<T>), Error> {
        let mut consumed = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut bytes[consumed..]);
            let written = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        self.plaintext.extend_from_slice(record.payload);
                    }
                    None
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut data, &mut self.outgoing);
                    None
                }
                // `outgoing` keeps it until it is sent.
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    None
                }
                ConnectionState::PeerClosed => {
                    self.ended = true;
                    None
                }
                ConnectionState::WriteTraffic(traffic) => Some(Some(traffic)),
                // It needs more bytes, or both sides have closed. Early data is not accepted.
                _ => Some(None),
            };
            consumed += discard;
            if let Some(traffic) = written {
                return Ok((consumed, traffic.map(write)));
            }
        }
    }

    /// Ends the connection after an error. The alert that tells the peer is then among the bytes to send.
    fn fail(&mut self, error: Error) -> io::Error {
        self.closed = true;
        self.ended = true;
        // Only while there is something to send: rustls must not see its input again after an error.
        while self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => while traffic.next_record().is_some() {},
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                _ => break,
            }
        }
        (self.incoming, self.plaintext, self.read) = (Vec::new(), Vec::new(), 0);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Appends a message that rustls wants to send.
fn encode(data: &mut EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Vec<u8>) {
    let before = outgoing.len();
    // The first call says how long it is.
    let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) else { return };
    outgoing.resize(before + needed.required_size, 0);
    let written = data.encode(&mut outgoing[before..]).unwrap_or_default();
    outgoing.truncate(before + written);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};
    use std::io::{Read, Write};

    fn pair(version: &'static SupportedProtocolVersion, fragment: Option<usize>) -> (Session, ClientConnection) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = Arc::new(ring::default_provider());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.max_fragment_size = fragment;
        let client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
        (Session::new(Arc::new(server)).unwrap(), client)
    }

    /// Gives the session what the client has to send, `size` bytes at a time.
    fn to_server(session: &mut Session, client: &mut ClientConnection, size: usize) -> io::Result<()> {
        let mut sent = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        sent.chunks_mut(size).try_for_each(|bytes| session.receive(bytes))
    }

    fn to_client(session: &mut Session, client: &mut ClientConnection) {
        while !session.outgoing().is_empty() {
            let sent = client.read_tls(&mut session.outgoing()).unwrap();
            session.sent(sent);
            client.process_new_packets().unwrap();
        }
    }

    fn shake(session: &mut Session, client: &mut ClientConnection, size: usize) {
        while client.is_handshaking() || client.wants_write() {
            to_server(session, client, size).unwrap();
            to_client(session, client);
        }
    }

    /// All decrypted bytes.
    fn taken(session: &mut Session) -> Vec<u8> {
        let (mut all, mut bytes) = (Vec::new(), [0; 100]);
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            if !session.take(&mut buffer) {
                return all;
            }
            all.extend_from_slice(buffer.filled());
        }
    }

    fn seal(session: &mut Session, plaintext: &[u8]) {
        let mut sealed = vec![0; plaintext.len() + OVERHEAD];
        let length = session.seal(plaintext, &mut sealed).unwrap();
        session.hold(&sealed[..length]);
    }

    fn read(client: &mut ClientConnection, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        client.reader().read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_pass_whatever_their_pieces() {
        for version in [&version::TLS12, &version::TLS13] {
            for (size, fragment) in [(1, None), (7, Some(64)), (usize::MAX, Some(100)), (usize::MAX, None)] {
                let (mut session, mut client) = pair(version, fragment);
                shake(&mut session, &mut client, size);
                assert_eq!(client.protocol_version(), Some(version.version));
                let said: Vec<u8> = (0..40_000u32).map(|number| number as u8).collect();
                client.set_buffer_limit(None);
                client.writer().write_all(&said).unwrap();
                to_server(&mut session, &mut client, size.min(5000)).unwrap();
                assert_eq!(taken(&mut session), said);
                for part in said.chunks(MAX_RECORD) {
                    seal(&mut session, part);
                    to_client(&mut session, &mut client);
                    assert_eq!(read(&mut client, part.len()), part);
                }
            }
        }
    }

    /// rustls must see the beginning of a message again whenever it works.
    #[test]
    fn a_record_that_is_half_received_does_not_hinder_writes() {
        for version in [&version::TLS12, &version::TLS13] {
            let (mut session, mut client) = pair(version, None);
            shake(&mut session, &mut client, usize::MAX);
            client.writer().write_all(b"request").unwrap();
            let mut sent = Vec::new();
            client.write_tls(&mut sent).unwrap();
            for (number, byte) in sent.iter_mut().enumerate() {
                session.receive(std::slice::from_mut(byte)).unwrap();
                seal(&mut session, &[number as u8]);
                to_client(&mut session, &mut client);
                assert_eq!(read(&mut client, 1), [number as u8]);
            }
            assert_eq!(taken(&mut session), b"request");
        }
    }

    #[test]
    fn new_keys_of_the_client_are_answered_with_the_next_record() {
        let (mut session, mut client) = pair(&version::TLS13, None);
        shake(&mut session, &mut client, usize::MAX);
        for number in 0..3 {
            client.refresh_traffic_keys().unwrap();
            client.writer().write_all(b"with new keys").unwrap();
            to_server(&mut session, &mut client, 3).unwrap();
            assert_eq!(taken(&mut session), b"with new keys");
            seal(&mut session, &[number]);
            to_client(&mut session, &mut client);
            assert_eq!(read(&mut client, 1), [number]);
        }
    }

    #[test]
    fn an_idle_session_keeps_no_buffer() {
        let (mut session, mut client) = pair(&version::TLS13, None);
        shake(&mut session, &mut client, 11);
        client.writer().write_all(b"request").unwrap();
        to_server(&mut session, &mut client, usize::MAX).unwrap();
        seal(&mut session, b"response");
        to_client(&mut session, &mut client);
        taken(&mut session);
        let kept = [session.incoming.capacity(), session.plaintext.capacity(), session.outgoing.capacity()];
        assert_eq!(kept, [0, 0, 0]);
        assert!(size_of::<Session>() < 1500, "{} bytes", size_of::<Session>());
    }

    #[test]
    fn an_end_is_told_in_both_directions() {
        let (mut session, mut client) = pair(&version::TLS13, None);
        shake(&mut session, &mut client, usize::MAX);
        client.writer().write_all(b"last").unwrap();
        client.send_close_notify();
        to_server(&mut session, &mut client, usize::MAX).unwrap();
        assert_eq!(taken(&mut session), b"last");
        assert!(session.has_ended());
        // The other direction is still open.
        seal(&mut session, b"answer");
        session.close();
        session.close();
        to_client(&mut session, &mut client);
        assert_eq!(read(&mut client, 6), b"answer");
        assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "an end that is clean");
        assert!(session.seal(b"late", &mut [0; 500]).is_err());
    }

    #[test]
    fn a_broken_record_ends_the_session_with_an_alert() {
        let (mut session, mut client) = pair(&version::TLS13, None);
        shake(&mut session, &mut client, usize::MAX);
        client.writer().write_all(b"request").unwrap();
        let mut sent = Vec::new();
        client.write_tls(&mut sent).unwrap();
        *sent.last_mut().unwrap() ^= 1;
        let error = session.receive(&mut sent).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(session.has_ended() && taken(&mut session).is_empty());
        client.read_tls(&mut session.outgoing()).unwrap();
        let alert = client.process_new_packets().unwrap_err();
        assert!(alert.to_string().contains("BadRecordMac"), "{alert}");
        assert!(session.seal(b"late", &mut [0; 500]).is_err());
    }

    #[test]
    fn plain_http_and_other_bytes_are_told_apart() {
        let (mut session, _) = pair(&version::TLS13, None);
        let error = session.receive(&mut b"GET / HTTP/1.1\r\n\r\n".to_vec()).unwrap_err();
        assert!(error.get_ref().unwrap().is::<PlainHttp>());
        assert!(session.outgoing().is_empty());
        let (mut session, _) = pair(&version::TLS13, None);
        let error = session.receive(&mut [0xff; 100]).unwrap_err();
        assert!(!error.get_ref().unwrap().is::<PlainHttp>());
        // An alert in a plain record.
        assert_eq!(session.outgoing()[0], 21);
    }

    #[test]
    fn a_handshake_without_end_is_refused() {
        let (mut session, _) = pair(&version::TLS13, None);
        // A ClientHello of 16 MB, in records of 16 KiB.
        let mut first = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
        first.resize(5 + 0x4000, 0);
        let record = [vec![22, 3, 1, 0x40, 0], vec![0; 0x4000]].concat();
        let mut records = std::iter::once(first).chain(std::iter::repeat_n(record, 10));
        assert!(records.any(|mut record| session.receive(&mut record).is_err()));
        assert_eq!(session.incoming.capacity(), 0);
    }
}
