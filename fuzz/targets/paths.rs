//! Paths of requests: no spelling of a protected path passes the rule of another route.
#![no_main]

use alts_proxy::path::{Prefix, normalise, strip_parameters};
use libfuzzer_sys::fuzz_target;

/// Prefixes that only some may call, in a notation in which they are written in configurations.
const PROTECTED: [&str; 6] =
    ["/v1/users:delete", "/@admin", "/a b/c", "/\u{fc}ber", "/!$&'()*+,=", "/[x]/{y}"];

fuzz_target!(|path: &str| {
    let Ok(plain) = normalise(path) else { return };
    // One notation: it is that of itself, of what it means, and holds nothing that servers read in
    // more than one way.
    assert_eq!(normalise(&plain).as_ref(), Ok(&plain));
    assert!(plain.starts_with('/') && plain.is_ascii());
    assert!(!plain.contains("//") && !plain.contains('\\'));
    assert!(plain.split('/').all(|segment| !matches!(segment, "." | "..")));
    // What the server behind makes of the request's path, as freely as servers do: every escape is
    // decoded, parameters are cut off, dots are resolved.
    let meant = resolved(&decoded(path));
    let stripped = strip_parameters(&plain);
    assert_eq!(resolved(&decoded(&plain)), meant, "what is forwarded means what was asked for");
    for text in PROTECTED {
        let prefix = Prefix::try_from(text.to_owned()).unwrap();
        let served = resolved(&decoded(&stripped));
        let is_meant = |path: &[String]| {
            let wanted: Vec<_> = text.split('/').skip(1).collect();
            path.len() >= wanted.len() && path.iter().zip(wanted).all(|(one, other)| one == other)
        };
        if is_meant(&meant) || is_meant(&served) {
            assert!(prefix.covers(&plain) || prefix.covers(&stripped), "{path:?} as {plain:?}");
        }
    }
});

fn decoded(path: &str) -> String {
    let mut bytes = path.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let digits = bytes.as_slice_of_two();
        match (byte, digits) {
            (b'%', Some(code)) => {
                decoded.push(code);
                bytes.nth(1);
            }
            _ => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The two hexadecimal digits that come next.
trait Escape {
    fn as_slice_of_two(&self) -> Option<u8>;
}

impl Escape for std::str::Bytes<'_> {
    fn as_slice_of_two(&self) -> Option<u8> {
        let mut next = self.clone();
        let mut digit = || char::from(next.next()?).to_digit(16);
        u8::try_from(digit()? * 16 + digit()?).ok()
    }
}

fn resolved(path: &str) -> Vec<String> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => _ = segments.pop(),
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}
