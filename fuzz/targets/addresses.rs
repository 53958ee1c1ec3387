//! Addresses: every program reads them alike, and what it writes is read as the same.
#![no_main]

use altsd::listen::ListenAddress;
use libfuzzer_sys::fuzz_target;
use tokio_alts::{Address, GrpcHandshaker};

fuzz_target!(|text: &str| {
    let proxy = text.parse::<alts_proxy::address::Address>();
    let handshaker = GrpcHandshaker::at(text);
    let Ok(address) = text.parse::<Address>() else {
        assert!(proxy.is_err() && handshaker.is_err() && ListenAddress::parse(text).is_err());
        return;
    };
    assert_eq!(address.to_string().parse().as_ref(), Ok(&address));
    let proxy = proxy.unwrap();
    assert_eq!(proxy.to_string().parse().as_ref(), Ok(&proxy));
    assert_eq!(proxy.is_local(), address.is_local());
    assert!(handshaker.is_ok(), "{text:?}: {:?}", handshaker.err());
    match &address {
        Address::Tcp(place) => {
            assert!(!place.contains(|one: char| one.is_control() || one.is_whitespace()));
            assert!(matches!(proxy, alts_proxy::address::Address::Tcp(same) if same == *place));
            // A name is not looked up before it is opened.
            let listen = ListenAddress::parse(text).unwrap();
            assert_eq!(listen.to_string(), *place);
        }
        Address::Unix(place) => {
            assert!(matches!(ListenAddress::parse(text), Ok(ListenAddress::Unix { path, .. })
                    if path.to_str() == Some(place)));
            assert!(!proxy.is_abstract());
        }
        Address::UnixAbstract(name) => {
            assert!(
                matches!(ListenAddress::parse(text), Ok(ListenAddress::Abstract { name: same })
                    if same == *name)
            );
            assert!(proxy.is_abstract());
        }
        _ => unreachable!("an address that this target does not know"),
    }
});
