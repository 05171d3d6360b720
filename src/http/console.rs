//! The console: the page that browsers get at `/`, and its files below `/console/`.
//!
//! `console/build.mjs` builds them. They are committed and part of the binary, each plain and compressed with Brotli, so that
//! cargo alone builds the daemon. The page is public and knows nothing of the bus: its scripts ask the daemon with the token
//! that the reader gives. All its addresses are relative, so that it works below a path of a proxy.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::App;
use super::entity_tag::{self, listed};
use crate::protocol::{ErrorCode, Problem};

/// Scripts and styles come from here and from nowhere else, nothing is evaluated, and no other page may embed this one.
/// `'self'` allows the WebSocket, too (Content Security Policy Level 3, section 6.7.2.8).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page may change with each version of the daemon.
const REVALIDATE: &str = "no-cache";
/// The name of each other file has a hash of its content (RFC 8246).
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// A file that was built.
struct File {
    name: &'static str,
    /// Of its content.
    hash: &'static str,
    media_type: &'static str,
    plain: &'static [u8],
    brotli: &'static [u8],
}

static PAGE: File = include!("../../console/dist/page.rs");
static FILES: &[File] = &include!("../../console/dist/files.rs");

/// The page.
pub(super) fn page(request: &HeaderMap) -> Response {
    answer(&PAGE, REVALIDATE, request)
}

/// A file of the page.
pub(super) async fn file(State(app): State<App>, Path(name): Path<String>, request: HeaderMap) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) if app.console => answer(file, IMMUTABLE, &request),
        Some(_) => Problem::new(ErrorCode::NotFound, "the console is off (setting console)").into_response(),
        // Most likely a page of an earlier version.
        None => Problem::new(ErrorCode::NotFound, "the console has no such file: load its page again").into_response(),
    }
}

fn answer(file: &'static File, caching: &'static str, request: &HeaderMap) -> Response {
    let tag = format!("W/\"{}\"", file.hash);
    let has_it = entity_tag::is_known(request, &tag);
    let mut headers = HeaderMap::new();
    let is_brotli = listed(request, &header::ACCEPT_ENCODING).any(is_wanted_brotli);
    let fixed = [
        (header::CONTENT_TYPE, file.media_type),
        (header::CACHE_CONTROL, caching),
        (header::VARY, "accept, accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.extend(HeaderValue::from_str(&tag).map(|tag| (header::ETAG, tag)));
    if has_it {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    if is_brotli {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    (headers, if is_brotli { file.brotli } else { file.plain }).into_response()
}

/// Whether an entry of `Accept-Encoding` wants Brotli: not with the weight 0 (RFC 9110, section 12.4.2).
fn is_wanted_brotli(entry: &str) -> bool {
    let mut parts = entry.split(';').map(str::trim);
    let weight = |part: &str| part.strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
    parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("br")) && parts.all(|part| weight(part) != Some(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_files_that_exist_and_no_other_address() {
        let page = std::str::from_utf8(PAGE.plain).unwrap();
        let named: Vec<&str> = page.split("\"console/").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
        assert_eq!(named.len(), 2, "a script and a style");
        assert!(named.iter().all(|name| FILES.iter().any(|file| file.name == *name)), "{named:?}");
        assert!(!page.contains("=\"/") && !page.contains("=\"http"), "addresses are relative");
        assert!(!page.contains("<style") && page.matches("<script").count() == 1, "nothing that the policy forbids");
    }

    #[test]
    fn brotli_is_sent_to_those_who_want_it() {
        let wants = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            page(&headers).headers().contains_key(header::CONTENT_ENCODING)
        };
        assert!(["br", "gzip, deflate, br, zstd", "gzip;q=0.5,BR;q=0.1"].into_iter().all(wants));
        assert!(!["", "gzip", "br;q=0", "brr", "gzip;q=1, br; q=0.0"].into_iter().any(wants));
    }
}
