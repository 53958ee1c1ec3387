//! Operations on a writer, a wire and a reader, compared with the model after each.

use std::collections::BTreeMap;

use alts_core::Side;
use alts_core::aead::Aead;
use alts_core::frame::{FrameSize, HEADER_SIZE, OVERHEAD};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::{InPlace, Opener, RecordError, Sealer};
use arbitrary::Arbitrary;

use crate::model::{Expected, Model};

/// A direction of a connection, and what happens to it.
#[derive(Arbitrary, Debug)]
pub struct Scenario {
    protocol: u8,
    server_writes: bool,
    key: u8,
    /// Frames left to an edge of the counter, and which edge; none starts at 0.
    start: Option<(u8, u8)>,
    frame_size: u32,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Seal {
        len: u16,
        room: u16,
    },
    SealMuch,
    SealInPlace {
        len: u16,
        buffer: u16,
    },
    /// Counts that are used up without a frame, as by frames that are dropped.
    Skip(u8),
    /// What was sealed last is put on the wire once more.
    Replay,
    /// The reader's own next frame is put on the wire.
    Reflect,
    /// Bytes of the wire arrive.
    Deliver(u16),
    DeliverAll,
    Flip {
        at: u16,
        with: u8,
    },
    Cut {
        at: u16,
        len: u16,
    },
    Insert {
        at: u16,
        bytes: Vec<u8>,
    },
    Swap {
        at: u16,
        with: u16,
    },
    Open {
        room: u16,
    },
    OpenMuch,
    OpenInPlace,
    Finish,
}

struct World<A> {
    sealer: Sealer<A>,
    opener: Opener<A>,
    reflector: Sealer<A>,
    /// Opens what the sealer has sealed at once.
    auditor: Model,
    model: Model,
    frame_size: FrameSize,
    /// Whether only the sealer can make a frame.
    unforgeable: bool,
    sealed: BTreeMap<u64, Vec<u8>>,
    last_sealed: Vec<u8>,
    wire: Vec<u8>,
    inbox: Vec<u8>,
}

/// Runs a scenario; panics where the record layer does not do what it has to.
pub fn run<A: Aead>(scenario: &Scenario, unforgeable: bool) {
    let protocol = RecordProtocol::ALL[usize::from(scenario.protocol) % 3];
    let writer = if scenario.server_writes { Side::Server } else { Side::Client };
    let mut key_data = [scenario.key; 44];
    (0..).zip(&mut key_data).for_each(|(i, byte)| *byte = byte.wrapping_add(i));
    let key = RecordKey::new(protocol, &key_data).unwrap();
    let frame_size = FrameSize::new(scenario.frame_size);
    let mut world = World {
        sealer: Sealer::<A>::new(writer, &key, frame_size).unwrap(),
        opener: Opener::<A>::new(writer.peer(), &key).unwrap(),
        reflector: Sealer::<A>::new(writer.peer(), &key, frame_size).unwrap(),
        auditor: Model::new(protocol, writer, key_data, 0),
        model: Model::new(protocol, writer, key_data, 0),
        frame_size,
        unforgeable,
        sealed: BTreeMap::new(),
        last_sealed: Vec::new(),
        wire: Vec::new(),
        inbox: Vec::new(),
    };
    if let Some((edge, before)) = scenario.start {
        let edge = [1 << 16, 1 << 32, 1 << 40, 1 << 48, world.model.last()][usize::from(edge) % 5];
        let count = edge.min(world.model.last()) - u64::from(before);
        world.skip(count);
        world.opener.set_position(Some(count));
        world.model.skip(count);
    }
    for operation in &scenario.operations {
        world.step(operation);
        assert_eq!(world.sealer.position(), world.auditor.position());
        assert_eq!(world.opener.position(), world.model.position());
    }
}

impl<A: Aead> World<A> {
    fn step(&mut self, operation: &Operation) {
        match *operation {
            Operation::Seal { len, room } => self.seal(len.into(), room.into()),
            Operation::SealMuch => self.seal(35_000, 40_000),
            Operation::SealInPlace { len, buffer } => self.seal_in_place(len.into(), buffer.into()),
            Operation::Skip(frames) => self.skip(frames.into()),
            Operation::Replay => self.wire.extend_from_slice(&self.last_sealed),
            Operation::Reflect => {
                let mut frame = [0; OVERHEAD + 4];
                if self.reflector.seal_in_place(&mut frame, 4).is_ok() {
                    self.wire.extend(frame);
                }
            }
            Operation::Deliver(len) => {
                let len = usize::from(len).min(self.wire.len());
                self.inbox.extend(self.wire.drain(..len));
            }
            Operation::DeliverAll => self.inbox.append(&mut self.wire),
            Operation::Flip { at, with } => {
                let len = self.wire.len().max(1);
                if let Some(byte) = self.wire.get_mut(usize::from(at) % len) {
                    *byte ^= with;
                }
            }
            Operation::Cut { at, len } => {
                let start = usize::from(at).min(self.wire.len());
                let end = (start + usize::from(len)).min(self.wire.len());
                self.wire.drain(start..end);
            }
            Operation::Insert { at, ref bytes } => {
                let at = usize::from(at).min(self.wire.len());
                self.wire.splice(at..at, bytes.iter().copied());
            }
            Operation::Swap { at, with } => {
                let len = self.wire.len().max(1);
                if !self.wire.is_empty() {
                    self.wire.swap(usize::from(at) % len, usize::from(with) % len);
                }
            }
            Operation::Open { room } => self.open(room.into()),
            Operation::OpenMuch => self.open(40_000),
            Operation::OpenInPlace => self.open_in_place(),
            Operation::Finish => {
                assert_eq!(self.opener.finish(&self.inbox), self.model.finish(&self.inbox));
            }
        }
    }

    fn skip(&mut self, frames: u64) {
        self.auditor.skip(frames);
        self.sealer.set_position(self.auditor.position());
    }

    fn payload(&self, len: usize) -> Vec<u8> {
        (0..len).map(|i| (i as u8).wrapping_mul(7) ^ self.sealed.len() as u8).collect()
    }

    fn seal(&mut self, len: usize, room: usize) {
        let plaintext = self.payload(len);
        let mut out = vec![0x55; room];
        let Ok(sealed) = self.sealer.seal(&plaintext, &mut out) else {
            // Only for lack of counts; those that were left are used up, and the frames lost.
            assert!(self.sealer.position().is_none());
            while self.auditor.position().is_some() {
                self.auditor.skip(1);
            }
            return;
        };
        assert!(out[sealed.written..].iter().all(|&byte| byte == 0x55));
        if len > 0 && room > OVERHEAD {
            assert!(sealed.consumed > 0, "no progress");
        }
        if room >= self.sealer.sealed_len(len) {
            assert_eq!(sealed.consumed, len);
            assert_eq!(sealed.written, self.sealer.sealed_len(len));
        }
        out.truncate(sealed.written);
        self.audit(&out, &plaintext[..sealed.consumed]);
        self.last_sealed.clone_from(&out);
        self.wire.extend(out);
    }

    fn seal_in_place(&mut self, len: usize, buffer: usize) {
        let payload = self.payload(len);
        let mut frame = vec![0x55; buffer];
        let room = buffer.saturating_sub(HEADER_SIZE).min(len);
        frame[HEADER_SIZE.min(buffer)..][..room].copy_from_slice(&payload[..room]);
        let before = frame.clone();
        match self.sealer.seal_in_place(&mut frame, len) {
            Ok(written) => {
                assert_eq!(written, len + OVERHEAD);
                assert_eq!(frame[written..], before[written..]);
                frame.truncate(written);
                self.audit(&frame, &payload);
                self.last_sealed.clone_from(&frame);
                self.wire.extend(frame);
            }
            Err(RecordError::BufferTooSmall { needed }) => {
                assert_eq!(needed, len + OVERHEAD);
                assert!(buffer < needed || len > self.sealer.max_payload());
                assert_eq!(frame, before);
            }
            Err(error) => {
                assert!(matches!(error, RecordError::Exhausted(_)), "{error}");
                assert!(self.sealer.position().is_none());
            }
        }
    }

    /// What was just sealed: whole frames of legal size, that hold this plaintext.
    fn audit(&mut self, frames: &[u8], plaintext: &[u8]) {
        let (mut frames, mut plaintext) = (frames, plaintext);
        while !frames.is_empty() {
            let count = self.auditor.position().unwrap();
            let (payload, len) = self.auditor.open_first::<A>(frames).unwrap().unwrap();
            assert!(len <= self.frame_size.bytes() as usize);
            assert_eq!(payload, plaintext[..payload.len()]);
            (frames, plaintext) = (&frames[len..], &plaintext[payload.len()..]);
            assert!(self.sealed.insert(count, payload).is_none(), "a count was used twice");
        }
        assert!(plaintext.is_empty());
    }

    fn open(&mut self, room: usize) {
        let mut out = vec![0x55; room];
        let first = self.model.position();
        let expected = self.model.open::<A>(&self.inbox, room);
        let opened = self.opener.open(&self.inbox, &mut out);
        match (opened, expected) {
            (Ok(opened), Ok(expected)) => {
                let (plaintext, rest) = out.split_at(opened.written);
                let found = Expected {
                    consumed: opened.consumed,
                    plaintext: plaintext.to_vec(),
                    next: opened.next,
                };
                assert_eq!(found, expected);
                assert!(rest.iter().all(|&byte| byte == 0x55 || byte == 0), "plaintext left");
                self.vouch(first, plaintext);
                self.inbox.drain(..opened.consumed);
            }
            (Err(error), Err(expected)) => {
                assert_eq!(error, expected);
                assert!(out.iter().all(|&byte| byte == 0x55 || byte == 0), "plaintext left");
            }
            (opened, expected) => panic!("{opened:?}, and not {expected:?}"),
        }
    }

    fn open_in_place(&mut self) {
        let first = self.model.position();
        let was_dead = self.model.error().is_some();
        let expected = self.model.open_first::<A>(&self.inbox);
        match (self.opener.open_in_place(&mut self.inbox), expected) {
            (Ok(InPlace::Frame { payload, consumed }), Ok(Ok((expected, len)))) => {
                assert_eq!((payload.clone(), consumed), (HEADER_SIZE..len - 16, len));
                assert_eq!(self.inbox[payload], expected);
                self.vouch(first, &expected);
                self.inbox.drain(..consumed);
            }
            (Ok(InPlace::Input { at_least }), Ok(Err(expected))) => assert_eq!(at_least, expected),
            (Err(error), Err(expected)) => {
                assert_eq!(error, expected);
                if !was_dead && error == RecordError::Authentication {
                    let length = u32::from_le_bytes(self.inbox[..4].try_into().unwrap()) as usize;
                    let payload = &self.inbox[HEADER_SIZE..length - 12];
                    assert!(payload.iter().all(|&byte| byte == 0), "not wiped");
                }
            }
            (opened, expected) => panic!("{opened:?}, and not {expected:?}"),
        }
    }

    /// Plaintext that came out, from the frame with count `first` on, is what was sealed with
    /// those counts: no others, and in that order.
    fn vouch(&self, first: Option<u64>, plaintext: &[u8]) {
        if !self.unforgeable {
            return;
        }
        let mut rest = plaintext;
        let mut counts = first.into_iter().flat_map(|first| self.sealed.range(first..));
        while !rest.is_empty() {
            let (_, payload) = counts.next().expect("plaintext that nobody sealed");
            rest = rest.strip_prefix(&payload[..]).expect("plaintext that nobody sealed there");
        }
    }
}
