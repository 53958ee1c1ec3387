//! Borrowed secrets: compared in constant time, never printed.

use core::fmt;

use subtle::ConstantTimeEq;

macro_rules! secret {
    ($($(#[$meta:meta])* $name:ident($of:ty), $bytes:expr;)*) => {$(
        $(#[$meta])*
        ///
        /// It is a view: the owner of the buffer that it points into wipes that buffer after use.
        /// Equality takes a time that depends only on the lengths; `Debug` prints no content.
        #[derive(Clone, Copy, Default)]
        pub struct $name<'a>(&'a $of);

        impl<'a> $name<'a> {
            /// Marks `value` as a secret.
            #[must_use]
            pub const fn new(value: &'a $of) -> Self {
                Self(value)
            }

            /// The secret itself: the one way to get at it.
            #[must_use]
            pub const fn expose(self) -> &'a $of {
                self.0
            }

            /// The secret's length, in bytes.
            #[must_use]
            pub const fn len(self) -> usize {
                self.0.len()
            }

            /// Whether there is nothing to keep secret.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0.is_empty()
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                let bytes: fn(&$of) -> &[u8] = $bytes;
                bytes(self.0).ct_eq(bytes(other.0)).into()
            }
        }

        impl Eq for $name<'_> {}

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[redacted]")
            }
        }
    )*};
}

secret! {
    /// Borrowed bytes that must not be seen: key data.
    Secret([u8]), |bytes| bytes;
    /// Borrowed text that must not be seen: a token.
    SecretText(str), str::as_bytes;
}
