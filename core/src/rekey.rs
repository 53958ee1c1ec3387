//! Rekeying: the AES key of each 2^16 frames, and the mask between counter and nonce.

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::aead::AeadError;
use crate::key::{AES_KEY_SIZE, KDF_KEY_SIZE, NONCE_SIZE};
use crate::nonce::Count;

/// What `ALTSRP_GCM_AES128_REKEY` derives its keys and nonces from; wiped when dropped.
pub(crate) struct KeySchedule {
    kdf_key: [u8; KDF_KEY_SIZE],
    /// In the lowest 96 bits, little-endian.
    nonce_mask: u128,
}

impl KeySchedule {
    pub(crate) const fn new(kdf_key: [u8; KDF_KEY_SIZE], nonce_mask: [u8; NONCE_SIZE]) -> Self {
        let [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11] = nonce_mask;
        let mask = [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, 0, 0, 0, 0];
        Self { kdf_key, nonce_mask: u128::from_le_bytes(mask) }
    }

    /// The AES key of an epoch: HKDF-Expand of the key-derivation key with `counter[2..8]` as
    /// info, which is HMAC-SHA-256 over `counter[2..8] ‖ 0x01`, cut to 16 bytes.
    pub(crate) fn key(&self, epoch: u64) -> Result<Zeroizing<[u8; AES_KEY_SIZE]>, AeadError> {
        let [info @ .., _, _] = epoch.to_le_bytes();
        let mut key = Zeroizing::new([0; AES_KEY_SIZE]);
        Hkdf::<Sha256>::from_prk(&self.kdf_key)
            .map_err(|_| AeadError)?
            .expand(&info, key.as_mut())
            .map_err(|_| AeadError)?;
        Ok(key)
    }

    /// The nonce of a frame: its counter under the mask.
    #[inline]
    pub(crate) const fn nonce(&self, count: Count) -> [u8; NONCE_SIZE] {
        count.masked(self.nonce_mask)
    }
}

impl Drop for KeySchedule {
    fn drop(&mut self) {
        self.kdf_key.zeroize();
        self.nonce_mask.zeroize();
    }
}

impl ZeroizeOnDrop for KeySchedule {}

impl fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySchedule").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::RecordProtocol;
    use crate::nonce::Counter;
    use crate::side::Side;

    // Computed with CPython 3.11: hmac.new(bytes(range(32)), epoch.to_bytes(6, "little") + b"\x01",
    // "sha256").digest()[:16]
    #[test]
    fn keys_are_those_of_an_independent_hmac() {
        let mut kdf_key = [0; KDF_KEY_SIZE];
        for (byte, value) in kdf_key.iter_mut().zip(0..) {
            *byte = value;
        }
        let schedule = KeySchedule::new(kdf_key, [0; NONCE_SIZE]);
        for (epoch, expected) in KEYS {
            assert_eq!(schedule.key(epoch).unwrap().as_slice(), expected);
        }
    }

    #[test]
    fn the_mask_is_xored_over_all_12_bytes() {
        let schedule = KeySchedule::new([0; KDF_KEY_SIZE], [0xa5; NONCE_SIZE]);
        let mut counter = Counter::new(Side::Server, RecordProtocol::AesGcm128Rekey);
        _ = counter.take().unwrap();
        let counter = counter.take().unwrap();
        assert_eq!(counter.bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
        let expected = [0xa4, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0xa5, 0x25];
        assert_eq!(schedule.nonce(counter), expected);
    }

    const KEYS: [(u64, [u8; AES_KEY_SIZE]); 3] = [
        (
            0x0,
            [
                0x4f, 0xbb, 0x11, 0x2e, 0xda, 0x20, 0x62, 0x49, 0xad, 0x8f, 0x2d, 0x78, 0x23, 0x6d,
                0x40, 0xdb,
            ],
        ),
        (
            0x1,
            [
                0x33, 0x61, 0xce, 0x96, 0x9f, 0x77, 0x41, 0xe9, 0x0c, 0x2b, 0xee, 0x8e, 0xc8, 0x2d,
                0xc3, 0x46,
            ],
        ),
        (
            0xffff_ffff_ffff,
            [
                0x48, 0x97, 0x1e, 0x21, 0x3a, 0x72, 0x31, 0x3e, 0x74, 0xb3, 0x9d, 0xdb, 0x6b, 0xcb,
                0xb8, 0x8e,
            ],
        ),
    ];
}
