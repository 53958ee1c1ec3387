//! Addresses and handshakers' locators: every program reads them alike, and what it writes is read as the
//! same.
#![no_main]

use alts_handshaker::locator::Locator;
use altsd::listen::ListenAddress;
use libfuzzer_sys::fuzz_target;
use tokio_alts::{Address, GrpcHandshaker};

/// What names a handshaker: an address, or what is in the program itself.
fn locator(text: &str) {
    let Ok(locator) = text.parse::<Locator>() else { return };
    assert_eq!(locator.to_string().parse().as_ref(), Ok(&locator));
    assert_eq!(locator.clone().with_paths(|path| path), locator);
    let inside = matches!(locator, Locator::Files(_) | Locator::Development(_));
    assert!(!inside || locator.address().is_none());
    if let Locator::Files(paths) = &locator {
        assert!(!paths.to_string().contains(char::is_control));
        let moved = locator.with_paths(|path| std::path::Path::new("/etc/alts").join(path));
        assert_eq!(moved.to_string().parse().as_ref(), Ok(&moved));
    }
}

fuzz_target!(|text: &str| {
    locator(text);
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
