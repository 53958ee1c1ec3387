//! The header of the PROXY protocol, version 2: whose connection it is that an upstream sees.
//!
//! Behind it, the TLV of type `0xE0` (of the range that the protocol leaves to applications) is the
//! client's service account in UTF-8, when the client speaks ALTS. Everything else in the header is
//! what the network says.

use std::net::{IpAddr, SocketAddr};

/// The TLV with the client's service account.
pub const ACCOUNT: u8 = 0xE0;

/// The longest account that is passed on, in bytes.
const LONGEST: usize = 1024;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and: this connection is another one's.
const PROXY: u8 = 0x21;
/// Version 2, and: there is nothing to say of whose it is.
const LOCAL: u8 = 0x20;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
const UNSPECIFIED: u8 = 0x00;
/// Two paths, about which nothing is known.
const UNIX_ADDRESSES: [u8; 216] = [0; 216];

/// The header of a client's connection: where it came from, where it went to, and who the client
/// is. A connection without addresses came over a UNIX socket.
#[must_use]
pub fn header(addresses: Option<(SocketAddr, SocketAddr)>, account: Option<&str>) -> Vec<u8> {
    let mut behind = Vec::new();
    let family = match addresses {
        // Receivers may not know this family, and a command without one has no account.
        None if account.is_some() => {
            behind.extend_from_slice(&UNIX_ADDRESSES);
            UNIX_STREAM
        }
        None => {
            let mut header = SIGNATURE.to_vec();
            header.extend_from_slice(&[LOCAL, UNSPECIFIED, 0, 0]);
            return header;
        }
        Some((source, destination)) => {
            match (source.ip().to_canonical(), destination.ip().to_canonical()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    behind.extend_from_slice(&from.octets());
                    behind.extend_from_slice(&to.octets());
                    behind.extend_from_slice(&source.port().to_be_bytes());
                    behind.extend_from_slice(&destination.port().to_be_bytes());
                    TCP_OVER_IPV4
                }
                (from, to) => {
                    behind.extend_from_slice(&v6(from));
                    behind.extend_from_slice(&v6(to));
                    behind.extend_from_slice(&source.port().to_be_bytes());
                    behind.extend_from_slice(&destination.port().to_be_bytes());
                    TCP_OVER_IPV6
                }
            }
        }
    };
    // One that is longer than any account would make a header that nobody reads.
    if let Some((account, length)) = account
        .filter(|account| account.len() <= LONGEST)
        .and_then(|account| Some((account, u16::try_from(account.len()).ok()?)))
    {
        behind.push(ACCOUNT);
        behind.extend_from_slice(&length.to_be_bytes());
        behind.extend_from_slice(account.as_bytes());
    }
    let length = u16::try_from(behind.len()).unwrap_or(u16::MAX);
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[PROXY, family]);
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&behind);
    header
}

const fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_by_byte() {
        let addresses = |from: &str, to: &str| Some((from.parse().unwrap(), to.parse().unwrap()));
        assert_eq!(
            header(addresses("192.0.2.1:258", "198.51.100.2:443"), Some("a@b.test")),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x17\xc0\0\x02\x01\xc6\x33\x64\x02\x01\x02\x01\xbb\
              \xe0\0\x08a@b.test"
        );
        assert_eq!(
            header(addresses("[2001:db8::1]:1", "[::1]:2"), None),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
              \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x02"
        );
        assert_eq!(header(None, None), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "LOCAL");
        let unix = header(None, Some("a@b.test"));
        assert!(unix.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xe3"), "AF_UNIX: {unix:?}");
        assert_eq!((unix.len(), &unix[16 + 216..]), (16 + 227, &b"\xe0\0\x08a@b.test"[..]));
        // One socket for both families shows IPv4 addresses as IPv6.
        let mapped = header(addresses("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2"), None);
        assert_eq!(mapped, header(addresses("192.0.2.1:1", "192.0.2.2:2"), None));
    }
}
