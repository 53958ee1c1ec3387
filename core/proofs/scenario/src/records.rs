//! Records: in both directions, empty, corrupted, and across a change of keys.

use core::hint::black_box;

use alts_core::Side;
use alts_core::aead::Aead;
use alts_core::frame::{FrameSize, HEADER_SIZE, OVERHEAD};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::{InPlace, Next, Opener, RecordError, Sealer};

use crate::{Failure, copy};

/// The largest payload of the scenario, in bytes.
const PAYLOAD: usize = 256;
const FRAME: usize = PAYLOAD + OVERHEAD;

/// One side of a connection.
pub struct Party<A> {
    /// What it writes.
    pub sealer: Sealer<A>,
    /// What it reads.
    pub opener: Opener<A>,
}

/// The client and the server that share `key_data`.
///
/// # Errors
/// [`Failure::Key`].
pub fn parties<A: Aead>(
    protocol: RecordProtocol,
    key_data: &[u8],
) -> Result<(Party<A>, Party<A>), Failure> {
    let key = RecordKey::new(protocol, key_data).map_err(|_| Failure::Key)?;
    let party = |side| {
        let sealer = Sealer::new(side, &key, FrameSize::DEFAULT).map_err(|_| Failure::Key)?;
        let opener = Opener::new(side, &key).map_err(|_| Failure::Key)?;
        Ok(Party { sealer, opener })
    };
    Ok((party(Side::Client)?, party(Side::Server)?))
}

/// Sends `payload` from one party to the other, in one call that copies and in one that does not,
/// with its bytes arriving in two parts.
///
/// # Errors
/// What went wrong.
pub fn converse<A: Aead>(
    from: &mut Sealer<A>,
    to: &mut Opener<A>,
    payload: &[u8],
) -> Result<(), Failure> {
    let (mut wire, mut plaintext) = ([0; FRAME], [0; PAYLOAD]);
    let sealed = from.seal(black_box(payload), &mut wire).map_err(|_| Failure::Seal)?;
    let (early, _) = wire.split_at_checked(sealed.written / 2).ok_or(Failure::Room)?;
    let opened = to.open(black_box(early), &mut plaintext).map_err(|_| Failure::Open)?;
    let missing = Next::Input { at_least: sealed.written.saturating_sub(early.len()) };
    if opened.consumed != 0 || (early.len() >= HEADER_SIZE && opened.next != missing) {
        return Err(Failure::Differs);
    }
    let whole = wire.get(..sealed.written).ok_or(Failure::Room)?;
    let opened = to.open(black_box(whole), &mut plaintext).map_err(|_| Failure::Open)?;
    if sealed.consumed != payload.len() || plaintext.get(..opened.written) != Some(payload) {
        return Err(Failure::Differs);
    }

    let frame = in_place(from, &mut wire, payload)?;
    let Ok(InPlace::Frame { payload: place, .. }) = to.open_in_place(frame) else {
        return Err(Failure::Open);
    };
    if frame.get(place) == Some(payload) { Ok(()) } else { Err(Failure::Differs) }
}

/// Sends an empty record, which is not the end of the stream.
///
/// # Errors
/// What went wrong.
pub fn empty_record<A: Aead>(from: &mut Sealer<A>, to: &mut Opener<A>) -> Result<(), Failure> {
    let (mut wire, mut plaintext) = ([0; FRAME], [0; 1]);
    let frame = in_place(from, &mut wire, &[])?;
    let opened = to.open(black_box(frame), &mut plaintext).map_err(|_| Failure::Open)?;
    let awaits_more = opened.next == Next::Input { at_least: HEADER_SIZE };
    let nothing = opened.consumed == frame.len() && opened.written == 0;
    if awaits_more && nothing { Ok(()) } else { Err(Failure::Differs) }
}

/// Sends a record with one bit changed; expects that it is refused, that no trace of it is
/// left, and that the direction has ended.
///
/// # Errors
/// What went wrong.
pub fn corrupt<A: Aead>(from: &mut Sealer<A>, to: &mut Opener<A>) -> Result<(), Failure> {
    let (mut wire, mut plaintext) = ([0; FRAME], [0xff; PAYLOAD]);
    let frame = in_place(from, &mut wire, &[0x55; PAYLOAD])?;
    if let Some(byte) = frame.get_mut(HEADER_SIZE) {
        *byte ^= 1;
    }
    let refused = to.open(black_box(frame), &mut plaintext);
    let again = to.open_in_place(frame);
    let ended = refused == Err(RecordError::Authentication) && again.err() == refused.err();
    if ended && plaintext == [0; PAYLOAD] { Ok(()) } else { Err(Failure::Forged) }
}

/// Sends enough small records for their count to cross into the next epoch, with its new key, and
/// says how many those were: 2^16 at most.
///
/// # Errors
/// What went wrong.
pub fn cross_epoch<A: Aead>(
    from: &mut Sealer<A>,
    to: &mut Opener<A>,
    sent_before: u32,
) -> Result<u32, Failure> {
    let mut wire = [0; FRAME];
    let records = 0x1_0000_u32.saturating_sub(sent_before).saturating_add(1);
    for number in 0..records {
        let payload = number.to_le_bytes();
        let frame = in_place(from, &mut wire, &payload)?;
        let Ok(InPlace::Frame { payload: place, .. }) = to.open_in_place(frame) else {
            return Err(Failure::Open);
        };
        if frame.get(place) != Some(&payload) {
            return Err(Failure::Differs);
        }
    }
    Ok(records)
}

/// Makes one record of `payload` at the front of `wire`.
fn in_place<'w, A: Aead>(
    from: &mut Sealer<A>,
    wire: &'w mut [u8; FRAME],
    payload: &[u8],
) -> Result<&'w mut [u8], Failure> {
    let end = HEADER_SIZE.saturating_add(payload.len());
    copy(payload, wire.get_mut(HEADER_SIZE..end).ok_or(Failure::Room)?);
    let len = from.seal_in_place(wire, payload.len()).map_err(|_| Failure::Seal)?;
    wire.get_mut(..len).ok_or(Failure::Room)
}
