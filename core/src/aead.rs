//! The cipher that a record layer is built on: a small trait that any AES-128-GCM can implement.

#[cfg(feature = "rustcrypto")]
mod rustcrypto;

use core::fmt;

pub use crate::frame::TAG_SIZE;
pub use crate::key::{AES_KEY_SIZE, NONCE_SIZE};

#[cfg(feature = "rustcrypto")]
pub use rustcrypto::RustCrypto;

/// AES-128-GCM with 12-byte nonces and 16-byte tags, keyed once and used for many records.
///
/// Who implements it keeps to three rules:
/// - the key is wiped from memory when the value is dropped;
/// - `open` compares tags in constant time;
/// - an output that failed may hold anything: the record layer wipes it, and hands nothing out.
///
/// The nonce is never repeated under one key: the record layer sees to that, not the provider.
///
/// The out-of-place operations take an input and an output of the same length; other lengths are
/// refused with [`AeadError`].
pub trait Aead: Sized {
    /// Sets up a key.
    ///
    /// # Errors
    /// [`AeadError`] when the provider cannot: every 16 bytes are a valid key.
    fn new(key: &[u8; AES_KEY_SIZE]) -> Result<Self, AeadError>;

    /// Encrypts `plaintext` into `ciphertext` and writes the `tag` over both that and `aad`.
    ///
    /// # Errors
    /// [`AeadError`] when the provider cannot.
    fn seal(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), AeadError>;

    /// Encrypts `buffer` where it stands and writes the `tag`.
    ///
    /// # Errors
    /// [`AeadError`] when the provider cannot.
    fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), AeadError>;

    /// Checks `tag`, and decrypts `ciphertext` into `plaintext`.
    ///
    /// # Errors
    /// [`AeadError`] when the tag is wrong.
    fn open(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_SIZE],
        plaintext: &mut [u8],
    ) -> Result<(), AeadError>;

    /// Checks `tag`, and decrypts `buffer` where it stands.
    ///
    /// # Errors
    /// [`AeadError`] when the tag is wrong.
    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError>;
}

/// The provider refused: a wrong tag when opening, anything else when sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AeadError;

impl fmt::Display for AeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the AEAD provider refused")
    }
}

impl core::error::Error for AeadError {}
