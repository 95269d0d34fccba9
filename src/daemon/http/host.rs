//! For which host a request is (RFC 9112 §3.2).

use hyper::header::HOST;
use hyper::{Request, Version};

/// It cannot be told: the request is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclear;

/// The host without its port, and an IPv6 address without its brackets; empty where none is named. An absolute target counts, and
/// then the field does not, but it has to be right.
///
/// Errors: without the one field that HTTP/1.1 demands, with several, or if either is no host with or without a port.
pub fn host<B>(request: &Request<B>) -> Result<&str, Unclear> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (None, _) if request.version() < Version::HTTP_11 => "",
        (Some(one), None) => one.to_str().map_err(|_| Unclear)?,
        _ => return Err(Unclear),
    };
    let named = without_port(field.trim()).ok_or(Unclear)?;
    match request.uri().authority() {
        Some(authority) => without_port(authority.as_str()).ok_or(Unclear),
        None => Ok(named),
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn without_port(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest)
        }
        None => {
            let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
            host.bytes().all(is_plain).then_some((host, rest))?
        }
    };
    let is_port = match rest.strip_prefix(':') {
        Some(port) => port.bytes().all(|octet| octet.is_ascii_digit()),
        None => rest.is_empty(),
    };
    is_port.then_some(host)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_host_is_told_from_its_port() {
        for (authority, host) in [
            ("127.0.0.1:8525", Some("127.0.0.1")),
            ("[::1]:8525", Some("::1")),
            ("[::1]", Some("::1")),
            ("localhost", Some("localhost")),
            ("localhost:", Some("localhost")),
            ("mx.example.org:80", Some("mx.example.org")),
            ("", Some("")),
            ("localhost:80@evil.test", None),
            ("user@localhost", None),
            ("[::1]evil.test", None),
            ("[::1", None),
            ("[evil.test]", None),
            ("::1", None),
            ("localhost:80:80", None),
            ("localhost, evil.test", None),
            ("localhost/", None),
        ] {
            assert_eq!(without_port(authority), host, "{authority}");
        }
    }

    #[test]
    fn one_host_is_named_and_an_absolute_target_counts() {
        let found = |target: &str, version: Version, fields: &[&str]| {
            let mut request = Request::builder().uri(target).version(version);
            for field in fields {
                request = request.header(HOST, *field);
            }
            host(&request.body(()).unwrap()).map(str::to_owned)
        };
        let new = Version::HTTP_11;
        assert_eq!(found("/", new, &["localhost:1"]).unwrap(), "localhost");
        assert_eq!(found("/", new, &[]), Err(Unclear));
        assert_eq!(found("/", Version::HTTP_10, &[]).unwrap(), "");
        assert_eq!(found("/", new, &["localhost", "localhost"]), Err(Unclear));
        assert_eq!(found("/", new, &["localhost", "evil.test"]), Err(Unclear));
        let absolute = "http://evil.test:80/";
        assert_eq!(found(absolute, new, &["localhost"]).unwrap(), "evil.test");
        assert_eq!(found(absolute, new, &["a@b"]), Err(Unclear));
        assert_eq!(
            found("http://localhost@evil.test/", new, &["localhost"]),
            Err(Unclear)
        );
    }
}
