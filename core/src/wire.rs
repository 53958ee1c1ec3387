//! Protobuf on borrowed bytes: a reader, prost's primitives to write, and what may fail.
//!
//! Messages are views: text and bytes borrow from the buffer that they were decoded from, lists and
//! maps have a fixed capacity, and neither reading nor writing touches a heap. That is why the
//! reader is not prost's: every error of prost's decoder is an allocation. This one accepts and
//! refuses exactly what prost does, with one addition: what does not fit is refused.

pub(crate) mod field;
mod key;
mod list;
pub(crate) mod reader;
mod secret;
pub(crate) mod writer;

pub(crate) use field::{message, one_of, open_enum};
pub use list::{Full, List, Map};
pub use secret::{Secret, SecretText};

use core::fmt;

/// A protobuf message of fixed capacity that borrows text and bytes for `'a`.
///
/// Implemented by the messages in [`msg`](crate::msg), and by nothing else.
///
/// Decoding follows proto3: the last of several values wins, sub-messages that come in parts are
/// merged, unknown fields are skipped, unknown numbers of an enumeration are kept. Encoding leaves
/// default values out.
pub trait Message<'a>: field::Fields<'a> {
    /// The message's name, as refusals give it.
    const NAME: &'static str;

    /// Reads the message that fills `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no such message, or when it holds more than has a place.
    fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        message.merge(&mut reader::Reader::new(Self::NAME, bytes))?;
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
        let room = out.get_mut(..required).ok_or(EncodeError { required, available })?;
        let mut writer = writer::Writer::new(room);
        self.write_fields(&mut writer);
        debug_assert!(writer.is_filled(), "{} has another length than it said", Self::NAME);
        Ok(required)
    }
}

/// Why a field's bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The bytes end inside the field.
    CutShort,
    /// The bytes are not protobuf: a bad key, an endless number, a group without its end.
    Malformed,
    /// The field is there, but encoded as another type of value.
    WireType,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A value that is longer than its place.
    TooLong {
        /// The size of the place, in bytes.
        capacity: usize,
    },
    /// More elements than there are places.
    TooMany {
        /// The number of places.
        capacity: usize,
    },
    /// A well-formed value that has no meaning here.
    Value,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str("cut short"),
            Self::Malformed => f.write_str("malformed"),
            Self::WireType => f.write_str("encoded as another type"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::TooLong { capacity } => write!(f, "longer than {capacity} bytes"),
            Self::TooMany { capacity } => write!(f, "more than {capacity} elements"),
            Self::Value => f.write_str("not an acceptable value"),
        }
    }
}

/// A refused message: the innermost message and field that were at fault, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    message: &'static str,
    field: Option<&'static str>,
    refusal: Refusal,
}

impl DecodeError {
    pub(crate) const fn new(
        message: &'static str,
        field: Option<&'static str>,
        refusal: Refusal,
    ) -> Self {
        Self { message, field, refusal }
    }

    /// The name of the innermost message, as in the `.proto` file.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.message
    }

    /// The field's name, as in the `.proto` file; `None` if the bytes belong to no field that the
    /// message has.
    #[must_use]
    pub const fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// What was wrong with it.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        self.refusal
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, field, refusal } = self;
        match field {
            Some(field) => write!(f, "{message}.{field}: {refusal}"),
            None => write!(f, "{message}, outside its known fields: {refusal}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// The caller's buffer is too short for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError {
    required: usize,
    available: usize,
}

impl EncodeError {
    /// The message's length, in bytes.
    #[must_use]
    pub const fn required(&self) -> usize {
        self.required
    }

    /// The buffer's length, in bytes.
    #[must_use]
    pub const fn available(&self) -> usize {
        self.available
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { required, available } = self;
        write!(f, "the message takes {required} bytes, and the buffer has {available}")
    }
}

impl core::error::Error for EncodeError {}
