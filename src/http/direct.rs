//! Plain WebSocket handshakes, read without hyper.
//!
//! Most connections of a node begin with the same few lines: `GET /v1/ws`, in one segment. For those, hyper's map of
//! headers, the router and their boxed futures cost several times what the handshake itself does. So this module looks
//! at the first bytes of a connection before hyper does. It serves a handshake that is complete, well-formed and
//! admitted, and whose subscriptions need no read of the log. Everything else is left to hyper: requests in pieces,
//! other routes, unusual headers, and every request that is refused. So each error has one place that answers it.

use std::mem::MaybeUninit;

use futures_util::FutureExt;
use httparse::{Request, Status};

use super::caller::Credential;
use super::edge::{Head, MAX_FIELDS, Peer};
use super::handshake::{Agreed, Handshake};
use super::{App, request_id, websocket};
use crate::connection::{Admitted, Client, Opening};
use crate::occupancy::AddressPermit;

/// Accepts the handshake at the beginning of these bytes, and resolves the subscriptions that its URL asks for. `None`
/// leaves the bytes to hyper. The permit counts as long as the connection lasts.
pub fn accept(app: &App, peer: &Peer, bytes: &[u8]) -> Option<(Box<Opening>, Option<AddressPermit>)> {
    if !bytes.starts_with(b"GET /v1/ws") {
        return None;
    }
    let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = Request::new(&mut []);
    let Ok(Status::Complete(length)) = request.parse_with_uninit_headers(bytes, &mut headers) else { return None };
    let query = match request.path?.strip_prefix("/v1/ws")? {
        "" => "",
        rest => rest.strip_prefix('?').filter(|query| query.bytes().all(is_plain))?,
    };
    if request.method != Some("GET") || request.headers.iter().any(|header| is_unusual(header.name)) {
        return None;
    }
    let lines = request.headers.iter().map(|header| (header.name, header.value));
    let passed = app.edge.check(&Head::read("/v1/ws", None, lines), peer).ok()?;
    let handshake = Handshake::read(request.headers.iter().map(|header| (header.name, header.value)));
    let mut new_id = [0; request_id::LENGTH];
    let id = request_id::choose(handshake.request_id, &mut new_id);
    let Agreed { head, deflate } = handshake.agree(request.version == Some(1), app.compression, id).ok()?;
    let credentials = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("authorization"));
    let credential = Credential::of(credentials.map(|header| header.value), query);
    let query = websocket::query(query);
    if query.as_ref().is_ok_and(|query| query.since.is_some()) {
        return None;
    }
    // A token of a known key and a query without a `since` have nothing to wait for.
    // Without its origin, a call that is refused is not recorded: hyper's part repeats it.
    let mut client = match credential.caller(&app.bus, None).now_or_never()?.ok()? {
        None => websocket::unknown(app, query).ok()?,
        Some(caller) => {
            let permit = app.bus.admit(&caller).ok()?;
            Client::Known(Admitted::resolve(&app.bus, caller, permit, query).now_or_never()?)
        }
    };
    let origin = app.bus.origin(passed.client, || id);
    if let Client::Known(admitted) = &mut client
        && origin.is_some()
    {
        if !admitted.problems.is_empty() {
            return None;
        }
        admitted.caller = admitted.caller.clone().from(origin.clone());
    }
    let early = bytes[length..].to_vec();
    let opening = Opening { head, early, deflate, client, origin, address: passed.client };
    Some((Box::new(opening), passed.permit))
}

/// Whether a query may have this byte without escaping (RFC 3986, section 3.4). hyper decides about others.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&byte)
}

/// Headers that say how the request goes on after its head.
fn is_unusual(name: &str) -> bool {
    ["content-length", "transfer-encoding", "expect"].iter().any(|unusual| name.eq_ignore_ascii_case(unusual))
}
