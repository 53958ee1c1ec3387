//! Length-framed handshake messages: exact ends, bounded sizes.
//!
//! Two handshaker services talk through the connection that is being secured. Each message is
//!
//! ```text
//! offset  size  field
//! 0       4     length: u32, little-endian; counts everything behind itself (type and body)
//! 4       4     type: u32, little-endian
//! 8       n     body, n = length - 4; 1 ≤ n ≤ 65528
//! ```
//!
//! | type   | name              | sender | body |
//! |--------|-------------------|--------|------|
//! | 0x0101 | `ClientInit`       | client | TLS records: `ClientHello` |
//! | 0x0102 | `ServerInit`       | server | TLS records: `ServerHello` … Finished |
//! | 0x0103 | `ClientParameters` | client | TLS records: Certificate, `CertificateVerify`, Finished, application data |
//! | 0x0104 | `ServerParameters` | server | TLS records: application data |
//! | 0x0105 | `ClientFinished`   | client | TLS records: application data |
//! | 0x01FF | `Alert`            | either | reason: u32, little-endian; up to 60 more bytes, to be ignored |
//!
//! The bodies with TLS records hold whole records: none is split between two messages. What the
//! application data says is in [`negotiation`](crate::negotiation), how TLS is used in
//! [`exchange`](crate::exchange), and the reasons are those of [`Reason`].
//!
//! The two sides take turns, so that each knows at every byte whether it still belongs to the
//! handshake: whatever follows the first four messages before the other side has answered is a
//! violation; whatever follows `ClientFinished` belongs to the record layer. An `Alert` may come
//! instead of, or behind, any message; it ends the handshake and is not answered.
//!
//! The high byte of a type is the version of this format. No type looks like that of a record (6)
//! and none ends in the byte 0x06: a handshake message that strays into the record layer of any
//! ALTS implementation is refused there, and so is a record that strays into a handshake.

use crate::failure::{Code, Failure, Fault, Reason};

/// Bytes in front of the body: length and type.
pub const HEADER: usize = 8;

/// The largest message on the wire, header and all.
///
/// 64 KiB hold a chain of many certificates; grpc-go hands on at most that much at once.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The bytes of the type, which the length counts.
const TYPE: usize = 4;

/// An alert's reason, and room for what later versions may add behind it.
const ALERT_BODY: std::ops::RangeInclusive<usize> = 4..=64;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum MessageType {
    /// The client's first message: `ClientHello`.
    ClientInit = 0x0101,
    /// The server's first message: `ServerHello` to Finished.
    ServerInit = 0x0102,
    /// The client's certificate, Finished and parameters.
    ClientParameters = 0x0103,
    /// The server's choice, and its confirmation.
    ServerParameters = 0x0104,
    /// The client's confirmation, and the end of the handshake.
    ClientFinished = 0x0105,
    /// The sender has given up.
    Alert = 0x01FF,
}

impl MessageType {
    const ALL: [Self; 6] = [
        Self::ClientInit,
        Self::ServerInit,
        Self::ClientParameters,
        Self::ServerParameters,
        Self::ClientFinished,
        Self::Alert,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The type of this number, if this version has one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The name in the table above.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientInit => "ClientInit",
            Self::ServerInit => "ServerInit",
            Self::ClientParameters => "ClientParameters",
            Self::ServerParameters => "ServerParameters",
            Self::ClientFinished => "ClientFinished",
            Self::Alert => "Alert",
        }
    }
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: MessageType,
    /// What is in it, without the header.
    pub body: Vec<u8>,
}

impl Message {
    /// The alert that gives the peer this reason.
    #[must_use]
    pub fn alert(reason: Reason) -> Self {
        Self { kind: MessageType::Alert, body: reason.number().to_le_bytes().to_vec() }
    }

    /// The message as it goes over the wire.
    ///
    /// # Errors
    /// When the body is empty or too large: the certificates of this side are too many.
    pub fn encode(&self) -> Result<Vec<u8>, Failure> {
        let length = self.body.len().saturating_add(TYPE);
        let framed = self.body.len().saturating_add(HEADER);
        let length = u32::try_from(length)
            .ok()
            .filter(|_| framed <= MAX_MESSAGE && !self.body.is_empty())
            .ok_or_else(|| {
                Failure::new(
                    Code::Internal,
                    Fault::Service,
                    Reason::Local,
                    format!(
                        "this side's {} would take {framed} bytes, and {MAX_MESSAGE} are allowed: \
                         is its certificate chain too long?",
                        self.kind.name()
                    ),
                )
            })?;
        let mut wire = Vec::with_capacity(framed);
        wire.extend_from_slice(&length.to_le_bytes());
        wire.extend_from_slice(&self.kind.number().to_le_bytes());
        wire.extend_from_slice(&self.body);
        Ok(wire)
    }

    /// The reason in an alert; zero (which no alert has) if the message is not an alert.
    #[must_use]
    pub fn alert_reason(&self) -> u32 {
        match (self.kind, self.body.first_chunk()) {
            (MessageType::Alert, Some(reason)) => u32::from_le_bytes(*reason),
            _ => 0,
        }
    }
}

/// What became of bytes given to [`Reassembly::push`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// How many of them belong to the message: those behind it were not looked at.
    pub consumed: usize,
    /// The message, once it is complete.
    pub message: Option<Message>,
}

/// Puts messages together again from bytes that arrive in any pieces.
///
/// Never holds more than one message, and never reserves room for what a header merely claims.
#[derive(Debug, Default)]
pub struct Reassembly {
    buffer: Vec<u8>,
}

impl Reassembly {
    /// Nothing received yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: Vec::new() }
    }

    /// Whether the bytes so far end between two messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes bytes up to the end of the current message, and no further.
    ///
    /// # Errors
    /// As soon as the header shows an impossible length or an unknown type: the peer's fault. The
    /// reassembly is of no further use then.
    pub fn push(&mut self, input: &[u8]) -> Result<Pushed, Failure> {
        let mut rest = input;
        self.take(&mut rest, HEADER);
        let header = self.buffer.first_chunk::<HEADER>().copied();
        let Some(header) = header else {
            // The length can be judged without the type: no waiting for the rest of garbage.
            if let Some(length) = self.buffer.first_chunk() {
                framed_length(*length)?;
            }
            return Ok(Pushed { consumed: input.len() - rest.len(), message: None });
        };
        let [l0, l1, l2, l3, t0, t1, t2, t3] = header;
        let framed = framed_length([l0, l1, l2, l3])?;
        let number = u32::from_le_bytes([t0, t1, t2, t3]);
        let Some(kind) = MessageType::from_number(number) else {
            return Err(Failure::new(
                Code::InvalidArgument,
                Fault::Peer,
                Reason::Version,
                format!("the peer sent a handshake message of unknown type {number:#x}"),
            ));
        };
        if kind == MessageType::Alert && !ALERT_BODY.contains(&(framed - HEADER)) {
            return Err(Failure::malformed("the peer sent an alert of impossible length"));
        }
        self.take(&mut rest, framed);
        let consumed = input.len() - rest.len();
        if self.buffer.len() < framed {
            return Ok(Pushed { consumed, message: None });
        }
        let body = self.buffer.split_off(HEADER);
        self.buffer.clear();
        Ok(Pushed { consumed, message: Some(Message { kind, body }) })
    }

    /// Moves bytes from `rest` until the buffer holds `goal` of them.
    fn take(&mut self, rest: &mut &[u8], goal: usize) {
        let wanted = goal.saturating_sub(self.buffer.len()).min(rest.len());
        if let Some((head, tail)) = rest.split_at_checked(wanted) {
            self.buffer.extend_from_slice(head);
            *rest = tail;
        }
    }
}

/// The size on the wire of a message whose header starts with these bytes.
fn framed_length(length: [u8; 4]) -> Result<usize, Failure> {
    let length = u32::from_le_bytes(length);
    usize::try_from(length)
        .ok()
        .map(|length| length.saturating_add(HEADER - TYPE))
        .filter(|framed| (HEADER + 1..=MAX_MESSAGE).contains(framed))
        .ok_or_else(|| {
            Failure::malformed(format!(
                "the peer did not send a handshake message: its length field says {length} \
                 (is the peer using the same handshaker service, and ALTS at all?)"
            ))
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wire(kind: MessageType, body: &[u8]) -> Vec<u8> {
        Message { kind, body: body.to_vec() }.encode().unwrap()
    }

    #[test]
    fn layout_is_the_documented_one() {
        assert_eq!(wire(MessageType::ClientInit, b"ab"), *b"\x06\0\0\0\x01\x01\0\0ab");
        let alert = Message::alert(Reason::Deadline);
        assert_eq!(alert.encode().unwrap(), *b"\x08\0\0\0\xFF\x01\0\0\x0D\0\0\0");
        assert_eq!(alert.alert_reason(), 13);
    }

    #[test]
    fn no_type_can_be_taken_for_a_record() {
        for kind in MessageType::ALL {
            assert_ne!(kind.number() & 0xFF, 6);
            assert_eq!(MessageType::from_number(kind.number()), Some(kind));
        }
        let record = b"\x14\0\0\0\x06\0\0\0\xC8\xED\x3C\x72";
        let failure = Reassembly::new().push(record).unwrap_err();
        assert_eq!(failure.reason(), Some(Reason::Version));
    }

    #[test]
    fn bytes_behind_a_message_are_left_alone() {
        let mut input = wire(MessageType::ClientFinished, b"body");
        let end = input.len();
        input.extend_from_slice(b"record bytes");
        let mut reassembly = Reassembly::new();
        let pushed = reassembly.push(&input).unwrap();
        assert_eq!(pushed.consumed, end);
        let message = pushed.message.unwrap();
        assert_eq!((message.kind, &*message.body), (MessageType::ClientFinished, &b"body"[..]));
        assert!(reassembly.is_empty());
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_reserved() {
        for length in [0, 1, 4, 65_533, 0x0010_0000, u32::MAX] {
            let mut reassembly = Reassembly::new();
            let failure = reassembly.push(&length.to_le_bytes()).unwrap_err();
            assert_eq!(failure.fault(), Fault::Peer, "{length}");
            assert!(reassembly.buffer.capacity() <= HEADER);
        }
        for length in [5_u32, 65_532] {
            let pushed = Reassembly::new().push(&length.to_le_bytes()).unwrap();
            assert_eq!(pushed, Pushed { consumed: 4, message: None });
        }
    }

    #[test]
    fn what_cannot_be_framed_is_this_sides_fault() {
        let large = Message { kind: MessageType::ServerInit, body: vec![0; MAX_MESSAGE - 7] };
        assert_eq!(large.encode().unwrap_err().fault(), Fault::Service);
        let largest = Message { kind: MessageType::ServerInit, body: vec![0; MAX_MESSAGE - 8] };
        assert_eq!(largest.encode().unwrap().len(), MAX_MESSAGE);
        let empty = Message { kind: MessageType::ServerInit, body: vec![] };
        assert!(empty.encode().is_err());
    }

    #[test]
    fn alerts_are_short() {
        let long = wire(MessageType::Alert, &[0; 65]);
        assert!(Reassembly::new().push(&long).is_err());
        let short = wire(MessageType::Alert, &[0; 3]);
        assert!(Reassembly::new().push(&short).is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 1..5),
            sizes in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let stream: Vec<u8> =
                bodies.iter().flat_map(|body| wire(MessageType::ServerInit, body)).collect();
            let mut reassembly = Reassembly::new();
            let mut seen = Vec::new();
            let mut rest = &stream[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let pushed = reassembly.push(&rest[..(*size).min(rest.len())]).unwrap();
                prop_assert!(pushed.consumed > 0);
                rest = &rest[pushed.consumed..];
                seen.extend(pushed.message.map(|message| message.body));
            }
            prop_assert_eq!(seen, bodies);
            prop_assert!(reassembly.is_empty());
        }

        #[test]
        fn garbage_never_panics(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reassembly = Reassembly::new();
            if let Ok(pushed) = reassembly.push(&input) {
                prop_assert!(pushed.consumed <= input.len());
            }
        }
    }
}
