//! A reader of protobuf fields from a slice, which knows whose field it is reading.

use core::str;

use heapless::Vec;

use super::error::{DecodeError, Refusal};
use super::key::WireType;

/// How deep messages, map entries and skipped groups may be nested: the limit of prost and others.
const DEPTH: usize = 100;

/// What is left of a message, and what to call it when it is refused.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// How many levels may still be opened below this one.
    depth: usize,
    message: &'static str,
    field: Option<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: DEPTH, message, field: None }
    }

    /// Names the field that is read from here on.
    pub(crate) const fn enter(&mut self, field: Option<&'static str>) {
        self.field = field;
    }

    /// The error for what is being read.
    pub(super) const fn refuse(&self, refusal: Refusal) -> DecodeError {
        DecodeError::new(self.message, self.field, refusal)
    }

    /// The next field's tag and wire type, or `None` at the end.
    pub(super) fn key(&mut self) -> Result<Option<(u32, WireType)>, DecodeError> {
        if self.rest.is_empty() { Ok(None) } else { self.key_here().map(Some) }
    }

    fn key_here(&mut self) -> Result<(u32, WireType), DecodeError> {
        let key = self.varint()?;
        let key = u32::try_from(key).map_err(|_| self.refuse(Refusal::Malformed))?;
        let wire = WireType::of(key).ok_or(self.refuse(Refusal::Malformed))?;
        match key >> 3 {
            0 => Err(self.refuse(Refusal::Malformed)),
            tag => Ok((tag, wire)),
        }
    }

    /// A field's whole number.
    pub(super) fn number(&mut self, wire: WireType) -> Result<u64, DecodeError> {
        self.expect(wire, WireType::Varint)?;
        self.varint()
    }

    /// A field's bytes.
    pub(super) fn bytes(&mut self, wire: WireType) -> Result<&'a [u8], DecodeError> {
        self.expect(wire, WireType::Delimited)?;
        let len = self.varint()?;
        // A length beyond the address space is also beyond the end of the bytes.
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// A field's text.
    pub(super) fn text(&mut self, wire: WireType) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes(wire)?;
        str::from_utf8(bytes).map_err(|_| self.refuse(Refusal::NotUtf8))
    }

    /// A field's content as fields in turn: those of the message of this name, or those of a map's
    /// entry, which has no name.
    pub(super) fn nested(
        &mut self,
        wire: WireType,
        message: Option<&'static str>,
    ) -> Result<Self, DecodeError> {
        let rest = self.bytes(wire)?;
        let depth = self.depth.checked_sub(1).ok_or(self.refuse(Refusal::Malformed))?;
        Ok(match message {
            Some(message) => Self { rest, depth, message, field: None },
            None => Self { rest, depth, ..*self },
        })
    }

    /// Passes over an unknown field.
    pub(crate) fn skip(&mut self, tag: u32, wire: WireType) -> Result<(), DecodeError> {
        match wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.take(8).map(drop),
            WireType::Delimited => self.bytes(wire).map(drop),
            WireType::Fixed32 => self.take(4).map(drop),
            WireType::StartGroup => self.skip_group(tag),
            WireType::EndGroup => Err(self.refuse(Refusal::Malformed)),
        }
    }

    /// Passes over a group up to its end, with the groups in it: a list of those that are open, and
    /// no recursion, so that a peer's nesting costs no stack.
    fn skip_group(&mut self, tag: u32) -> Result<(), DecodeError> {
        let mut open = Vec::<u32, DEPTH>::new();
        let mut innermost = tag;
        loop {
            let (tag, wire) = self.key_here()?;
            if wire == WireType::EndGroup {
                if tag != innermost {
                    return Err(self.refuse(Refusal::Malformed));
                }
                match open.pop() {
                    Some(outer) => innermost = outer,
                    None => return Ok(()),
                }
                continue;
            }
            if open.len().saturating_add(1) >= self.depth {
                return Err(self.refuse(Refusal::Malformed));
            }
            if wire == WireType::StartGroup {
                open.push(innermost).map_err(|_| self.refuse(Refusal::Malformed))?;
                innermost = tag;
            } else {
                self.skip(tag, wire)?;
            }
        }
    }

    fn expect(&self, wire: WireType, expected: WireType) -> Result<(), DecodeError> {
        if wire == expected { Ok(()) } else { Err(self.refuse(Refusal::WireType)) }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(self.refuse(Refusal::CutShort))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte has room for only the topmost bit.
                let overflow = shift == 63 && byte > 1;
                return if overflow { Err(self.refuse(Refusal::Malformed)) } else { Ok(value) };
            }
        }
        Err(self.refuse(Refusal::Malformed))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (part, rest) = self.rest.split_at_checked(len).ok_or(self.refuse(Refusal::CutShort))?;
        self.rest = rest;
        Ok(part)
    }
}
