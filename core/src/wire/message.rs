//! A message as a whole: all its fields, read and written.

use super::error::{DecodeError, EncodeError};
use super::key::WireType;
use super::reader::Reader;
use super::writer::Writer;

/// All fields of a message; [`message!`](super::field::message) implements it.
pub trait Fields<'a>: Default + PartialEq {
    fn read_fields(
        &mut self,
        tag: u32,
        wire: WireType,
        from: &mut Reader<'a>,
    ) -> Result<(), DecodeError>;
    fn write_fields(&self, to: &mut Writer<'_>);
    fn fields_len(&self) -> usize;

    /// Reads over what is already here.
    fn merge(&mut self, from: &mut Reader<'a>) -> Result<(), DecodeError> {
        loop {
            from.enter(None);
            match from.key()? {
                Some((tag, wire)) => self.read_fields(tag, wire, from)?,
                None => return Ok(()),
            }
        }
    }
}

/// A protobuf message of fixed capacity that borrows text and bytes for `'a`.
///
/// Implemented by the messages in [`msg`](crate::msg), and by nothing else.
///
/// Decoding follows proto3: the last of several values wins, sub-messages that come in parts are
/// merged, unknown fields are skipped, unknown numbers of an enumeration are kept. Encoding leaves
/// default values out.
pub trait Message<'a>: Fields<'a> {
    /// The message's name, as refusals give it.
    const NAME: &'static str;

    /// Reads the message that fills `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not such a message, or when it holds more than there is
    /// room for.
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        message.merge(&mut Reader::new(Self::NAME, bytes))?;
        Ok(message)
    }

    /// How many bytes [`encode`](Self::encode) writes.
    fn encoded_len(&self) -> usize {
        self.fields_len()
    }

    /// Writes the message at the start of `out` and returns its length in bytes.
    ///
    /// # Errors
    /// [`EncodeError`] when `out` is too short; nothing has been written then.
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let (required, available) = (self.encoded_len(), out.len());
        let room = out.get_mut(..required).ok_or(EncodeError::new(required, available))?;
        let mut writer = Writer::new(room);
        self.write_fields(&mut writer);
        debug_assert!(writer.is_filled(), "{} has another length than it said", Self::NAME);
        Ok(required)
    }
}
