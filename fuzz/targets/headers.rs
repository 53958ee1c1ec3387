//! Headers of requests: nothing that a server may take for the peer's account comes from a client.
#![no_main]

use alts_proxy::headers::{ACCOUNT, Forwarding, for_upstream};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

/// Names that servers believe, as CGI and its heirs write them.
const BELIEVED: [&str; 10] = [
    "CLIENT_IP",
    "FORWARDED",
    "TRUE_CLIENT_IP",
    "X_CLIENT_IP",
    "X_FORWARDED_CLIENT_CERT",
    "X_FORWARDED_FOR",
    "X_FORWARDED_PROTO",
    "X_ORIGINAL_URL",
    "X_REAL_IP",
    "X_REWRITE_URL",
];

/// Names of what is for one hop.
const OF_A_HOP: [&str; 8] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

fuzz_target!(|input: (Vec<(Vec<u8>, Vec<u8>)>, bool, bool, u8)| {
    let (fields, has_account, has_address, forwarding) = input;
    let mut headers = HeaderMap::new();
    for (name, value) in fields.into_iter().take(64) {
        let name = HeaderName::from_bytes(&name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
            headers.append(name, value);
        }
    }
    let before = headers.clone();
    let forwarding = match forwarding % 3 {
        0 => Forwarding::Strip,
        1 => Forwarding::Own,
        _ => Forwarding::Pass,
    };
    let account = has_account.then_some("me@x.test");
    let address = has_address.then_some([192, 0, 2, 1].into());
    for_upstream(&mut headers, account, forwarding, address);

    let mut accounts = 0;
    for (name, value) in &headers {
        let variable = variable(name);
        if variable == "X_ALTS_PEER_SERVICE_ACCOUNT" {
            assert!(name == ACCOUNT && value == "me@x.test", "{name}: {value:?}");
            accounts += 1;
        }
        if forwarding != Forwarding::Pass && BELIEVED.contains(&&*variable) {
            let own = forwarding == Forwarding::Own && name == "x-forwarded-for";
            assert!(own && value == "192.0.2.1", "{name}: {value:?}");
        }
        let is_ours = matches!(name.as_str(), "te" | "x-forwarded-for") || name == ACCOUNT;
        assert!(is_ours || before.get_all(name).iter().any(|sent| sent == value), "{name}");
    }
    assert_eq!(accounts, usize::from(has_account));
    for name in OF_A_HOP {
        let is_trailers = name == "te" && headers.get(name).is_some_and(|te| te == "trailers");
        assert!(is_trailers || !headers.contains_key(name), "{name} is for one hop");
    }
    // What claims nothing arrives as it was sent.
    if forwarding == Forwarding::Pass && !before.contains_key("connection") {
        for name in before.keys() {
            let is_claim = variable(name) == "X_ALTS_PEER_SERVICE_ACCOUNT";
            if !is_claim && !OF_A_HOP.contains(&name.as_str()) {
                assert!(headers.get_all(name).iter().eq(before.get_all(name)), "{name}");
            }
        }
    }
});

/// A header's name as servers turn it into a variable.
fn variable(name: &HeaderName) -> String {
    let plain =
        |one: char| if one.is_ascii_alphanumeric() { one.to_ascii_uppercase() } else { '_' };
    name.as_str().chars().map(plain).collect()
}
