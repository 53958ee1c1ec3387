//! The keys that stand before protobuf's fields.

/// How a field's value is encoded: the lowest three bits of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    /// A number.
    Varint = 0,
    /// Eight bytes.
    Fixed64 = 1,
    /// A length, and that many bytes.
    Delimited = 2,
    /// The beginning of a group.
    StartGroup = 3,
    /// The end of a group.
    EndGroup = 4,
    /// Four bytes.
    Fixed32 = 5,
}

impl WireType {
    /// The wire type of a key; `None` for the two numbers that mean nothing.
    pub(super) const fn of(key: u32) -> Option<Self> {
        Some(match key & 7 {
            0 => Self::Varint,
            1 => Self::Fixed64,
            2 => Self::Delimited,
            3 => Self::StartGroup,
            4 => Self::EndGroup,
            5 => Self::Fixed32,
            _ => return None,
        })
    }
}

/// The key of a field.
pub(super) fn key(tag: u32, wire: WireType) -> u64 {
    u64::from(tag) << 3 | wire as u64
}
