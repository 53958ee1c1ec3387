//! The streams of a TCP connection, put together from its segments.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::packet::Segment;
use super::window::{Ending, Lacks};

/// The most bytes that are kept of one direction.
const MAX_STREAM: usize = 256 << 20;
/// The most bytes that wait for others before them.
const MAX_WAITING: usize = 16 << 20;
/// How many other connections are counted.
const MAX_OTHERS: usize = 16;

/// The two directions of a connection.
#[derive(Debug, Default)]
pub(super) struct CapturedConnection {
    pub(super) to_server: CapturedStream,
    pub(super) to_client: CapturedStream,
    /// What has to be known about how they came about.
    pub(super) notes: Vec<String>,
}

/// One direction of a connection, as far as it was captured.
#[derive(Debug, Default)]
pub(super) struct CapturedStream {
    pub(super) data: Vec<u8>,
    pub(super) lacks: Lacks,
}

/// The connections of a capture, one of which is to be looked at.
#[derive(Debug)]
pub(super) struct Connections {
    ports: Vec<u16>,
    first: Option<Ends>,
    others: Vec<(SocketAddr, SocketAddr)>,
}

/// The first connection that has carried anything.
#[derive(Debug)]
struct Ends {
    client: SocketAddr,
    server: SocketAddr,
    /// Whether its beginning is in the capture.
    from_syn: bool,
    /// Whether one end has given the connection up.
    reset: bool,
    to_server: Stream,
    to_client: Stream,
}

/// One direction in the making.
#[derive(Debug, Default)]
struct Stream {
    /// The sequence number of the next byte.
    next: Option<u32>,
    /// The sequence number behind the last byte.
    end: Option<u32>,
    data: Vec<u8>,
    /// What came before its turn, by its place in the stream.
    waiting: BTreeMap<usize, Vec<u8>>,
    waiting_bytes: usize,
    /// Whether more came than is kept.
    full: bool,
}

impl Connections {
    /// `ports` are those of the connection that is looked for: none, one end's, or both ends'.
    pub(super) const fn new(ports: Vec<u16>) -> Self {
        Self { ports, first: None, others: Vec::new() }
    }

    /// Takes the next segment of the capture.
    pub(super) fn take(&mut self, segment: &Segment<'_>) {
        let Segment { from, to, flags, payload, .. } = *segment;
        let (syn, fin) = (flags.syn(), flags.fin());
        if !has_ports(&self.ports, from.port(), to.port()) {
            return;
        }
        if !syn && payload.is_empty() {
            if let Some(ends) = self.first.as_mut().filter(|ends| ends.has(from, to)) {
                ends.reset |= flags.reset();
                if fin {
                    ends.from(from).end_at(segment.sequence);
                }
            }
            return;
        }
        let ends = match &mut self.first {
            Some(ends) if ends.has(from, to) => ends,
            Some(ends) if ends.is_silent() => {
                // Attempts to connect that came to nothing are not what is looked for.
                *ends = Ends::of(segment);
                ends
            }
            Some(_) => {
                let pair = if syn && flags.ack() { (to, from) } else { (from, to) };
                let known = self.others.contains(&pair) || self.others.contains(&(pair.1, pair.0));
                if !payload.is_empty() && !known && self.others.len() < MAX_OTHERS {
                    self.others.push(pair);
                }
                return;
            }
            None => self.first.insert(Ends::of(segment)),
        };
        ends.reset |= flags.reset();
        let stream = ends.from(from);
        stream.take(segment.sequence, syn, payload);
        if fin {
            // A segment is shorter than 2^32.
            let length = u32::try_from(payload.len()).unwrap_or_default();
            stream.end_at(segment.sequence.wrapping_add(length));
        }
    }

    /// The one connection that there is.
    ///
    /// # Errors
    /// When there is none, or more than one: what there is, and what to do.
    pub(super) fn only(self) -> Result<CapturedConnection, (String, String)> {
        let Self { ports, first, others } = self;
        let Some(ends) = first.filter(|ends| !ends.is_silent()) else {
            let (got, remedy) = match &*ports {
                [port] => (
                    format!("no TCP connection from or to port {port} that has carried anything"),
                    "name another port (--port), or none",
                ),
                [_, ..] => (
                    format!(
                        "no TCP connection between the ports {} that has carried anything",
                        list(&ports)
                    ),
                    "name the two ports of one connection (--port twice), one port, or none",
                ),
                [] => (
                    "no TCP connection that has carried anything".to_owned(),
                    "capture one: tcpdump -s 0 tcp port PORT and host HOST",
                ),
            };
            return Err((got, remedy.to_owned()));
        };
        let Ends { client, server, from_syn, reset, to_server, to_client } = ends;
        if !others.is_empty() {
            let all = [&[(client, server)][..], &others].concat();
            let names: Vec<_> = all.iter().map(|(from, to)| format!("{from} to {to}")).collect();
            return Err((format!("several: {}", names.join(", ")), remedy(&all)));
        }
        let mut notes = vec![format!("the connection from {client} to {server}")];
        if !from_syn {
            notes.push(
                "its beginning is not in the capture: the side that spoke first is taken for the client"
                    .to_owned(),
            );
        }
        let to_server = to_server.end("to_server", from_syn, reset, &mut notes);
        let to_client = to_client.end("to_client", from_syn, reset, &mut notes);
        Ok(CapturedConnection { to_server, to_client, notes })
    }
}

/// Whether a connection has the ports that were named.
fn has_ports(wanted: &[u16], from: u16, to: u16) -> bool {
    match wanted {
        [one, other] => [(from, to), (to, from)].contains(&(*one, *other)),
        all => all.iter().all(|port| *port == from || *port == to),
    }
}

/// How to name one of several connections. One port can be that of many, so both are named; where the
/// hosts distinguish them, only a filter helps.
fn remedy(all: &[(SocketAddr, SocketAddr)]) -> String {
    let ports = |(from, to): &(SocketAddr, SocketAddr)| {
        (from.port().min(to.port()), from.port().max(to.port()))
    };
    let alike = all.iter().enumerate().find(|(index, pair)| {
        all.get(..*index).unwrap_or_default().iter().any(|other| ports(other) == ports(pair))
    });
    match alike {
        None => {
            let choices: Vec<_> = all
                .iter()
                .map(|(from, to)| format!("--port {} --port {}", from.port(), to.port()))
                .collect();
            format!("name the two ports of one: {}", choices.join(", or "))
        }
        Some((_, (from, to))) => format!(
            "some have the same ports, so take one out of the capture by its hosts, for example: \
             tcpdump -r FILE -w ONE 'host {} and host {} and port {} and port {}'",
            from.ip(),
            to.ip(),
            from.port(),
            to.port()
        ),
    }
}

fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" and ")
}

impl Ends {
    /// What this end has sent.
    fn from(&mut self, end: SocketAddr) -> &mut Stream {
        if end == self.client { &mut self.to_server } else { &mut self.to_client }
    }

    fn of(segment: &Segment<'_>) -> Self {
        let Segment { from, to, flags, .. } = *segment;
        // Only a server answers to a SYN with one.
        let (client, server) = if flags.syn() && flags.ack() { (to, from) } else { (from, to) };
        let (to_server, to_client) = (Stream::default(), Stream::default());
        Self { client, server, from_syn: flags.syn(), reset: false, to_server, to_client }
    }

    fn has(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let pair = (from, to);
        pair == (self.client, self.server) || pair == (self.server, self.client)
    }

    fn is_silent(&self) -> bool {
        self.to_server.is_silent() && self.to_client.is_silent()
    }
}

impl Stream {
    fn is_silent(&self) -> bool {
        self.data.is_empty() && self.waiting.is_empty()
    }

    fn take(&mut self, sequence: u32, syn: bool, payload: &[u8]) {
        // A SYN takes a number of its own.
        let first = if syn { sequence.wrapping_add(1) } else { sequence };
        if syn && self.is_silent() {
            self.next = Some(first);
        }
        if payload.is_empty() {
            return;
        }
        let next = *self.next.get_or_insert(first);
        // Less than half of all numbers ahead is ahead; the rest was there before.
        let ahead = first.wrapping_sub(next);
        if ahead == 0 {
            self.append(payload);
        } else if ahead < 1 << 31 {
            self.wait(ahead, payload);
        } else {
            let seen = next.wrapping_sub(first) as usize;
            if let Some(new) = payload.get(seen..) {
                self.append(new);
            }
        }
    }

    /// Takes the next bytes, and those that have waited for them.
    fn append(&mut self, payload: &[u8]) {
        self.push(payload);
        while let Some(entry) = self.waiting.first_entry() {
            let Some(seen) = self.data.len().checked_sub(*entry.key()) else { break };
            let payload = entry.remove();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(payload.len());
            if let Some(new) = payload.get(seen..) {
                self.push(new);
            }
        }
    }

    fn push(&mut self, payload: &[u8]) {
        let room = MAX_STREAM.saturating_sub(self.data.len());
        let taken = payload.get(..room).unwrap_or(payload);
        self.full |= taken.len() < payload.len();
        self.data.extend_from_slice(taken);
        // At most a segment's length, which is below 2^32.
        let length = u32::try_from(taken.len()).unwrap_or_default();
        self.next = self.next.map(|next| next.wrapping_add(length));
    }

    fn wait(&mut self, ahead: u32, payload: &[u8]) {
        let bytes = self.waiting_bytes.saturating_add(payload.len());
        if bytes > MAX_WAITING {
            return;
        }
        let place = self.data.len().saturating_add(ahead as usize);
        let longer = self.waiting.get(&place).is_none_or(|there| there.len() < payload.len());
        if longer {
            let before = self.waiting.insert(place, payload.to_vec()).unwrap_or_default();
            self.waiting_bytes = bytes.saturating_sub(before.len());
        }
    }

    /// Takes note of the stream's end: before this sequence number.
    fn end_at(&mut self, sequence: u32) {
        // What closes a connection that has carried nothing begins it, too.
        self.next.get_or_insert(sequence);
        self.end = Some(sequence);
    }

    fn end(
        self,
        direction: &str,
        from_syn: bool,
        reset: bool,
        notes: &mut Vec<String>,
    ) -> CapturedStream {
        let Self { next, end, data, waiting, full, .. } = self;
        let have = data.len();
        let before_end = match (next, end) {
            (Some(next), Some(end)) => end.wrapping_sub(next) as usize,
            _ => 0,
        };
        let missing = match waiting.first_key_value() {
            Some((place, _)) => place.saturating_sub(have),
            // More than half of all numbers ahead is behind.
            None if before_end < 1 << 31 => before_end,
            None => 0,
        };
        if missing > 0 && !full {
            notes.push(format!(
                "{direction}: {missing} bytes are missing behind {have} (a packet was not captured, or \
                 cut: use tcpdump -s 0 -B 65536); what follows is left out"
            ));
        }
        if full {
            notes.push(format!("{direction}: only the first {MAX_STREAM} bytes are looked at"));
        }
        let end = if missing > 0 || full {
            Ending::Gap
        } else if end.is_some() || reset {
            Ending::Whole
        } else {
            Ending::Open
        };
        CapturedStream { data, lacks: Lacks { beginning: !from_syn, end } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(segments: &[(u32, bool, &[u8])]) -> (Vec<u8>, Vec<String>) {
        let (stream, notes) = captured(segments, None);
        (stream.data, notes)
    }

    fn captured(
        segments: &[(u32, bool, &[u8])],
        end: Option<u32>,
    ) -> (CapturedStream, Vec<String>) {
        let mut stream = Stream::default();
        for (sequence, syn, payload) in segments {
            stream.take(*sequence, *syn, payload);
        }
        if let Some(end) = end {
            stream.end_at(end);
        }
        let mut notes = Vec::new();
        (stream.end("x", true, false, &mut notes), notes)
    }

    #[test]
    fn a_stream_is_whole_when_all_up_to_its_end_is_there() {
        let ending = |segments, end| {
            let (stream, notes) = captured(segments, end);
            (stream.lacks.end, notes.len())
        };
        let segments: &[(u32, bool, &[u8])] = &[(u32::MAX - 1, false, b"abcd")];
        assert_eq!(ending(segments, Some(2)), (Ending::Whole, 0));
        assert_eq!(ending(segments, None), (Ending::Open, 0));
        // The last bytes, which nothing follows, are missing.
        assert_eq!(ending(segments, Some(5)), (Ending::Gap, 1));
        let segments: &[(u32, bool, &[u8])] = &[(0, false, b"ab"), (5, false, b"fg")];
        assert_eq!(ending(segments, Some(7)), (Ending::Gap, 1));
        assert_eq!(ending(&[], Some(7)), (Ending::Whole, 0));
    }

    #[test]
    fn segments_come_in_any_order_and_twice() {
        let first = u32::MAX - 2;
        let segments: &[(u32, bool, &[u8])] = &[
            (first - 1, true, b""),
            (3, false, b"ghi"),
            (first, false, b"abc"),
            (first, false, b"abcd"),
            (5, false, b"ij"),
            (0, false, b"def"),
            (first, false, b"abc"),
            (6, false, b"jk"),
        ];
        let (data, notes) = stream(segments);
        assert_eq!(String::from_utf8(data).unwrap(), "abcdefghijk");
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn a_gap_is_told() {
        let (data, notes) = stream(&[(10, false, b"ab"), (15, false, b"fg")]);
        assert_eq!(data, b"ab");
        assert!(notes[0].contains("3 bytes are missing behind 2"), "{notes:?}");
    }
}
