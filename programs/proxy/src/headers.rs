//! Headers that a proxy has to handle.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

/// The client's service account, towards the upstream.
pub const ACCOUNT: HeaderName = HeaderName::from_static("x-alts-peer-service-account");

/// What becomes of headers with which proxies say for whom they forward: `Forwarded`,
/// `X-Forwarded-*`, `X-Real-IP`, and others that servers believe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// They are removed.
    #[default]
    Strip,
    /// They are removed, and `X-Forwarded-For` is the client's address.
    Own,
    /// They pass: for clients that are trusted proxies themselves.
    Pass,
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Names with which proxies say for whom, for what host, and for what path they forward, where
/// every character that is neither a letter nor a digit is `_`.
const FORWARDING: [&str; 22] = [
    "cf_connecting_ip",
    "client_cert",
    "client_cert_chain",
    "client_ip",
    "fastly_client_ip",
    "forwarded",
    "forwarded_for",
    "proxy_client_ip",
    "true_client_ip",
    "wl_proxy_client_ip",
    "x_azure_clientip",
    "x_client_cert",
    "x_client_ip",
    "x_cluster_client_ip",
    "x_envoy_external_address",
    "x_host",
    "x_http_host_override",
    "x_originating_ip",
    "x_real_ip",
    "x_remote_addr",
    "x_remote_ip",
    "x_rewrite_url",
];

/// Beginnings of such names.
const FORWARDING_FAMILIES: [&str; 3] = ["x_envoy_original", "x_forwarded", "x_original_"];

/// Headers without which a message means something else: naming them in `connection` removes them
/// from no message.
const OF_THE_MESSAGE: [HeaderName; 2] = [CONTENT_LENGTH, HOST];

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

/// Removes what is only meant for this hop, `connection` itself included.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
            .filter(|name| !OF_THE_MESSAGE.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Makes the headers of a request those of the next hop: without what was for this one and what
/// clients may not say themselves, and with the client's account if it has one. Trailers may come
/// back if the client takes them.
pub fn for_upstream(
    headers: &mut HeaderMap,
    account: Option<&str>,
    forwarding: Forwarding,
    address: Option<IpAddr>,
) {
    let takes_trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    strip_hop_by_hop(headers);
    strip_claims(headers, forwarding);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // An account that no header can hold is not one that anybody could compare with.
    if let Some(value) = account.and_then(|account| HeaderValue::from_str(account).ok()) {
        headers.insert(ACCOUNT, value);
    }
    if let (Forwarding::Own, Some(address)) = (forwarding, address)
        && let Ok(value) = HeaderValue::from_str(&address.to_canonical().to_string())
    {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// Makes the trailers of a request those of the next hop: without what only a head can say, and what
/// clients may not say themselves.
pub fn trailers_for_upstream(trailers: &mut HeaderMap, forwarding: Forwarding) {
    strip_hop_by_hop(trailers);
    for name in OF_THE_MESSAGE {
        trailers.remove(name);
    }
    strip_claims(trailers, forwarding);
}

/// Removes what a client says about its own account or about whom it forwards for, in whichever
/// spelling: servers that turn headers into variables take `_` for whatever is neither a letter nor
/// a digit.
fn strip_claims(headers: &mut HeaderMap, forwarding: Forwarding) {
    let is_claim = |name: &HeaderName| {
        let same = |wanted: &str| {
            name.as_str().len() == wanted.len() && begins_like(name.as_str(), wanted)
        };
        same(ACCOUNT.as_str())
            || (forwarding != Forwarding::Pass
                && (FORWARDING_FAMILIES.iter().any(|family| begins_like(name.as_str(), family))
                    || FORWARDING.iter().any(|wanted| same(wanted))))
    };
    let claims: Vec<_> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Whether a name begins like another one for a server that sees letters and digits only.
fn begins_like(name: &str, beginning: &str) -> bool {
    let plain =
        |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
    name.len() >= beginning.len()
        && name.bytes().zip(beginning.bytes()).all(|(one, other)| plain(one) == plain(other))
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

/// Whether a body comes in an encoding that this hop would have to take away and cannot: anything
/// but `chunked`, once.
#[must_use]
pub fn has_foreign_encoding(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        && !tokens(headers, &TRANSFER_ENCODING)
            .map(str::to_ascii_lowercase)
            .eq(["chunked".to_owned()])
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
    use proptest::prelude::*;

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
            "x.alts.peer.service.account",
            "X!ALTS!peer!service!account",
            "x~alts|peer^service`account",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            let mut forged = HeaderMap::new();
            forged.append(&name, HeaderValue::from_static("admin@x.test"));
            forged.append(&name, HeaderValue::from_static("root@x.test"));
            let mut plain = forged.clone();
            for_upstream(&mut plain, None, Forwarding::Strip, None);
            assert!(plain.is_empty(), "{plain:?}");
            for_upstream(&mut forged, Some("me@x.test"), Forwarding::Strip, None);
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
        for_upstream(&mut request, Some("me@x.test"), Forwarding::Strip, None);
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
    fn nobody_says_themselves_for_whom_they_forward() {
        let own = [
            ("X-Forwarded-For", "192.0.2.1"),
            ("x_forwarded_for", "192.0.2.1"),
            ("X.Forwarded.Host", "admin.test"),
            ("x-forwarded-client-cert", "By=x"),
            ("X-Real-IP", "192.0.2.1"),
            ("Forwarded", "for=192.0.2.1"),
            ("X-Original-URL", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("x-original-uri", "/admin"),
            ("X-Envoy-Original-Dst-Host", "192.0.2.1:80"),
            ("Client-Cert", ":MIIB:"),
            ("CF-Connecting-IP", "192.0.2.1"),
        ];
        let mut all = HeaderMap::new();
        for (name, value) in own {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            all.append(name, HeaderValue::from_static(value));
        }
        let with = |forwarding| {
            let mut headers = all.clone();
            for_upstream(&mut headers, None, forwarding, "::ffff:198.51.100.7".parse().ok());
            headers
        };
        assert!(with(Forwarding::Strip).is_empty());
        assert_eq!(with(Forwarding::Own), headers(&[("x-forwarded-for", "198.51.100.7")]));
        assert_eq!(with(Forwarding::Pass), all);
        let mut others = headers(&[("x-forward", "1"), ("forwarded-by", "1"), ("host", "x")]);
        strip_claims(&mut others, Forwarding::Strip);
        assert_eq!(others.len(), 3, "what only looks alike passes");
    }

    proptest! {
        #[test]
        fn whatever_a_server_maps_to_a_trusted_name_is_removed(
            name in prop::sample::select(vec![
                "x-alts-peer-service-account", "x-forwarded-for", "x-forwarded-client-cert",
                "x-real-ip", "forwarded", "x-forwarded-proto", "x-original-url",
            ]),
            separators in prop::collection::vec(
                prop::sample::select(b"!#$%&'*+-.^_`|~".to_vec()), 4,
            ),
            capitals in prop::collection::vec(any::<bool>(), 30),
        ) {
            let mut separators = separators.into_iter();
            let spelt: Vec<u8> = name
                .bytes()
                .zip(capitals)
                .map(|(byte, capital)| match byte {
                    b'-' => separators.next().unwrap_or(b'-'),
                    byte if capital => byte.to_ascii_uppercase(),
                    byte => byte,
                })
                .collect();
            let mut forged = HeaderMap::new();
            forged.insert(
                HeaderName::from_bytes(&spelt).unwrap(),
                HeaderValue::from_static("admin@x.test"),
            );
            for_upstream(&mut forged, None, Forwarding::default(), None);
            prop_assert!(forged.is_empty(), "{forged:?}");
        }
    }

    #[test]
    fn what_a_message_needs_is_not_for_one_hop() {
        let mut request = headers(&[
            ("connection", "host, content-length, x-own"),
            ("host", "x.test"),
            ("content-length", "3"),
            ("x-own", "1"),
        ]);
        strip_hop_by_hop(&mut request);
        assert_eq!(request, headers(&[("host", "x.test"), ("content-length", "3")]));
    }

    #[test]
    fn trailers_say_only_what_trailers_can() {
        let mut trailers = headers(&[
            ("connection", "x-own"),
            ("x-own", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "7"),
            ("host", "x.test"),
            ("x_alts_peer_service_account", "admin@x.test"),
            ("x-forwarded-for", "192.0.2.1"),
            ("checksum", "1"),
        ]);
        trailers_for_upstream(&mut trailers, Forwarding::Strip);
        assert_eq!(trailers, headers(&[("checksum", "1")]));
    }

    #[test]
    fn cookies_are_joined() {
        let mut split = headers(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        join_cookies(&mut split);
        assert_eq!(split, headers(&[("cookie", "a=1; b=2; c=3")]));
    }
}
