//! An AEAD without cryptography: tags that a fuzzer can forge, so that it gets past them.

use alts_core::aead::{AES_KEY_SIZE, Aead, AeadError, NONCE_SIZE, TAG_SIZE, Text};

/// The "cipher" flips bits by key and nonce; the "tag" is a checksum of everything in its first
/// four bytes, and zeros.
pub struct Fake([u8; AES_KEY_SIZE]);

fn fold(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

impl Fake {
    fn mask(&self, nonce: &[u8; NONCE_SIZE]) -> u8 {
        fold(&self.0) ^ fold(nonce)
    }

    fn tag(&self, nonce: &[u8; NONCE_SIZE], aad: &[u8], ciphertext: &[u8]) -> [u8; TAG_SIZE] {
        let mut tag = [0; TAG_SIZE];
        tag[..4].copy_from_slice(&[fold(&self.0), fold(nonce), fold(aad), fold(ciphertext)]);
        tag
    }
}

impl Aead for Fake {
    fn new(key: &[u8; AES_KEY_SIZE]) -> Result<Self, AeadError> {
        Ok(Self(*key))
    }

    fn seal(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        let text = text.into_place()?;
        text.iter_mut().for_each(|byte| *byte ^= self.mask(nonce));
        *tag = self.tag(nonce, aad, text);
        Ok(())
    }

    /// Decrypts before it looks at the tag: the caller has to wipe.
    fn open(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        let text = text.into_place()?;
        let expected = self.tag(nonce, aad, text);
        text.iter_mut().for_each(|byte| *byte ^= self.mask(nonce));
        if expected == *tag { Ok(()) } else { Err(AeadError) }
    }
}
