//! Captures as tcpdump writes them, made of two streams: segments out of order, and some twice.

/// A form of a capture.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// pcap, little-endian, Ethernet, IPv4.
    Ethernet,
    /// pcap, big-endian with nanoseconds, raw IPv6.
    RawIpv6,
    /// pcapng, `tcpdump -i any`, IPv4.
    Any,
}

pub(crate) const FORMATS: [Format; 3] = [Format::Ethernet, Format::RawIpv6, Format::Any];
pub(crate) const SECOND_PORT: u16 = 9001;

const CLIENT_PORT: u16 = 40_000;
const SERVER_PORT: u16 = 9000;
const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// One segment: from the client or not, sequence number, flags, payload.
type Segment<'a> = (bool, u32, u8, &'a [u8]);

/// The segments of a connection.
fn segments<'a>(to_server: &'a [u8], to_client: &'a [u8]) -> Vec<Segment<'a>> {
    // Sequence numbers that pass their end.
    let (client, server) = (u32::MAX - 1000, 5);
    let mut all: Vec<Segment<'_>> = vec![(true, client, SYN, b""), (false, server, SYN | ACK, b"")];
    for (from_client, first, stream) in
        [(true, client.wrapping_add(1), to_server), (false, server + 1, to_client)]
    {
        let mut next = first;
        let mut own = Vec::new();
        for piece in stream.chunks(700) {
            own.push((from_client, next, ACK, piece));
            next = next.wrapping_add(u32::try_from(piece.len()).unwrap());
        }
        own.push(own[0]);
        own.swap(1, 2);
        let again = own[3];
        own.insert(5, again);
        all.extend(own);
    }
    all
}

pub(crate) fn write(format: Format, to_server: &[u8], to_client: &[u8]) -> Vec<u8> {
    let mut file = head(format);
    for segment in segments(to_server, to_client) {
        packet(&mut file, format, &ip(format, SERVER_PORT, segment));
    }
    file
}

/// Two connections in one capture.
pub(crate) fn two(to_server: &[u8], to_client: &[u8]) -> Vec<u8> {
    let format = Format::Ethernet;
    let mut file = head(format);
    for segment in segments(to_server, to_client) {
        packet(&mut file, format, &ip(format, SERVER_PORT, segment));
        packet(&mut file, format, &ip(format, SECOND_PORT, segment));
    }
    file
}

/// A connection in whose capture something is missing.
pub(crate) fn harmed(to_server: &[u8], to_client: &[u8], harm: Harm) -> Vec<u8> {
    let format = Format::Ethernet;
    let mut file = head(format);
    let first = u32::MAX - 999;
    let length = u32::try_from(to_server.len()).unwrap();
    let end = first.wrapping_add(length);
    let last = first.wrapping_add(length - length % 700);
    for segment in segments(to_server, to_client) {
        let (from_client, sequence, ..) = segment;
        let is_missing = match harm {
            Harm::Beginning => !from_client || sequence != last,
            Harm::Middle => sequence == first.wrapping_add(700),
            Harm::End => from_client && sequence == last,
            Harm::Nothing | Harm::StillOpen => false,
        };
        if !is_missing {
            packet(&mut file, format, &ip(format, SERVER_PORT, segment));
        }
    }
    if harm != Harm::StillOpen {
        packet(&mut file, format, &ip(format, SERVER_PORT, (true, end, FIN | ACK, b"")));
    }
    file
}

/// What is missing in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Nothing: it ends when the client has closed the connection.
    Nothing,
    /// It was ended before the connection.
    StillOpen,
    /// It was begun after the connection.
    Beginning,
    /// A packet in the middle.
    Middle,
    /// The last packet with data of the client.
    End,
}

/// Connections between the same ports of two pairs of hosts.
pub(crate) fn alike(to_server: &[u8], to_client: &[u8]) -> Vec<u8> {
    let format = Format::Ethernet;
    let mut file = head(format);
    for segment in segments(to_server, to_client) {
        let mut ip = ip(format, SERVER_PORT, segment);
        packet(&mut file, format, &ip);
        // The network of both hosts.
        (ip[13], ip[17]) = (9, 9);
        packet(&mut file, format, &ip);
    }
    file
}

fn head(format: Format) -> Vec<u8> {
    match format {
        Format::Ethernet => {
            b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0".into()
        }
        Format::RawIpv6 => {
            b"\xa1\xb2\x3c\x4d\0\x02\0\x04\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\x65".into()
        }
        Format::Any => {
            let mut file =
                block(0x0A0D_0D0A, b"\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
            // LINUX_SLL2 = 276, no limit on lengths.
            file.extend(block(1, b"\x14\x01\0\0\0\0\0\0"));
            // Statistics, which are skipped.
            file.extend(block(5, b"\0\0\0\0\0\0\0\0\0\0\0\0"));
            file
        }
    }
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = body.len().next_multiple_of(4) - body.len();
    let total = u32::try_from(body.len() + padding + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &total, body, &vec![0; padding], &total].concat()
}

fn packet(file: &mut Vec<u8>, format: Format, ip: &[u8]) {
    match format {
        Format::Ethernet => {
            // Two addresses, a VLAN, IPv4; short frames are filled up.
            let mut frame = [&[0; 12][..], b"\x81\0\0\x05\x08\0", ip].concat();
            frame.resize(frame.len().max(60), 0);
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            file.extend([&[0; 8][..], &length, &length, &frame].concat());
        }
        Format::RawIpv6 => {
            let length = u32::try_from(ip.len()).unwrap().to_be_bytes();
            file.extend([&[0; 8][..], &length, &length, ip].concat());
        }
        Format::Any => {
            let frame = [b"\x08\0", &[0; 18][..], ip].concat();
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            file.extend(block(6, &[&[0; 12][..], &length, &length, &frame].concat()));
        }
    }
}

fn ip(format: Format, server_port: u16, segment: Segment<'_>) -> Vec<u8> {
    let (from_client, sequence, flags, payload) = segment;
    let ports = if from_client { [CLIENT_PORT, server_port] } else { [server_port, CLIENT_PORT] };
    let tcp = [
        &ports[0].to_be_bytes()[..],
        &ports[1].to_be_bytes(),
        &sequence.to_be_bytes(),
        &[0; 4],
        // 24 bytes of header: there is an option.
        &[6 << 4, flags],
        &[0; 6],
        &[1; 4],
        payload,
    ]
    .concat();
    let address = |client: bool| if client { 1 } else { 2 };
    let (source, destination) = (address(from_client), address(!from_client));
    if let Format::RawIpv6 = format {
        // A header of options in between.
        let length = u16::try_from(tcp.len() + 8).unwrap().to_be_bytes();
        let mut packet = [b"\x60\0\0\0", &length[..], &[60, 64]].concat();
        for host in [source, destination] {
            packet.extend([&[0; 15][..], &[host]].concat());
        }
        packet.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend(tcp);
        return packet;
    }
    let length = u16::try_from(tcp.len() + 20).unwrap().to_be_bytes();
    [
        b"\x45\0",
        &length[..],
        b"\0\0\x40\0\x40\x06\0\0",
        &[10, 0, 0, source],
        &[10, 0, 0, destination],
        &tcp,
    ]
    .concat()
}
