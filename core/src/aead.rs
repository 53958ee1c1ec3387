//! The cipher that a record layer is built on: a small trait that any AES-128-GCM can implement.

#[cfg(feature = "rustcrypto")]
mod rustcrypto;

use core::fmt;

#[cfg(feature = "rustcrypto")]
pub use rustcrypto::RustCrypto;

use crate::error::debug_is_the_sentence;
pub use crate::frame::TAG_SIZE;
pub use crate::key::{AES_KEY_SIZE, NONCE_SIZE};

/// AES-128-GCM with 12-byte nonces and 16-byte tags, keyed once and used for many records.
///
/// Implementations keep three rules:
/// - the key is wiped from memory when the value is dropped;
/// - `open` compares tags in constant time;
/// - an output that failed may hold anything: the record layer wipes it, and hands nothing out.
///
/// The record layer never repeats a nonce under one key.
pub trait Aead: Sized {
    /// Sets up a key.
    ///
    /// # Errors
    /// [`AeadError`] when the provider cannot: every 16 bytes are a valid key.
    fn new(key: &[u8; AES_KEY_SIZE]) -> Result<Self, AeadError>;

    /// Encrypts `text`, and writes the `tag` over the ciphertext and `aad`.
    ///
    /// # Errors
    /// [`AeadError`] when the provider cannot, or when the slices of `text` differ in length.
    fn seal(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), AeadError>;

    /// Checks `tag`, and decrypts `text`.
    ///
    /// # Errors
    /// [`AeadError`] when the tag is wrong, or when the slices of `text` differ in length.
    fn open(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError>;
}

/// What an [`Aead`] reads, and where it writes as many bytes.
///
/// A provider with one way of working needs no `match`: for those that work in place there is
/// [`into_place`](Self::into_place).
#[derive(Debug)]
pub enum Text<'t> {
    /// The output replaces the input.
    InPlace(&'t mut [u8]),
    /// The output goes to a slice of the same length.
    Across {
        /// The input.
        from: &'t [u8],
        /// The output.
        to: &'t mut [u8],
    },
}

impl<'t> Text<'t> {
    /// No text: for a tag over nothing but `aad`.
    #[must_use]
    #[inline]
    pub fn empty() -> Self {
        Self::InPlace(&mut [])
    }

    /// The text as one slice to work on in place: what goes [`Across`](Self::Across) is copied to
    /// its output first.
    ///
    /// # Errors
    /// [`AeadError`] when the two slices differ in length.
    #[inline]
    pub fn into_place(self) -> Result<&'t mut [u8], AeadError> {
        match self {
            Self::InPlace(text) => Ok(text),
            Self::Across { from, to } if from.len() == to.len() => {
                to.copy_from_slice(from);
                Ok(to)
            }
            Self::Across { .. } => Err(AeadError),
        }
    }
}

/// The provider refused: a wrong tag when opening, anything else when sealing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AeadError;

impl fmt::Display for AeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the AEAD provider refused")
    }
}

impl core::error::Error for AeadError {}

debug_is_the_sentence!(AeadError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_across_only_into_room_of_its_own_length() {
        let mut room = [0; 4];
        let across = Text::Across { from: b"text", to: &mut room };
        assert_eq!(across.into_place().as_deref(), Ok(b"text".as_slice()));
        for len in [3, 5] {
            let mut room = [0; 5];
            let to = &mut room[..len];
            assert_eq!(Text::Across { from: b"text", to }.into_place(), Err(AeadError), "{len}");
        }
    }
}
