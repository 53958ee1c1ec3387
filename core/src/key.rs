//! Record protocols, what each promises, and the key that a handshake yields for one.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, zeroize_stack};

use crate::error::{Fault, debug_is_the_sentence};

/// Bytes of an AES-128 key.
pub const AES_KEY_SIZE: usize = 16;
/// Bytes of the key that record keys are derived from (`ALTSRP_GCM_AES128_REKEY`).
pub const KDF_KEY_SIZE: usize = 32;
/// Bytes of a nonce, of a counter, and of the mask that makes the one from the other.
pub const NONCE_SIZE: usize = 12;
/// The most key bytes that any record protocol takes from `key_data`.
pub const MAX_KEY_SIZE: usize = KDF_KEY_SIZE + NONCE_SIZE;

/// Bytes of stack that are wiped after a key has been set up. Key derivation and key expansion take 2 to
/// 4 KiB, depending on the processor.
pub(crate) const SETUP_STACK: usize = 5 * 1024;

/// How bytes are sealed after the handshake; `docs/PROTOCOL.md` § "Record protocols".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordProtocol {
    /// `ALTSRP_GCM_AES128_REKEY`: AES-128-GCM with a new key every 2^16 frames. The one that
    /// every peer offers.
    AesGcm128Rekey,
    /// `ALTSRP_GCM_AES128`: AES-128-GCM with one key. No current peer offers it.
    AesGcm128,
    /// `ALTSRP_GMAC_128`: integrity only, the payload travels in the clear. Offered and accepted
    /// only when the caller lists it.
    Gmac128,
}

impl RecordProtocol {
    /// All of them, the preferred one first. There may be more one day.
    pub const ALL: &'static [Self] = &[Self::AesGcm128Rekey, Self::AesGcm128, Self::Gmac128];

    /// Its name in handshaker messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesGcm128Rekey => "ALTSRP_GCM_AES128_REKEY",
            Self::AesGcm128 => "ALTSRP_GCM_AES128",
            Self::Gmac128 => "ALTSRP_GMAC_128",
        }
    }

    /// The protocol with that name, compared exactly.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|protocol| protocol.name() == name)
    }

    /// Bytes of `key_data` that it uses; a service may return more.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AesGcm128Rekey => MAX_KEY_SIZE,
            Self::AesGcm128 | Self::Gmac128 => AES_KEY_SIZE,
        }
    }

    /// What it promises.
    #[must_use]
    pub const fn security_level(self) -> SecurityLevel {
        match self {
            Self::AesGcm128Rekey | Self::AesGcm128 => SecurityLevel::IntegrityAndPrivacy,
            Self::Gmac128 => SecurityLevel::IntegrityOnly,
        }
    }
}

impl fmt::Display for RecordProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a channel promises, in increasing order (`transport_security_common.proto`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SecurityLevel {
    /// Nothing.
    #[default]
    None = 0,
    /// Only the peer can have written the bytes; anybody may read them.
    IntegrityOnly = 1,
    /// Only the peer can have written the bytes, and only the peer can read them.
    IntegrityAndPrivacy = 2,
}

impl SecurityLevel {
    /// Its name in `transport_security_common.proto`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "SECURITY_NONE",
            Self::IntegrityOnly => "INTEGRITY_ONLY",
            Self::IntegrityAndPrivacy => "INTEGRITY_AND_PRIVACY",
        }
    }

    /// The level with that number on the wire.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::IntegrityOnly),
            2 => Some(Self::IntegrityAndPrivacy),
            _ => None,
        }
    }
}

impl fmt::Display for SecurityLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The key of one connection for one record protocol: wiped when dropped, never printed.
#[derive(Clone)]
pub struct RecordKey {
    protocol: RecordProtocol,
    material: KeyMaterial,
}

/// What a record protocol takes from `key_data`.
#[derive(Clone)]
pub(crate) enum KeyMaterial {
    /// A key for each 2^16 frames is derived from `kdf_key`; nonces are masked.
    Rekeying { kdf_key: [u8; KDF_KEY_SIZE], nonce_mask: [u8; NONCE_SIZE] },
    /// One key for all frames; nonces are the counters themselves.
    Fixed([u8; AES_KEY_SIZE]),
}

impl RecordKey {
    /// Takes the first [`RecordProtocol::key_len`] bytes of `key_data`.
    ///
    /// The caller still has to wipe its own copy of `key_data`.
    ///
    /// # Errors
    /// [`KeyTooShort`] when there are fewer: a missing byte is never made up.
    pub fn new(protocol: RecordProtocol, key_data: &[u8]) -> Result<Self, KeyTooShort> {
        let too_short = KeyTooShort { needed: protocol.key_len(), found: key_data.len() };
        let material = match protocol {
            RecordProtocol::AesGcm128Rekey => {
                let (kdf_key, rest) = key_data.split_first_chunk().ok_or(too_short)?;
                let nonce_mask = rest.first_chunk().ok_or(too_short)?;
                KeyMaterial::Rekeying { kdf_key: *kdf_key, nonce_mask: *nonce_mask }
            }
            RecordProtocol::AesGcm128 | RecordProtocol::Gmac128 => {
                KeyMaterial::Fixed(*key_data.first_chunk().ok_or(too_short)?)
            }
        };
        Ok(Self { protocol, material })
    }

    /// The record protocol that the key is for.
    #[must_use]
    pub const fn protocol(&self) -> RecordProtocol {
        self.protocol
    }

    pub(crate) const fn material(&self) -> &KeyMaterial {
        &self.material
    }
}

impl Drop for KeyMaterial {
    fn drop(&mut self) {
        match self {
            Self::Rekeying { kdf_key, nonce_mask } => {
                kdf_key.zeroize();
                nonce_mask.zeroize();
            }
            Self::Fixed(key) => key.zeroize(),
        }
    }
}

impl ZeroizeOnDrop for RecordKey {}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordKey").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// Runs `work`, which sets up keys, and wipes this much of the stack that it has used: ciphers and
/// key derivation leave pieces of keys there, which no destructor reaches.
pub(crate) fn wiping_stack<const BYTES: usize, T>(work: impl FnOnce() -> T) -> T {
    let value = apart(work);
    zeroize_stack::<BYTES>();
    value
}

/// A call level of its own: it keeps the temporaries of `work` where the wiping reaches.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// `key_data` has fewer bytes than the record protocol needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyTooShort {
    /// Bytes that the record protocol needs.
    pub needed: usize,
    /// Bytes that it has.
    pub found: usize,
}

impl KeyTooShort {
    /// Whose fault it is: the handshaker service made the key.
    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::HandshakerService
    }
}

impl fmt::Display for KeyTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key_data has {} bytes, {} are needed", self.found, self.needed)
    }
}

impl core::error::Error for KeyTooShort {}

debug_is_the_sentence!(KeyTooShort);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_key_data_is_refused_and_long_key_data_is_cut() {
        for &protocol in RecordProtocol::ALL {
            let needed = protocol.key_len();
            let data = [7; 64];
            for found in 0..needed {
                let refused = RecordKey::new(protocol, &data[..found]).err();
                assert_eq!(refused, Some(KeyTooShort { needed, found }));
            }
            assert!(RecordKey::new(protocol, &data[..needed]).is_ok());
            assert!(RecordKey::new(protocol, &data).is_ok());
        }
    }

    #[test]
    fn names_are_exact_and_gmac_is_integrity_only() {
        for &protocol in RecordProtocol::ALL {
            assert_eq!(RecordProtocol::from_name(protocol.name()), Some(protocol));
        }
        assert_eq!(RecordProtocol::from_name("altsrp_gcm_aes128_rekey"), None);
        assert_eq!(RecordProtocol::from_name("ALTSRP_GCM_AES128_REKEY "), None);
        assert_eq!(RecordProtocol::from_name(""), None);
        assert_eq!(RecordProtocol::Gmac128.security_level(), SecurityLevel::IntegrityOnly);
    }
}
