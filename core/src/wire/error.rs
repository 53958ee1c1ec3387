//! Why messages are refused, and why they cannot be written.

use core::fmt;

use crate::error::debug_is_the_sentence;

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
#[derive(Clone, Copy, PartialEq, Eq)]
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

debug_is_the_sentence!(DecodeError);

/// The caller's buffer is too short for the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EncodeError {
    required: usize,
    available: usize,
}

impl EncodeError {
    pub(super) const fn new(required: usize, available: usize) -> Self {
        Self { required, available }
    }

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

debug_is_the_sentence!(EncodeError);
