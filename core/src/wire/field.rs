//! How values, optional values, lists, maps and messages stand on the wire.

use prost::encoding::{encoded_len_varint, key_len};

use super::error::{DecodeError, Refusal};
pub(crate) use super::key::WireType;
use super::list::{List, Map};
use super::message::Message;
use super::reader::Reader;
use super::secret::{Secret, SecretText};
use super::writer::Writer;

/// A value that stands on the wire once for each time that it is written.
pub(crate) trait Item<'a>: Default + PartialEq {
    fn read(&mut self, wire: WireType, from: &mut Reader<'a>) -> Result<(), DecodeError>;
    fn write(&self, tag: u32, to: &mut Writer<'_>);
    fn len(&self, tag: u32) -> usize;
}

/// A message's field: one value, an optional one, several, a map, or one of several.
pub(crate) trait Field<'a> {
    fn read_field(
        &mut self,
        tag: u32,
        wire: WireType,
        from: &mut Reader<'a>,
    ) -> Result<(), DecodeError>;
    fn write_field(&self, tag: u32, to: &mut Writer<'_>);
    fn field_len(&self, tag: u32) -> usize;
}

/// One value, left out when it is the default one.
impl<'a, T: Item<'a>> Field<'a> for T {
    fn read_field(
        &mut self,
        _: u32,
        wire: WireType,
        from: &mut Reader<'a>,
    ) -> Result<(), DecodeError> {
        self.read(wire, from)
    }

    fn write_field(&self, tag: u32, to: &mut Writer<'_>) {
        if *self != T::default() {
            self.write(tag, to);
        }
    }

    fn field_len(&self, tag: u32) -> usize {
        if *self == T::default() { 0 } else { self.len(tag) }
    }
}

/// A value whose absence is not its default: a sub-message, or what is marked `optional`.
impl<'a, T: Item<'a>> Field<'a> for Option<T> {
    fn read_field(
        &mut self,
        _: u32,
        wire: WireType,
        from: &mut Reader<'a>,
    ) -> Result<(), DecodeError> {
        self.get_or_insert_default().read(wire, from)
    }

    fn write_field(&self, tag: u32, to: &mut Writer<'_>) {
        if let Some(item) = self {
            item.write(tag, to);
        }
    }

    fn field_len(&self, tag: u32) -> usize {
        self.as_ref().map_or(0, |item| item.len(tag))
    }
}

/// Several values in their order. (None of ALTS's lists is one of numbers, so none is packed.)
impl<'a, T: Item<'a>, const N: usize> Field<'a> for List<T, N> {
    fn read_field(
        &mut self,
        _: u32,
        wire: WireType,
        from: &mut Reader<'a>,
    ) -> Result<(), DecodeError> {
        let mut item = T::default();
        item.read(wire, from)?;
        self.push(item).map_err(|_| from.refuse(Refusal::TooMany { capacity: N }))
    }

    fn write_field(&self, tag: u32, to: &mut Writer<'_>) {
        for item in self {
            item.write(tag, to);
        }
    }

    fn field_len(&self, tag: u32) -> usize {
        self.iter().map(|item| item.len(tag)).sum()
    }
}

/// A map: a list of entries, each a message with the key as field 1 and the value as field 2. The
/// last entry of a key replaces those before it.
impl<'a, K: Item<'a> + Eq, V: Item<'a>, const N: usize> Field<'a> for Map<K, V, N> {
    fn read_field(
        &mut self,
        _: u32,
        wire: WireType,
        from: &mut Reader<'a>,
    ) -> Result<(), DecodeError> {
        let (mut key, mut value) = (K::default(), V::default());
        let mut entry = from.nested(wire, None)?;
        while let Some((tag, wire)) = entry.key()? {
            match tag {
                1 => key.read(wire, &mut entry)?,
                2 => value.read(wire, &mut entry)?,
                _ => entry.skip(tag, wire)?,
            }
        }
        match self.insert(key, value) {
            Ok(_) => Ok(()),
            Err(_) => Err(from.refuse(Refusal::TooMany { capacity: N })),
        }
    }

    fn write_field(&self, tag: u32, to: &mut Writer<'_>) {
        for (key, value) in self.iter() {
            write_head(tag, key.field_len(1) + value.field_len(2), to);
            key.write_field(1, to);
            value.write_field(2, to);
        }
    }

    fn field_len(&self, tag: u32) -> usize {
        self.iter()
            .map(|(key, value)| delimited_len(tag, key.field_len(1) + value.field_len(2)))
            .sum()
    }
}

/// A message within another.
impl<'a, M: Message<'a>> Item<'a> for M {
    fn read(&mut self, wire: WireType, from: &mut Reader<'a>) -> Result<(), DecodeError> {
        self.merge(&mut from.nested(wire, Some(M::NAME))?)
    }

    fn write(&self, tag: u32, to: &mut Writer<'_>) {
        write_head(tag, self.fields_len(), to);
        self.write_fields(to);
    }

    fn len(&self, tag: u32) -> usize {
        delimited_len(tag, self.fields_len())
    }
}

/// Numbers. Of a number that is too large for its field, protobuf takes the
/// lower bits, and of a truth value only whether it is zero.
macro_rules! number {
    ($($ty:ty: $number:ident => $value:expr, $wide:expr;)*) => {$(
        impl<'a> Item<'a> for $ty {
            fn read(&mut self, wire: WireType, from: &mut Reader<'a>) -> Result<(), DecodeError> {
                let $number = from.number(wire)?;
                *self = $value;
                Ok(())
            }

            fn write(&self, tag: u32, to: &mut Writer<'_>) {
                to.key(tag, WireType::Varint);
                to.varint($wide(*self));
            }

            fn len(&self, tag: u32) -> usize {
                key_len(tag) + encoded_len_varint($wide(*self))
            }
        }
    )*};
}

number! {
    bool: number => number != 0, u64::from;
    u32: number => lower_bits(number), u64::from;
    i32: number => lower_bits(number).cast_signed(), sign_extended;
}

#[expect(clippy::cast_possible_truncation, reason = "which is what it is for")]
const fn lower_bits(number: u64) -> u32 {
    number as u32
}

/// A negative number takes all 64 bits.
const fn sign_extended(number: i32) -> u64 {
    (number as i64).cast_unsigned()
}

/// Text and bytes, which stay where they are.
macro_rules! slice {
    ($($ty:ty, $read:expr, $bytes:expr;)*) => {$(
        impl<'a> Item<'a> for $ty {
            fn read(&mut self, wire: WireType, from: &mut Reader<'a>) -> Result<(), DecodeError> {
                let read: fn(&mut Reader<'a>, WireType) -> Result<Self, DecodeError> = $read;
                *self = read(from, wire)?;
                Ok(())
            }

            fn write(&self, tag: u32, to: &mut Writer<'_>) {
                let bytes: fn(&Self) -> &[u8] = $bytes;
                write_head(tag, bytes(self).len(), to);
                to.bytes(bytes(self));
            }

            fn len(&self, tag: u32) -> usize {
                let bytes: fn(&Self) -> &[u8] = $bytes;
                delimited_len(tag, bytes(self).len())
            }
        }
    )*};
}

slice! {
    &'a [u8], Reader::bytes, |bytes| bytes;
    &'a str, Reader::text, |text| text.as_bytes();
    Secret<'a>, |from, wire| from.bytes(wire).map(Secret::new), |secret| secret.expose();
    SecretText<'a>, |from, wire| from.text(wire).map(SecretText::new),
        |secret| secret.expose().as_bytes();
}

fn write_head(tag: u32, len: usize, to: &mut Writer<'_>) {
    to.key(tag, WireType::Delimited);
    to.varint(len as u64);
}

fn delimited_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

/// Declares messages: `tag => field: Type`, or `tag..=tag => field: Option<OneOf>`.
macro_rules! message {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident $(<$life:lifetime>)? {
        $($(#[$field_meta:meta])* $tag:literal $(..= $last:literal)? => $field:ident: $ty:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        $vis struct $name $(<$life>)? {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl<'a> $crate::wire::message::Fields<'a> for $name $(<$life>)? {
            fn read_fields(
                &mut self,
                tag: u32,
                wire: $crate::wire::field::WireType,
                from: &mut $crate::wire::reader::Reader<'a>,
            ) -> Result<(), $crate::wire::DecodeError> {
                match tag {
                    $($tag $(..= $last)? => {
                        from.enter(Some(stringify!($field)));
                        $crate::wire::field::Field::read_field(&mut self.$field, tag, wire, from)
                    })*
                    _ => from.skip(tag, wire),
                }
            }

            fn write_fields(&self, to: &mut $crate::wire::writer::Writer<'_>) {
                $($crate::wire::field::Field::write_field(&self.$field, $tag, to);)*
            }

            fn fields_len(&self) -> usize {
                0 $(+ $crate::wire::field::Field::field_len(&self.$field, $tag))*
            }
        }

        impl<'a> $crate::wire::Message<'a> for $name $(<$life>)? {
            const NAME: &'static str = stringify!($name);
        }
    )*};
}

/// Declares the members of a `oneof`: `tag => name_in_the_proto: Variant(Type)`.
macro_rules! one_of {
    ($($(#[$meta:meta])* $vis:vis enum $name:ident<$life:lifetime> {
        $($(#[$variant_meta:meta])* $tag:literal => $field:ident: $variant:ident($ty:ty),)*
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        $vis enum $name<$life> {
            $($(#[$variant_meta])* $variant($ty),)*
        }

        impl<$life> $crate::wire::field::Field<$life> for Option<$name<$life>> {
            fn read_field(
                &mut self,
                tag: u32,
                wire: $crate::wire::field::WireType,
                from: &mut $crate::wire::reader::Reader<$life>,
            ) -> Result<(), $crate::wire::DecodeError> {
                match tag {
                    $($tag => {
                        from.enter(Some(stringify!($field)));
                        // The same member again is merged; a different one replaces it.
                        if !matches!(self, Some($name::$variant(_))) {
                            *self = Some($name::$variant(Default::default()));
                        }
                        match self {
                            Some($name::$variant(value)) => {
                                $crate::wire::field::Item::read(value, wire, from)
                            }
                            _ => Ok(()),
                        }
                    })*
                    _ => from.skip(tag, wire),
                }
            }

            fn write_field(&self, _: u32, to: &mut $crate::wire::writer::Writer<'_>) {
                match self {
                    $(Some($name::$variant(value)) => {
                        $crate::wire::field::Item::write(value, $tag, to);
                    })*
                    None => {}
                }
            }

            fn field_len(&self, _: u32) -> usize {
                match self {
                    $(Some($name::$variant(value)) => {
                        $crate::wire::field::Item::len(value, $tag)
                    })*
                    None => 0,
                }
            }
        }
    )*};
}

/// Declares enumerations whose unknown numbers are kept: `NAME = number`.
macro_rules! open_enum {
    ($($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$value_meta:meta])* $value:ident = $number:literal,)*
    })*) => {$(
        $(#[$meta])*
        ///
        /// Numbers without a name here are kept as they are.
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(pub i32);

        impl $name {
            $($(#[$value_meta])* pub const $value: Self = Self($number);)*
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match *self {
                    $(Self::$value => f.write_str(stringify!($value)),)*
                    Self(number) => write!(f, concat!(stringify!($name), "({})"), number),
                }
            }
        }

        impl<'a> $crate::wire::field::Item<'a> for $name {
            fn read(
                &mut self,
                wire: $crate::wire::field::WireType,
                from: &mut $crate::wire::reader::Reader<'a>,
            ) -> Result<(), $crate::wire::DecodeError> {
                $crate::wire::field::Item::read(&mut self.0, wire, from)
            }

            fn write(&self, tag: u32, to: &mut $crate::wire::writer::Writer<'_>) {
                $crate::wire::field::Item::write(&self.0, tag, to);
            }

            fn len(&self, tag: u32) -> usize {
                $crate::wire::field::Item::len(&self.0, tag)
            }
        }
    )*};
}

pub(crate) use message;
pub(crate) use one_of;
pub(crate) use open_enum;
