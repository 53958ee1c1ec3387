//! One direction's cipher: counter, nonce and key are taken together, once for each frame.

use crate::aead::{Aead, TAG_SIZE, Text};
use crate::key::{KeyMaterial, NONCE_SIZE, RecordKey, RecordProtocol, SETUP_STACK, wiping_stack};
use crate::nonce::Counter;
use crate::record::RecordError;
use crate::rekey::KeySchedule;
use crate::side::Side;

pub(super) struct Cipher<A> {
    aead: A,
    rekeying: Option<Rekeying>,
    counter: Counter,
    protocol: RecordProtocol,
}

struct Rekeying {
    schedule: KeySchedule,
    /// The epoch that `aead` has the key of.
    epoch: u64,
}

impl Rekeying {
    /// Puts the key of `epoch` in place: once in 2^16 frames.
    #[cold]
    fn change_key<A: Aead>(&mut self, aead: &mut A, epoch: u64) -> Result<(), RecordError> {
        wiping_stack::<SETUP_STACK, _>(|| keyed(&self.schedule, epoch).map(|next| *aead = next))?;
        self.epoch = epoch;
        Ok(())
    }
}

impl<A: Aead> Cipher<A> {
    /// The cipher of the frames that `writer` writes.
    pub(super) fn new(writer: Side, key: &RecordKey) -> Result<Self, RecordError> {
        let (aead, rekeying) = match key.material() {
            KeyMaterial::Fixed(key) => (A::new(key).map_err(|_| RecordError::Provider)?, None),
            KeyMaterial::Rekeying { kdf_key, nonce_mask } => {
                let schedule = KeySchedule::new(*kdf_key, *nonce_mask);
                (keyed(&schedule, 0)?, Some(Rekeying { schedule, epoch: 0 }))
            }
        };
        let protocol = key.protocol();
        Ok(Self { aead, rekeying, counter: Counter::new(writer, protocol), protocol })
    }

    /// Seals one frame's payload into `out`, which has the same length.
    #[inline]
    pub(super) fn seal(
        &mut self,
        payload: &[u8],
        out: &mut [u8],
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), RecordError> {
        let nonce = self.advance()?;
        let sealed = if self.integrity_only() {
            if payload.len() != out.len() {
                return Err(RecordError::Provider);
            }
            out.copy_from_slice(payload);
            self.aead.seal(&nonce, payload, Text::empty(), tag)
        } else {
            self.aead.seal(&nonce, &[], Text::Across { from: payload, to: out }, tag)
        };
        sealed.map_err(|_| RecordError::Provider)
    }

    /// Seals one frame's payload where it stands.
    #[inline]
    pub(super) fn seal_in_place(
        &mut self,
        payload: &mut [u8],
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), RecordError> {
        let nonce = self.advance()?;
        let sealed = if self.integrity_only() {
            self.aead.seal(&nonce, payload, Text::empty(), tag)
        } else {
            self.aead.seal(&nonce, &[], Text::InPlace(payload), tag)
        };
        sealed.map_err(|_| RecordError::Provider)
    }

    /// Opens one frame's payload into `out`, which has the same length. On an error `out` may
    /// hold anything and has to be wiped.
    #[inline]
    pub(super) fn open(
        &mut self,
        sealed: &[u8],
        tag: &[u8; TAG_SIZE],
        out: &mut [u8],
    ) -> Result<(), RecordError> {
        let nonce = self.advance()?;
        if self.integrity_only() {
            self.aead
                .open(&nonce, sealed, Text::empty(), tag)
                .map_err(|_| RecordError::Authentication)?;
            if sealed.len() != out.len() {
                return Err(RecordError::Provider);
            }
            out.copy_from_slice(sealed);
            Ok(())
        } else {
            let text = Text::Across { from: sealed, to: out };
            self.aead.open(&nonce, &[], text, tag).map_err(|_| RecordError::Authentication)
        }
    }

    /// Opens one frame's payload where it stands. On an error it may hold anything and has to be
    /// wiped.
    #[inline]
    pub(super) fn open_in_place(
        &mut self,
        payload: &mut [u8],
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), RecordError> {
        let nonce = self.advance()?;
        let opened = if self.integrity_only() {
            self.aead.open(&nonce, payload, Text::empty(), tag)
        } else {
            self.aead.open(&nonce, &[], Text::InPlace(payload), tag)
        };
        opened.map_err(|_| RecordError::Authentication)
    }

    pub(super) const fn protocol(&self) -> RecordProtocol {
        self.protocol
    }

    #[cfg(feature = "hazmat")]
    pub(super) const fn counter(&self) -> &Counter {
        &self.counter
    }

    #[cfg(feature = "hazmat")]
    pub(super) const fn counter_mut(&mut self) -> &mut Counter {
        &mut self.counter
    }

    /// In `ALTSRP_GMAC_128` the payload is what is authenticated, and nothing is encrypted.
    fn integrity_only(&self) -> bool {
        self.protocol == RecordProtocol::Gmac128
    }

    /// The next frame's nonce, with the key in place that belongs to it. Once returned it is used
    /// up, whatever becomes of the frame.
    #[inline]
    fn advance(&mut self) -> Result<[u8; NONCE_SIZE], RecordError> {
        let count = self.counter.take()?;
        let Some(rekeying) = &mut self.rekeying else {
            return Ok(count.bytes());
        };
        if rekeying.epoch != count.epoch() {
            rekeying.change_key(&mut self.aead, count.epoch())?;
        }
        Ok(rekeying.schedule.nonce(count))
    }
}

fn keyed<A: Aead>(schedule: &KeySchedule, epoch: u64) -> Result<A, RecordError> {
    schedule.key(epoch).and_then(|key| A::new(&key)).map_err(|_| RecordError::Provider)
}
