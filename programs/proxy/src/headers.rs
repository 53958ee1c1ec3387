//! Headers that a proxy has to see to.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_TYPE, COOKIE, EXPECT, TE, TRANSFER_ENCODING, UPGRADE},
};

/// The client's service account, towards the upstream.
pub const ACCOUNT: HeaderName = HeaderName::from_static("x-alts-peer-service-account");

/// RFC 9110, section 7.6.1, and what older clients send; `expect` is fulfilled by this hop.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what is meant for this hop alone, `connection` itself included.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Makes the headers of a request those of the next hop: without what was for this one, and with
/// the client's account if it has one. Trailers may come back if the client takes them.
pub fn for_upstream(headers: &mut HeaderMap, account: Option<&str>) {
    let takes_trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    strip_hop_by_hop(headers);
    strip_account(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // An account that no header can hold is not one that anybody could compare with.
    if let Some(value) = account.and_then(|account| HeaderValue::from_str(account).ok()) {
        headers.insert(ACCOUNT, value);
    }
}

/// Removes what a client says about its own account, in whichever spelling: servers that turn
/// headers into variables take `_` for `-`.
pub fn strip_account(headers: &mut HeaderMap) {
    headers.remove(ACCOUNT);
    let wanted = ACCOUNT;
    let is_spelt_otherwise = |name: &HeaderName| {
        name.as_str().len() == wanted.as_str().len()
            && name
                .as_str()
                .bytes()
                .zip(wanted.as_str().bytes())
                .all(|(one, other)| one == other || (one == b'_' && other == b'-'))
    };
    while let Some(name) = headers.keys().find(|name| is_spelt_otherwise(name)).cloned() {
        headers.remove(name);
    }
}

/// Whether the connection is to become a WebSocket, or has become one. Nothing else passes: behind
/// an upgrade to `h2c`, requests would go to the upstream that nobody has judged.
#[must_use]
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let mut tokens = tokens(headers, &CONNECTION);
    tokens.any(|token| token.eq_ignore_ascii_case("upgrade"))
        && headers.get_all(UPGRADE).iter().count() == 1
        && headers.get(UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Says that the connection is to become a WebSocket, or has become one.
pub fn become_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Joins what HTTP/2 may have split (RFC 9113, section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let parts: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if parts.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Whether a request is a call of gRPC, whose failures are told in its own way.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The bytes of all headers, as HTTP/2 counts a list of them.
#[must_use]
pub fn size(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len().saturating_add(value.len()).saturating_add(32))
        .fold(0, usize::saturating_add)
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn nobody_says_who_they_are_themselves() {
        for name in [
            "x-alts-peer-service-account",
            "X-ALTS-Peer-Service-Account",
            "x_alts_peer_service_account",
            "x-alts_peer-service_account",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            let mut forged = HeaderMap::new();
            forged.append(&name, HeaderValue::from_static("admin@x.test"));
            forged.append(&name, HeaderValue::from_static("root@x.test"));
            let mut plain = forged.clone();
            for_upstream(&mut plain, None);
            assert!(plain.is_empty(), "{plain:?}");
            for_upstream(&mut forged, Some("me@x.test"));
            assert_eq!(
                forged.iter().collect::<Vec<_>>(),
                [(&ACCOUNT, &HeaderValue::from_static("me@x.test"))]
            );
        }
    }

    #[test]
    fn what_is_for_this_hop_ends_here() {
        let mut request = headers(&[
            ("connection", "close, X-Own , x-alts-peer-service-account"),
            ("connection", "upgrade"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, Trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("proxy-connection", "close"),
            ("accept", "*/*"),
        ]);
        assert!(is_websocket(&request));
        for_upstream(&mut request, Some("me@x.test"));
        let wanted = headers(&[
            ("accept", "*/*"),
            ("te", "trailers"),
            ("x-alts-peer-service-account", "me@x.test"),
        ]);
        assert_eq!(request, wanted);
        assert!(!is_websocket(&headers(&[("upgrade", "websocket")])), "not without connection");
        for other in [&["h2c"][..], &["websocket, h2c"], &["websocket", "h2c"]] {
            let mut upgrade = headers(&[("connection", "upgrade")]);
            for one in other {
                upgrade.append(UPGRADE, HeaderValue::from_static(one));
            }
            assert!(!is_websocket(&upgrade), "{other:?}");
        }
    }

    #[test]
    fn cookies_and_grpc() {
        let mut split = headers(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        join_cookies(&mut split);
        assert_eq!(split, headers(&[("cookie", "a=1; b=2; c=3")]));
        for (value, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            assert_eq!(is_grpc(&headers(&[("content-type", value)])), grpc, "{value}");
        }
    }
}
