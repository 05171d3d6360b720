//! A parsed Redis URL: one server, a socket, the several servers of a Sentinel or Cluster, or a REST interface.
//!
//! `SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?NAME=VALUE&…`, percent-encoded. The crate `url` refuses several
//! hosts, so this module splits the URL itself. The Redis backend interprets the path and the parameters. The URL may
//! contain passwords. `Display`, `Debug` and the errors of this module never show them.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::value::Expected;

/// The kind of Redis that a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `redis://`, `rediss://`: one server.
    Server,
    /// `redis+unix://`: one server, by the path of its Unix socket.
    Socket,
    /// `redis-sentinel://`, `rediss-sentinel://`: the master that the sentinels name.
    Sentinel,
    /// `redis-cluster://`, `rediss-cluster://`: a cluster, of which the URL names some servers.
    Cluster,
    /// `upstash+https://`: the REST interface of Upstash. The user is the token. `upstash+http://` is for tests.
    Rest,
}

/// A Redis URL in its parts, percent-decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// The kind of Redis.
    pub form: Form,
    /// The scheme, such as `rediss`.
    pub scheme: &'static str,
    /// The user, if the URL names one.
    pub username: Option<String>,
    /// The password. Empty if the URL has a colon after the user and no password.
    pub password: Option<String>,
    /// Hosts and ports, IPv6 addresses without brackets. Empty for a socket.
    pub servers: Vec<(String, u16)>,
    /// The path with its leading slash, or empty.
    pub path: String,
    parameters: Vec<(String, String)>,
}

pub(super) const SCHEMES: [(&str, Form); 9] = [
    ("redis", Form::Server),
    ("rediss", Form::Server),
    ("redis+unix", Form::Socket),
    ("redis-sentinel", Form::Sentinel),
    ("rediss-sentinel", Form::Sentinel),
    ("redis-cluster", Form::Cluster),
    ("rediss-cluster", Form::Cluster),
    ("upstash+https", Form::Rest),
    ("upstash+http", Form::Rest),
];

impl RedisUrl {
    /// Parses a URL; `None` if its scheme is not a Redis scheme.
    ///
    /// # Errors
    /// What was expected, without any part of the URL's secrets.
    pub fn parse(text: &str) -> Option<Result<Self, Expected>> {
        let (scheme, rest) = text.split_once("://")?;
        let (scheme, form) = SCHEMES.into_iter().find(|(known, _)| *known == scheme)?;
        Some(Self::read(scheme, form, rest))
    }

    fn read(scheme: &'static str, form: Form, rest: &str) -> Result<Self, Expected> {
        if rest.contains('#') {
            return Err("a URL without #: write %23 instead".into());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, servers) = match authority.rsplit_once('@') {
            Some((user, servers)) => (Some(user), servers),
            None => (None, authority),
        };
        let (username, password) = match user.map(|user| user.split_once(':').ok_or(user)) {
            Some(Ok((username, password))) => (Some(username), Some(password)),
            Some(Err(username)) => (Some(username), None),
            None => (None, None),
        };
        let servers = match form {
            Form::Socket if servers.is_empty() && path.len() > 1 => Vec::new(),
            Form::Socket => return Err("the path of a socket, such as redis+unix:///run/redis/redis.sock".into()),
            Form::Server if servers.contains(',') => {
                return Err(format!("one server; {scheme}-sentinel:// and {scheme}-cluster:// take several"));
            }
            Form::Rest if servers.contains(',') => return Err(format!("one host, such as {scheme}://TOKEN@HOST")),
            _ => servers.split(',').map(|server| read_server(scheme, form, server)).collect::<Result<_, _>>()?,
        };
        let servers: Vec<(String, u16)> = servers;
        if scheme == "upstash+http" && !servers.iter().all(|(host, _)| is_loopback(host)) {
            return Err(
                "upstash+https://TOKEN@HOST; upstash+http:// sends the token in clear text, so it is for loopback only"
                    .into(),
            );
        }
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            Ok((decoded(name)?, decoded(value)?))
        });
        Ok(Self {
            form,
            scheme,
            username: username.filter(|name| !name.is_empty()).map(decoded).transpose()?,
            password: password.map(decoded).transpose()?,
            servers,
            path: decoded(path)?,
            parameters: parameters.collect::<Result<_, Expected>>()?,
        })
    }

    /// The value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The names of the query parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }
}

/// Shows the URL without the password and without the parameters, which may contain other secrets.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match (&self.username, &self.password) {
            (Some(username), Some(_)) => write!(f, "{username}:***@")?,
            // A single word before the `@` may be the password.
            (Some(_), None) | (None, Some(_)) => f.write_str("***@")?,
            (None, None) => {}
        }
        for (index, (host, port)) in self.servers.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match host.contains(':') {
                true => write!(f, "{comma}[{host}]:{port}")?,
                false => write!(f, "{comma}{host}:{port}")?,
            }
        }
        f.write_str(&self.path)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn read_server(scheme: &str, form: Form, text: &str) -> Result<(String, u16), Expected> {
    let usual = match form {
        Form::Sentinel => 26379,
        Form::Rest if scheme == "upstash+http" => 80,
        Form::Rest => 443,
        Form::Server | Form::Socket | Form::Cluster => 6379,
    };
    let url = Url::parse(&format!("redis://{text}")).ok();
    let host = match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => decoded(name).unwrap_or_default(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    };
    let Some(url) = url.filter(|_| !host.is_empty()) else {
        return Err(format!("a host and a port, such as {scheme}://127.0.0.1:{usual}"));
    };
    // No resolver takes another name: the daemon would try it for ever.
    let is_name = |letter: u8| letter.is_ascii_alphanumeric() || b"-._".contains(&letter);
    if matches!(url.host(), Some(Host::Domain(_))) && !host.bytes().all(is_name) {
        return Err(
            "a host of letters (a-z), digits, - . and _, or an IP address; an international name in its form xn--…"
                .into(),
        );
    }
    Ok((host, url.port().unwrap_or(usual)))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn decoded(text: &str) -> Result<String, Expected> {
    let decoded = percent_decode_str(text).decode_utf8().map(Cow::into_owned);
    decoded.map_err(|_| "percent-encoded UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RedisUrl {
        RedisUrl::parse(text).unwrap_or_else(|| panic!("{text}: no scheme of Redis")).unwrap()
    }

    #[test]
    fn a_server_has_a_user_an_address_and_a_path() {
        let url = read("redis://al%40ice:s%3Acr@et@[::1]:7000/3");
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (Some("al@ice"), Some("s:cr@et")));
        assert_eq!((url.servers.as_slice(), url.path.as_str()), (&[("::1".to_owned(), 7000)][..], "/3"));
        assert_eq!(url.to_string(), "redis://al@ice:***@[::1]:7000/3");
        assert_eq!(read("rediss://localhost").servers, [("localhost".to_owned(), 6379)]);
        assert_eq!(read("redis://:pw@h").username, None);
        assert_eq!(read("redis://user:@h").password.as_deref(), Some(""));
    }

    #[test]
    fn sentinels_and_clusters_have_several_servers() {
        let url = read("redis-sentinel://u:p@a:1,[::2]:3,c/main?sentinel_password=x%26y+z&tls=true");
        let servers = [("a".to_owned(), 1), ("::2".to_owned(), 3), ("c".to_owned(), 26379)];
        assert_eq!((url.servers.as_slice(), url.path.as_str()), (&servers[..], "/main"));
        assert_eq!((url.parameter("sentinel_password"), url.parameter("tls")), (Some("x&y+z"), Some("true")));
        assert_eq!(url.parameters().collect::<Vec<_>>(), ["sentinel_password", "tls"]);
        assert_eq!(url.to_string(), "redis-sentinel://u:***@a:1,[::2]:3,c:26379/main");
        assert_eq!(read("rediss-cluster://a,b:2").servers, [("a".to_owned(), 6379), ("b".to_owned(), 2)]);
    }

    #[test]
    fn a_host_has_the_letters_that_a_resolver_takes() {
        for host in ["…", "b%C3%BCcher", "a%20b", "a*", "HOST%3A6379"] {
            for scheme in ["redis", "rediss-sentinel", "redis-cluster"] {
                let refused = RedisUrl::parse(&format!("{scheme}://{host}")).unwrap();
                assert!(refused.is_err_and(|expected| expected.contains("a host of letters")), "{scheme}://{host}");
            }
        }
        for host in ["redis_1.my-shop.internal.", "xn--bcher-kva.example", "[::ffff:127.0.0.1]", "127.1"] {
            assert_eq!(read(&format!("redis://{host}")).servers.len(), 1, "{host}");
        }
    }

    #[test]
    fn a_socket_has_a_path() {
        let url = read("redis+unix://u:p@/run/re%20dis.sock?db=2");
        assert_eq!((url.servers.len(), url.path.as_str()), (0, "/run/re dis.sock"));
        assert_eq!((url.password.as_deref(), url.parameter("db")), (Some("p"), Some("2")));
    }

    #[test]
    fn a_rest_interface_has_a_token_and_one_host() {
        let url = read("upstash+https://t0ken@example.com");
        assert_eq!((url.form, url.username.as_deref()), (Form::Rest, Some("t0ken")));
        assert_eq!((url.servers[0].1, url.to_string().as_str()), (443, "upstash+https://***@example.com:443"));
        for host in ["localhost", "127.0.0.9:81", "[::1]"] {
            assert_eq!(read(&format!("upstash+http://t@{host}")).form, Form::Rest);
        }
    }

    #[test]
    fn an_error_never_contains_the_password() {
        for text in [
            "upstash+https://s3cret@a,b",
            "upstash+http://s3cret@example.com",
            "redis://:s3cret@",
            "redis://:s3cret@:1",
            "redis://:s3cret@h:port",
            "redis://:s3cret@h:1,h:2",
            "redis://:s3/cret@h:1",
            "redis://:s3#cret@h:1",
            "redis-cluster://:s3cret@a,,b",
            "redis-sentinel://:s3cret@a:1:2/x",
            "redis+unix://:s3cret@",
            "redis+unix://:s3cret@host/path",
            "redis://:%ff@h",
        ] {
            let error = RedisUrl::parse(text).expect("a scheme of Redis").expect_err(text);
            assert!(!error.contains("s3") && !error.contains("cret"), "{text}: {error}");
        }
        assert!(RedisUrl::parse("http://h").is_none() && RedisUrl::parse("redis").is_none());
    }
}
