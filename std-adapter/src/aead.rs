//! The AEAD providers: AES-128-GCM of aws-lc-rs, and which provider is the default.

#[cfg(feature = "aws-lc-rs")]
use AwsLc as Chosen;
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc-rs")))]
use RustCrypto as Chosen;
#[cfg(feature = "rustcrypto")]
pub use alts_core::aead::RustCrypto;
use alts_core::aead::{AES_KEY_SIZE, Aead, AeadError, NONCE_SIZE, TAG_SIZE, Text};
#[cfg(feature = "aws-lc-rs")]
pub use aws_lc::AwsLc;

/// AES-128-GCM of aws-lc-rs where the feature `aws-lc-rs` is on, otherwise of RustCrypto.
///
/// It is one type whatever features are on, and computes the same: another package that switches a
/// feature on changes only its speed, if anything. To insist on a provider, name it:
/// [`AltsAcceptor::accept_with`](crate::AltsAcceptor::accept_with),
/// [`AltsConnector::connect_with`](crate::AltsConnector::connect_with).
pub struct DefaultAead(Chosen);

impl Aead for DefaultAead {
    fn new(key: &[u8; AES_KEY_SIZE]) -> Result<Self, AeadError> {
        Chosen::new(key).map(Self)
    }

    #[inline]
    fn seal(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        self.0.seal(nonce, aad, text, tag)
    }

    #[inline]
    fn open(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        self.0.open(nonce, aad, text, tag)
    }
}

#[cfg(not(any(feature = "aws-lc-rs", feature = "rustcrypto")))]
compile_error!("tokio-alts needs an AEAD provider: enable the feature `aws-lc-rs` or `rustcrypto`");

#[cfg(feature = "aws-lc-rs")]
mod aws_lc {
    use alts_core::aead::{AES_KEY_SIZE, Aead, AeadError, NONCE_SIZE, TAG_SIZE, Text};
    use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use aws_lc_rs::error::Unspecified;

    /// AES-128-GCM of aws-lc-rs.
    ///
    /// The expanded key is in AWS-LC's own memory (about 600 bytes), which is wiped when it is
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
            text: Text<'_>,
            tag: &mut [u8; TAG_SIZE],
        ) -> Result<(), AeadError> {
            let (nonce, aad) = (Nonce::assume_unique_for_key(*nonce), Aad::from(aad));
            match text {
                Text::InPlace(text) => self.0.seal_in_place_scatter(nonce, aad, text, &[], tag),
                Text::Across { from, to } => {
                    self.0.seal_out_of_place_scatter(nonce, aad, from, to, &[], tag)
                }
            }
            .map_err(refused)
        }

        #[inline]
        fn open(
            &self,
            nonce: &[u8; NONCE_SIZE],
            aad: &[u8],
            text: Text<'_>,
            tag: &[u8; TAG_SIZE],
        ) -> Result<(), AeadError> {
            let (nonce, aad) = (Nonce::assume_unique_for_key(*nonce), Aad::from(aad));
            match text {
                Text::InPlace(text) => {
                    self.0.open_in_place_separate_tag(nonce, aad, tag, text).map(drop)
                }
                Text::Across { from, to } => self.0.open_separate_gather(nonce, aad, from, tag, to),
            }
            .map_err(refused)
        }
    }

    fn refused(_: Unspecified) -> AeadError {
        AeadError
    }
}

#[cfg(test)]
mod tests {
    use std::mem;

    use alts_core::Side;
    use alts_core::aead::{Aead, AeadError, Text};
    use alts_core::frame::FrameSize;
    use alts_core::key::{RecordKey, RecordProtocol};
    use alts_core::record::{Opener, RecordError, Sealer};

    use super::DefaultAead;

    const KEY: [u8; 16] = [1; 16];
    const NONCE: [u8; 12] = [2; 12];

    /// The tag of AES-128-GCM over 20 bytes of associated data and nothing else, and ciphertext
    /// and tag of 20 bytes of plaintext: computed with Python's `cryptography`, key, nonce and bytes as in
    /// these tests.
    const GMAC: [u8; 16] = [
        0xf8, 0x81, 0x6f, 0xc8, 0x28, 0xb2, 0xff, 0xf8, 0x67, 0x64, 0x6d, 0x65, 0x88, 0x40, 0xd7,
        0x10,
    ];
    const SEALED: ([u8; 20], [u8; 16]) = (
        [
            0x50, 0xe7, 0x13, 0x60, 0xc5, 0x2d, 0x45, 0x7f, 0x94, 0xe3, 0x0d, 0x37, 0xb1, 0xe2,
            0x79, 0x58, 0x58, 0x4e, 0x4a, 0x3e,
        ],
        [
            0x9b, 0xfc, 0x93, 0x6d, 0xcc, 0xc7, 0x77, 0xda, 0x33, 0x04, 0x8d, 0x2d, 0x94, 0x90,
            0xc8, 0xfe,
        ],
    );

    fn across<'t>(from: &'t [u8], to: &'t mut [u8]) -> Text<'t> {
        Text::Across { from, to }
    }

    #[test]
    fn the_default_provider_computes_aes_128_gcm() {
        let aead = DefaultAead::new(&KEY).unwrap();
        let bytes = [3; 20];
        let mut tag = [0; 16];
        assert_eq!(aead.seal(&NONCE, &bytes, Text::empty(), &mut tag), Ok(()));
        assert_eq!(mem::take(&mut tag), GMAC);
        assert_eq!(aead.seal(&NONCE, &bytes, across(&[], &mut []), &mut tag), Ok(()));
        assert_eq!(mem::take(&mut tag), GMAC);
        let mut sealed = [0; 20];
        assert_eq!(aead.seal(&NONCE, &[], across(&bytes, &mut sealed), &mut tag), Ok(()));
        assert_eq!((sealed, mem::take(&mut tag)), SEALED);
        let mut in_place = bytes;
        assert_eq!(aead.seal(&NONCE, &[], Text::InPlace(&mut in_place), &mut tag), Ok(()));
        assert_eq!((in_place, tag), SEALED);
    }

    #[test]
    fn the_default_provider_opens_what_is_whole_and_nothing_else() {
        let aead = DefaultAead::new(&KEY).unwrap();
        let (mut out, mut in_place) = ([0; 20], SEALED.0);
        assert_eq!(aead.open(&NONCE, &[], across(&SEALED.0, &mut out), &SEALED.1), Ok(()));
        assert_eq!(aead.open(&NONCE, &[], Text::InPlace(&mut in_place), &SEALED.1), Ok(()));
        assert_eq!((out, in_place), ([3; 20], [3; 20]));
        assert_eq!(aead.open(&NONCE, &[3; 20], Text::empty(), &GMAC), Ok(()));

        assert_eq!(aead.open(&NONCE, &[], across(&SEALED.0, &mut out), &GMAC), Err(AeadError));
        assert_eq!(aead.open(&NONCE, &[], Text::InPlace(&mut in_place), &SEALED.1), Err(AeadError));
        assert_eq!(aead.open(&NONCE, &[4; 20], Text::empty(), &GMAC), Err(AeadError));
    }

    #[test]
    fn lengths_that_differ_are_refused() {
        let aead = DefaultAead::new(&KEY).unwrap();
        for len in [0, 19, 21] {
            let mut out = vec![0; len];
            let sealed = aead.seal(&NONCE, &[], across(&[3; 20], &mut out), &mut [0; 16]);
            assert_eq!(sealed, Err(AeadError));
            assert_eq!(
                aead.open(&NONCE, &[], across(&SEALED.0, &mut out), &SEALED.1),
                Err(AeadError)
            );
        }
    }

    #[test]
    fn every_record_protocol_works_with_the_default_provider() {
        for &protocol in RecordProtocol::ALL {
            let key = RecordKey::new(protocol, &[9; 44]).unwrap();
            let mut sealer =
                Sealer::<DefaultAead>::new(Side::Client, &key, FrameSize::MIN).unwrap();
            let mut opener = Opener::<DefaultAead>::new(Side::Server, &key).unwrap();
            let (mut frames, mut out) = (vec![0; 60_000], vec![0; 60_000]);
            let plaintext = vec![7; 50_000];
            // Across a change of keys, which comes after 2^16 frames.
            for _ in 0..66_000 {
                let done = sealer.seal(&plaintext[..1], &mut frames).unwrap();
                _ = opener.open(&frames[..done.written], &mut out).unwrap();
            }
            let done = sealer.seal(&plaintext, &mut frames).unwrap();
            let plain = opener.open(&frames[..done.written], &mut out).unwrap();
            assert_eq!((done.consumed, plain.written), (50_000, 50_000));
            assert!(out[..50_000] == plaintext);
            let done = sealer.seal(&plaintext, &mut frames).unwrap();
            frames[100] ^= 1;
            let refused = opener.open(&frames[..done.written], &mut out);
            assert_eq!(refused, Err(RecordError::Authentication));
            assert!(out[..16_000].iter().all(|byte| *byte == 0));
        }
    }
}
