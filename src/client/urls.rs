//! The URL of a daemon, as its users write it, and the URLs of its routes.

use url::Url;

use super::{Error, error};

/// Parses a daemon's URL. [`route`] adds the path of a route to it.
pub(super) fn base(url: &str) -> Result<Url, Error> {
    let invalid =
        |cause: &str| Error::Url(format!("{:?} is not a valid daemon URL: {cause}", error::redacted_text(url)));
    // `127.0.0.1:7400` is no URL, and `localhost:7400` is one whose scheme is `localhost`.
    let without_scheme =
        || !url.contains("://") && Url::parse(&format!("http://{url}")).is_ok_and(|url| url.port().is_some());
    let example = "write http://HOST:PORT, such as http://127.0.0.1:7400";
    let mut base = match Url::parse(url) {
        Err(_) if without_scheme() => return Err(invalid("write http:// before it")),
        Err(url::ParseError::InvalidPort) => return Err(invalid("a port is a number up to 65535")),
        parsed => parsed.map_err(|_| invalid(example))?,
    };
    match base.scheme() {
        "http" => {}
        "https" if cfg!(feature = "tls") => {}
        "https" => return Err(invalid("this client was built without TLS (the feature `tls`)")),
        "ws" => return Err(invalid("write http:// instead; the client opens WebSockets by itself")),
        "wss" => return Err(invalid("write https:// instead; the client opens WebSockets by itself")),
        _ if without_scheme() => return Err(invalid("write http:// before it")),
        _ => return Err(invalid(example)),
    }
    base.set_query(None);
    base.set_fragment(None);
    Ok(base)
}

/// The URL of a route, such as `["v1", "events"]`, below a daemon's URL.
pub(super) fn route(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// Checks a name that becomes a part of a URL's path. A URL gives the refused ones another meaning (RFC 3986, section 5.2.4), and would
/// be that of another route.
///
/// # Errors
/// [`Error::Url`].
pub(super) fn fits_path(what: &str, name: &str) -> Result<(), Error> {
    match name {
        "" | "." | ".." => Err(Error::Url(format!("no URL can have the {what} {name:?}"))),
        _ => Ok(()),
    }
}
