//! An AEAD provider of one's own: how the driver of a chip that works only in place would look.
//! Software stands in for the chip.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;

use alts_core::Side;
use alts_core::aead::{AES_KEY_SIZE, Aead, AeadError, NONCE_SIZE, RustCrypto, TAG_SIZE, Text};
use alts_core::frame::FrameSize;
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::{Opener, RecordError, Sealer};

/// The chip's driver. What is inside stands for registers, and wipes itself when it is dropped. The
/// record layer sees to it that no nonce comes twice under one key.
struct Chip(RustCrypto);

impl Aead for Chip {
    fn new(key: &[u8; AES_KEY_SIZE]) -> Result<Self, AeadError> {
        RustCrypto::new(key).map(Self)
    }

    fn seal(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &mut [u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        self.0.seal(nonce, aad, Text::InPlace(text.into_place()?), tag)
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_SIZE],
        aad: &[u8],
        text: Text<'_>,
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        self.0.open(nonce, aad, Text::InPlace(text.into_place()?), tag)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // In a program the key comes from a handshake: `Session::<Chip>::new(established)`.
    let key = RecordKey::new(RecordProtocol::AesGcm128Rekey, &[7; 44])?;
    let mut sealer = Sealer::<Chip>::new(Side::Client, &key, FrameSize::MIN)?;
    let mut opener = Opener::<RustCrypto>::new(Side::Server, &key)?;
    let (mut wire, mut plaintext) = ([0; 64], [0; 64]);

    // Enough frames for a change of keys: then the record layer calls `Chip::new` again.
    let frames: u32 = 70_000;
    for number in 0..frames {
        let message = number.to_le_bytes();
        let frame_len = sealer.seal(&message, &mut wire)?.written;
        let frame = wire.get(..frame_len).unwrap_or_default();
        let payload_len = opener.open(frame, &mut plaintext)?.written;
        if plaintext.get(..payload_len) != Some(&message[..]) {
            return Err(format!("frame {number} came out as another one").into());
        }
    }
    println!("{frames} frames sealed by the chip, opened by RustCrypto");

    // And the other way, where a frame was changed on its way.
    let mut sealer = Sealer::<RustCrypto>::new(Side::Server, &key, FrameSize::MIN)?;
    let mut opener = Opener::<Chip>::new(Side::Client, &key)?;
    let frame_len = sealer.seal(b"on its way", &mut wire)?.written;
    let frame = wire.get_mut(..frame_len).unwrap_or_default();
    if let Some(byte) = frame.last_mut() {
        *byte ^= 1;
    }
    match opener.open(frame, &mut plaintext) {
        Err(error @ RecordError::Authentication) => println!("a changed frame is refused: {error}"),
        other => return Err(format!("a changed frame led to {other:?}").into()),
    }
    Ok(())
}
