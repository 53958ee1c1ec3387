//! The default provider: `aes-gcm` of RustCrypto, which needs neither `std` nor a C compiler.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Nonce, Tag};

use super::{AES_KEY_SIZE, Aead, AeadError, NONCE_SIZE, TAG_SIZE, Text};
use crate::key::wiping_stack;

/// Bytes of stack that are wiped after each record: `aes-gcm` leaves copies of the key of GHASH there,
/// by which records can be forged.
const RECORD_STACK: usize = 2 * 1024;

/// AES-128-GCM of RustCrypto's `aes-gcm`.
///
/// It checks the tag, in constant time, before it decrypts a byte, and wipes its key when dropped.
pub struct RustCrypto(Aes128Gcm);

impl Aead for RustCrypto {
    fn new(key: &[u8; AES_KEY_SIZE]) -> Result<Self, AeadError> {
        Ok(Self(Aes128Gcm::new(key.into())))
    }

    #[inline]
    fn seal(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        let buffer = buffer(text)?;
        wiping_stack::<RECORD_STACK, _>(|| {
            self.0
                .encrypt_inout_detached(&Nonce::from(*nonce), aad, buffer)
                .map(|computed| *tag = computed.into())
                .map_err(|_| AeadError)
        })
    }

    #[inline]
    fn open(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        let buffer = buffer(text)?;
        wiping_stack::<RECORD_STACK, _>(|| {
            self.0
                .decrypt_inout_detached(&Nonce::from(*nonce), aad, buffer, &Tag::from(*tag))
                .map_err(|_| AeadError)
        })
    }
}

#[inline]
fn buffer(text: Text<'_>) -> Result<InOutBuf<'_, '_, u8>, AeadError> {
    match text {
        Text::InPlace(text) => Ok(text.into()),
        Text::Across { from, to } => InOutBuf::new(from, to).map_err(|_| AeadError),
    }
}
