//! The streams of a TCP connection, put together from its segments.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::packet::Segment;

/// The most bytes that are kept of one direction.
const MAX_STREAM: usize = 256 << 20;
/// The most bytes that wait for others before them.
const MAX_WAITING: usize = 16 << 20;
/// How many other connections are counted.
const MAX_OTHERS: usize = 16;

/// The two directions of a connection.
#[derive(Debug, Default)]
pub(super) struct CapturedConnection {
    pub(super) to_server: Vec<u8>,
    pub(super) to_client: Vec<u8>,
    /// What has to be known about how they came about.
    pub(super) notes: Vec<String>,
}

/// The connections of a capture, one of which is to be looked at.
#[derive(Debug)]
pub(super) struct Connections {
    port: Option<u16>,
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
    to_server: Stream,
    to_client: Stream,
}

/// One direction in the making.
#[derive(Debug, Default)]
struct Stream {
    /// The sequence number of the next byte.
    next: Option<u32>,
    data: Vec<u8>,
    /// What came before its turn, by its place in the stream.
    waiting: BTreeMap<usize, Vec<u8>>,
    waiting_bytes: usize,
    /// Whether more came than is kept.
    full: bool,
}

impl Connections {
    pub(super) const fn new(port: Option<u16>) -> Self {
        Self { port, first: None, others: Vec::new() }
    }

    /// Takes the next segment of the capture.
    pub(super) fn take(&mut self, segment: &Segment<'_>) {
        let Segment { from, to, syn, ack, payload, .. } = *segment;
        if self.port.is_some_and(|port| from.port() != port && to.port() != port) {
            return;
        }
        if !syn && payload.is_empty() {
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
                let pair = if syn && ack { (to, from) } else { (from, to) };
                let known = self.others.contains(&pair) || self.others.contains(&(pair.1, pair.0));
                if !payload.is_empty() && !known && self.others.len() < MAX_OTHERS {
                    self.others.push(pair);
                }
                return;
            }
            None => self.first.insert(Ends::of(segment)),
        };
        let stream = if from == ends.client { &mut ends.to_server } else { &mut ends.to_client };
        stream.take(segment.sequence, syn, payload);
    }

    /// The one connection that there is.
    ///
    /// # Errors
    /// When there is none, or more than one: what there is, and what to do.
    pub(super) fn only(self) -> Result<CapturedConnection, (String, String)> {
        let port = self.port;
        let Some(ends) = self.first.filter(|ends| !ends.is_silent()) else {
            let (got, remedy) = match port {
                Some(port) => (
                    format!("no TCP connection from or to port {port} that has carried anything"),
                    "name another port (--port), or none",
                ),
                None => (
                    "no TCP connection that has carried anything".to_owned(),
                    "capture one: tcpdump -s 0 tcp port PORT and host HOST",
                ),
            };
            return Err((got, remedy.to_owned()));
        };
        let Ends { client, server, from_syn, to_server, to_client } = ends;
        if !self.others.is_empty() {
            let list: Vec<_> =
                self.others.iter().map(|(from, to)| format!("{from} to {to}")).collect();
            let remedy = match port {
                None => "name the port of one (--port)".to_owned(),
                // They share the port that was named: the other end's is what tells them apart.
                Some(port) => {
                    let other = |(from, to): &(SocketAddr, SocketAddr)| {
                        let other = if from.port() == port { to } else { from };
                        format!("--port {}", other.port())
                    };
                    let first = other(&(client, server));
                    let rest: Vec<_> = self.others.iter().map(other).collect();
                    format!("name the other end's port of one: {first}, {}", rest.join(", "))
                }
            };
            return Err((format!("several: {client} to {server}, {}", list.join(", ")), remedy));
        }
        let mut notes = vec![format!("the connection from {client} to {server}")];
        if !from_syn {
            notes.push(
                "its beginning is not in the capture: the side that spoke first is taken for the client"
                    .to_owned(),
            );
        }
        let to_server = to_server.end("to_server", &mut notes);
        let to_client = to_client.end("to_client", &mut notes);
        Ok(CapturedConnection { to_server, to_client, notes })
    }
}

impl Ends {
    fn of(segment: &Segment<'_>) -> Self {
        let Segment { from, to, syn, ack, .. } = *segment;
        // Only a server answers to a SYN with one.
        let (client, server) = if syn && ack { (to, from) } else { (from, to) };
        let (to_server, to_client) = (Stream::default(), Stream::default());
        Self { client, server, from_syn: syn, to_server, to_client }
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

    fn end(self, direction: &str, notes: &mut Vec<String>) -> Vec<u8> {
        let have = self.data.len();
        if let Some((place, _)) = self.waiting.first_key_value() {
            let missing = place.saturating_sub(have);
            notes.push(format!(
                "{direction}: {missing} bytes are missing behind {have} (a packet was not captured, or \
                 cut: use tcpdump -s 0 -B 65536); what follows is left out"
            ));
        }
        if self.full {
            notes.push(format!("{direction}: only the first {MAX_STREAM} bytes are looked at"));
        }
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(segments: &[(u32, bool, &[u8])]) -> (Vec<u8>, Vec<String>) {
        let mut stream = Stream::default();
        for (sequence, syn, payload) in segments {
            stream.take(*sequence, *syn, payload);
        }
        let mut notes = Vec::new();
        (stream.end("x", &mut notes), notes)
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
