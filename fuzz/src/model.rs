//! The reading half of a record layer again, written for clarity: what the real one has to do.

use alts_core::aead::{Aead, Text};
use alts_core::frame::FrameError;
use alts_core::key::RecordProtocol;
use alts_core::record::{Next, RecordError};
use alts_core::{Exhausted, Side};
use hkdf::Hkdf;
use sha2::Sha256;

/// What stands at the front of some bytes.
enum Front {
    Missing(usize),
    Bad(RecordError),
    /// A frame of this many bytes.
    Frame(usize),
}

/// Opens frames by the book.
pub struct Model {
    protocol: RecordProtocol,
    writer: Side,
    key_data: [u8; 44],
    /// The next count; beyond the last one when all are used.
    count: u128,
    error: Option<RecordError>,
}

/// What a call of the real opener has to return.
#[derive(Debug, PartialEq, Eq)]
pub struct Expected {
    pub consumed: usize,
    pub plaintext: Vec<u8>,
    pub next: Next,
}

impl Model {
    pub fn new(protocol: RecordProtocol, writer: Side, key_data: [u8; 44], count: u64) -> Self {
        Self { protocol, writer, key_data, count: count.into(), error: None }
    }

    pub fn last(&self) -> u64 {
        match self.protocol {
            RecordProtocol::AesGcm128Rekey => u64::MAX,
            RecordProtocol::AesGcm128 | RecordProtocol::Gmac128 => (1 << 40) - 1,
            other => panic!("the model does not know {other}"),
        }
    }

    /// The count of the next frame.
    pub fn position(&self) -> Option<u64> {
        u64::try_from(self.count).ok().filter(|count| *count <= self.last())
    }

    pub fn skip(&mut self, frames: u64) {
        self.count += u128::from(frames);
    }

    pub fn error(&self) -> Option<RecordError> {
        self.error
    }

    pub fn finish(&mut self, rest: &[u8]) -> Result<(), RecordError> {
        match self.error {
            Some(error) => Err(error),
            None if rest.is_empty() => Ok(()),
            None => Err(self.end(RecordError::Truncated)),
        }
    }

    /// All frames at the front of `input` whose payloads fit into `room` bytes.
    pub fn open<A: Aead>(&mut self, input: &[u8], room: usize) -> Result<Expected, RecordError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut done = Expected { consumed: 0, plaintext: Vec::new(), next: Next::Again };
        loop {
            let rest = &input[done.consumed..];
            let error = match front(rest) {
                Front::Missing(at_least) => {
                    done.next = Next::Input { at_least };
                    return Ok(done);
                }
                Front::Frame(len) if len - 24 > room - done.plaintext.len() => {
                    done.next = Next::Room { payload: len - 24 };
                    return Ok(done);
                }
                Front::Frame(len) => match self.open_frame::<A>(&rest[8..len]) {
                    Ok(payload) => {
                        done.plaintext.extend(payload);
                        done.consumed += len;
                        continue;
                    }
                    Err(error) => error,
                },
                Front::Bad(error) => error,
            };
            self.end(error);
            return if done.consumed == 0 { Err(error) } else { Ok(done) };
        }
    }

    /// The one frame at the front of `input`, as payload and length; or what is missing of it.
    pub fn open_first<A: Aead>(
        &mut self,
        input: &[u8],
    ) -> Result<Result<(Vec<u8>, usize), usize>, RecordError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match front(input) {
            Front::Missing(at_least) => Ok(Err(at_least)),
            Front::Bad(error) => Err(self.end(error)),
            Front::Frame(len) => match self.open_frame::<A>(&input[8..len]) {
                Ok(payload) => Ok(Ok((payload, len))),
                Err(error) => Err(self.end(error)),
            },
        }
    }

    fn end(&mut self, error: RecordError) -> RecordError {
        self.error = Some(error);
        error
    }

    fn open_frame<A: Aead>(&mut self, body: &[u8]) -> Result<Vec<u8>, RecordError> {
        let count = self.position().ok_or(RecordError::Exhausted(Exhausted))?;
        self.count += 1;
        let mut counter = [0; 12];
        counter[..8].copy_from_slice(&count.to_le_bytes());
        counter[11] = if self.writer == Side::Server { 0x80 } else { 0 };
        let (payload, tag) = body.split_at(body.len() - 16);
        let tag = tag.try_into().unwrap();
        let mut plaintext = payload.to_vec();
        let opened = match self.protocol {
            RecordProtocol::AesGcm128Rekey => {
                let mut key = [0; 16];
                let hkdf = Hkdf::<Sha256>::from_prk(&self.key_data[..32]).unwrap();
                hkdf.expand(&counter[2..8], &mut key).unwrap();
                counter.iter_mut().zip(&self.key_data[32..]).for_each(|(byte, mask)| *byte ^= mask);
                A::new(&key).unwrap().open(&counter, &[], Text::InPlace(&mut plaintext), &tag)
            }
            RecordProtocol::AesGcm128 => {
                let key = self.key_data[..16].try_into().unwrap();
                A::new(&key).unwrap().open(&counter, &[], Text::InPlace(&mut plaintext), &tag)
            }
            RecordProtocol::Gmac128 => {
                let key = self.key_data[..16].try_into().unwrap();
                A::new(&key).unwrap().open(&counter, payload, Text::empty(), &tag)
            }
            other => panic!("the model does not know {other}"),
        };
        opened.map(|()| plaintext).map_err(|_| RecordError::Authentication)
    }
}

fn front(bytes: &[u8]) -> Front {
    if bytes.len() < 8 {
        return Front::Missing(8 - bytes.len());
    }
    let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    match (field(0), field(4)) {
        (length, _) if !(20..=1 << 20).contains(&length) => {
            Front::Bad(FrameError::Length(length).into())
        }
        (_, kind) if kind != 6 => Front::Bad(FrameError::MessageType(kind).into()),
        (length, _) => {
            let len = length as usize + 4;
            if bytes.len() < len { Front::Missing(len - bytes.len()) } else { Front::Frame(len) }
        }
    }
}
