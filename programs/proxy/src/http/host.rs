//! The host that a request is for: given once, and in a form that everybody reads alike.

use http::header::HOST;
use http::uri::Authority;
use http::{Request, Version};

use super::answer::Refusal;

/// Refuses a request whose host is missing, given twice, or not just a host and a port.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(Refusal::bad_request("there is more than one Host header"));
    }
    if let Some(authority) = request.uri().authority()
        && !is_host_and_port(authority.as_str())
    {
        return Err(Refusal::bad_request("the authority is not a host and a port"));
    }
    match host {
        // What has no host says so (RFC 9112, section 3.2).
        Some(host) if host.is_empty() || is_host_and_port_bytes(host.as_bytes()) => Ok(()),
        Some(_) => Err(Refusal::bad_request("the Host header is not a host and a port")),
        None if request.uri().authority().is_some() || request.version() < Version::HTTP_11 => {
            Ok(())
        }
        None => Err(Refusal::bad_request("there is no Host header")),
    }
}

fn is_host_and_port_bytes(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(is_host_and_port)
}

fn is_host_and_port(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let host = authority.host();
    let port = text.strip_prefix(host);
    // Less than RFC 3986 allows, which is all that names and addresses are made of.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !host.is_empty()
        && (host.starts_with('[') || host.bytes().all(is_name))
        && port.is_some_and(|port| {
            port.is_empty()
                || port.strip_prefix(':').is_some_and(|digits| {
                    digits.is_empty() || digits.parse::<u16>().is_ok_and(|_| !digits.contains('+'))
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(version: Version, uri: &str, hosts: &[&[u8]]) -> bool {
        let mut request = Request::get(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).unwrap()).is_ok()
    }

    #[test]
    fn a_host_is_said_once_and_is_one() {
        for host in
            ["x", "x.test", "x.test:80", "x.test:", "192.0.2.1:1", "[::1]", "[::1]:8080", ""]
        {
            assert!(is_good(Version::HTTP_11, "/", &[host.as_bytes()]), "{host}");
        }
        for host in [
            &b"x y"[..],
            b"x/",
            b"x,y",
            b"a@x",
            b"x:y",
            b"x:+1",
            b"x:99999",
            b"x:1:2",
            b"x?",
            b"x#",
            b"[::1",
            b"x\\y",
            b"\xff",
            b":80",
            b"http://x",
            b"x\ty",
        ] {
            assert!(!is_good(Version::HTTP_11, "/", &[host]), "{}", String::from_utf8_lossy(host));
            assert!(!is_good(Version::HTTP_2, "http://x/", &[host]), "beside an authority");
        }
        assert!(!is_good(Version::HTTP_11, "/", &[]), "HTTP/1.1 has one");
        assert!(is_good(Version::HTTP_10, "/", &[]), "HTTP/1.0 need not");
        assert!(!is_good(Version::HTTP_11, "/", &[b"x", b"x"]));
        assert!(is_good(Version::HTTP_2, "http://x.test/", &[]));
        for uri in ["http://a@x.test/", "http://a:b@x.test/", "http://x.test:99999/"] {
            assert!(!is_good(Version::HTTP_2, uri, &[]), "{uri}");
            assert!(!is_good(Version::HTTP_11, uri, &[b"x.test"]), "{uri}");
        }
    }
}
