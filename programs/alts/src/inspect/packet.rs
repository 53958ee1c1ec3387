//! From a captured packet to its TCP segment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::pcap::Link;

const TCP: u8 = 6;

/// One TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment<'p> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) flags: Flags,
    pub(super) payload: &'p [u8],
}

/// A segment's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }

    pub(super) const fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }

    pub(super) const fn reset(self) -> bool {
        self.0 & 0x04 != 0
    }

    pub(super) const fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// The segment in a packet, if it has one that can be read.
pub(super) fn segment(link: Link, packet: &[u8]) -> Option<Segment<'_>> {
    let ip = match link.0 {
        // Loopback of BSD: the family of addresses, in anybody's order of bytes.
        0 | 108 => packet.get(4..)?,
        1 => ethernet(packet)?,
        // Raw IP.
        12 | 14 | 101 | 228 | 229 => packet,
        // `tcpdump -i any`, old and new.
        113 => ethertype(packet.get(14..)?)?,
        276 => {
            let kind = u16::from_be_bytes(*packet.first_chunk()?);
            is_ip(kind).then(|| packet.get(20..))??
        }
        _ => return None,
    };
    match ip.first()? >> 4 {
        4 => ipv4(ip),
        6 => ipv6(ip),
        _ => None,
    }
}

fn ethernet(frame: &[u8]) -> Option<&[u8]> {
    ethertype(frame.get(12..)?)
}

/// What follows an Ethernet type and the VLAN tags after it, if it is IP.
fn ethertype(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (kind, behind) = rest.split_first_chunk()?;
        match u16::from_be_bytes(*kind) {
            0x8100 | 0x88A8 => rest = behind.get(2..)?,
            kind => return is_ip(kind).then_some(behind),
        }
    }
}

const fn is_ip(kind: u16) -> bool {
    matches!(kind, 0x0800 | 0x86DD)
}

fn ipv4(packet: &[u8]) -> Option<Segment<'_>> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let [first, _, l0, l1, _, _, f0, f1, _, protocol, _, _, addresses @ ..] = *header;
    let fragment = u16::from_be_bytes([f0, f1]) & 0x3FFF;
    if protocol != TCP || fragment != 0 {
        return None;
    }
    let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    let start = usize::from(first & 0x0F).checked_mul(4)?;
    let total = match usize::from(u16::from_be_bytes([l0, l1])) {
        // The network card cuts what is longer, after the capture.
        0 => packet.len(),
        // Ethernet fills short frames up.
        total => total.min(packet.len()),
    };
    let source = Ipv4Addr::new(s0, s1, s2, s3).into();
    let destination = Ipv4Addr::new(d0, d1, d2, d3).into();
    tcp(source, destination, packet.get(start..total)?)
}

fn ipv6(packet: &[u8]) -> Option<Segment<'_>> {
    let (header, rest) = packet.split_first_chunk::<40>()?;
    let [_, _, _, _, l0, l1, mut next, _, addresses @ ..] = *header;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    let source: IpAddr = Ipv6Addr::from(*source).into();
    let destination: IpAddr = Ipv6Addr::from(*destination.first_chunk::<16>()?).into();
    let mut rest = match usize::from(u16::from_be_bytes([l0, l1])) {
        0 => rest,
        length => rest.get(..length.min(rest.len()))?,
    };
    // Hop-by-hop options, routing and destination options come before TCP. Fragments are not put
    // together.
    while matches!(next, 0 | 43 | 60) {
        let [following, length, ..] = *rest.first_chunk::<8>()?;
        let skipped = usize::from(length).checked_add(1)?.checked_mul(8)?;
        (next, rest) = (following, rest.get(skipped..)?);
    }
    if next == TCP { tcp(source, destination, rest) } else { None }
}

fn tcp(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Option<Segment<'_>> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, _, _, _, _, offset, flags, ..] = *header;
    let start = usize::from(offset >> 4).checked_mul(4).filter(|start| *start >= 20)?;
    Some(Segment {
        from: SocketAddr::new(source, u16::from_be_bytes([s0, s1])),
        to: SocketAddr::new(destination, u16::from_be_bytes([d0, d1])),
        sequence: u32::from_be_bytes([q0, q1, q2, q3]),
        flags: Flags(flags),
        payload: bytes.get(start..)?,
    })
}
