//! The AEAD providers: AES-128-GCM of aws-lc-rs, and which provider is the default.

#[cfg(feature = "rustcrypto")]
pub use alts_core::aead::RustCrypto;
#[cfg(feature = "aws-lc-rs")]
pub use aws_lc::AwsLc;

/// The provider that is used unless the caller names another: aws-lc-rs.
#[cfg(feature = "aws-lc-rs")]
pub type DefaultAead = AwsLc;
/// The provider that is used unless the caller names another: RustCrypto, because the feature
/// `aws-lc-rs` is off.
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc-rs")))]
pub type DefaultAead = RustCrypto;

#[cfg(not(any(feature = "aws-lc-rs", feature = "rustcrypto")))]
compile_error!("tokio-alts needs an AEAD provider: enable the feature `aws-lc-rs` or `rustcrypto`");

#[cfg(feature = "aws-lc-rs")]
mod aws_lc {
    use alts_core::aead::{AES_KEY_SIZE, Aead, AeadError, NONCE_SIZE, TAG_SIZE};
    use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use aws_lc_rs::error::Unspecified;

    /// AES-128-GCM of aws-lc-rs.
    ///
    /// The expanded key is in memory of AWS-LC's own (about 600 bytes), which is wiped when it is
    /// freed: all that is freed through `OPENSSL_free` is.
    pub struct AwsLc(LessSafeKey);

    impl Aead for AwsLc {
        fn new(key: &[u8; AES_KEY_SIZE]) -> Result<Self, AeadError> {
            UnboundKey::new(&AES_128_GCM, key).map(LessSafeKey::new).map(Self).map_err(refused)
        }

        #[inline]
        fn seal(
            &self,
            nonce: &[u8; NONCE_SIZE],
            aad: &[u8],
            plaintext: &[u8],
            ciphertext: &mut [u8],
        ) -> Result<[u8; TAG_SIZE], AeadError> {
            let mut tag = [0; TAG_SIZE];
            self.0
                .seal_out_of_place_scatter(
                    Nonce::assume_unique_for_key(*nonce),
                    Aad::from(aad),
                    plaintext,
                    ciphertext,
                    &[],
                    &mut tag,
                )
                .map_err(refused)?;
            Ok(tag)
        }

        #[inline]
        fn seal_in_place(
            &self,
            nonce: &[u8; NONCE_SIZE],
            aad: &[u8],
            buffer: &mut [u8],
        ) -> Result<[u8; TAG_SIZE], AeadError> {
            let mut tag = [0; TAG_SIZE];
            self.0
                .seal_in_place_scatter(
                    Nonce::assume_unique_for_key(*nonce),
                    Aad::from(aad),
                    buffer,
                    &[],
                    &mut tag,
                )
                .map_err(refused)?;
            Ok(tag)
        }

        #[inline]
        fn open(
            &self,
            nonce: &[u8; NONCE_SIZE],
            aad: &[u8],
            ciphertext: &[u8],
            tag: &[u8; TAG_SIZE],
            plaintext: &mut [u8],
        ) -> Result<(), AeadError> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.0
                .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, plaintext)
                .map_err(refused)
        }

        #[inline]
        fn open_in_place(
            &self,
            nonce: &[u8; NONCE_SIZE],
            aad: &[u8],
            buffer: &mut [u8],
            tag: &[u8; TAG_SIZE],
        ) -> Result<(), AeadError> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.0
                .open_in_place_separate_tag(nonce, Aad::from(aad), tag, buffer)
                .map(drop)
                .map_err(refused)
        }
    }

    fn refused(_: Unspecified) -> AeadError {
        AeadError
    }
}
