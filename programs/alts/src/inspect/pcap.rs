//! Captures of packets: pcap, as tcpdump writes it, and pcapng.

use std::io::{self, Read};

/// The largest packet, and the largest block of a pcapng, in bytes.
const MAX_BLOCK: usize = 1 << 20;
/// How many interfaces a section of a pcapng may have.
const MAX_INTERFACES: usize = 1024;

/// The magic numbers of pcap, in the order of bytes of who wrote it: with microseconds and with
/// nanoseconds.
const PCAP: [u32; 2] = [0xA1B2_C3D4, 0xA1B2_3C4D];
/// The type of a section's header, the same in both orders.
const SECTION: u32 = 0x0A0D_0D0A;
/// What a section's header says about the order of bytes.
const ORDER: u32 = 0x1A2B_3C4D;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// The kinds of packet that an interface has (`LINKTYPE_…` of tcpdump).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link(pub(super) u32);

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Captured {
    pub(super) link: Link,
    pub(super) data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// The number at this place of some bytes.
    fn at(self, bytes: &[u8], place: usize) -> io::Result<u32> {
        let field = bytes.get(place..).and_then(<[u8]>::first_chunk).copied();
        field.map(|field| self.u32(field)).ok_or_else(|| damaged("a block is too short"))
    }
}

/// Whether a file that begins like this is a capture.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    let Some(magic) = bytes.first_chunk().copied() else { return false };
    order(magic).is_some() || u32::from_le_bytes(magic) == SECTION
}

/// The order of bytes of a pcap that begins with this.
fn order(magic: [u8; 4]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|order| PCAP.contains(&order.u32(magic)))
}

/// The packets of a capture.
pub(super) struct Packets<R> {
    read: R,
    format: Format,
    cut: bool,
}

enum Format {
    Pcap { order: Order, link: Link },
    Pcapng { order: Order, links: Vec<Link> },
}

impl<R: Read> Packets<R> {
    /// Reads the beginning of a capture.
    pub(super) fn new(mut read: R) -> io::Result<Self> {
        let magic = exact(&mut read)?;
        let format = match order(magic) {
            Some(order) => {
                let rest: [u8; 20] = exact(&mut read)?;
                // The upper bits say how long frame check sequences are.
                Format::Pcap { order, link: Link(order.at(&rest, 16)? & 0xFFFF) }
            }
            None => Format::Pcapng { order: section(&mut read)?, links: Vec::new() },
        };
        Ok(Self { read, format, cut: false })
    }

    /// Whether the last packet was cut off.
    pub(super) const fn cut(&self) -> bool {
        self.cut
    }

    /// The next packet; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Captured>> {
        let packet = match self.format {
            Format::Pcap { order, link } => self.pcap(order, link),
            Format::Pcapng { .. } => self.pcapng(),
        };
        match packet {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.cut = true;
                Ok(None)
            }
            packet => packet,
        }
    }

    fn pcap(&mut self, order: Order, link: Link) -> io::Result<Option<Captured>> {
        let Some(first) = start(&mut self.read)? else { return Ok(None) };
        // The first four bytes are the time.
        let _ = first;
        let rest: [u8; 12] = exact(&mut self.read)?;
        let length = size(order.at(&rest, 4)?)?;
        let data = bytes(&mut self.read, length)?;
        Ok(Some(Captured { link, data }))
    }

    fn pcapng(&mut self) -> io::Result<Option<Captured>> {
        loop {
            let Some(kind) = start(&mut self.read)? else { return Ok(None) };
            if u32::from_le_bytes(kind) == SECTION {
                let order = section(&mut self.read)?;
                self.format = Format::Pcapng { order, links: Vec::new() };
                continue;
            }
            let Format::Pcapng { order, links } = &mut self.format else { return Ok(None) };
            let order = *order;
            let total = size(order.u32(exact(&mut self.read)?))?;
            // Type, length, and the length again after the body.
            let body = total.checked_sub(12).ok_or_else(|| damaged("a block is too short"))?;
            let body = bytes(&mut self.read, body)?;
            let _: [u8; 4] = exact(&mut self.read)?;
            match order.u32(kind) {
                INTERFACE => {
                    let Some(link) = body.first_chunk() else {
                        return Err(damaged("an interface has no link type"));
                    };
                    if links.len() >= MAX_INTERFACES {
                        return Err(damaged("there are too many interfaces"));
                    }
                    links.push(Link(u32::from(order.u16(*link))));
                }
                ENHANCED_PACKET => {
                    let interface = order.at(&body, 0)? as usize;
                    let length = size(order.at(&body, 12)?)?;
                    return packet(links, interface, body.get(20..), length).map(Some);
                }
                SIMPLE_PACKET => {
                    let rest = body.get(4..);
                    let length = size(order.at(&body, 0)?)?.min(rest.unwrap_or_default().len());
                    return packet(links, 0, rest, length).map(Some);
                }
                _ => {}
            }
        }
    }
}

fn packet(
    links: &[Link],
    interface: usize,
    data: Option<&[u8]>,
    length: usize,
) -> io::Result<Captured> {
    let link = *links.get(interface).ok_or_else(|| damaged("a packet has no interface"))?;
    let data = data.and_then(|data| data.get(..length));
    let data = data.ok_or_else(|| damaged("a packet is longer than its block"))?.to_vec();
    Ok(Captured { link, data })
}

/// The rest of a section's header, after its type.
fn section(read: &mut impl Read) -> io::Result<Order> {
    let length: [u8; 4] = exact(read)?;
    let magic: [u8; 4] = exact(read)?;
    let order = [Order::Little, Order::Big].into_iter().find(|order| order.u32(magic) == ORDER);
    let order = order.ok_or_else(|| damaged("the order of bytes is unknown"))?;
    let total = size(order.u32(length))?;
    let rest = total.checked_sub(12).ok_or_else(|| damaged("a section's header is too short"))?;
    bytes(read, rest)?;
    Ok(order)
}

/// The first four bytes of a block; `None` at the end of the file.
fn start(read: &mut impl Read) -> io::Result<Option<[u8; 4]>> {
    let mut first = Vec::with_capacity(4);
    read.take(4).read_to_end(&mut first)?;
    match first.first_chunk() {
        Some(first) => Ok(Some(*first)),
        None if first.is_empty() => Ok(None),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn exact<const N: usize>(read: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    read.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn bytes(read: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // What is not there is not reserved, either.
    read.take(count as u64).read_to_end(&mut bytes)?;
    if bytes.len() == count { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn size(number: u32) -> io::Result<usize> {
    usize::try_from(number)
        .ok()
        .filter(|size| *size <= MAX_BLOCK)
        .ok_or_else(|| damaged("a packet or block is larger than 1 MiB"))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the capture is damaged: {what}"))
}
