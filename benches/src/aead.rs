//! Batches of frames through the record layer, and the same bytes through the AEADs below it.

use std::hint::black_box;

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use alts_core::Side;
use alts_core::aead::{Aead, TAG_SIZE};
use alts_core::frame::{FrameSize, HEADER_SIZE, OVERHEAD};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::{Opener, Sealer};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::Outcome;

const KEY: [u8; 16] = [7; 16];

/// Seals a batch of messages into a buffer, and opens them from there. The next batch overwrites
/// the last one, so that everything measured stays in the same memory.
pub trait Batch {
    /// Seals the batch.
    ///
    /// # Errors
    /// None that can happen.
    fn seal(&mut self) -> Outcome<()>;

    /// Opens what [`seal`](Self::seal) has sealed; once.
    ///
    /// # Errors
    /// When nothing was sealed.
    fn open(&mut self) -> Outcome<()>;
}

/// The buffers of a batch.
struct Memory {
    plaintext: Vec<u8>,
    sealed: Vec<u8>,
    opened: Vec<u8>,
    count: usize,
}

impl Memory {
    fn new(size: usize) -> Self {
        // As much as fits into a core's own cache, and enough for the clock not to matter.
        let count = (128 * 1024 / (size + OVERHEAD)).max(1);
        Self {
            plaintext: vec![5; size],
            sealed: vec![0; (size + OVERHEAD) * count],
            opened: vec![0; size],
            count,
        }
    }

    fn frames(&mut self) -> impl Iterator<Item = (&[u8], &mut [u8])> {
        let size = self.plaintext.len() + OVERHEAD;
        let plaintext = &*self.plaintext;
        self.sealed.chunks_exact_mut(size).map(move |frame| (plaintext, frame))
    }
}

/// How many messages of `size` bytes a batch has.
#[must_use]
pub fn batch_len(size: usize) -> usize {
    Memory::new(size).count
}

/// The record layer over a provider.
pub struct Records<A> {
    sealer: Sealer<A>,
    opener: Opener<A>,
    memory: Memory,
}

impl<A: Aead> Records<A> {
    /// With messages of `size` bytes, one frame each.
    ///
    /// # Errors
    /// When the provider refuses a key.
    pub fn new(size: usize) -> Outcome<Self> {
        let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &[7; 44])?;
        let sealer = Sealer::new(Side::Client, &key, FrameSize::MAX)?;
        let opener = Opener::new(Side::Server, &key)?;
        Ok(Self { sealer, opener, memory: Memory::new(size) })
    }
}

impl<A: Aead> Batch for Records<A> {
    fn seal(&mut self) -> Outcome<()> {
        for (plaintext, frame) in self.memory.frames() {
            black_box(self.sealer.seal(black_box(plaintext), frame)?.written);
        }
        Ok(())
    }

    fn open(&mut self) -> Outcome<()> {
        let Memory { sealed, opened, plaintext, .. } = &mut self.memory;
        for frame in sealed.chunks_exact(plaintext.len() + OVERHEAD) {
            black_box(self.opener.open(black_box(frame), opened)?.written);
        }
        Ok(())
    }
}

/// A bare AEAD: it seals and opens where the frames' payloads stand.
pub struct Raw<C> {
    cipher: C,
    memory: Memory,
}

/// A counter as a nonce: the least work possible for each message.
fn nonce(count: usize) -> [u8; 12] {
    let mut nonce = [0; 12];
    if let Some(low) = nonce.first_chunk_mut() {
        *low = (count as u64).to_le_bytes();
    }
    nonce
}

/// The places of a frame: payload and tag.
fn parts(frame: &mut [u8]) -> Outcome<(&mut [u8], &mut [u8; TAG_SIZE])> {
    let body = frame.get_mut(HEADER_SIZE..).ok_or("no frame")?;
    Ok(body.split_last_chunk_mut().ok_or("no frame")?)
}

impl Raw<LessSafeKey> {
    /// aws-lc-rs, with messages of `size` bytes.
    ///
    /// # Errors
    /// When the key is refused.
    pub fn aws_lc(size: usize) -> Outcome<Self> {
        let key = UnboundKey::new(&AES_128_GCM, &KEY).map_err(|_| "key")?;
        Ok(Self { cipher: LessSafeKey::new(key), memory: Memory::new(size) })
    }
}

impl Batch for Raw<LessSafeKey> {
    fn seal(&mut self) -> Outcome<()> {
        for (count, (plaintext, frame)) in self.memory.frames().enumerate() {
            let (payload, tag) = parts(frame)?;
            let nonce = Nonce::assume_unique_for_key(nonce(count));
            self.cipher
                .seal_out_of_place_scatter(
                    nonce,
                    Aad::empty(),
                    black_box(plaintext),
                    payload,
                    &[],
                    tag,
                )
                .map_err(|_| "seal")?;
        }
        Ok(())
    }

    fn open(&mut self) -> Outcome<()> {
        let Memory { sealed, opened, plaintext, .. } = &mut self.memory;
        let frames = sealed.chunks_exact_mut(plaintext.len() + OVERHEAD);
        for (count, frame) in frames.enumerate() {
            let (payload, tag) = parts(frame)?;
            let nonce = Nonce::assume_unique_for_key(nonce(count));
            self.cipher
                .open_separate_gather(nonce, Aad::empty(), black_box(payload), tag, opened)
                .map_err(|_| "open")?;
        }
        Ok(())
    }
}

impl Raw<Aes128Gcm> {
    /// RustCrypto, with messages of `size` bytes.
    #[must_use]
    pub fn rustcrypto(size: usize) -> Self {
        Self { cipher: Aes128Gcm::new(&KEY.into()), memory: Memory::new(size) }
    }
}

impl Batch for Raw<Aes128Gcm> {
    fn seal(&mut self) -> Outcome<()> {
        for (count, (plaintext, frame)) in self.memory.frames().enumerate() {
            let (payload, tag) = parts(frame)?;
            let buffer = InOutBuf::new(black_box(plaintext), payload).map_err(|_| "lengths")?;
            let nonce = nonce(count).into();
            *tag =
                self.cipher.encrypt_inout_detached(&nonce, &[], buffer).map_err(|_| "seal")?.into();
        }
        Ok(())
    }

    fn open(&mut self) -> Outcome<()> {
        let Memory { sealed, opened, plaintext, .. } = &mut self.memory;
        let frames = sealed.chunks_exact_mut(plaintext.len() + OVERHEAD);
        for (count, frame) in frames.enumerate() {
            let (payload, tag) = parts(frame)?;
            let buffer = InOutBuf::new(black_box(payload), opened).map_err(|_| "lengths")?;
            let nonce = nonce(count).into();
            self.cipher
                .decrypt_inout_detached(&nonce, &[], buffer, &(*tag).into())
                .map_err(|_| "open")?;
        }
        Ok(())
    }
}
